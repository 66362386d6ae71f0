"""Batches of a run: labels on the device, the order of the windows in each epoch, and one-hot frames.

The content of a batch depends on the seed and the step alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs import Config
from engine.rng import RandomSource, integers, own_rows, seeded, uniform
from loss import segments_at
from midi_utils import Converter, SongDataset, Windows
from music.converter import take
from music.song_cache import Rows

REKEY_RANGE = (-5, 6)  # semitones from the key of a window to one drawn at random, both ends included


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """Returns the order in which an epoch visits n windows, [n]."""
    return torch.randperm(n, generator=seeded("cpu", "order", seed, epoch))


def batch_indices(step: int, batch_size: int, n: int, seed: int) -> Tensor:
    """Returns the windows of a step's batch, [batch_size]. Batches cross the ends of epochs, so that all are full."""
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    return torch.cat([epoch_order(seed, e, n)[max(first - e * n, 0) : last - e * n] for e in epochs])


class Batch(NamedTuple):
    """What an update reads: `Tensors` of some windows, and chords for the decoder alone."""

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None  # None if every window is full
    controls: Tensor | None
    target_controls: Tensor | None = None  # of the targets; those of the inputs when None


class OnDisk:
    """Labels of a data set that stays on disk. Indexing reads the rows and moves them to the device."""

    def __init__(self, rows: Rows, device: torch.device):
        self.rows, self.device = rows, device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return as_tensor(self.rows[indices.cpu().numpy()]).to(self.device)


def as_tensor(array: np.ndarray) -> Tensor:
    """Converts an array to a tensor; uint16, which torch cannot index, becomes int16."""
    return torch.as_tensor(array.astype(np.int16) if array.dtype == np.uint16 else array)


def labels_on(device: torch.device, dataset: SongDataset) -> Windows:
    """Moves the integer labels of a data set to a device, where one-hot frames are made batch by batch.

    Returns:
        Tensors, or `OnDisk`, in place of arrays. `lengths` is None if every window is full.
    """
    full = bool((np.asarray(dataset.lengths) == dataset.converter.steps).all())
    columns = (dataset.labels, None if full else dataset.lengths, dataset.controls)
    return Windows(*(None if column is None else _on(device, column) for column in columns))


def _on(device: torch.device, column: np.ndarray | Rows) -> Tensor | OnDisk:
    """A column of a data set on a device, or what reads its rows from the disk."""
    return OnDisk(column, device) if isinstance(column, Rows) else as_tensor(column).to(device)


def batch_tensors(
    windows: Windows,
    converter: Converter,
    semitones: Tensor | None = None,
    source: RandomSource = None,
    indices: bool = False,
) -> Batch:
    """Converts the labels of a batch to the model's tensors.

    Args:
        windows: n of those of `labels_on`.
        converter: the converter that made them.
        semitones: transposition of each window, [n]; none when None.
        source: random source of note dropout, for the converters that have it.
        indices: class indices in place of one-hot frames, with which the model is faster.
    """
    labels, lengths, controls = windows[:3]
    if semitones is not None and controls is not None:
        controls = converter.transpose_controls(labels, controls, semitones)
    if semitones is not None:
        labels = converter.transpose(labels, semitones)
    full = labels.new_full(labels.shape[:1], converter.steps, dtype=torch.int32) if lengths is None else lengths
    tensors = converter.to_tensors(Windows(labels, full, controls), source, indices)
    return Batch(*tensors._replace(lengths=lengths))


def step_batch(
    data: Windows, config: Config, step: int, seed: int, source: RandomSource, indices: bool = False
) -> Batch:
    """Makes the batch of a step, or the shard of it that belongs to a process.

    Each window is mixed, rearranged, transposed and rekeyed by its own draws. z does not tell the decoder the key of a
    rekeyed window: the chords and the notes so far do. During a curriculum each window is cut into shorter ones, all
    of which stay in the batch.

    Args:
        data: the data set, as `labels_on` returns it.
        config: the preset.
        step: global step.
        seed: seed of the run.
        source: random source of this step, on the device of the labels.
        indices: as in `batch_tensors`.
    """
    recipe = config.training
    order = batch_indices(step, recipe.batch_size, len(data.labels), seed)
    windows = recombined(data, order, config, source)
    semitones = draw_semitones(*recipe.transpose_range, windows.labels, source)
    batch = batch_tensors(windows, config.converter, semitones, source, indices)
    if recipe.rekeyed:
        batch = rekeyed(batch, windows, semitones, config, source, indices)
    segments = config.model.steps // config.model.min_steps
    return cut_windows(batch, segments // segments_at(step, segments=segments, curriculum=recipe.curriculum))


def recombined(data: Windows, order: Tensor, config: Config, source: RandomSource) -> Windows:
    """The windows of a process's share of `order`, some of them mixed with or rearranged by others of the batch."""
    windows, recipe = take(data, own_rows(order, source)), config.training
    if recipe.mixed:
        others = data.labels[own_rows(order.roll(1), source)]
        windows = windows._replace(labels=config.converter.mix(windows.labels, others, recipe.mixed, source))
    if recipe.rearranged:
        others = data.labels[own_rows(order.roll(-1), source)]
        changed = rearranged(windows.labels, others, config.converter.bars, recipe.rearranged, source)
        windows = windows._replace(labels=changed)
    return windows


def rekeyed(
    batch: Batch, windows: Windows, semitones: Tensor | None, config: Config, source: RandomSource, indices: bool
) -> Batch:
    """A batch whose targets and chords are, in a random share of the windows, in a key that is drawn at random."""
    moved = draw_semitones(*REKEY_RANGE, windows.labels, source)
    chosen = uniform(moved.shape, source, moved.device) < config.training.rekeyed
    key = moved * chosen + (0 if semitones is None else semitones)
    decoded = batch_tensors(windows, config.converter, key, indices=indices)
    return batch._replace(targets=decoded.targets, target_controls=decoded.controls)


def rearranged(labels: Tensor, others: Tensor, bars: int, share: float, source: RandomSource) -> Tensor:
    """Gives a random share of the windows the bars of other windows, repeated as their own bars are repeated.

    A window of bars A A B A, given another of bars C D E F, becomes C C E C: forms and bars that no song combines.

    Args:
        labels, others: [n, steps] or [n, steps, voices].
        bars: of a window.
        share: probability that a window is chosen, 0 to 1.
        source: random source of the choice.

    Returns:
        Labels of the shape of `labels`.
    """
    own, given = labels.reshape(len(labels), bars, -1), others.reshape(len(labels), bars, -1)
    first = (own[:, :, None] == own[:, None]).all(-1).int().argmax(-1)  # (n, bars), the first bar that is equal
    changed = given.gather(1, first[..., None].expand_as(given)).reshape(labels.shape)
    chosen = uniform(labels.shape[:1], source, labels.device) < share
    return torch.where(chosen.reshape(-1, *[1] * (labels.ndim - 1)), changed, labels)


def draw_semitones(low: int, high: int, labels: Tensor, source: RandomSource) -> Tensor | None:
    """Draws the transposition of each window from low to high, both included, [n]; None if both are 0."""
    if (low, high) == (0, 0):
        return None
    return integers(low, high + 1, labels.shape[:1], source, labels.device)


def cut_windows(batch: Batch, pieces: int) -> Batch:
    """Cuts each full window of a batch into `pieces` windows of equal length."""
    if pieces == 1:
        return batch
    return Batch(*(None if a is None else a.unflatten(1, (pieces, -1)).flatten(0, 1) for a in batch))
