"""What a musician's project asks of a written file: length, programs by name, velocity, swing, drum map, chord track.

Each function returns a new song and leaves the one that it is given as it is, except `write_midi`, which writes a file.
"""

import difflib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

import mido
import numpy as np
import pretty_midi
from pretty_midi import Instrument, Note, PrettyMIDI

from engine.checks import checked_count, checked_number, checked_path, checked_type, described, is_whole, plain
from music.chords import ROOTS, TRIAD_TONES, Harmony
from music.converter import VELOCITY, checked_program, without_overlaps
from music.drums import class_of_pitch
from music.grid import move_times, round_half_up, seconds_per_step
from music.harmony import song_chords
from music.labels import DRUM_PITCHES

SWING_RANGE = (50, 75)  # per cent of a pair that its first note takes: 50 is straight, 67 a triplet
SWING_UNITS = {"8th": 1.0, "16th": 0.5}  # length of a pair in quarters
NAMES = pretty_midi.constants.INSTRUMENT_MAP  # of General MIDI's programs, from 0
DRUM_NAMES = pretty_midi.constants.DRUM_MAP  # of General MIDI's drums, from pitch 35
ALIASES = {  # of General MIDI's names; letters only
    "kick": "Bass Drum 1",
    "rim": "Side Stick",
    "rhodes": "Electric Piano 1",
    "wurlitzer": "Electric Piano 1",
    "vibes": "Vibraphone",
    "strings": "String Ensemble 1",
}
FIRST_DRUM = 35
PIANOS = range(8)  # programs
CHORD_PITCH = 48  # lowest of a chord track, an octave below middle C
CHORD_LOUDNESS = 0.7  # velocity of a chord track, relative to the mean of the song's notes


def program_number(program: int | str) -> int:
    """A General MIDI program, from 0, by its number or its name; case and punctuation of a name do not count.

    Raises:
        ValueError: no such program; the message names those that sound alike.
    """
    number = int(program) if isinstance(program, str) and program.isdecimal() else program
    return _by_name(number, NAMES, "program") if isinstance(number, str) else checked_program(number)


def drum_pitch(drum: int | str) -> int:
    """The MIDI pitch of a drum, by its number or its General MIDI name."""
    number = int(drum) if isinstance(drum, str) and drum.isdecimal() else plain(drum)
    if isinstance(number, str):
        return FIRST_DRUM + _by_name(number, DRUM_NAMES, "drum")
    if not is_whole(number) or not 0 <= number < 128:
        raise ValueError(f"a drum must be a MIDI pitch, 0 to 127, or a General MIDI name, got {described(drum)}")
    return int(number)


def _by_name(name: str, names: list[str], what: str) -> int:
    """The index of a name or of an alias, of which only letters and digits count."""
    plain_names, wanted = [_letters(one) for one in names], _letters(name)
    for known in (wanted, _letters(ALIASES.get(wanted, ""))):
        if known in plain_names:
            return plain_names.index(known)
    close = [names[k] for k, one in enumerate(plain_names) if wanted and wanted in one]
    close += [names[plain_names.index(one)] for one in difflib.get_close_matches(wanted, plain_names)]
    hint = f"did you mean {', '.join(dict.fromkeys(close[:4]))}?" if close else f"such as {names[0]}"
    raise ValueError(f"{name!r} is no General MIDI {what}; {hint}")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ---- A song with other notes ----


def with_own_notes(midi: PrettyMIDI, placed: Sequence[tuple[np.ndarray, int, int]]) -> PrettyMIDI:
    """A written piece in which some stretches have the notes that were played there.

    Args:
        midi: the piece, in one tempo.
        placed: notes as in `clips.OwnNotes`, and the steps in which their stretch starts and ends.
    """
    song, step = deepcopy(midi), seconds_per_step(midi.get_tempo_changes()[1][0])
    for index, track in enumerate(song.instruments):
        spans = [(step * (start - 0.5), step * (end - 0.5)) for _, start, end in placed]
        new = [note for note in track.notes if not any(start <= note.start < end for start, end in spans)]
        own = [_placed(row, start, step) for notes, start, _ in placed for row in notes.tolist() if row[4] == index]
        track.notes = sorted(without_overlaps(own) + new, key=lambda note: note.start)
    return song


