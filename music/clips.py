"""Clips: music of any number of bars, cut into a model's windows and joined again.

A clip is one line of labels of whole bars with its rests, as a musician cuts it from a song. `to_arrays`, for training,
starts a window at every bar instead, and ends a line at a rest.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from pretty_midi import Instrument, PrettyMIDI

from engine.checks import checked_count, checked_type, described
from music.converter import PAIR_BARS, QPM_RANGE, BarsConverter, named_tracks
from music.grid import (
    STEPS_PER_QUARTER,
    Part,
    counted,
    drum_tracks,
    file_bars,
    part_at,
    song_parts,
    steady_tempo,
    steps_per_second,
    time_signature_text,
)
from music.labels import FIRST_PITCH, NO_EVENT, NOTE_OFF
from music.midi_song import CHARSET
from music.trio import TrioConverter

MAX_CLIP_BARS = 1024
PEDAL_STEPS = 1.5  # a note that lasts this much longer than it was played is held by the pedal; rounding adds less
NO_METRE = "train a model of that time signature, see docs/presets.md"
OTHER_BARS = "choose other bars (start_bar and bars; --from-bar and --clip-bars)"
OTHER_TRACK = "choose a track (track; --track), or all programs (--programs all)"
OTHER_SONG = "take a song that has all parts"
OTHER_FILE = "take another one"
OTHER_MODEL = "the song has drums alone, so take a model of drums (--model drums_2bar)"
OTHER_DRUMS = "name the track that is drums (track; --drum-track)"
NO_DRUMS = f"{OTHER_DRUMS}, or take a model of melodies (--model mel_2bar)"
NO_GROOVE = f"{OTHER_DRUMS}; for the rhythm of another track, take drumify"
LEAD_OF_TRIO = (
    "the melody of a trio is the first track with a program from 0 to 31: give the lead one, or take a model of "
    "melodies (--model mel_16bar with --track)"
)
FILLS = ("rest", "loop")  # what follows where a clip is too short: silence, or the clip again from its start

ReadLine = Callable[[Part, PrettyMIDI], tuple[np.ndarray, tuple[int, ...]]]  # see `BarsConverter.line`


class NoClipError(ValueError):
    """A stretch of a song has no note that a model takes: the reason, and what helps where a clip is cut."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason


class OwnNotes(NamedTuple):
    """The notes of a clip as its song has them, also those that the labels lack."""

    notes: np.ndarray  # [notes, 5] start and end in steps from the clip's start, pitch, velocity, index of its track
    labels: np.ndarray  # that they were read as: a clip whose labels were changed has other notes


class Clip(NamedTuple):
    """A line of labels of whole bars, and where it lies in its song."""

    labels: np.ndarray  # [steps, ...] of the converter's `line`: a window's, of any number of bars; a piano's events
    chords: np.ndarray | None = None  # int8 [steps], the chord class of each step
    qpm: float = 120.0  # quarter notes per minute
    program: int | tuple[int, ...] | None = None  # General MIDI, from 0: of its track, or of each
    tracks: tuple[int, ...] = ()  # indices in PrettyMIDI.instruments
    names: tuple[str, ...] = ()  # of the tracks that are written
    start_bar: int = 0  # from 0, in the song
    fill: str | None = None  # of FILLS; fills up its last window. When None rests, or itself if shorter than a window
    own: OwnNotes | None = None  # its notes as they were played


class Cutting(NamedTuple):
    """The windows of a clip, end to end."""

    labels: np.ndarray  # [n, steps, ...]
    sounds: np.ndarray  # [n] bool: whether the window has an onset
    tied: np.ndarray  # [n, held parts] bool: whether a note of the window before goes on in it


# ---- Music to clips ----


