"""Reconstruction and the ELBO (Roberts et al. 2018, arXiv 1803.05428, sections 5 and 2.1).

Axes: n windows, steps, parts (three for a trio, else one), Z size of z.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from engine.checks import checked_count, described
from engine.precision import autocast
from generate import Encoding, TrainedModel
from loss import reconstruction_loss
from midi_utils import Tensors, Windows
from music.converter import take
from paper.measured_songs import HeldOut

BATCH = 256  # windows per forward pass
RESAMPLES = 1000  # bootstrap resamples of the songs per interval
ACTIVE_VARIANCE = 0.01  # variance of a dimension's posterior mean over the data (Burda et al. 2016)


class Interval(NamedTuple):
    """A mean over windows with its 95 % bootstrap interval over songs."""

    mean: float
    low: float
    high: float


class Accuracy(NamedTuple):
    """Share of the steps that are reconstructed correctly, per part."""

    parts: dict[str, Interval]
    by_step: dict[str, list[float]]  # per step of a window
    by_group: dict[str, dict[str, float]]  # per group of windows (see `window_groups`), then per part


class Reconstruction(NamedTuple):
    """Accuracy from a draw of the posterior and from its mean (paper, tables 1 and 2)."""

    teacher_forced: Accuracy
    sampled: Accuracy
    teacher_forced_from_mean: Accuracy
    sampled_from_mean: Accuracy


class Elbo(NamedTuple):
    """The evidence lower bound on held-out music, with one draw of z per window."""

    nats: Interval  # -ELBO per window: reconstruction + KL
    bits_per_step: float
    reconstruction: Interval  # nats per window: the distortion
    kl_bits: Interval  # per window: the rate
    active_dimensions: int
    dimensions: int


def bootstrap(values: np.ndarray, song: np.ndarray, seed: int = 0) -> Interval:
    """Mean over windows, with the percentile interval over songs drawn with replacement (Efron 1979).

    Args:
        values: [n] one number per window.
        song: [n] the song of each window.

    Raises:
        ValueError: no window, or numbers of values and songs that differ.
    """
    values, song = np.asarray(values), np.asarray(song)
    if values.ndim != 1 or not len(values) or values.shape != song.shape:
        raise ValueError(f"values and song must be one per window, got {described(values)} and {described(song)}")
    song = np.unique(song, return_inverse=True)[1]
    counts, sums = np.bincount(song), np.bincount(song, values)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def tensor_batches(trained: TrainedModel, windows: Windows) -> Iterator[tuple[slice, Tensors]]:
    """Yields the tensors of BATCH windows at a time, on the model's device, with their slice of all windows."""
    for start in range(0, len(windows.labels), BATCH):
        part = slice(start, start + BATCH)
        tensors = trained.converter.to_tensors(take(windows, part))
        yield part, Tensors(*(None if a is None else a.to(trained.device) for a in tensors))