def _placed(row: Sequence[float], first: int, step: float) -> Note:
    """A note of `clips.OwnNotes` in a piece, in which its clip starts in a step; none begins before the piece."""
    start, end, pitch, velocity, _ = row
    late = max(0.0, -first - start)
    return Note(int(velocity), int(pitch), (first + start + late) * step, (first + end + late) * step)


def mean_velocity(notes: Sequence[Note]) -> float:
    """The mean velocity of notes."""
    return float(np.mean([note.velocity for note in notes]))


def with_dynamics(midi: PrettyMIDI, notes: np.ndarray, steps: int) -> PrettyMIDI:
    """A piece whose notes are as loud as those that were played on their track at the nearest onset.

    A drum takes the velocity of the nearest hit of its class in DRUM_PITCHES, or of any drum if there is none. Of
    several notes at one onset the loudest of the same pitch counts, or else the loudest of all. After the clip, its
    dynamics come again.

    Args:
        midi: the piece, in one tempo and on the grid; a track on which no note was played stays as it is.
        notes: as in `clips.OwnNotes`, of a clip that starts with the piece.
        steps: length of the clip.
    """
    song = deepcopy(midi)
    for note, (_, _, _, velocity, _), _ in _matches(song, notes, steps):
        note.velocity = round(velocity)
    return song


def with_own_drums(midi: PrettyMIDI, notes: np.ndarray, steps: int) -> PrettyMIDI:
    """A piece whose drums have the pitches that were played: a class of DRUM_PITCHES is written with its first.

    A hit takes the pitch of the nearest hit of its class, so that the claps of a clip stay claps. Args as in
    `with_dynamics`; a piece need not be on the grid.
    """
    song = deepcopy(midi)
    for note, (_, _, pitch, _, _), is_own_drum in _matches(song, notes, steps):
        note.pitch = int(pitch) if is_own_drum else note.pitch
    return song


def _matches(song: PrettyMIDI, notes: np.ndarray, steps: int) -> Iterator[tuple[Note, list[float], bool]]:
    """The notes of a song, each with what was played nearest to it, and whether both are drums of one class."""
    step = seconds_per_step(song.get_tempo_changes()[1][0])
    for index, track in enumerate(song.instruments):
        played = notes[notes[:, 4] == index]
        kinds = class_of_pitch(DRUM_PITCHES) if track.is_drum else np.zeros(128, int)
        for kind in {kinds[note.pitch] for note in track.notes} if len(played) else ():
            alike = played[kinds[played[:, 2].astype(int)] == kind]
            written = [note for note in track.notes if kinds[note.pitch] == kind]
            places = np.array([round(note.start / step) for note in written]) % steps
            nearest = _nearest(written, places, alike if len(alike) else played)
            yield from zip(written, nearest, [track.is_drum and len(alike) > 0] * len(written), strict=True)


def _nearest(notes: Sequence[Note], places: np.ndarray, played: np.ndarray) -> list[list[float]]:
    """Of the rows played [m, 5], those at the onset nearest to each note at places [n], in steps."""
    played = played[np.argsort(played[:, 3])]  # of one onset the last one stays: the loudest
    onsets, onset = np.unique(round_half_up(played[:, 0]), return_inverse=True)
    loudest = {}
    for k, row in zip(onset.tolist(), played.tolist(), strict=True):
        loudest[k] = loudest[k, row[2]] = row
    nearest = np.searchsorted((onsets[1:] + onsets[:-1]) / 2, places)
    return [loudest.get((k, note.pitch), loudest[k]) for note, k in zip(notes, nearest.tolist(), strict=True)]


def with_velocity(midi: PrettyMIDI, velocity: int) -> PrettyMIDI:
    """A song with this mean velocity; louder and softer notes keep their ratios, from 1 to 127.

    Raises:
        ValueError: the velocity is below 1 or above 127.
    """
    velocity = checked_number("velocity", velocity, "a number from 1 to 127", low=1, high=127)
    song = deepcopy(midi)
    if notes := [note for track in song.instruments for note in track.notes]:
        ratio = velocity / mean_velocity(notes)
        for note in notes:
            note.velocity = int(np.clip(round(note.velocity * ratio), 1, 127))
    return song


