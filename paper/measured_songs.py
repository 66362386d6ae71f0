"""The songs that a model is measured on, and its training set in the forms that they are compared with.

Axes: n windows.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator

from engine.checks import checked_seed, checked_type
from generate import TrainedModel
from midi_utils import Converter, SongDataset, Windows, evenly
from music.attributes import (
    NGram,
)
from music.melody import FIRST_PITCH, MELODY_DEPTH

NEW = "new"  # the group of windows that do not occur in the training set


class HeldOut(NamedTuple):
    """Windows to measure on."""

    windows: Windows
    song: np.ndarray  # [n] the song of each window
    groups: dict[str, np.ndarray]  # masks [n], see `window_groups`


class TrainingSet(NamedTuple):
    """A model's training set in the forms that samples are compared with."""

    songs: SongDataset
    windows: set[bytes]  # `key_invariant` of all windows
    ngram: NGram


def key_invariant(converter: Converter, labels: np.ndarray) -> list[bytes]:
    """Each window [n, steps] or [n, steps, 3] as bytes that are equal for windows that differ in their key only.

    Each window is transposed so that its lowest note is the lowest pitch that the converter has.
    """
    pitched = (labels[..., :2] if labels.ndim == 3 else labels).reshape(len(labels), -1).astype(int)
    lowest = np.where(pitched < FIRST_PITCH, MELODY_DEPTH, pitched).min(1)
    moved = converter.transpose(torch.from_numpy(labels.astype(np.int16)), torch.from_numpy(FIRST_PITCH - lowest))
    return [window.tobytes() for window in moved.numpy()]


def is_copy(converter: Converter, labels: np.ndarray, training: set[bytes]) -> np.ndarray:
    """Whether each window occurs in a training set in any key: [n] bool.

    Args:
        training: `key_invariant` of the training set's windows.
    """
    return np.array([window in training for window in key_invariant(converter, labels)])


def window_groups(
    converter: Converter, windows: Windows, names: np.ndarray, training: set[bytes]
) -> dict[str, np.ndarray]:
    """Masks [n]: one for the windows that do not occur in the training set in any key, and one per source.

    Args:
        names: [n] the path of each window's song; its folder is its source.
        training: `key_invariant` of the training set's windows.
    """
    source = np.array([name.rpartition("/")[0] for name in names])
    of_source = {name: source == name for name in np.unique(source) if name}
    return {NEW: ~is_copy(converter, windows.labels, training)} | of_source


def first_part(labels: np.ndarray) -> np.ndarray:
    """The melody of a trio [n, steps, 3], else the labels themselves: [n, steps]."""
    return labels[..., 0] if labels.ndim == 3 else labels


def fit_ngram(trained: TrainedModel, train_set: SongDataset) -> NGram:
    """The n-gram model of the training set's non-overlapping windows; it reads the melody of a trio."""
    labels = non_overlapping(train_set)
    return NGram.fit(first_part(labels), trained.model.config.output_depths[0])


def non_overlapping(songs: SongDataset) -> np.ndarray:
    """The labels of windows of a set that share no bar. Two trios may share a track."""
    return songs.labels[np.flatnonzero(songs.start_bar % songs.converter.bars == 0)]


def read_training_set(trained: TrainedModel, train_set: SongDataset) -> TrainingSet:
    """The training set with its windows in one key and its n-gram model."""
    windows = set(key_invariant(trained.converter, train_set.labels[:]))
    return TrainingSet(train_set, windows, fit_ngram(trained, train_set))


def choose_held_out(
    trained: TrainedModel, test_set: SongDataset, training: TrainingSet, limit: int | None = None
) -> HeldOut:
    """The windows of a test set, or `limit` of them, evenly spaced, with their songs and groups."""
    return held_out_at(trained, test_set, evenly(len(test_set), limit or len(test_set)), training)


def held_out_at(trained: TrainedModel, songs: SongDataset, chosen: np.ndarray, training: TrainingSet) -> HeldOut:
    """The windows at these indices, with their songs and groups."""
    windows, song = songs.windows(chosen), songs.song[chosen]
    groups = window_groups(trained.converter, windows, np.array(songs.names)[song], training.windows)
    return HeldOut(windows, song, groups)


def windows_on_grid(songs: SongDataset) -> np.ndarray:
    """Indices of the windows whose songs the set's report does not name as off the grid."""
    off_grid = {name for name, _ in songs.report.off_grid}
    return np.flatnonzero(np.array([name not in off_grid for name in songs.names])[songs.song])


def check_measurable(trained: TrainedModel):
    """Raises a ValueError for models that the measurements are not defined for."""
    model = checked_type("trained", trained, TrainedModel, "a TrainedModel; TrainedModel.load reads one").model.config
    if not model.output_kind.one_hot or model.control_depth or model.end_token is not None:
        raise ValueError(f"{trained.config.name} cannot be measured; melodies without chords, drums and trios can")


def make_generator(trained: TrainedModel, seed: int) -> Generator:
    """A seeded generator on the model's device."""
    return Generator(trained.device).manual_seed(checked_seed(seed))
