"""Swing: how late the off-beats of a song come, and the song without it, on the grid of sixteenths.

A beat is a pair of notes, of which the first takes 50 per cent when straight, and more with swing. The swing is
estimated from where the off-beats lie in their beats: the mode of these places, which a few triplets or late notes do
not move. `midi_output.with_swing` puts it back.
"""

from copy import deepcopy
from typing import NamedTuple

import numpy as np
from pretty_midi import PrettyMIDI

from engine.checks import checked_type
from music.grid import STEPS_PER_QUARTER, move_times
from music.midi_output import SWING_UNITS, checked_swing

STRAIGHT = 50.0  # per cent
MIN_SWING = 52.0  # per cent; less moves an eighth by under 0.08 steps, which the grid does not tell from straight
MAX_SWING = 73.0  # per cent; beyond, the off-beat is a dotted eighth's sixteenth, which lies on the grid
OFF_BEATS = (0.45, 0.74)  # of a pair: where an off-beat is looked for
MIN_OFF_BEATS = 8  # onsets, from which a swing is estimated
BIN, BLUR = 0.005, 3  # of a pair: width of a histogram's bins; bins: standard deviation of its smoothing
NEAR, MIN_NEAR = 0.05, 0.5  # of a pair: distance from the mode; share of the off-beats that lie so near


class Swing(NamedTuple):
    """How late the off-beats come."""

    swing: float  # per cent of a pair that its first note takes: 50 is straight, 67 a triplet
    unit: str  # of a pair's notes, one of SWING_UNITS

    @property
    def is_straight(self) -> bool:
        """Whether the off-beats lie on the grid of sixteenths as they are."""
        return not MIN_SWING <= self.swing <= MAX_SWING


class Straightened(NamedTuple):
    """A song on the grid, and the swing that it had."""

    midi: PrettyMIDI
    swing: float  # per cent, as in Swing
    unit: str


def straighten(midi: PrettyMIDI, swing: float | None = None, unit: str = "8th") -> Straightened:
    """Moves a song's off-beats onto the grid; triplets become two sixteenths and an eighth.

    Notes, controls, texts and lyrics move; the tempo may change. Bars of eighths, such as 6/8, stay as they are.

    Args:
        midi: the song; returned as it is if it is straight.
        swing: per cent of each pair of notes that its first one takes, from 50 to 75; estimated when None, see
            `swing_of`.
        unit: of a pair's notes, '8th' or '16th'; only read with `swing`.

    Raises:
        ValueError: no song, the swing is out of range, or the unit another one.
    """
    checked_type("midi", midi, PrettyMIDI, "a PrettyMIDI; load_midi(path) reads a file")
    found = swing_of(midi) if swing is None else Swing(100 * checked_swing(swing, unit), unit)
    if found.is_straight if swing is None else found.swing == STRAIGHT:
        return Straightened(midi, *found)
    beats = _Beats(midi)

    def moved(seconds: np.ndarray) -> np.ndarray:
        quarters = beats.quarters(seconds)
        bar, swings = beats.last_metre(quarters)
        straight = bar + _straight(quarters - bar, found)
        ticks = np.round(np.where(swings, straight, quarters) * midi.resolution)
        return beats.seconds(ticks / midi.resolution)

    return Straightened(move_times(deepcopy(midi), moved), *found)


def swing_of(midi: PrettyMIDI) -> Swing:
    """Estimates the swing of a song from its onsets: the mode of the off-beats' places in their beats.

    Eighths and sixteenths are looked at, the latter by the last one of each beat, where no triplet lies. A mode counts
    if at least 8 off-beats, and half of them, lie near it. Of both, and of no swing, the one counts by which the onsets
    lie nearest to the grid of sixteenths.

    Returns:
        The swing; its `is_straight` says whether the song lies on the grid as it is.
    """
    beats = _Beats(midi)
    starts = np.array([note.start for track in midi.instruments for note in track.notes], float)
    quarters = np.unique(np.round(beats.quarters(starts) * midi.resolution)) / midi.resolution  # a chord counts once
    bar, swings = beats.last_metre(quarters)
    place = (quarters - bar)[swings] % 1
    found = (Swing(_mode(place), "8th"), Swing(STRAIGHT, "8th"), Swing(_mode(2 * place - 1), "16th"))
    return min(found, key=lambda swing: _off_grid(place, swing))


def _off_grid(place: np.ndarray, swing: Swing) -> float:
    """Mean distance from the grid, in steps, of onsets at these places in their quarters after straightening."""
    steps = STEPS_PER_QUARTER * _straight(place, swing)
    return float(np.abs(steps - np.round(steps)).mean()) if len(steps) else 0.0


def _straight(quarters: np.ndarray, swing: Swing) -> np.ndarray:
    """Times in quarters without the swing; the beats stay where they are."""
    pair = SWING_UNITS[swing.unit]
    whole, inside = np.divmod(quarters / pair, 1)
    return pair * (whole + np.interp(inside, (0, swing.swing / 100, 1), (0, 0.5, 1)))


def _mode(places: np.ndarray) -> float:
    """The most frequent place of the off-beats in per cent; STRAIGHT if there are few, or none is frequent."""
    low, high = OFF_BEATS
    late = places[(places >= low) & (places <= high)]
    if len(late) < MIN_OFF_BEATS:
        return STRAIGHT
    counts, edges = np.histogram(late, round((high - low) / BIN), OFF_BEATS)
    bell = np.exp(-0.5 * (np.arange(-3 * BLUR, 3 * BLUR + 1) / BLUR) ** 2)
    peak = edges[np.convolve(counts, bell, "same").argmax()] + BIN / 2
    near = late[np.abs(late - peak) <= NEAR]
    return float(100 * np.median(near)) if len(near) >= max(MIN_OFF_BEATS, MIN_NEAR * len(late)) else STRAIGHT


class _Beats:
    """Seconds of a song to quarter notes and back, and the metre at each."""

    def __init__(self, midi: PrettyMIDI):
        self.times, self.qpm = midi.get_tempo_changes()
        self.starts = np.append(0, np.cumsum(np.diff(self.times) * self.qpm[:-1] / 60))  # quarters
        self.tick = 1 / midi.resolution  # quarters
        metres = sorted(midi.time_signature_changes, key=lambda change: change.time)
        self.bars = np.append(0, self.quarters(np.array([change.time for change in metres], float)))
        self.swings = np.array([True, *(change.denominator <= 4 for change in metres)])  # beats are quarters

    def quarters(self, seconds: np.ndarray) -> np.ndarray:
        """The time in quarters from the song's start."""
        k = np.maximum(np.searchsorted(self.times, seconds, "right") - 1, 0)
        return self.starts[k] + (seconds - self.times[k]) * self.qpm[k] / 60

    def seconds(self, quarters: np.ndarray) -> np.ndarray:
        """The inverse of `quarters`."""
        k = np.maximum(np.searchsorted(self.starts, quarters, "right") - 1, 0)
        return self.times[k] + (quarters - self.starts[k]) * 60 / self.qpm[k]

    def last_metre(self, quarters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the metre that holds at each time began, in quarters, and whether its beats are quarters."""
        k = np.maximum(np.searchsorted(self.bars, quarters + self.tick / 2, "right") - 1, 0)
        return self.bars[k], self.swings[k]
