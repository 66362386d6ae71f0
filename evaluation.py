"""The measurements of the paper's section 5 on a trained model (Roberts et al. 2018, arXiv 1803.05428).

    python evaluation.py --checkpoint runs/x --data FOLDER --out results/x.json

FOLDER holds the songs that a manifest lists (corpus.py). The model is measured on the songs of one split, by default
the test split, and with `--other-sources SOURCE ...` also on whole sources that it was not trained on. Every random
draw comes from one seed, so a second run gives the same numbers. Measures of music that need no model are in
music/attributes.py.

Axes: n windows, steps, parts (three for a trio, else one), Z size of z.
"""

import argparse
import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from checkpoint import check_file, read_checkpoint
from console import errors_in_a_line, say
from corpus import MANIFEST, load_corpus
from engine.checks import checked_count, checked_generator, checked_number, checked_seed, checked_type, described
from generate import PRIOR_WINDOWS, Encoding, TrainedModel, evenly, slerp, take
from loss import reconstruction_loss
from magenta_checkpoint import is_magenta_checkpoint
from midi_utils import Converter, SongDataset, Tensors, Windows
from model import autocast
from music.attributes import (
    ATTRIBUTES,
    STEPS_PER_BAR,
    NGram,
    chance_repetition,
    drum_histogram,
    duration_histogram,
    hamming,
    hit_density,
    jensen_shannon_bits,
    nearest_distance,
    note_density,
    pitch_class_histogram,
    pitch_range,
    repetition,
    self_similarity,
)
from music.drums import DRUMS_DEPTH
from music.melody import FIRST_PITCH, MELODY_DEPTH
from outputs import OUTPUTS
from prior import FITS, DiffusionPrior, Prior
from studio.directions import outer_quarters
from training.start import fingerprint

BATCH = 256  # windows per forward pass
RESAMPLES = 1000  # bootstrap resamples of the songs per interval
ACTIVE_VARIANCE = 0.01  # variance of a dimension's posterior mean over the data (Burda et al. 2016)
POINTS = 11  # points of an interpolation, both ends included
PAIRS = 256  # interpolations that are averaged; the paper has 1024
SAMPLES = 256  # pieces drawn from the prior; the paper adds attribute vectors to 256, too
PRIOR_SCALES = (1.0, 0.8, 0.6)  # factors on a fitted prior's standard deviation at which samples are compared
PRIOR_DRAWS = 8192  # draws that estimate the KL of a fitted prior from N(0, I)
TRAINING_WINDOWS = 8192  # evenly spaced training windows from which attribute vectors are computed
BARS_BACK = (1, 2, 4, 8)  # distances in bars at which repetition is measured
OTHER_SPLITS = ("train", "valid")  # of a left-out source: a recipe may be chosen by these, but not by test songs
OTHER_WINDOWS = 4096  # of such a source, evenly spaced: a source can have 40,000
STANDARD_NORMAL, HELD_OUT = "standard normal", "held-out music"  # names in `measure_priors`
MOST_DEVIATION = 0.1  # from real windows, of a prior that `choose_prior` takes for its few copies
NEW = "new"  # the group of windows that do not occur in the training set


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
    bits_a_step: float
    reconstruction: Interval  # nats per window: the distortion
    kl_bits: Interval  # per window: the rate
    active_dimensions: int
    dimensions: int


class Interpolation(NamedTuple):
    """Means over pairs of windows at each point between the two (paper, section 5)."""

    points: list[float]  # 0 to 1
    to_start: list[float]  # Hamming distance, share of the steps
    to_end: list[float]
    cost: list[float]  # nats per step under the n-gram model of the training set
    mixed_to_start: list[float]  # the same three for the baseline, a Bernoulli mix of the two windows' steps
    mixed_to_end: list[float]
    mixed_cost: list[float]


class AttributeTable(NamedTuple):
    """The effect of adding and subtracting attribute vectors on samples (paper, section 5)."""

    names: list[str]
    before: list[float]  # mean of each attribute over the samples
    added: list[list[float]]  # one row per added vector, one column per attribute: its mean afterwards
    subtracted: list[list[float]]


