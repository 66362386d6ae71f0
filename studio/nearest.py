"""The song that is nearest to a piece: by which notes start when, in the key that fits best.

Axes: n windows, e onsets of all windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pretty_midi import PrettyMIDI

from engine.checks import checked_type
from midi_utils import Converter, DrumsConverter, MelodyConverter, SongDataset, TrioConverter, Windows
from music.drums import class_of_pitch
from music.grid import STEPS_PER_QUARTER
from music.labels import DRUM_CLASSES, DRUM_PITCHES, FIRST_PITCH, MIN_PITCH

CHUNK = 4096  # windows that are compared at a time
PITCHES = 128
DRUM_CLASS = class_of_pitch(DRUM_PITCHES) % (DRUM_CLASSES + 1)  # [128], DRUM_CLASSES for a pitch of no class


class Nearest(NamedTuple):
    """The song nearest to a piece."""

    name: str
    bar: int  # of the song, from 1, at which the similar passage starts
    distance: float  # share of the notes of both that do not match: 0 for the same notes in some key, 1 for none


class Onsets(NamedTuple):
    """What starts when in several windows, sorted by step; the pitch of a drum is PITCHES + its class."""

    window: np.ndarray  # [e]
    step: np.ndarray  # [e] sixteenth notes from the start of the window
    pitch: np.ndarray  # [e]


def nearest_songs(midis: Sequence[PrettyMIDI], songs: SongDataset) -> list[Nearest]:
    """Finds the nearest window of a set of songs for each piece.

    The distance is 1 - m / (a + b - m), for pieces of a and b notes of which m start with the same pitch on the same
    sixteenth note, in the transposition that makes m largest. Drums are not transposed.

    Args:
        midis: pieces in a single tempo, which start with the window that they are compared with.
        songs: such as the training set.

    Raises:
        ValueError: songs is no data set, or has no windows.
    """
    checked_type("songs", songs, SongDataset, "a SongDataset, as load_songs makes it")
    if not len(songs):
        raise ValueError("songs must have at least one window, got none")
    best = [(np.inf, 0)] * len(midis)
    pieces = [onsets_of_songs([midi]) for midi in midis]
    for first in range(0, len(songs), CHUNK):
        windows = songs.windows(slice(first, first + CHUNK))
        onsets, count = onsets_of_windows(songs.converter, windows), len(windows.labels)
        for k, piece in enumerate(pieces):
            distance = distances(piece, onsets, count)
            window = int(distance.argmin())
            best[k] = min(best[k], (float(distance[window]), first + window))
    return [Nearest(songs.names[songs.song[k]], int(songs.start_bar[k]) + 1, distance) for distance, k in best]


def distances(piece: Onsets, onsets: Onsets, count: int) -> np.ndarray:
    """Distance of a piece, a single window, from each of `count` windows: [count], see `nearest_songs`."""
    shifts = 2 * PITCHES  # a transposition s is counted at PITCHES + s
    matches = np.zeros(count * shifts, int)
    drums = np.zeros(count, int)
    first, last = (np.searchsorted(onsets.step, piece.step, side) for side in ("left", "right"))
    for start, end, pitch in zip(first, last, piece.pitch, strict=True):  # the onsets that start with a note
        window, pitches = onsets.window[start:end], onsets.pitch[start:end]
        if pitch < PITCHES:
            tuned = pitches < PITCHES
            np.add.at(matches, window[tuned] * shifts + PITCHES + pitches[tuned] - pitch, 1)
        else:
            np.add.at(drums, window[pitches == pitch], 1)
    matched = matches.reshape(count, shifts).max(1) + drums
    either = len(piece.step) + np.bincount(onsets.window, minlength=count) - matched
    return np.where(either > 0, 1 - matched / np.maximum(either, 1), 0.0)


def onsets_of_windows(converter: Converter, windows: Windows) -> Onsets:
    """The onsets of windows of a converter's labels."""
    labels = windows.labels
    if isinstance(converter, MelodyConverter):
        return _distinct(_melody(labels))
    if isinstance(converter, TrioConverter):
        return _distinct(_melody(labels[..., 0]), _melody(labels[..., 1]), _drums(labels[..., 2]))
    if isinstance(converter, DrumsConverter) and converter.classes == DRUM_CLASSES:
        return _distinct(_drums(labels))
    return onsets_of_songs([converter.from_arrays(one) for one in labels])


def onsets_of_songs(midis: Sequence[PrettyMIDI]) -> Onsets:
    """The onsets of songs, a window each."""
    rows = [
        (
            window,
            round(midi.time_to_tick(note.start) * STEPS_PER_QUARTER / midi.resolution),
            PITCHES + DRUM_CLASS[note.pitch] if part.is_drum else note.pitch,
        )
        for window, midi in enumerate(midis)
        for part in midi.instruments
        for note in part.notes
    ]
    return _distinct(np.array(rows, int).reshape(-1, 3).T)


def _melody(labels: np.ndarray) -> np.ndarray:
    """Rows of window, step and pitch, [3, e], of the notes of a melody."""
    window, step = np.nonzero(labels >= FIRST_PITCH)
    return np.stack([window, step, labels[window, step].astype(int) - FIRST_PITCH + MIN_PITCH])


def _drums(labels: np.ndarray) -> np.ndarray:
    """The same of hits of drums."""
    window, step, drum = np.nonzero(labels[..., None].astype(int) >> np.arange(DRUM_CLASSES) & 1)
    return np.stack([window, step, PITCHES + drum])


def _distinct(*parts: np.ndarray) -> Onsets:
    """The onsets of several parts, each once."""
    window, step, pitch = np.concatenate(parts, 1)
    most = 1 + max(PITCHES + DRUM_CLASSES, pitch.max(initial=0)), 1 + window.max(initial=0)
    keys = np.unique((step * most[1] + window) * most[0] + pitch)
    return Onsets(keys // most[0] % most[1], keys // (most[0] * most[1]), keys % most[0])