@torch.no_grad()
def decode_teacher_forced(trained: TrainedModel, windows: Windows, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The most likely label of each step given the true steps before it, and each window's reconstruction loss.

    Args:
        z: [n, Z] one latent vector per window.

    Returns:
        Labels [n, steps] or [n, steps, 3], and nats [n].
    """
    pairs = ((trained.converter.from_tensors(logits), nats) for logits, nats in teacher_forced(trained, windows, z))
    return tuple(torch.cat(parts).cpu().numpy() for parts in zip(*pairs, strict=True))


@torch.no_grad()
def teacher_forced(trained: TrainedModel, windows: Windows, z: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the logits and the reconstruction loss, nats [n], of BATCH windows at a time, each step given the others.

    Args:
        z: [n, Z] one latent vector per window.
    """
    z, model = trained.model.as_z(z), trained.model
    if len(z) != len(windows.labels):
        raise ValueError(f"z must be one vector per window, got {len(z)} for {len(windows.labels)} windows")
    output = {"output": model.config.output, "output_weights": model.output_weights}
    for part, (_, targets, lengths, controls) in tensor_batches(trained, windows):
        with autocast(trained.device, trained.precision):
            logits = model.decode(z[part], targets, lengths, controls)
        yield logits, reconstruction_loss(logits, targets, lengths, **output)


def reconstruction_nats(trained: TrainedModel, windows: Windows, z: Tensor) -> np.ndarray:
    """The loss of `teacher_forced` of each window: [n]."""
    return torch.cat([nats for _, nats in teacher_forced(trained, windows, z)]).cpu().numpy()


@torch.no_grad()
def decode_sampled(
    trained: TrainedModel,
    z: Tensor,
    generator: Generator,
    temperature: float = 1.0,
    controls: Tensor | None = None,
    steps: int | None = None,
) -> np.ndarray:
    """Decodes latent vectors [n, Z], each step drawn at a temperature: labels [n, steps] or [n, steps, parts].

    Controls, [n, steps, control_depth], are for a model that reads them. The steps are the model's own when None.
    """
    z, drawing = trained.model.as_z(z), {"temperature": temperature, "length": steps, "generator": generator}
    given = [None] * -(-len(z) // BATCH) if controls is None else controls.split(BATCH)
    parts = zip(z.split(BATCH), given, strict=True)
    return np.concatenate([trained.decode_labels(part, controls=own, **drawing) for part, own in parts])


def measure_accuracy(predicted: np.ndarray, held_out: HeldOut, names: Sequence[str]) -> Accuracy:
    """Share of the predicted labels that equal the windows' own, per part.

    Args:
        predicted: labels [n, steps] or [n, steps, 3].
        names: one per part.

    Raises:
        ValueError: predicted labels of another shape than the windows', or another number of names than of parts.
    """
    wanted = held_out.windows.labels.shape
    if np.shape(predicted) != wanted or len(names) != math.prod(wanted[2:]):
        raise ValueError(
            f"predicted must be labels {list(wanted)} with a name per part, got {described(predicted)} and {names}"
        )
    correct = (predicted == held_out.windows.labels).reshape(*predicted.shape[:2], -1)
    parts = {name: correct[..., k] for k, name in enumerate(names)}
    groups = {name: mask for name, mask in held_out.groups.items() if mask.any()}
    return Accuracy(
        {name: bootstrap(part.mean(1), held_out.song) for name, part in parts.items()},
        {name: part.mean(0).round(4).tolist() for name, part in parts.items()},
        {group: {name: float(part[mask].mean()) for name, part in parts.items()} for group, mask in groups.items()},
    )


def measure_reconstruction(
    trained: TrainedModel, held_out: HeldOut, encoding: Encoding, generator: Generator
) -> tuple[Reconstruction, np.ndarray]:
    """The four accuracies, and each window's reconstruction loss from the posterior's draw: nats [n]."""
    names, decoded, nats = trained.model.config.output_kind.parts, [], []
    for z in (encoding.z, encoding.mu):
        labels, loss = decode_teacher_forced(trained, held_out.windows, z)
        decoded += [labels, decode_sampled(trained, z, generator)]
        nats.append(loss)
    return Reconstruction(*(measure_accuracy(labels, held_out, names) for labels in decoded)), nats[0]


def measure_elbo(encoding: Encoding, nats: np.ndarray, song: np.ndarray, steps: int) -> Elbo:
    """The ELBO from posteriors and reconstruction losses.

    -ELBO = reconstruction + KL(q(z|x) || N(0, I)); bits per step = -ELBO / (steps ln 2). A dimension of z is active if
    Var_x(mu) > 0.01 (Burda et al. 2016).

    Args:
        nats: [n] reconstruction loss of each window.
        song: [n] the song of each window.
        steps: of a window.

    Raises:
        ValueError: another number of losses or songs than of posteriors, losses that are not finite, or no steps.
    """
    steps = checked_count("steps", steps)
    if np.shape(nats) != (len(encoding.mu),) or not np.isfinite(nats).all():
        raise ValueError(f"nats must be [{len(encoding.mu)}] finite numbers, got {described(nats)}")
    kl = encoding.kl.cpu().numpy()
    total = bootstrap(nats + kl, song)
    active = int((encoding.mu.var(0, unbiased=False) > ACTIVE_VARIANCE).sum())
    rate = bootstrap(kl / math.log(2), song)
    return Elbo(total, total.mean / steps / math.log(2), bootstrap(nats, song), rate, active, encoding.mu.shape[1])


def majority_shares(labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The share of the most common label in each part of labels [n, steps] or [n, steps, 3]."""
    if len(names) != math.prod(labels.shape[2:]):
        raise ValueError(f"names must be one per part of labels {list(labels.shape)}, got {names}")
    parts = labels.reshape(-1, len(names)).T
    return {name: float(np.bincount(part).max() / len(part)) for name, part in zip(names, parts, strict=True)}