class Comparison(NamedTuple):
    """A number or a histogram, measured on samples and on held-out music."""

    samples: float | list[float] | list[list[float]]
    data: float | list[float] | list[list[float]]
    divergence_bits: float | None = None  # Jensen-Shannon divergence of two histograms


class Samples(NamedTuple):
    """Samples from the prior compared with held-out music."""

    statistics: dict[str, Comparison]
    copies: Comparison  # share of windows that occur in the training set, in any key
    nearest: Comparison  # median Hamming distance to the nearest training window, share of the steps


class Candidate(NamedTuple):
    """A prior, and the width that z are drawn at."""

    prior: Prior | DiffusionPrior | None  # N(0, I) when None
    width: float


class PartSamples(NamedTuple):
    """Means over windows of one part."""

    cost: float  # nats per step under the n-gram model of the training set
    notes: float  # per step; of drums, hits
    range: float | None  # highest minus lowest pitch, semitones, of windows with notes; None for drums


class PriorSamples(NamedTuple):
    """Means over samples whose z come from one prior, or over real windows."""

    cost: float  # nats per step under the n-gram model of the training set; of a trio, the melody's
    repetition: float  # of the bar before
    copies: float  # share that occurs in the training set, in any key
    repetition_8: float | None = None  # of the bar eight bars before; None for windows of up to eight bars
    parts: dict[str, PartSamples] | None = None  # by part; None in results of earlier versions


class OtherSource(NamedTuple):
    """Reconstruction and the ELBO on songs of a source that the model was not trained on, on the grid alone."""

    songs: int
    off_grid: int  # songs that are not measured, because their onsets lie off the grid
    windows: int
    still: dict[str, float]  # as in `Evaluation`
    reconstruction: Reconstruction
    elbo: Elbo


class Evaluation(NamedTuple):
    """All measurements of one model; None where one does not apply."""

    preset: str
    parameters: int
    steps: int | None  # of training
    minutes: float | None  # of training
    seed: int | None  # of training
    split: str
    songs: int
    windows: int
    groups: dict[str, int]  # number of windows per group
    still: dict[str, float]  # share of the majority label per part: the accuracy of always predicting it
    reconstruction: Reconstruction
    elbo: Elbo
    interpolation: Interpolation
    attributes: AttributeTable | None
    samples: Samples
    priors: dict[str, PriorSamples]  # of each prior, and of held-out windows, see `measure_priors`
    prior: str  # of the model, in words
    prior_width: float  # factor on its standard deviation in samples
    prior_bits: float | None  # KL of the fitted prior from N(0, I)
    without_sources: list[str]  # sources of the corpus in neither the training nor the test set
    other_sources: dict[str, OtherSource]  # by source


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


# ---- Reconstruction and the ELBO (paper, sections 5 and 2.1) ----


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
def decode_sampled(trained: TrainedModel, z: Tensor, generator: Generator, temperature: float = 1.0) -> np.ndarray:
    """Decodes latent vectors [n, Z], each step drawn at a temperature: labels [n, steps] or [n, steps, parts]."""
    z, drawing = trained.model.as_z(z), {"temperature": temperature, "generator": checked_generator(generator)}
    with autocast(trained.device, trained.precision):
        parts = [trained.model.sample(len(part), z=part, **drawing) for part in z.split(BATCH)]
    return trained.converter.from_tensors(torch.cat(parts)).cpu().numpy()


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


# ---- Interpolation (paper, section 5, "Interpolations") ----