def with_swing(midi: PrettyMIDI, swing: float, unit: str = "8th") -> PrettyMIDI:
    """A song of one tempo whose off-beats come late.

    Args:
        midi: the song, straight.
        swing: per cent of each pair of notes that its first one takes, from 50 (straight) to 75; 67 is a triplet.
        unit: of a pair's notes, '8th' or '16th'.

    Raises:
        ValueError: the swing is out of range, or the unit another one.
    """
    share = checked_swing(swing, unit)
    pair = SWING_UNITS[unit] * 60 / midi.get_tempo_changes()[1][0]  # seconds

    def moved(times: np.ndarray) -> np.ndarray:
        whole, inside = np.divmod(times / pair, 1)
        return pair * (whole + np.interp(inside, (0, 0.5, 1), (0, share, 1)))

    return move_times(deepcopy(midi), moved)


def checked_swing(swing: float, unit: str) -> float:
    """The share of a pair that its first note takes, from per cent; raises ValueError for it or for the unit."""
    wanted = f"a per cent from {SWING_RANGE[0]} (straight) to {SWING_RANGE[1]}"
    share = checked_number("swing", swing, wanted, *SWING_RANGE) / 100
    if unit not in tuple(SWING_UNITS):
        raise ValueError(f"the unit of swing must be {' or '.join(SWING_UNITS)}, got {described(unit)}")
    return share


def without_feel(midi: PrettyMIDI) -> PrettyMIDI:
    """A song of one tempo whose notes start on the grid of sixteenths, all with the same velocity.

    A note keeps its length, but does not go on after the step to which its end is rounded.
    """
    song, step = deepcopy(midi), seconds_per_step(midi.get_tempo_changes()[1][0])
    for note in (note for track in song.instruments for note in track.notes):
        start, length = float(step * round(note.start / step)), note.end - note.start
        end = max(start + min(length, step), float(step * round(note.end / step)))
        note.start, note.end, note.velocity = start, min(start + length, end), VELOCITY
    return song


def with_drum_map(midi: PrettyMIDI, drum_map: Mapping[int | str, int | str]) -> PrettyMIDI:
    """A song whose drums have other pitches.

    Args:
        midi: the song.
        drum_map: from General MIDI's pitches or names to those of one's own instrument: {36: 60, "Hand Clap": 62}.
    """
    checked_type("drum_map", drum_map, Mapping, "a dict of pitches or names, such as {36: 60}")
    pitches = {drum_pitch(old): drum_pitch(new) for old, new in drum_map.items()}
    song = deepcopy(midi)
    for note in (note for track in song.instruments if track.is_drum for note in track.notes):
        note.pitch = pitches.get(note.pitch, note.pitch)
    return song


def with_chord_track(midi: PrettyMIDI, bars: int | None = None) -> PrettyMIDI:
    """A song with a track of its chords, as triads in the octave below middle C, softer than its notes.

    A chord is held until the next one. A chord without a triad, such as Csus4, is a rest. The track plays the program
    of the first pitched track if that is a piano, otherwise a grand piano.

    Args:
        midi: a song in one time signature, whose text events or lyrics are chord symbols.
        bars: where the last chord ends; with the bar of the last note or chord when None.

    Raises:
        ValueError: the song names no chords, or bars below 1.
    """
    chords, song = song_chords(midi), deepcopy(midi)
    if not chords.symbols:
        raise ValueError("the song names no chords: they are its text events or lyrics, such as Am7")
    program = next((track.program for track in song.instruments if not track.is_drum), 0)
    added = Instrument(program if program in PIANOS else 0, name="Chords")
    notes = [note for track in song.instruments if not track.is_drum for note in track.notes]
    velocity = max(1, round(CHORD_LOUDNESS * (mean_velocity(notes) if notes else VELOCITY)))
    end = _end_of_bars(midi, float(chords.times[-1]), bars)
    times = np.minimum([*chords.times, end], end).tolist()
    for start, stop, index in zip(times, times[1:], Harmony(chords.times, chords.symbols).classes.tolist()):
        if start < stop:
            added.notes += [Note(velocity, pitch, start, stop) for pitch in _chord_pitches(index)]
    song.instruments.append(added)
    return song


