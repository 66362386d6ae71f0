"""Pianos: all keys that sound together, as short lists of notes per step.

MusicVAE (Roberts et al. 2018) has one voice per track. Here a step holds any chord: which keys begin a note and which
are held, as in the frames of Onsets and Frames (Hawthorne et al. 2018), in a list from low to high as in PianoTree VAE
(Wang et al. 2020).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
import torch.nn.functional as F
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.bit_lists import code_lists, outer_ones
from engine.checks import checked_count, whole_numbers
from engine.classes import one_hot_frames
from music.converter import Tensors, checked_outputs, checked_program, empty_song, label_tensors, note_at
from music.grid import (
    MAX_BARS,
    Cut,
    Line,
    Part,
    Skipped,
    Windows,
    bars_skip,
    cut_lines,
    drum_tracks,
    file_bars,
    note_table,
    round_half_up,
    seconds_per_step,
    steps_per_second,
    unique,
)
from music.labels import FIRST_PITCH, KEYS, MAX_PITCH, MIN_PITCH, NO_EVENT, NO_NOTE, NOTE_OFF, PIANO_DEPTH, VOICES
from music.melody import PitchedTracksConverter, on_keys
from music.pedal import held_times, pedal_changes

TRACKS = ("together", "each")
GAP_BARS = 2  # so many empty bars end a line; a single one is part of some loops
MAX_PIANO_BARS = 4096  # of all lines of a part, far more than songs have; the rest is left out
ONSET, GOES_ON = FIRST_PITCH, FIRST_PITCH + 1  # events of a key beside NO_EVENT and NOTE_OFF, see `key_events`


class PianoFacts(NamedTuple):
    """What cutting the parts of a song takes of the whole song."""

    tracks: np.ndarray  # [tracks] bool: those taken
    drums: np.ndarray  # [tracks] bool
    pedals: dict[int, np.ndarray]  # as in `pedal_changes`; empty if the pedal does not count
    notes: int  # number of the notes of all tracks; 0 if it does not count


class KeyNotes(NamedTuple):
    """Notes on the keys, sorted by track and start."""

    track: np.ndarray  # [notes] index in PrettyMIDI.instruments; of all tracks together, the first one
    key: np.ndarray  # [notes] 0 to 87
    start: np.ndarray  # [notes] steps
    end: np.ndarray  # [notes] steps, at least start + 1


class Spans(NamedTuple):
    """Lines of music without a long rest, of one track each."""

    of_note: np.ndarray  # [notes] index of each note's line
    track: np.ndarray  # [lines]
    first: np.ndarray  # [lines] step in the part, where a bar starts
    bars: np.ndarray  # [lines] up to the end of the last note
    loop_bars: np.ndarray  # [lines] bars that are repeated in a loop; 0 for at most half a bar


@dataclass(frozen=True)
class PianoConverter(PitchedTracksConverter):
    """Windows of all notes on the 88 keys: in each step the keys that sound, from low to high, one code per voice.

    to_arrays gives uint8 [n, steps, voices]. The codes 0 to 87 are keys held from the step before, 88 to 175 are onsets
    of the keys 0 to 87, and 176 fills the voices that have no note. Key 0 is pitch 21. A repeated note has an onset of
    its own. A key sounds until the last of its notes ends, also of notes in several tracks. A note that sounds at the
    start of a window begins there. Two empty bars end a line of music; something sounds in the first bar of a
    window and in the last. Among equal windows of a part (a stretch of one tempo and time signature) the first is kept.

    Where more notes sound than there are voices, the outer ones stay, the highest first: melody and bass lie there. A
    note that is not kept ends there. `skipped` counts these notes, and those outside the keys.

    The sustain pedal lengthens notes: where a song has one, it carries the chords, and the keys alone leave silence
    (benchmarks/piano.py counts it).

    There is no velocity: scores state none, so it would say which program exported a file. Notes are written at one
    velocity.
    """

    bars: int = 2  # per window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; another of the same length passes: 2/2 for 4/4
    tracks: str = "together"  # all tracks taken as one piano; or 'each' by itself
    programs: tuple[int, ...] | None = None  # General MIDI programs taken, from 0; None takes all
    voices: int = VOICES  # notes per step, at most
    pedal: bool = True  # whether the sustain pedal lengthens notes
    loop: bool = False  # whether a song that is shorter than a window is repeated
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there

    label_depths = (NO_NOTE + 1,)
    input_depth = output_depth = PIANO_DEPTH
    held_parts = KEYS  # of the line of a clip, in which each key is a voice

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tracks not in TRACKS:
            raise ValueError(f"tracks is {self.tracks!r}; it is one of {', '.join(TRACKS)}")
        if checked_count("voices", self.voices) > KEYS:
            raise ValueError(f"voices is {self.voices}; a piano has {KEYS} keys")

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window as a song of one track; a key that is held without an onset before is silent.

        `to_arrays` reads the same one window back if it was cut from a song. In general it does if the first bar has an
        onset, a note reaches the last bar, no two bars between are empty, and each key that is held has begun before.

        Args:
            labels: [steps, voices].
            qpm: quarters per minute, 4 to 1000.
            program: General MIDI, from 0; a grand piano (0) if None.
            controls: not used.
        """
        labels = _checked_lists(labels, self.voices)
        midi = empty_song(qpm, self.time_signature)
        track = pretty_midi.Instrument(checked_program(0 if program is None else program))
        step_seconds = seconds_per_step(qpm)
        for start, end, key in _written_notes(labels):
            track.notes.append(note_at(MIN_PITCH + key, start, end, step_seconds))
        midi.instruments.append(track)
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None, indices: bool = False) -> Tensors:
        """Bits [n, steps, 176], held keys | onsets, or with `indices` the lists; inputs and targets are the same."""
        labels, lengths, mask = label_tensors(windows)
        lists = torch.where(mask[..., None] > 0, labels, NO_NOTE)
        if indices:
            frames = F.pad(lists, (0, max(VOICES - self.voices, 0)), value=NO_NOTE)
        else:
            frames = one_hot_frames(lists, PIANO_DEPTH)
        return Tensors(frames, frames, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps, voices] of outputs [n, steps, 176]: the bits above 0.5; a key has one, the onset."""
        return code_lists(checked_outputs(outputs, PIANO_DEPTH) > 0.5, self.voices)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of windows [n, steps, voices] by semitones [n], except windows that would leave the keys."""
        wide, semitones = labels.int(), semitones.to(labels.device).int()[:, None, None]
        is_note, key = wide < NO_NOTE, wide % KEYS + semitones
        fits = ((key >= 0) & (key < KEYS) | ~is_note).flatten(1).all(1)[:, None, None]
        return torch.where(is_note & fits, wide + semitones, wide).to(labels.dtype)

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps, self.voices), np.uint8)

    def song_facts(self, midi: PrettyMIDI) -> PianoFacts:
        count = len(note_table(midi)) if self.loop else 0
        return PianoFacts(self.tracks_taken(midi), drum_tracks(midi), pedal_changes(midi) if self.pedal else {}, count)

    def cut_part(self, part: Part, facts: PianoFacts, skipped: list[Skipped]) -> Iterator[Cut]:
        notes, where = self._key_notes(part, facts), f"notes from bar {file_bars(part, 0) + 1}"
        if outside := np.count_nonzero(facts.tracks[part.track] & ~on_keys(part)):
            skipped.append(Skipped(where, f"outside the pitches {MIN_PITCH}-{MAX_PITCH}", notes=outside))
        if len(notes.key):
            lines = self._lines(notes, len(part.start) == facts.notes, where, skipped)
            cut = cut_lines(lines, part, self.bars, self.steps_per_bar, skipped)
            if cut:
                yield from self._finished(cut)

    def _lines(self, notes: KeyNotes, is_song: bool, where: str, skipped: list[Skipped]) -> list[Line]:
        """The lines of a part with these notes, loops repeated; is_song: whether no other part has notes."""
        spans = line_spans(notes, self.steps_per_bar)
        loops = self.loop and is_song and self._are_loops(spans)
        if loops:
            spans = spans._replace(bars=spans.loop_bars)
        lines, beyond, lost = piano_lines(notes, spans, self.steps_per_bar, self.voices)
        if beyond:
            skipped.append(Skipped(where, f"beyond {self.voices} at once", notes=beyond))
        if lost:
            skipped.append(bars_skip(where, lost, MAX_PIANO_BARS))
        shape = (self.steps, self.voices)
        return [line._replace(labels=np.resize(line.labels, shape)) for line in lines] if loops else lines

    def _are_loops(self, spans: Spans) -> bool:
        """Whether each track has one line, shorter than a window and longer than half a bar."""
        is_loop = (spans.loop_bars > 0) & (spans.bars < self.bars)
        return bool(is_loop.all()) and len(spans.track) == len(np.unique(spans.track))

    def _finished(self, cut: Cut) -> Iterator[Cut]:
        """The different windows that begin and end with a bar that has notes."""
        whole = (cut.labels.reshape(len(cut.labels), self.bars, -1)[:, [0, -1]] != NO_NOTE).any(-1).all(-1)
        if whole.any():
            cut = Cut(*(column[whole] for column in cut))
            yield unique(cut._replace(labels=_struck_at_start(cut.labels)))

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if reason := self.why_no_note(midi, parts):
            return reason
        facts = self.song_facts(midi)
        notes = [own for own in (self._key_notes(part, facts) for part in parts) if len(own.key)]
        short = self.why_short([own.end for own in notes])
        if short and self.loop and len(notes) == 1:
            is_tiny = not line_spans(notes[0], self.steps_per_bar).loop_bars.any()
            reason = "is half a bar or shorter" if is_tiny else "has a rest of two bars"
            return f"{short}, and not repeated: it {reason}"
        return short or f"no {self.bars} bars of which the first, the last and one of any two have notes"

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        """Events uint8 [steps, 88], see `key_events`; of tracks each by itself, the first one with notes."""
        facts = self.song_facts(midi)
        taken = facts.tracks[part.track] & on_keys(part)
        if self.tracks == "each":
            taken &= part.track == part.track[taken].min(initial=len(midi.instruments))
        if not taken.any():
            return np.zeros((0, KEYS), np.uint8), ()
        notes = self._notes_of(part, facts, taken)
        steps = int(notes.end.max())
        lists, _ = note_lists(notes.key, notes.start, notes.end, steps, self.voices)
        return key_events(lists[None])[0], tuple(np.unique(part.track[taken]).tolist())

    def sustained(self, part: Part, midi: PrettyMIDI) -> Part:
        return part._replace(end=held_ends(part, self.song_facts(midi))[0])

    def as_cut(self, labels: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
        return key_lists(labels, self.voices, tied)

    def as_line(self, labels: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
        return key_events(labels, tied)

    def _key_notes(self, part: Part, facts: PianoFacts) -> KeyNotes:
        """The notes of a part that are taken, as long as the pedal holds them."""
        end, stays = held_ends(part, facts)
        return self._notes_of(part._replace(end=end), facts, facts.tracks[part.track] & on_keys(part) & stays)

    def _notes_of(self, part: Part, facts: PianoFacts, taken: np.ndarray) -> KeyNotes:
        """The notes of a part that are taken, [notes] bool."""
        kept = np.flatnonzero(taken)
        track = part.track[kept] if self.tracks == "each" else np.full(len(kept), np.flatnonzero(facts.tracks)[:1])
        kept = kept[np.lexsort((part.start[kept], track))]
        return KeyNotes(np.sort(track), part.pitch[kept] - MIN_PITCH, part.start[kept], part.end[kept])


def held_ends(part: Part, facts: PianoFacts) -> tuple[np.ndarray, np.ndarray | bool]:
    """Steps [notes] at which the notes of a part end as the pedal holds them, and whether each is kept [notes]."""
    times, stays = held_times(part, facts.pedals, facts.drums) if facts.pedals else (part.times, True)
    return np.maximum(round_half_up(times[:, 1] * steps_per_second(part.qpm)), part.start + 1), stays


# ---- Notes to labels ----


def line_spans(notes: KeyNotes, bar_steps: int) -> Spans:
    """Splits notes, of which there are some, where GAP_BARS bars are empty.

    A loop has the number of whole bars that is nearest to the end of its last note, and all bars in which notes begin:
    a note that rings on for a moment after the last bar does not make the loop a bar longer.
    """
    own = notes.track * (notes.end.max() + 1)  # so that tracks do not overlap
    reach = np.maximum.accumulate(notes.end + own) - own
    empty = notes.start[1:] // bar_steps - (reach[:-1] - 1) // bar_steps - 1  # bars before each note
    is_first = np.append(True, (notes.track[1:] != notes.track[:-1]) | (empty >= GAP_BARS))
    at = np.flatnonzero(is_first)
    first = notes.start[at] // bar_steps * bar_steps
    length = np.maximum.reduceat(notes.end, at) - first
    begun = (np.maximum.reduceat(notes.start, at) - first) // bar_steps + 1  # bars
    nearest = -(-(2 * length - bar_steps) // (2 * bar_steps))
    loop_bars = np.where(nearest > 0, np.maximum(nearest, begun), 0)
    return Spans(is_first.cumsum() - 1, notes.track[at], first, -(-length // bar_steps), loop_bars)


def piano_lines(notes: KeyNotes, spans: Spans, bar_steps: int, voices: int) -> tuple[list[Line], int, int]:
    """Labels of each line, the number of notes that are left out or cut short, and of bars after MAX_PIANO_BARS.

    All lines are painted at once, end to end.
    """
    bars = np.minimum(spans.bars, MAX_BARS)
    ends = bars.cumsum()
    ends, lost = ends[ends <= MAX_PIANO_BARS], int(spans.bars[ends > MAX_PIANO_BARS].sum())
    first_step, end_step = (ends - bars[: len(ends)]) * bar_steps, ends * bar_steps
    kept = np.flatnonzero(spans.of_note < len(ends))
    line = spans.of_note[kept]
    start, end = (steps[kept] + (first_step - spans.first[: len(ends)])[line] for steps in (notes.start, notes.end))
    inside = start < end_step[line]
    end = np.minimum(end, end_step[line])
    labels, beyond = note_lists(notes.key[kept][inside], start[inside], end[inside], int(end_step[-1]), voices)
    cuts = zip(np.split(labels, end_step[:-1]), spans.first, spans.track, np.maximum(spans.bars - MAX_BARS, 0))
    return [Line(*line) for line in cuts], beyond, lost


def note_lists(key: np.ndarray, start: np.ndarray, end: np.ndarray, steps: int, voices: int) -> tuple[np.ndarray, int]:
    """Labels [steps, voices] of notes, and the number of notes that are left out or cut short.

    Args:
        key, start, end: [notes] in any order; they end within the steps.
    """
    begin, stop = _key_intervals(key * (steps + 1) + start, key * (steps + 1) + end)
    sounding = _painted(begin, stop, steps)
    full = np.flatnonzero(sounding.sum(1) > voices)
    beyond = 0
    if len(full):
        step, inner = np.nonzero(sounding[full] & ~outer_ones(sounding[full], voices))
        at = inner * (steps + 1) + full[step]
        note = np.searchsorted(begin, at, "right") - 1
        np.minimum.at(stop, note, at)
        beyond, heard = len(np.unique(note)), begin < stop
        sounding, begin = _painted(begin[heard], stop[heard], steps), begin[heard]
    step, key = np.nonzero(sounding)
    voice = np.arange(len(step)) - np.searchsorted(step, np.arange(steps))[step]
    struck = np.zeros(KEYS * (steps + 1), bool)
    struck[begin] = True
    labels = np.full((steps, voices), NO_NOTE, np.uint8)
    labels[step, voice] = key + KEYS * struck[key * (steps + 1) + step]
    return labels, beyond


def _key_intervals(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of notes of which none overlap, from notes that may; rising.

    Times are on one line on which the keys follow each other. Notes that start together become one. A note that is
    still sounding when its key is struck again ends there, and what it would have sounded longer goes to the new note.
    """
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    is_last = np.append(start[1:] != start[:-1], True)
    start, reach = start[is_last], reach[is_last]
    return start, np.minimum(reach, np.append(start[1:], reach[-1:]))


def _painted(begin: np.ndarray, stop: np.ndarray, steps: int) -> np.ndarray:
    """[steps, KEYS] bool: whether a key sounds; begin, stop: as of `_key_intervals`."""
    change = np.zeros(KEYS * (steps + 1), np.int8)
    change[begin] += 1
    change[stop] -= 1
    return np.ascontiguousarray(change.cumsum(dtype=np.int8).reshape(KEYS, -1)[:, :steps].T.astype(bool))


def _struck_at_start(labels: np.ndarray) -> np.ndarray:
    """Windows [n, steps, voices] in which the notes that sound at the start begin there."""
    first = labels[:, 0]
    labels[:, 0] = np.where(first < KEYS, first + KEYS, first)
    return labels


# ---- Labels to the line of a clip, and back ----


def key_events(lists: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
    """What happens to each key in windows of labels: uint8 [n, steps, 88], events that clips.py joins as voices.

    ONSET and NOTE_OFF begin and end a note. At the start of a window a key that is silent has a NOTE_OFF, so that a
    note of the window before ends there. As in `from_arrays`, a key that is held without an onset before is silent.

    Args:
        lists: labels [n, steps, voices].
        tied: [n, 88] bool, keys whose note of the window before may go on: where one begins at the start, GOES_ON is an
            onset only if the key is silent then. None do when None.
    """
    held, begun = key_bits(lists)
    tied = np.zeros((len(lists), KEYS), bool) if tied is None else tied
    sounding, silent = np.zeros((2, *held.shape), bool)
    before = tied
    for step in range(held.shape[1]):
        sounding[:, step] = before = begun[:, step] | held[:, step] & before
    silent[:, 0], silent[:, 1:] = ~sounding[:, 0], sounding[:, :-1] & ~sounding[:, 1:]
    events = np.select([begun, silent], [ONSET, NOTE_OFF], NO_EVENT).astype(np.uint8)
    events[:, 0][begun[:, 0] & tied] = GOES_ON
    return events


def key_bits(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which keys are held from the step before, and which begin, in labels [n, steps, voices]: bool [n, steps, 88]."""
    codes = np.zeros((*lists.shape[:2], NO_NOTE + 1), bool)
    np.put_along_axis(codes, lists.astype(np.int64), True, -1)
    return codes[..., :KEYS], codes[..., KEYS:NO_NOTE]


def key_lists(events: np.ndarray, voices: int, tied: np.ndarray | None = None) -> np.ndarray:
    """Labels uint8 [n, steps, voices] of events [n, steps, 88]: notes that sound at the start of a window begin there.

    Args:
        tied: [n, 88] bool, keys whose note of the window before goes on.
    """
    held, begun = bits = np.zeros((2, *events.shape), bool)
    before = np.zeros((len(events), KEYS), bool) if tied is None else tied
    for step in range(events.shape[1]):
        event = events[:, step]
        begun[:, step] = (event == ONSET) | (event == GOES_ON) & ~before
        held[:, step] = before = (event >= ONSET) | (event == NO_EVENT) & before
    begun[:, 0] = held[:, 0]
    return code_lists(torch.from_numpy(np.concatenate(list(bits), -1)), voices).numpy().astype(np.uint8)


# ---- Labels to notes ----


def _checked_lists(labels: np.ndarray | Tensor, voices: int) -> np.ndarray:
    """One window's labels as int64 [steps, voices]; raises ValueError on another shape or label."""
    labels = whole_numbers("labels", labels)
    if labels.ndim != 2 or labels.shape[1] != voices:
        raise ValueError(f"labels of one window have the shape [steps, {voices}], not {list(labels.shape)}")
    if labels.size and (labels.min() < 0 or labels.max() > NO_NOTE):
        raise ValueError(f"labels lie from 0 to {NO_NOTE}; these from {labels.min()} to {labels.max()}")
    return labels


def _written_notes(labels: np.ndarray) -> list[tuple[int, int, int]]:
    """Start, end and key of the notes of labels [steps, voices], sorted; each lasts from an onset while it is held."""
    steps = len(labels) + 1
    held, struck = np.zeros((2, KEYS * steps), bool)
    step, voice = np.nonzero(labels < NO_NOTE)
    code = labels[step, voice]
    at = code % KEYS * steps + step
    held[at[code < KEYS]] = True
    struck[at[code >= KEYS]] = True
    begin, silent = np.flatnonzero(struck), np.flatnonzero(struck | ~held)
    end = silent[np.searchsorted(silent, begin, "right")]
    return sorted(zip((begin % steps).tolist(), (end % steps).tolist(), (begin // steps).tolist()))
