"""From a data set to the batches of a training: its labels on the device, the order of an epoch, one-hot frames.

What is in a batch is a function of the seed and the step alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs import Config
from engine.rng import RandomSource, integers, own_rows, seeded
from loss import segments_at
from midi_utils import SongDataset, Tensors, Windows
from music.song_cache import Rows


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which an epoch visits n windows."""
    return torch.randperm(n, generator=seeded("cpu", "order", seed, epoch))


def batch_indices(step: int, batch_size: int, n: int, seed: int) -> Tensor:
    """The windows of a step's batch, [batch_size]: batches run on over the end of an epoch, and none is short."""
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    return torch.cat([epoch_order(seed, e, n)[max(first - e * n, 0) : last - e * n] for e in epochs])


class Labels(NamedTuple):
    """A data set's label arrays on the device."""

    labels: "Tensor | OnDisk"
    lengths: Tensor | None  # None where every window is full
    controls: "Tensor | OnDisk | None"


class OnDisk:
    """Labels of a set that is not held in memory: indexed as a tensor on the device would be, and read then."""

    def __init__(self, rows: Rows, device: torch.device):
        self.rows, self.device = rows, device

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return as_tensor(self.rows[indices.cpu().numpy()]).to(self.device)


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor of a type that torch indexes, which uint16 is not."""
    return torch.as_tensor(array.astype(np.int16) if array.dtype == np.uint16 else array)


def labels_on(device: torch.device, dataset: SongDataset) -> Labels:
    """Moves the integer labels of a data set to a device; one-hot frames are made there, batch by batch."""
    full = bool((np.asarray(dataset.lengths) == dataset.converter.steps).all())
    arrays = (dataset.labels, None if full else dataset.lengths, dataset.controls)
    held = (array if array is None or isinstance(array, Rows) else as_tensor(array).to(device) for array in arrays)
    return Labels(*(OnDisk(array, device) if isinstance(array, Rows) else array for array in held))


def labels_at(data: Labels, indices: Tensor) -> Labels:
    """The windows of these indices."""
    return Labels(*(None if array is None else array[indices] for array in data))


def batch_tensors(
    windows: Labels, config: Config, semitones: Tensor | None = None, generator: RandomSource = None
) -> Tensors:
    """The tensors of a batch of windows, transposed by so many semitones each, some notes left out by the generator."""
    labels, lengths, controls = windows
    if semitones is not None and controls is not None:
        controls = config.converter.transpose_controls(labels, controls, semitones)
    if semitones is not None:
        labels = config.converter.transpose(labels, semitones)
    full = labels.new_full(labels.shape[:1], config.model.steps, dtype=torch.int32) if lengths is None else lengths
    tensors = config.converter.to_tensors(Windows(labels, full, controls), generator)
    return tensors._replace(lengths=lengths)


def step_batch(data: Labels, config: Config, step: int, seed: int, generator: RandomSource) -> Tensors:
    """The batch of a step, or the source's part of it, each window mixed and transposed by draws of its own.

    In a curriculum its windows are cut into shorter ones, all of which are in it.
    """
    order = batch_indices(step, config.training.batch_size, len(data.labels), seed)
    windows = labels_at(data, own_rows(order, generator))
    if config.training.mixed:
        others = data.labels[own_rows(order.roll(1), generator)]
        labels = config.converter.mix(windows.labels, others, config.training.mixed, generator)
        windows = windows._replace(labels=labels)
    low, high = config.training.transpose_range
    moved = (low, high) != (0, 0)
    semitones = integers(low, high + 1, windows.labels.shape[:1], generator, windows.labels.device) if moved else None
    segments = config.model.steps // config.model.whole_steps
    now = segments_at(step, segments=segments, curriculum=config.training.curriculum)
    return in_pieces(batch_tensors(windows, config, semitones, generator), segments // now)


def in_pieces(batch: Tensors, pieces: int) -> Tensors:
    """The tensors of full windows, each cut into so many windows of the same length."""
    if pieces == 1:
        return batch
    return Tensors(*(None if a is None else a.unflatten(1, (pieces, -1)).flatten(0, 1) for a in batch))