def _end_of_bars(midi: PrettyMIDI, last_chord: float, bars: int | None) -> float:
    """The end, in seconds, of so many bars; when None, of the bar of the last note or chord, which starts then."""
    per_bar = _ticks_per_bar(midi)
    if bars is None:
        last_note = max((note.end for track in midi.instruments for note in track.notes), default=0.0)
        bars = max(-(-midi.time_to_tick(last_note) // per_bar), midi.time_to_tick(last_chord) // per_bar + 1)
    return midi.tick_to_time(round(checked_count("bars", int(bars)) * per_bar))


def _chord_pitches(index: int) -> list[int]:
    """The MIDI pitches of a chord class; none for no chord."""
    triad, root = divmod(index - 1, len(ROOTS))
    return [CHORD_PITCH + (root + tone) % 12 for tone in TRIAD_TONES[triad]] if index > 0 else []


def with_names(midi: PrettyMIDI) -> PrettyMIDI:
    """A song in which every track has a name; one without is called after its program."""
    song = deepcopy(midi)
    for track in song.instruments:
        track.name = track.name or ("Drums" if track.is_drum else NAMES[track.program])
    return song


def in_turn(songs: Sequence[PrettyMIDI], seconds_each: float) -> PrettyMIDI:
    """One song that plays songs with the same tracks in turn, one every so many seconds, in the tempo of the first."""
    whole = deepcopy(songs[0])
    for part in whole.instruments:  # the pedal and the bends of one song are not for the others
        part.control_changes, part.pitch_bends = [], []
    for k, song in enumerate(songs[1:], 1):
        later = k * seconds_each
        for part, own in zip(whole.instruments, song.instruments, strict=True):
            part.notes += [Note(n.velocity, n.pitch, n.start + later, n.end + later) for n in own.notes]
        whole.text_events += [pretty_midi.Text(text.text, text.time + later) for text in song.text_events]
    return whole


# ---- Files ----


def write_midi(midi: PrettyMIDI, path: str | os.PathLike, bars: int | None = None) -> None:
    """Writes a type 1 MIDI file; with `bars`, every track ends exactly there, so that it loops.

    Args:
        midi: the song, in one time signature.
        path: of the file.
        bars: length of the file; notes that end later are cut there. At the last note when None.

    Raises:
        ValueError: no path, or bars below 1.
        OSError: the file cannot be written.
    """
    path, buffer = checked_path("path", path), io.BytesIO()
    if bars is None:
        midi.write(buffer)
    else:
        ticks = round(checked_count("bars", bars) * _ticks_per_bar(midi))
        _cut_at(midi, midi.tick_to_time(ticks)).write(buffer)
    buffer.seek(0)
    file = mido.MidiFile(file=buffer)
    if bars is not None:
        file.tracks[:] = [_ended_at(track, ticks) for track in file.tracks]
    file.save(path)


def _ticks_per_bar(midi: PrettyMIDI) -> float:
    first = midi.time_signature_changes[:1]
    return midi.resolution * (4 * first[0].numerator / first[0].denominator if first else 4)


def _cut_at(midi: PrettyMIDI, end: float) -> PrettyMIDI:
    """A song without the notes that start at `end` (seconds) or later; those that go on end there."""
    song = deepcopy(midi)
    for track in song.instruments:
        track.notes = [note for note in track.notes if note.start < end]
        for note in track.notes:
            note.end = min(note.end, end)
    return song


def _ended_at(track: mido.MidiTrack, end: int) -> mido.MidiTrack:
    """A track whose end-of-track event stands at this tick; what comes later is left out, but for the ends of notes."""
    timed = zip(np.cumsum([event.time for event in track]).tolist(), track, strict=True)
    kept = [(tick, event) for tick, event in timed if tick < end or (tick == end and event.type == "note_on")]
    kept.append((end, mido.MetaMessage("end_of_track")))
    times = np.diff([0, *(tick for tick, _ in kept)]).tolist()
    return mido.MidiTrack(event.copy(time=time) for time, (_, event) in zip(times, kept, strict=True))