def read_clip(
    midi: PrettyMIDI,
    converter: BarsConverter,
    line: ReadLine | None = None,
    *,
    track: int | None = None,
    start_bar: int | None = None,
    bars: int | None = None,
    fill: str | None = None,
) -> Clip:
    """Reads a clip from a song, in the tempo of its first bar.

    Args:
        midi: the song.
        converter: gives the labels and the length of a bar.
        line: reads the labels; the converter's `line` when None.
        track: index of a track, taken whatever its program is. When None, for melodies and pianos the song's only
            pitched track, whatever its program is; otherwise the first that the converter takes.
        start_bar: the clip's first bar in the song, from 0. When None, 0; if `bars` is None too, and the song has
            other time signatures, the first bar of the longest stretch in the converter's.
        bars: number of bars; when None up to the last note. A last bar counts if a note begins in it, or is held in it
            for more than a beat.
        fill: what follows where the song ends before `bars`, one of FILLS; rests when None.

    Raises:
        ValueError: an argument out of range, another time signature, or no note that the converter takes.
    """
    checked_type("midi", midi, PrettyMIDI, "a PrettyMIDI; load_midi(path) reads a file")
    start_bar = None if start_bar is None else checked_count("start_bar", start_bar, least=0)
    bars, fill = checked_bars(bars), checked_fill(fill)
    if not any(one.notes for one in midi.instruments):
        raise NoClipError("the file has no notes", OTHER_FILE)
    track = _only_track(midi, converter) if track is None else track
    chosen = midi if track is None else with_one_track(midi, converter, track)
    song = steady_tempo(chosen)
    part, start_bar = _part_of_clip(song, start_bar, bars, converter, any_track=line is not None)
    labels, tracks = (line or converter.line)(part, song)
    if not len(labels):
        raise _no_clip(song, converter, part, start_bar, bars)
    bar_steps, held = converter.steps_per_bar, converter.held_parts
    labels = fitted(labels, -(-len(labels) // bar_steps) * bar_steps, "rest", held)
    period = len(labels) if bars is None or fill == "loop" else bars * bar_steps
    labels = labels if bars is None else fitted(labels, bars * bar_steps, fill or "rest", held)
    own = None if line else OwnNotes(_played(part, tracks, period, len(labels), not converter.several_tracks), labels)
    programs, names = _programs(midi, song, tracks), tuple(_as_written(midi.instruments[k].name) for k in tracks)
    program, names = (programs, names) if converter.several_tracks else (programs[0], names[:1])
    qpm = _in_range(part.qpm) if song is chosen else _tempo_at(midi, start_bar)
    return Clip(labels, None, qpm, program, tracks, names, start_bar, fill, own)


def _tempo_at(midi: PrettyMIDI, bar: int) -> float:
    """The tempo in which a bar of a song begins, in quarter notes per minute."""
    parts = song_parts(midi)
    return _in_range(parts[part_at(parts, bar)].qpm)


def _in_range(qpm: float) -> float:
    return float(np.clip(qpm, *QPM_RANGE))


def longest_clip(midi: PrettyMIDI, converter: BarsConverter) -> Clip:
    """The longest stretch of a song in the converter's time signature, from the bar of its first note to its last.

    It is read as `read_clip` reads it, so that windows that come back are there each time. Rests fill its last window.
    Its tempo is that of its first bar.

    Raises:
        ValueError: there is no such stretch, or no note in it that the converter takes.
    """
    song, bar_steps, track = steady_tempo(midi), converter.steps_per_bar, _only_track(midi, converter)
    chosen = song if track is None else with_one_track(song, converter, track)
    parts = song_parts(chosen)
    longest = _longest_part(parts, converter, _tracks_taken(chosen, converter))
    if longest is None:
        remedy = f": {PAIR_BARS}" if any(map(converter.fits_in_pairs, parts)) else ""
        raise ValueError(f"no notes in {time_signature_text(converter.time_signature)}{remedy}")
    bars = -(-int(longest.end.max()) // bar_steps)
    if bars > MAX_CLIP_BARS:
        raise ValueError(f"the song has {bars:,} bars, and the most is {MAX_CLIP_BARS:,}")
    clip = read_clip(song, converter, track=track, start_bar=int(file_bars(longest, 0)), bars=bars, fill="rest")
    first, end = _sounding_bars(clip, converter)
    start_bar = clip.start_bar + first
    qpm = clip.qpm if song is midi else _tempo_at(midi, start_bar)
    return clip._replace(labels=clip.labels[first * bar_steps : end * bar_steps], start_bar=start_bar, qpm=qpm)


def in_one_metre(parts: Sequence[Part]) -> bool:
    """Whether all notes of a song lie in one part, from its first bar on; `read_clip` then takes all its bars."""
    return [k for k, part in enumerate(parts) if len(part.start)] == [part_at(parts, 0)]


def song_end(parts: Sequence[Part], start_bar: int, converter: BarsConverter) -> int:
    """The number of bars up to the last note of a song, or to the change of metre after the bar `start_bar`."""
    part = parts[part_at(parts, start_bar)]
    return int(file_bars(part, _bars_from(part, 0, converter)))


def sounding_steps(clip: Clip, converter: BarsConverter) -> int:
    """Steps of a clip up to the end of the bar in which its last note sounds."""
    return _sounding_bars(clip, converter)[1] * converter.steps_per_bar


def _sounding_bars(clip: Clip, converter: BarsConverter) -> tuple[int, int]:
    """The first bar of a clip in which a note sounds, and the one after the last."""
    bars = cut_clip(clip.labels, converter.steps_per_bar, "rest", converter.held_parts)
    first, last = np.flatnonzero(bars.sounds | bars.tied.any(1))[[0, -1]].tolist()
    return first, last + 1


def checked_bars(bars: int | None) -> int | None:
    """A number of bars from 1 to MAX_CLIP_BARS, or None."""
    if bars is not None and checked_count("bars", bars) > MAX_CLIP_BARS:
        raise ValueError(f"bars must be at most {MAX_CLIP_BARS:,}, got {bars}")
    return None if bars is None else int(bars)


def checked_fill(fill: str | None) -> str | None:
    """One of FILLS, or None."""
    if fill is not None and (not isinstance(fill, str) or fill not in FILLS):
        raise ValueError(f"fill must be {' or '.join(map(repr, FILLS))}, got {described(fill)}")
    return fill


def with_one_track(midi: PrettyMIDI, converter: BarsConverter, track: int) -> PrettyMIDI:
    """A copy of a song in which one track alone has notes, and is declared to be what the converter takes.

    Raises:
        ValueError: there is no such track, it is drums and the converter takes none, or the converter takes several.
    """
    if converter.several_tracks:
        lead = f"; {LEAD_OF_TRIO}" if isinstance(converter, TrioConverter) else ""
        raise ValueError(f"this kind of model takes several tracks, by their programs: omit track (--track){lead}")
    if checked_count("track", track, least=0) >= len(midi.instruments):
        raise ValueError(f"there is no track {track}; the song has {named_tracks(midi)}")
    song, chosen = copy(midi), copy(midi.instruments[track])
    if chosen.is_drum and not converter.only_drums:
        raise ValueError(f"track {track} is drums, and the model takes notes; the song has {named_tracks(midi)}")
    chosen.is_drum = converter.only_drums
    if converter.track_refusal(chosen):
        chosen.program = converter.programs[0]
    song.instruments = [Instrument(one.program) for one in midi.instruments]
    song.instruments[track] = chosen
    return song


def _only_track(midi: PrettyMIDI, converter: BarsConverter) -> int | None:
    """The index of a song's only track of notes, drums aside, for a converter that takes one; else None."""
    pitched = [k for k, track in enumerate(midi.instruments) if track.notes and not track.is_drum]
    return None if len(pitched) != 1 or converter.only_drums or converter.several_tracks else pitched[0]


def _as_written(name: str) -> str:
    """The name of a track with the characters that a file can hold."""
    return name.encode(CHARSET, "replace").decode(CHARSET)


def _programs(midi: PrettyMIDI, song: PrettyMIDI, tracks: tuple[int, ...]) -> tuple[int, ...]:
    """The programs of tracks; 0, the standard kit, of one that was declared to be drums."""
    return tuple(
        midi.instruments[k].program if midi.instruments[k].is_drum == song.instruments[k].is_drum else 0 for k in tracks
    )


def _part_of_clip(
    song: PrettyMIDI, start_bar: int | None, bars: int | None, converter: BarsConverter, any_track: bool
) -> tuple[Part, int]:
    """The notes of a clip in steps from its start, of one part of the song alone, and the clip's first bar."""
    parts = song_parts(song)
    part, tracks = None, range(len(song.instruments)) if any_track else _tracks_taken(song, converter)
    if start_bar is None and bars is None:
        part = _longest_part(parts, converter, tracks)
    if part is None:
        start_bar = start_bar or 0
        part = _checked_part(parts, start_bar, bars, converter)
    part_bar = int(file_bars(part, 0))
    start_bar = part_bar if start_bar is None else start_bar
    first = (start_bar - part_bar) * converter.steps_per_bar
    bars = bars or _bars_from(part, first, converter)
    if bars > MAX_CLIP_BARS:
        raise ValueError(f"the clip has {bars:,} bars, and the most is {MAX_CLIP_BARS:,}: {OTHER_BARS}")
    return _steps_of_part(converter.sustained(part, song), first, bars * converter.steps_per_bar), start_bar


def _longest_part(parts: Sequence[Part], converter: BarsConverter, tracks: Sequence[int]) -> Part | None:
    """The longest part in the converter's time signature with notes, of these tracks if one has such; else None."""
    fits = [part for part in parts if len(part.start) and converter.fits(part)]
    heard = [part for part in fits if np.isin(part.track, tracks).any()]
    return max(heard or fits, key=_last_step, default=None)


def _last_step(part: Part) -> int:
    """The step in which the last note of a part ends."""
    return int(part.end.max(initial=0))


def _tracks_taken(song: PrettyMIDI, converter: BarsConverter) -> list[int]:
    """The indices of the tracks with notes that a converter takes."""
    return [k for k, one in enumerate(song.instruments) if one.notes and converter.track_refusal(one) is None]


def _checked_part(parts: Sequence[Part], start_bar: int, bars: int | None, converter: BarsConverter) -> Part:
    """The part in which the bars of a clip lie; raises ValueError where they are in another time signature."""
    index = part_at(parts, start_bar)
    part = parts[index]
    if not converter.fits(part):
        raise ValueError(_other_metre(parts, part, start_bar, converter))
    ends_at = next((int(file_bars(later, 0)) for later in parts[index + 1 :] if len(later.start)), None)
    if ends_at is not None and (bars is None or start_bar + bars > ends_at):
        raise ValueError(
            f"the time signature changes at bar {ends_at + 1}, and a clip has one; up to there are "
            f"{counted(ends_at - start_bar, 'bar')}: {OTHER_BARS}"
        )
    return part


def _other_metre(parts: Sequence[Part], part: Part, start_bar: int, converter: BarsConverter) -> str:
    """Why no clip begins at a bar of another time signature, and where one can begin."""
    fits = [one for one in parts if len(one.start) and converter.fits(one)]
    named = part if fits else max(parts, key=_last_step)  # of a song with a pickup, not the pickup's
    metre, wanted = (time_signature_text(one.time_signature) for one in (named, converter))
    bar = start_bar if named is part else int(file_bars(named, 0))
    remedies = [f"it is in {wanted} at bar {file_bars(fits[0], 0) + 1}: {OTHER_BARS}"] if fits else []
    remedies += [PAIR_BARS] if converter.fits_in_pairs(named) else []
    return f"the song is in {metre} at bar {bar + 1}, the model in {wanted}; {'; or '.join(remedies) or NO_METRE}"


def _bars_from(part: Part, first: int, converter: BarsConverter) -> int:
    """Bars from a step to the end of a part; a last one counts if a note begins in it, or is held for over a beat."""
    played = part.times[:, 1].max(initial=0.0) * steps_per_second(part.qpm) - first
    begun = min(int(part.start.max(initial=first)) - first + 1, played - 0.5)  # steps up to the last onset
    return max(1, math.ceil(max(begun, played - STEPS_PER_QUARTER) / converter.steps_per_bar))


def _steps_of_part(part: Part, first: int, steps: int) -> Part:
    """The notes of a part that start in these steps, counted from the first of them; none ends after the last."""
    kept = (part.start >= first) & (part.start < first + steps)
    part = part.select(kept)
    start, end = part.start - first, np.minimum(part.end - first, steps)
    return part._replace(start=start, end=end, times=part.times - first / steps_per_second(part.qpm))


def _played(part: Part, tracks: tuple[int, ...], period: int, steps: int, as_one: bool) -> np.ndarray:
    """The notes of `OwnNotes` that begin before `period`, repeated up to `steps`; the pedal holds notes to its end."""
    kept = np.isin(part.track, tracks) & (part.start < period)
    start, end = (part.times[kept] * steps_per_second(part.qpm)).T
    end = np.minimum(np.where(part.end[kept] > end + PEDAL_STEPS, part.end[kept], end), period)
    written = [0 if as_one else tracks.index(track) for track in part.track[kept].tolist()]
    own = np.stack([start, end, part.pitch[kept], part.velocity[kept], np.array(written, int)], 1)
    return _looped_notes(own, period, steps)


def _looped_notes(own: np.ndarray, period: int, steps: int) -> np.ndarray:
    """Notes as in `OwnNotes`, repeated every `period` steps up to a number of steps."""
    moves = period * np.arange(-(-steps // period))
    notes = np.concatenate([own + np.array([move, move, 0, 0, 0]) for move in moves])
    notes = notes[notes[:, 0] < steps - 0.5]
    return np.concatenate([notes[:, :2].clip(max=steps), notes[:, 2:]], 1)


def _no_clip(song: PrettyMIDI, converter: BarsConverter, part: Part, start_bar: int, bars: int | None) -> NoClipError:
    """Why a stretch of a song has no note for a model, and what to do."""
    missing = converter.why_no_note(song, [part]) if converter.several_tracks else None
    if missing:
        return NoClipError(missing, OTHER_SONG)
    stretch = f"from bar {start_bar + 1} on" if bars is None else f"in bars {start_bar + 1} to {start_bar + bars}"
    if not len(part.start):
        return NoClipError(f"no notes {stretch}", OTHER_BARS)
    taken = _tracks_taken(song, converter)
    if taken and not np.isin(taken, part.track).any():
        return NoClipError(f"the model's tracks have no notes {stretch}", OTHER_BARS)
    if converter.several_tracks:
        return NoClipError(f"melody, bass and drums do not all play {stretch}", f"{OTHER_BARS}, or {OTHER_SONG}")
    drums, remedy = drum_tracks(song), OTHER_TRACK
    if converter.only_drums and not drums.any():
        remedy = NO_GROOVE if converter.has_feel else NO_DRUMS
    remedy = OTHER_MODEL if drums.all() and not converter.only_drums else remedy
    return NoClipError(converter.why_no_note(song, [part]), remedy)


# ---- Clips to windows, and back ----


def fitted(labels: np.ndarray, steps: int, fill: str, held: int) -> np.ndarray:
    """Labels [n, ...] cut or filled up to [steps, ...]; `held` parts of a label are voices whose notes end there."""
    if fill == "loop":
        return joined_labels([labels] * -(-steps // len(labels)), held)[:steps]
    filled = np.zeros((steps, *labels.shape[1:]), labels.dtype)
    filled[: len(labels)] = labels[:steps]
    if len(labels) < steps:
        _voices(filled, held)[len(labels), sounding_after(labels, held)] = NOTE_OFF
    return filled


def looped(clip: Clip, steps: int, held: int) -> Clip:
    """A clip that is cut, or repeated from its start, to a number of steps."""
    chords = None if clip.chords is None else fitted(clip.chords, steps, "loop", 0)
    return clip._replace(labels=fitted(clip.labels, steps, "loop", held), chords=chords)


def whole_windows(clip: Clip, steps: int, at_end: bool) -> Clip:
    """A clip that is cut into whole windows of `steps` from its end or its start; a short clip is repeated."""
    extra = len(clip.labels) % steps if at_end and len(clip.labels) > steps else 0
    return clip._replace(labels=clip.labels[extra:], fill="loop")


def cut_clip(labels: np.ndarray, steps: int, fill: str, held: int, start: int = 0) -> Cutting:
    """Cuts labels [n, ...] from step `start` on into windows of `steps`, end to end; the last is filled up."""
    count = -(-(len(labels) - start) // steps)
    labels = np.concatenate([labels[:start], fitted(labels[start:], count * steps, fill, held)])
    windows = labels[start:].reshape(count, steps, *labels.shape[1:])
    firsts = range(start, len(labels), steps)
    tied = [sounding_after(labels[:first], held) & (_voices(labels, held)[first] == NO_EVENT) for first in firsts]
    return Cutting(windows, has_onset(windows, held), np.array(tied).reshape(count, held))


def joined_labels(pieces: Sequence[np.ndarray], held: int, tied: np.ndarray | None = None) -> np.ndarray:
    """Joins labels [steps, ...] of pieces, such as windows.

    A note ends with its piece unless `tied` [pieces, held] says that it goes on in the next one.
    """
    labels = np.concatenate(pieces)
    for k, start in enumerate(np.cumsum([len(piece) for piece in pieces])[:-1].tolist(), 1):
        first = _voices(labels, held)[start]
        ends = sounding_after(labels[:start], held) & (True if tied is None else ~tied[k])
        first[(first == NO_EVENT) & ends] = NOTE_OFF
    return labels


def has_onset(windows: np.ndarray, held: int) -> np.ndarray:
    """[n] bool: whether windows [n, steps, ...] have an onset, in a voice or of a drum."""
    parts = windows.reshape(*windows.shape[:2], -1)
    return (parts[..., :held] >= FIRST_PITCH).any((1, 2)) | (parts[..., held:] > 0).any((1, 2))


def sounding_after(labels: np.ndarray, held: int) -> np.ndarray:
    """[held] bool: in which voices a note sounds at the end of labels [steps, ...]."""
    voices = _voices(labels, held)
    last = [voice[np.flatnonzero(voice)[-1:]] for voice in voices.T]
    return np.array([event.max(initial=NO_EVENT) >= FIRST_PITCH for event in last], bool)


def _voices(labels: np.ndarray, held: int) -> np.ndarray:
    """The voices [steps, held] of labels [steps, ...], a view."""
    return labels.reshape(len(labels), math.prod(labels.shape[1:]))[:, :held]