def pairs_of_songs(song: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of random pairs of windows from two different songs: [pairs, 2].

    Raises:
        ValueError: all windows are from one song.
    """
    pairs = checked_count("pairs", pairs)
    if len(np.unique(song)) < 2:
        raise ValueError("interpolation needs windows from at least two songs, but all windows are from one")
    first = rng.integers(len(song), size=pairs)
    return np.array([(one, rng.choice(np.flatnonzero(song != song[one]))) for one in first])


def mix_steps(start: np.ndarray, end: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
    """The paper's baseline: each step from `end` with probability t, else from `start`; labels [n, steps, ...]."""
    if start.shape != end.shape:
        raise ValueError(f"start and end must be labels of one shape, got {list(start.shape)} and {list(end.shape)}")
    ends = rng.random(start.shape[:2]) < checked_number("t", t)
    return np.where(ends.reshape(ends.shape + (1,) * (start.ndim - 2)), end, start)


def measure_interpolation(
    trained: TrainedModel, held_out: HeldOut, mu: Tensor, ngram: NGram, pairs: int, generator: Generator
) -> Interpolation:
    """Points on the arc between posterior means [n, Z], decoded at temperature 1, and the baseline."""
    rng = np.random.default_rng(generator.initial_seed())
    first, last = pairs_of_songs(held_out.song, pairs, rng).T
    start, end, mu = held_out.windows.labels[first], held_out.windows.labels[last], mu.cpu()
    rows = []
    for t in np.linspace(0, 1, POINTS):
        z = torch.stack([slerp(mu[a], mu[b], float(t)) for a, b in zip(first, last, strict=True)])
        row = [t]
        for labels in (decode_sampled(trained, z.to(trained.device), generator), mix_steps(start, end, t, rng)):
            row += [hamming(labels, start).mean(), hamming(labels, end).mean(), ngram.cost(first_part(labels)).mean()]
        rows.append(row)
    return Interpolation(*np.transpose(rows).round(5).tolist())


def first_part(labels: np.ndarray) -> np.ndarray:
    """The melody of a trio [n, steps, 3], else the labels themselves: [n, steps]."""
    return labels[..., 0] if labels.ndim == 3 else labels


def fit_ngram(trained: TrainedModel, train_set: SongDataset) -> NGram:
    """The n-gram model of the training set's non-overlapping windows; it reads the melody of a trio."""
    labels = non_overlapping(trained, train_set)
    return NGram.fit(first_part(labels), trained.model.config.output_depths[0])


def non_overlapping(trained: TrainedModel, train_set: SongDataset) -> np.ndarray:
    """The labels of windows of a set that share no bar."""
    return train_set.labels[np.flatnonzero(train_set.start_bar % trained.converter.bars == 0)]


# ---- Attributes (paper, section 5, "Attribute Vector Arithmetic") ----


def attribute_vectors(labels: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Per attribute, the mean mu of the windows in its top quartile minus that of those in its bottom one.

    Args:
        labels: [n, steps] of training windows.
        mu: [n, Z] their posterior means.

    Returns:
        [attributes, Z].
    """
    return np.stack([_quartile_difference(measure(labels), mu) for measure in ATTRIBUTES.values()])


def _quartile_difference(values: np.ndarray, mu: np.ndarray) -> np.ndarray:
    top, bottom = outer_quarters(values)
    return mu[top].mean(0) - mu[bottom].mean(0) if top.any() else np.zeros(mu.shape[1])


def attribute_means(labels: np.ndarray) -> list[float]:
    """Each attribute's mean over the windows where it is defined: [attributes]."""
    return [round(float(np.nanmean(measure(labels))), 5) for measure in ATTRIBUTES.values()]


def measure_attributes(trained: TrainedModel, train_set: SongDataset, count: int, seed: int) -> AttributeTable:
    """Adds each attribute vector to `count` draws of the prior and subtracts it.

    All variants are decoded with the same random numbers.
    """
    trained.check_songs("train_set", train_set)
    seed = checked_seed(seed)
    windows = train_set.windows(evenly(len(train_set), TRAINING_WINDOWS))
    vectors = attribute_vectors(first_part(windows.labels), trained.encode(windows).mu.cpu().numpy())
    z = trained.draw_z(count, seed=seed)

    def means_after(change: np.ndarray) -> list[float]:
        moved = z + torch.from_numpy(change).float().to(trained.device)
        generator = make_generator(trained, seed + 1)  # other numbers than those that z was drawn with
        return attribute_means(first_part(decode_sampled(trained, moved, generator)))

    before = means_after(np.zeros(len(z[0])))
    added, subtracted = ([means_after(sign * vector) for vector in vectors] for sign in (1, -1))
    return AttributeTable(list(ATTRIBUTES), before, added, subtracted)


# ---- Samples compared with held-out music ----


def compare_histograms(histogram: Callable, samples: np.ndarray, data: np.ndarray) -> Comparison:
    """A histogram of both sets of labels, and its divergence."""
    histograms = histogram(samples), histogram(data)
    bits = None if np.isnan(histograms[0]).any() else jensen_shannon_bits(*histograms)
    return Comparison(*(shares.round(5).tolist() for shares in histograms), bits)


def compare_means(measure: Callable, samples: np.ndarray, data: np.ndarray) -> Comparison:
    """The mean of a measure over the windows of both sets of labels."""
    return Comparison(*(float(np.nanmean(measure(labels))) for labels in (samples, data)))


def compare_part(prefix: str, drums: bool, samples: np.ndarray, data: np.ndarray) -> dict[str, Comparison]:
    """Histograms and density of one part, labels [n, steps]."""
    if drums:
        return {
            f"{prefix}drum classes": compare_histograms(drum_histogram, samples, data),
            f"{prefix}hits a step": compare_means(hit_density, samples, data),
        }
    return {
        f"{prefix}pitch classes": compare_histograms(pitch_class_histogram, samples, data),
        f"{prefix}durations": compare_histograms(duration_histogram, samples, data),
        f"{prefix}notes a step": compare_means(note_density, samples, data),
    }


def compare_statistics(
    samples: np.ndarray, data: np.ndarray, ngram: NGram, depths: Sequence[int]
) -> dict[str, Comparison]:
    """Every statistic of samples and data, labels [n, steps] or [n, steps, 3].

    Args:
        depths: number of classes of each part.
    """
    found, bars = {}, data.shape[1] // STEPS_PER_BAR
    names = OUTPUTS["trio"].parts if len(depths) == 3 else ("",)
    for k, (name, depth) in enumerate(zip(names, depths, strict=True)):
        parts = (labels.reshape(*labels.shape[:2], -1)[..., k] for labels in (samples, data))
        found |= compare_part(f"{name} ".lstrip(), depth == DRUMS_DEPTH, *parts)
    for back in (back for back in BARS_BACK if back < bars):
        found[f"repetition at {back} bars"] = compare_means(partial(repetition, bars_back=back), samples, data)
    found["repetition by chance"] = compare_means(chance_repetition, samples, data)
    found["n-gram cost, nats a step"] = compare_means(lambda x: ngram.cost(first_part(x)), samples, data)
    found["self-similarity"] = Comparison(*(self_similarity(x).round(4).tolist() for x in (samples, data)))
    return found


def measure_samples(
    trained: TrainedModel, training: TrainingSet, data: np.ndarray, count: int, generator: Generator
) -> Samples:
    """Compares `count` samples of the prior with held-out windows, and both with the training set.

    Args:
        data: labels of the held-out windows.
    """
    samples = decode_sampled(trained, trained.draw_z(count, generator), generator)
    pair = samples, data[evenly(len(data), count)]
    train_labels = training.songs.labels[:]
    return Samples(
        compare_statistics(samples, data, training.ngram, trained.model.config.output_depths),
        Comparison(*(float(is_copy(trained.converter, labels, training.windows).mean()) for labels in pair)),
        Comparison(*(float(np.median(nearest_distance(labels, train_labels))) for labels in pair)),
    )


def measure_priors(
    trained: TrainedModel,
    training: TrainingSet,
    count: int,
    seed: int,
    data: np.ndarray | None = None,
    candidates: dict[str, Candidate] | None = None,
) -> dict[str, PriorSamples]:
    """Measures `count` samples for each prior, with the same random numbers, and real windows.

    Args:
        data: labels of held-out windows, measured under the name HELD_OUT; left out when None.
        candidates: the priors by name; by default the standard normal and the model's own prior at PRIOR_SCALES.
    """
    if candidates is None:
        candidates = prior_candidates({"": trained.prior} if trained.prior else {})
    ngrams = part_ngrams(trained, training)
    found = {} if data is None else {HELD_OUT: measure_windows(trained, training, ngrams, data)}
    for name, candidate in candidates.items():
        samples = draw_samples(trained, candidate, count, seed)
        found[name] = measure_windows(trained, training, ngrams, samples)
    return found


def draw_samples(trained: TrainedModel, candidate: Candidate, count: int, seed: int) -> np.ndarray:
    """Labels of `count` pieces whose z come from a prior; one seed gives the same random numbers to every prior."""
    source = make_generator(trained, seed)
    if candidate.prior:
        z = candidate.prior.draw(count, source, candidate.width)
    else:
        z = TrainedModel(trained.model, trained.config).draw_z(count, source)
    return decode_sampled(trained, z, make_generator(trained, seed + 1))


def prior_candidates(priors: dict[str, Prior | DiffusionPrior]) -> dict[str, Candidate]:
    """The standard normal, and each prior at each of PRIOR_SCALES, as "mixture width 0.8".

    A smaller scale gives samples that are closer to the songs and less new (Kingma & Dhariwal 2018, "Glow", on sampling
    at a reduced temperature).
    """
    scaled = {
        f"{name} width {scale}".lstrip(): Candidate(prior, scale)
        for name, prior in priors.items()
        for scale in PRIOR_SCALES
    }
    return {STANDARD_NORMAL: Candidate(None, 1.0)} | scaled


def part_ngrams(trained: TrainedModel, training: TrainingSet) -> list[NGram]:
    """The n-gram model of each part of the training set."""
    labels, depths = non_overlapping(trained, training.songs), trained.model.config.output_depths
    return [training.ngram, *(NGram.fit(labels[..., k], depths[k]) for k in range(1, len(depths)))]


def measure_windows(
    trained: TrainedModel, training: TrainingSet, ngrams: Sequence[NGram], labels: np.ndarray
) -> PriorSamples:
    """Measures windows, samples or real ones: labels [n, steps] or [n, steps, 3], with an n-gram model per part."""
    model, by_part = trained.model.config, np.moveaxis(labels.reshape(*labels.shape[:2], -1), 2, 0)
    parts = {
        name: _measure_part(part, ngram, depth == DRUMS_DEPTH)
        for name, part, ngram, depth in zip(model.output_kind.parts, by_part, ngrams, model.output_depths, strict=True)
    }
    near, far = (
        float(np.nanmean(repetition(labels, back))) if labels.shape[1] > back * STEPS_PER_BAR else None
        for back in (1, 8)
    )
    copies = float(is_copy(trained.converter, labels, training.windows).mean())
    return PriorSamples(next(iter(parts.values())).cost, near, copies, far, parts)


def _measure_part(labels: np.ndarray, ngram: NGram, drums: bool) -> PartSamples:
    """Windows without a note have no range; it counts as 0 if none has a note."""
    density = hit_density if drums else note_density
    ranges = None if drums else pitch_range(labels)
    spread = None if drums else float(np.nanmean(ranges)) if (ranges >= 0).any() else 0.0
    return PartSamples(float(np.nanmean(ngram.cost(labels))), float(density(labels).mean()), spread)


def deviation(samples: PriorSamples, real: PriorSamples) -> float:
    """The largest relative deviation of samples from real windows in cost, notes per step and range, over all parts.

    It has no sign: samples that are plainer than music deviate as well.
    """
    pairs = zip(samples.parts.values(), real.parts.values(), strict=True)
    return largest_deviation((a, b) for pair in pairs for a, b in zip(*pair, strict=True) if b is not None)


def largest_deviation(pairs: Iterable[tuple[float, float]]) -> float:
    """The largest relative deviation of a number from a real one, over pairs of the two."""
    return max(abs(a - b) / b if b else math.inf * (a != b) for a, b in pairs)


def fit_chosen_prior(
    trained: TrainedModel,
    train_set: SongDataset,
    valid_set: SongDataset,
    count: int = SAMPLES,
    seed: int = 0,
    kinds: Sequence[str] = tuple(FITS),
) -> dict[str, PriorSamples]:
    """Fits a prior of each kind, and gives the model the one that `choose_prior` takes, with its width.

    Args:
        train_set: songs to fit to, as in `TrainedModel.fit_prior`; also for the n-gram model and copies.
        valid_set: songs that the samples are compared with; neither training songs nor the test split.
        count: samples per prior and width.
        seed: of the samples.
        kinds: of `prior.FITS`.

    Returns:
        What `measure_priors` found.
    """
    trained.check_songs("train_set", train_set)
    trained.check_songs("valid_set", valid_set)
    _, mu, sigma = trained.encode(train_set.windows(evenly(len(train_set), PRIOR_WINDOWS)))
    candidates = prior_candidates({kind: FITS[kind](mu, sigma) for kind in kinds})
    training = read_training_set(trained, train_set)
    found = measure_priors(trained, training, count, seed, valid_set.labels[:], candidates)
    trained.prior, trained.prior_width = candidates[choose_prior(found)]
    return found


def choose_prior(found: Mapping[str, PriorSamples], deviation: Callable = deviation) -> str:
    """The name of the prior whose samples resemble real windows, of what `measure_priors` found with `data`.

    Among the priors within MOST_DEVIATION of real windows it is the one with the fewest copies, then with the least
    deviation. If there is none, it is the one with the least deviation.

    Args:
        found: measurements with a field `copies`, by name of the prior, and those of real windows as HELD_OUT.
        deviation: of the measurements of a prior from those of real windows.

    Raises:
        ValueError: real windows were not measured, or no prior.
    """
    if HELD_OUT not in found or len(found) < 2:
        raise ValueError(f"the choice needs {HELD_OUT} and at least one prior, got {list(found)}")
    away = {name: deviation(samples, found[HELD_OUT]) for name, samples in found.items() if name != HELD_OUT}
    near = [name for name in away if away[name] <= MOST_DEVIATION]
    return min(near or away, key=lambda name: (found[name].copies if near else 0, away[name]))


def measure_prior_bits(trained: TrainedModel) -> float | None:
    """KL of the fitted prior from N(0, I) in bits, estimated from PRIOR_DRAWS draws; None without a density.

    The mean KL of the songs' posteriors has two parts: the information that z carries about a song, and the gap between
    the aggregate posterior and N(0, I) (Hoffman & Johnson 2016). This is the fitted prior's estimate of the gap.
    """
    checked_type("trained", trained, TrainedModel, "a TrainedModel")
    if not hasattr(trained.prior, "log_prob"):
        return None
    z = trained.prior.draw(PRIOR_DRAWS, make_generator(trained, 0))
    return float((trained.prior.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)).mean()) / math.log(2)


# ---- The whole evaluation ----


def make_generator(trained: TrainedModel, seed: int) -> Generator:
    """A seeded generator on the model's device."""
    return Generator(trained.device).manual_seed(checked_seed(seed))


def majority_shares(labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The share of the most common label in each part of labels [n, steps] or [n, steps, 3]."""
    if len(names) != math.prod(labels.shape[2:]):
        raise ValueError(f"names must be one per part of labels {list(labels.shape)}, got {names}")
    parts = labels.reshape(-1, len(names)).T
    return {name: float(np.bincount(part).max() / len(part)) for name, part in zip(names, parts, strict=True)}


def check_measurable(trained: TrainedModel):
    """Raises a ValueError for models that the measurements are not defined for."""
    model = checked_type("trained", trained, TrainedModel, "a TrainedModel; TrainedModel.load reads one").model.config
    if not model.output_kind.one_hot or model.control_depth or model.end_token is not None:
        raise ValueError(f"{trained.config.name} cannot be measured; melodies without chords, drums and trios can")


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


def measure_other_source(
    trained: TrainedModel, songs: SongDataset, training: TrainingSet, limit: int | None = None, seed: int = 0
) -> OtherSource:
    """Measures a model on the songs of a source that it was not trained on.

    Args:
        songs: the source's songs; those that its report names as off the grid are left out.
        training: the set that decides which windows are new.
        limit: maximum of windows, evenly spaced; OTHER_WINDOWS when None.
        seed: of the draws, which do not depend on other measurements.

    Raises:
        ValueError: no song lies on the grid.
    """
    on_grid = windows_on_grid(songs)
    if not len(on_grid):
        raise ValueError(f"all songs with windows lie off the grid:\n{songs.report}")
    chosen = on_grid[evenly(len(on_grid), limit or OTHER_WINDOWS)]
    held_out, generator = held_out_at(trained, songs, chosen, training), make_generator(trained, seed)
    encoding = trained.encode(held_out.windows, generator)
    reconstruction, nats = measure_reconstruction(trained, held_out, encoding, generator)
    return OtherSource(
        songs=len(np.unique(held_out.song)),
        off_grid=len(songs.names) - len(np.unique(songs.song[on_grid])),
        windows=len(chosen),
        still=majority_shares(held_out.windows.labels, trained.model.config.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, held_out.song, trained.converter.steps),
    )


def describe(trained: TrainedModel, run: dict) -> dict:
    """The fields of an `Evaluation` that describe the model and its training."""
    return {
        "preset": trained.config.name,
        "parameters": sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        "steps": run.get("step"),
        "minutes": run.get("seconds") and round(run["seconds"] / 60, 1),
        "seed": run.get("seed"),
        "prior": str(trained.prior or STANDARD_NORMAL),
        "prior_width": trained.prior_width,
    }


def evaluate(
    trained: TrainedModel,
    train_set: SongDataset,
    test_set: SongDataset,
    *,
    split: str = "test",
    other_sources: Mapping[str, SongDataset] | None = None,
    without_sources: Sequence[str] = (),
    run: dict | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Takes every measurement of a model of melodies, drums (as one class per step) or trios.

    Args:
        train_set: the songs that it was trained on; attribute vectors, the n-gram model and copies come from them.
        test_set: songs that it was not trained on.
        split: name of the test set in the result.
        other_sources: by source, songs of sources that it was not trained on; each becomes a row of its own.
        without_sources: names of sources in neither set, for the result.
        run: what a checkpoint records about its training (`read_checkpoint(path)["run"]`).
        limit: maximum of windows, of pairs and of samples; the whole test set, OTHER_WINDOWS of each other source,
            PAIRS and SAMPLES when None.
        seed: of every draw.

    Raises:
        ValueError: a model of another kind of music, an empty set, one of another converter, a test set of a single
            song, or another source without a song on the grid.
    """
    check_measurable(trained)
    trained.check_songs("train_set", train_set)
    trained.check_songs("test_set", test_set)
    for name, songs in (other_sources or {}).items():
        trained.check_songs(f"other_sources[{name!r}]", songs)
    limit, seed = None if limit is None else checked_count("limit", limit), checked_seed(seed)
    training = read_training_set(trained, train_set)
    held_out, generator = choose_held_out(trained, test_set, training, limit), make_generator(trained, seed)
    windows, song, groups = held_out
    encoding = trained.encode(windows, generator)
    reconstruction, nats = measure_reconstruction(trained, held_out, encoding, generator)
    pairs, count = min(PAIRS, len(song)), min(SAMPLES, len(song))
    model = trained.model.config
    has_melody = model.output_depths[0] != DRUMS_DEPTH
    return Evaluation(
        **describe(trained, run or {}),
        split=split,
        songs=len(np.unique(song)),
        windows=len(song),
        groups={name: int(mask.sum()) for name, mask in groups.items()},
        still=majority_shares(windows.labels, model.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
        interpolation=measure_interpolation(trained, held_out, encoding.mu, training.ngram, pairs, generator),
        attributes=measure_attributes(trained, train_set, count, seed) if has_melody else None,
        samples=measure_samples(trained, training, windows.labels, count, generator),
        priors=measure_priors(trained, training, count, seed, windows.labels),
        prior_bits=measure_prior_bits(trained),
        without_sources=sorted(without_sources),
        other_sources={
            name: measure_other_source(trained, songs, training, limit, seed)
            for name, songs in (other_sources or {}).items()
        },
    )


def to_json(value) -> str:
    """JSON with named tuples as objects, floats rounded to six digits, and each list of numbers on one line."""
    text = json.dumps(to_plain(value), indent=1)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)


def write_json(path: str | os.PathLike, value):
    """Writes `to_json` of a value to a file, in a folder that is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(value) + "\n")


def to_plain(value):
    """Converts named tuples to dictionaries, at every level, and rounds floats to six digits."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def summary(found: Evaluation) -> str:
    """The main numbers in a few lines."""
    lines = [f"{found.preset}, {found.windows} windows of {found.songs} songs ({found.split})", *_summary_lines(found)]
    for name, source in found.other_sources.items():
        lines.append(f"{name}, not trained on: {source.windows} windows of {source.songs} songs on the grid")
        lines += _summary_lines(source)
    return "\n".join(lines)


def _summary_lines(found: Evaluation | OtherSource) -> Iterator[str]:
    for part, majority in found.still.items():
        forced, drawn = (getattr(found.reconstruction, name).parts[part].mean for name in Reconstruction._fields[:2])
        accuracies = f"teacher-forced {forced:.3f}, sampled {drawn:.3f}; majority label {majority:.3f}"
        yield f"  accuracy ({part}): {accuracies}"
    nats, bits, kl = found.elbo.nats.mean, found.elbo.bits_a_step, found.elbo.kl_bits.mean
    yield f"  -ELBO {nats:.1f} nats per window ({bits:.3f} bits per step), KL {kl:.1f} bits"


# ---- The command ----


def add_corpus_arguments(parser: argparse.ArgumentParser, required: bool = True, sources: bool = True):
    """Adds the options that say where a corpus is and, with `sources`, which of its sources count."""
    parser.add_argument("--data", required=required, help="folder of the songs that the manifest lists")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default: paper/corpus.csv)")
    without = "sources that are left out, since the model was trained without them"
    if sources:
        parser.add_argument("--without-sources", nargs="+", default=[], metavar="SOURCE", help=without)
    parser.add_argument("--cache", help="folder that keeps the songs' labels for the next run")


def load_splits(
    options: argparse.Namespace, converter: Converter, splits: Sequence[str], without: Sequence[str]
) -> list[SongDataset]:
    """The splits of the corpus that the options of `add_corpus_arguments` name, without some of its sources."""
    reading = {"manifest": options.manifest, "cache": options.cache, "without": without}
    return [load_corpus(options.data, split, converter, **reading) for split in splits]


def load_other_sources(options: argparse.Namespace, converter: Converter) -> dict[str, SongDataset]:
    """The songs of each source of --other-sources, without those of the test split."""
    reading = {"manifest": options.manifest, "cache": options.cache}
    names = options.other_sources
    return {name: load_corpus(options.data, OTHER_SPLITS, converter, **reading, only=[name]) for name in names}


def check_training_songs(run: dict, train_set: SongDataset):
    """Warns if a model's record names other training windows than those of these songs."""
    if run.get("data") not in (None, fingerprint(train_set)):
        warnings.warn(
            "the model was trained on other windows than those of the train split here: on other sources, in which "
            "case --without-sources must name those that it was trained without, or on songs that an earlier version "
            "read. Copies and the n-gram model are of the songs here",
            stacklevel=2,
        )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Measure a trained model on songs that it was not trained on.")
    parser.add_argument("--checkpoint", required=True, help="checkpoint file, or the folder of a run")
    add_corpus_arguments(parser)
    parser.add_argument("--split", default="test", help="split to measure on (default: test)")
    others = "sources that it was not trained on, to be measured too, each in a row of its own"
    parser.add_argument("--other-sources", nargs="+", default=[], metavar="SOURCE", help=others)
    parser.add_argument("--limit", type=int, help="maximum number of windows (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """Runs the command: measures a checkpoint, prints a summary and writes the numbers."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        if options.out:
            check_file(Path(options.out))
        trained = TrainedModel.load(options.checkpoint, options.device)
        options.without_sources = sorted({*options.without_sources, *options.other_sources})
        songs = load_splits(options, trained.converter, ("train", options.split), options.without_sources)
        run = {} if is_magenta_checkpoint(options.checkpoint) else read_checkpoint(options.checkpoint)["run"] or {}
        check_training_songs(run, songs[0])
        sources = {"other_sources": load_other_sources(options, trained.converter)}
        sources["without_sources"] = options.without_sources
        measured = {name: getattr(options, name) for name in ("split", "limit", "seed")}
        found = evaluate(trained, *songs, run=run, **sources, **measured)
    say(summary(found))
    if options.out:
        write_json(options.out, found)


if __name__ == "__main__":
    main()
