"""What a trained model has learned: the measurements of the paper's section 5 (Roberts et al. 2018, arXiv 1803.05428).

    python evaluation.py --checkpoint runs/x --data FOLDER --out results/x.json

FOLDER holds the songs that a manifest names (corpus.py); the model is measured on the songs of one split, which it has
not seen. Every draw comes from one seed, so that a second run gives the same numbers. The musical measures, which need
no model, are in attributes.py.

Axes: n windows, steps, parts (three of a trio, else one), Z size of z.
"""

import argparse
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from checkpoint import read_checkpoint
from corpus import MANIFEST, load_corpus
from generate import Encoding, TrainedModel, evenly, slerp, take
from loss import kl_divergence, output_depths, reconstruction_loss
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
    repetition,
    self_similarity,
)
from music.drums import DRUMS_DEPTH
from music.melody import FIRST_PITCH, MELODY_DEPTH
from outputs import OUTPUTS

RESAMPLES = 1000  # of the songs, for an interval
ACTIVE_VARIANCE = 0.01  # of a dimension's posterior mean over the data (Burda et al. 2016)
POINTS = 11  # of an interpolation, both ends included
PAIRS = 256  # interpolations that are averaged; the paper has 1024
SAMPLES = 256  # pieces drawn from the prior; as many as the paper adds attribute vectors to
WIDTHS = (1.0, 0.8, 0.6)  # of a fitted prior's Gaussians, that samples are compared at
PRIOR_DRAWS = 8192  # that say how far a prior lies off the standard normal
BATCH = 256  # windows per forward pass
TRAINING_WINDOWS = 8192  # that attribute vectors come from, evenly spaced
BARS_BACK = (1, 2, 4, 8)
NEW = "new"  # the group of windows that the training set does not have


class Interval(NamedTuple):
    """A mean over windows, and what holds 95 % of the means when the songs are drawn anew."""

    mean: float
    low: float
    high: float


class Accuracy(NamedTuple):
    """Share of the steps that come out as they were."""

    parts: dict[str, Interval]
    by_step: dict[str, list[float]]  # over a window's steps
    by_group: dict[str, dict[str, float]]  # of each part the mean over a group of windows, see `window_groups`


class Reconstruction(NamedTuple):
    """Accuracy from a draw of the posterior and from its mean (paper, tables 1 and 2)."""

    teacher_forced: Accuracy
    sampled: Accuracy
    teacher_forced_from_mean: Accuracy
    sampled_from_mean: Accuracy


class Elbo(NamedTuple):
    """The bound on held-out music with one draw of z a window."""

    nats: Interval  # -ELBO a window: reconstruction + KL
    bits_a_step: float
    reconstruction: Interval  # nats a window: the distortion
    kl_bits: Interval  # a window: the rate
    active_dimensions: int
    dimensions: int


class Interpolation(NamedTuple):
    """Means over pairs of windows at each point, from one end to the other (paper, section 5)."""

    points: list[float]  # 0 to 1
    to_start: list[float]  # Hamming distance, share of the steps
    to_end: list[float]
    cost: list[float]  # nats a step under the n-gram model of the training set
    mixed_to_start: list[float]  # the same of a Bernoulli mix of the two ends' steps
    mixed_to_end: list[float]
    mixed_cost: list[float]


class AttributeTable(NamedTuple):
    """What adding and subtracting attribute vectors does to samples (paper, section 5)."""

    names: list[str]
    before: list[float]  # mean of each attribute over samples
    added: list[list[float]]  # row: the vector added; column: mean of each attribute then
    subtracted: list[list[float]]


class Likeness(NamedTuple):
    """A number, or a histogram, of samples and of held-out music."""

    samples: float | list[float] | list[list[float]]
    data: float | list[float] | list[list[float]]
    divergence_bits: float | None = None  # Jensen-Shannon, of two histograms


class Samples(NamedTuple):
    """Samples of the prior beside held-out music."""

    statistics: dict[str, Likeness]
    copies: Likeness  # share of windows that the training set has, in any key
    nearest: Likeness  # median Hamming distance to the nearest training window, share of the steps


class PriorSamples(NamedTuple):
    """What samples are like whose z are drawn in one way."""

    cost: float  # nats a step under the n-gram model of the training set
    repetition: float  # of the bar before
    copies: float  # share that the training set has, in any key


class Evaluation(NamedTuple):
    """All of it; what a model has no music for is None."""

    preset: str
    parameters: int
    steps: int | None  # of training
    minutes: float | None
    seed: int | None
    split: str
    songs: int
    windows: int
    groups: dict[str, int]  # windows in each
    still: dict[str, float]  # share of the commonest label: the accuracy of saying always that
    reconstruction: Reconstruction
    elbo: Elbo
    interpolation: Interpolation
    attributes: AttributeTable | None
    samples: Samples
    priors: dict[str, PriorSamples]  # by where z comes from: the standard normal, or the fitted prior at a width
    prior_bits: float | None  # of the KL: how far the fitted prior that samples come from lies off the standard normal


def bootstrap(values: np.ndarray, song: np.ndarray, seed: int = 0) -> Interval:
    """Mean over windows, with the percentile interval over songs drawn with replacement (Efron 1979).

    Args:
        values, song: [n], a number of each window and the song it is of.
    """
    song = np.unique(song, return_inverse=True)[1]
    counts, sums = np.bincount(song), np.bincount(song, values)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


# ---- Reconstruction and the bound (sections 5 and 2.1) ----


def in_batches(trained: TrainedModel, windows: Windows) -> Iterator[tuple[slice, Tensors]]:
    """The windows' tensors on the model's device, some at a time, and where they stand."""
    for start in range(0, len(windows.labels), BATCH):
        part = slice(start, start + BATCH)
        tensors = trained.converter.to_tensors(take(windows, part))
        yield part, Tensors(*(None if a is None else a.to(trained.device) for a in tensors))


@torch.no_grad()
def teacher_forced(trained: TrainedModel, windows: Windows, z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest label of each step given the true ones before it, and each window's reconstruction loss.

    Args:
        z: [n, Z], a latent vector of each window.

    Returns:
        Labels [n, steps] or [n, steps, 3], and nats [n].
    """
    labels, nats = [], []
    for part, (_, targets, lengths, controls) in in_batches(trained, windows):
        with autocast(trained.device, trained.precision):
            logits = trained.model.decode(z[part], targets, lengths, controls)
        labels.append(trained.converter.from_tensors(logits).cpu())
        nats.append(reconstruction_loss(logits, targets, lengths, output=trained.model.config.output).cpu())
    return torch.cat(labels).numpy(), torch.cat(nats).numpy()


@torch.no_grad()
def sampled(trained: TrainedModel, z: Tensor, generator: Generator) -> np.ndarray:
    """Labels that latent vectors [n, Z] decode to, each step drawn and read back: [n, steps] or [n, steps, 3]."""
    with autocast(trained.device, trained.precision):
        parts = [trained.model.sample(len(part), z=part, generator=generator) for part in z.split(BATCH)]
    return trained.converter.from_tensors(torch.cat(parts)).cpu().numpy()


def in_one_key(converter: Converter, labels: np.ndarray) -> list[bytes]:
    """Each window [n, steps] or [n, steps, 3], moved until its lowest note is the lowest key: equal but for the key."""
    pitched = (labels[..., :2] if labels.ndim == 3 else labels).reshape(len(labels), -1).astype(int)
    lowest = np.where(pitched < FIRST_PITCH, MELODY_DEPTH, pitched).min(1)
    moved = converter.transpose(torch.from_numpy(labels.astype(np.int16)), torch.from_numpy(FIRST_PITCH - lowest))
    return [window.tobytes() for window in moved.numpy()]


def known(converter: Converter, labels: np.ndarray, training: set[bytes]) -> np.ndarray:
    """Whether each window is one of a training set's, which `in_one_key` gives, in whatever key: [n]."""
    return np.array([window in training for window in in_one_key(converter, labels)])


def window_groups(
    converter: Converter, windows: Windows, names: np.ndarray, training: set[bytes]
) -> dict[str, np.ndarray]:
    """Masks [n] of windows that are in no key among the training set's, and of those of each source.

    Args:
        names: [n], the song of each window; its folder is its source.
        training: the training set's windows, `in_one_key`.
    """
    source = np.array([name.rpartition("/")[0] for name in names])
    of_source = {name: source == name for name in np.unique(source) if name}
    return {NEW: ~known(converter, windows.labels, training)} | of_source


def accuracy(
    written: np.ndarray, windows: Windows, song: np.ndarray, names: tuple[str, ...], groups: dict[str, np.ndarray]
) -> Accuracy:
    """Share of the steps that are the windows' own, for each part, with its interval over songs."""
    right = (written == windows.labels).reshape(*written.shape[:2], -1)
    of_part = {name: right[..., k] for k, name in enumerate(names)}
    return Accuracy(
        {name: bootstrap(part.mean(1), song) for name, part in of_part.items()},
        {name: part.mean(0).round(4).tolist() for name, part in of_part.items()},
        {
            g: {name: float(part[mask].mean()) for name, part in of_part.items()}
            for g, mask in groups.items()
            if mask.any()
        },
    )


def measure_reconstruction(
    trained: TrainedModel,
    windows: Windows,
    song: np.ndarray,
    groups: dict[str, np.ndarray],
    encoding: Encoding,
    generator: Generator,
) -> tuple[Reconstruction, np.ndarray]:
    """The four accuracies, and the reconstruction loss from the draw, nats [n]."""
    names, found, nats = trained.model.config.output_kind.parts, [], []
    for z in (encoding.z, encoding.mu):
        labels, loss = teacher_forced(trained, windows, z)
        found += [labels, sampled(trained, z, generator)]
        nats.append(loss)
    return Reconstruction(*(accuracy(labels, windows, song, names, groups) for labels in found)), nats[0]


def measure_elbo(encoding: Encoding, nats: np.ndarray, song: np.ndarray, steps: int) -> Elbo:
    """The bound from posteriors and reconstruction losses [n]; active dimensions are those whose mean varies.

    nats = reconstruction + KL(q(z|x) || N(0, 1)); bits a step = nats / (steps ln 2); a dimension is active where
    Var_x(mu) > 0.01 (Burda et al. 2016).
    """
    kl = kl_divergence(Normal(encoding.mu, encoding.sigma)).cpu().numpy()
    total = bootstrap(nats + kl, song)
    active = int((encoding.mu.var(0, unbiased=False) > ACTIVE_VARIANCE).sum())
    rate = bootstrap(kl / math.log(2), song)
    return Elbo(total, total.mean / steps / math.log(2), bootstrap(nats, song), rate, active, encoding.mu.shape[1])


# ---- Interpolation (section 5, "Interpolations") ----


def different_songs(song: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of windows of two songs, [pairs, 2].

    Raises:
        ValueError: windows of one song alone.
    """
    if len(np.unique(song)) < 2:
        raise ValueError("an interpolation needs windows of two songs")
    first = rng.integers(len(song), size=pairs)
    return np.array([(one, rng.choice(np.flatnonzero(song != song[one]))) for one in first])


def mixed(start: np.ndarray, end: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
    """The paper's baseline: each step from the end with probability t, else from the start; labels [n, steps, ...]."""
    ends = rng.random(start.shape[:2]) < t
    return np.where(ends.reshape(ends.shape + (1,) * (start.ndim - 2)), end, start)


def measure_interpolation(
    trained: TrainedModel,
    windows: Windows,
    song: np.ndarray,
    mu: Tensor,
    ngram: NGram,
    pairs: int,
    generator: Generator,
) -> Interpolation:
    """Points on the arc between posterior means, each drawn at temperature 1, and the baseline's."""
    rng = np.random.default_rng(generator.initial_seed())
    first, last = different_songs(song, pairs, rng).T
    start, end, mu = windows.labels[first], windows.labels[last], mu.cpu()
    rows = []
    for t in np.linspace(0, 1, POINTS):
        z = torch.stack([slerp(mu[a], mu[b], float(t)) for a, b in zip(first, last, strict=True)])
        row = [t]
        for labels in (sampled(trained, z.to(trained.device), generator), mixed(start, end, t, rng)):
            row += [hamming(labels, start).mean(), hamming(labels, end).mean(), ngram.cost(first_part(labels)).mean()]
        rows.append(row)
    return Interpolation(*np.transpose(rows).round(5).tolist())


def first_part(labels: np.ndarray) -> np.ndarray:
    """A trio's melody; of the others all: [n, steps]."""
    return labels[..., 0] if labels.ndim == 3 else labels


def fit_ngram(trained: TrainedModel, train_set: SongDataset) -> NGram:
    """The n-gram model of a training set's windows that do not overlap; of trios it reads the melody."""
    config, apart = trained.model.config, train_set.start_bar % trained.converter.bars == 0
    labels = train_set.labels[np.flatnonzero(apart)]
    return NGram.fit(first_part(labels), output_depths(config.output, config.output_depth)[0])


# ---- Attributes (section 5, "Attribute Vector Arithmetic") ----


def attribute_vectors(labels: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """For each attribute the mean mu of the windows in its top quartile less that of those in the bottom one: [5, Z].

    Args:
        labels, mu: of training windows, [n, steps] and [n, Z].
    """
    return np.stack([_difference(measure(labels), mu) for measure in ATTRIBUTES.values()])


def _difference(values: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Equal values go the same way: where the quartiles' bounds are equal, the top is what lies above them."""
    low, high = np.nanquantile(values, (0.25, 0.75))
    top, bottom = values >= high if high > low else values > low, values <= low
    return mu[top].mean(0) - mu[bottom].mean(0) if top.any() else np.zeros(mu.shape[1])


def attribute_means(labels: np.ndarray) -> list[float]:
    """Each attribute's mean over the windows where it is defined: [5]."""
    return [round(float(np.nanmean(measure(labels))), 5) for measure in ATTRIBUTES.values()]


def measure_attributes(trained: TrainedModel, train_set: SongDataset, count: int, seed: int) -> AttributeTable:
    """Adds each vector to so many draws of the prior, and subtracts it; all decode with the same uniform numbers."""
    chosen = evenly(len(train_set), TRAINING_WINDOWS)
    windows = train_set.windows(chosen)
    vectors = attribute_vectors(first_part(windows.labels), trained.encode(windows).mu.cpu().numpy())
    z = trained.draw_z(count, seed)

    def after(change: np.ndarray) -> list[float]:
        moved = z + torch.from_numpy(change).float().to(trained.device)
        return attribute_means(first_part(sampled(trained, moved, generator_of(trained, seed + 1))))  # not z's numbers

    before = after(np.zeros(len(z[0])))
    return AttributeTable(list(ATTRIBUTES), before, [after(v) for v in vectors], [after(-v) for v in vectors])


# ---- Samples beside data ----


def compare(name: str, statistic, samples: np.ndarray, data: np.ndarray) -> dict[str, Likeness]:
    """A histogram of both and its divergence."""
    histograms = statistic(samples), statistic(data)
    bits = None if np.isnan(histograms[0]).any() else jensen_shannon_bits(*histograms)
    return {name: Likeness(*(h.round(5).tolist() for h in histograms), bits)}


def compare_means(name: str, measure, samples: np.ndarray, data: np.ndarray) -> dict[str, Likeness]:
    """The means of a measure of windows."""
    return {name: Likeness(*(float(np.nanmean(measure(labels))) for labels in (samples, data)))}


def part_statistics(prefix: str, drums: bool, samples: np.ndarray, data: np.ndarray) -> dict[str, Likeness]:
    """Histograms and density of a part, [n, steps] both."""
    if drums:
        found = compare(f"{prefix}drum classes", drum_histogram, samples, data)
        return found | compare_means(f"{prefix}hits a step", hit_density, samples, data)
    found = compare(f"{prefix}pitch classes", pitch_class_histogram, samples, data)
    found |= compare(f"{prefix}durations", duration_histogram, samples, data)
    return found | compare_means(f"{prefix}notes a step", note_density, samples, data)


def statistics(samples: np.ndarray, data: np.ndarray, ngram: NGram, depths: tuple[int, ...]) -> dict[str, Likeness]:
    """All that compares samples with data, labels [n, steps] or [n, steps, 3]; depths: classes of each part."""
    found, bars = {}, data.shape[1] // STEPS_PER_BAR
    names = OUTPUTS["trio"].parts if len(depths) == 3 else ("",)
    for k, (name, depth) in enumerate(zip(names, depths, strict=True)):
        parts = (labels.reshape(*labels.shape[:2], -1)[..., k] for labels in (samples, data))
        found |= part_statistics(f"{name} ".lstrip(), depth == DRUMS_DEPTH, *parts)
    for back in (back for back in BARS_BACK if back < bars):
        found |= compare_means(f"repetition at {back} bars", lambda x, k=back: repetition(x, k), samples, data)
    found |= compare_means("repetition by chance", chance_repetition, samples, data)
    found |= compare_means("n-gram cost, nats a step", lambda x: ngram.cost(first_part(x)), samples, data)
    return found | {"self-similarity": Likeness(*(self_similarity(x).round(4).tolist() for x in (samples, data)))}


def measure_samples(
    trained: TrainedModel,
    train_set: SongDataset,
    training: set[bytes],
    data: np.ndarray,
    ngram: NGram,
    count: int,
    generator: Generator,
) -> Samples:
    """So many samples of the prior beside held-out windows, and how near both come to the training set.

    Args:
        training: the training set's windows, `in_one_key`.
        data: labels of the held-out windows.
    """
    config = trained.model.config
    samples = sampled(trained, trained.draw_z(count, generator), generator)
    pair = samples, data[evenly(len(data), count)]
    train_labels = train_set.labels[:]
    return Samples(
        statistics(samples, data, ngram, output_depths(config.output, config.output_depth)),
        Likeness(*(float(known(trained.converter, labels, training).mean()) for labels in pair)),
        Likeness(*(float(np.median(nearest_distance(labels, train_labels))) for labels in pair)),
    )


def measure_priors(
    trained: TrainedModel, training: set[bytes], ngram: NGram, count: int, seed: int
) -> dict[str, PriorSamples]:
    """So many samples for each way to draw z, with the same random numbers.

    In the narrower of the fitted Gaussians samples are nearer to the songs: more like music, and less new (Kingma &
    Dhariwal 2018, "Glow", on samples of a reduced temperature).
    """
    draws = {"standard normal": TrainedModel(trained.model, trained.config).draw_z(count, seed)}
    for width in WIDTHS if trained.prior else ():
        draws[f"width {width}"] = trained.prior.draw(count, generator_of(trained, seed), width)
    found = {}
    for name, z in draws.items():
        samples = sampled(trained, z, generator_of(trained, seed + 1))  # not z's numbers
        cost, back = ngram.cost(first_part(samples)), repetition(samples, 1)
        copies = known(trained.converter, samples, training)
        found[name] = PriorSamples(*(float(np.nanmean(values)) for values in (cost, back, copies)))
    return found


# ---- All of it ----


def generator_of(trained: TrainedModel, seed: int) -> Generator:
    """A generator on the model's device."""
    return Generator(trained.device).manual_seed(seed)


def commonest(labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """For each part the share of its commonest label."""
    parts = labels.reshape(-1, len(names)).T
    return {name: float(np.bincount(part).max() / len(part)) for name, part in zip(names, parts, strict=True)}


def evaluate(
    trained: TrainedModel,
    train_set: SongDataset,
    test_set: SongDataset,
    *,
    split: str = "test",
    run: dict | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Every measurement of a model of melodies, drums (as one class a step) or trios.

    Args:
        train_set: what it was trained on: attribute vectors, the n-gram model and copies come from it.
        test_set: songs it has not seen.
        split: what to call them.
        run: what a checkpoint says of its training.
        limit: windows, pairs and samples to make do with; the whole set, PAIRS and SAMPLES when None.
        seed: of every draw.

    Raises:
        ValueError: a model of anything else, or held-out windows of one song alone.
    """
    model = trained.model.config
    if not model.output_kind.one_hot or model.control_depth or model.end_token is not None:
        raise ValueError(f"{trained.config.name} cannot be measured; melodies without chords, drums and trios can")
    run, chosen = run or {}, evenly(len(test_set), limit or len(test_set))
    windows, song, generator = test_set.windows(chosen), test_set.song[chosen], generator_of(trained, seed)
    encoding = trained.encode(windows, generator)
    training = set(in_one_key(trained.converter, train_set.labels[:]))
    groups = window_groups(trained.converter, windows, np.array(test_set.names)[song], training)
    reconstruction, nats = measure_reconstruction(trained, windows, song, groups, encoding, generator)
    ngram, pairs, count = fit_ngram(trained, train_set), min(PAIRS, len(chosen)), min(SAMPLES, len(chosen))
    melodies = model.output_depths != (DRUMS_DEPTH,)
    return Evaluation(
        preset=trained.config.name,
        parameters=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        steps=run.get("step"),
        minutes=run.get("seconds") and round(run["seconds"] / 60, 1),
        seed=run.get("seed"),
        split=split,
        songs=len(np.unique(song)),
        windows=len(chosen),
        groups={name: int(mask.sum()) for name, mask in groups.items()},
        still=commonest(windows.labels, model.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
        interpolation=measure_interpolation(trained, windows, song, encoding.mu, ngram, pairs, generator),
        attributes=measure_attributes(trained, train_set, count, seed) if melodies else None,
        samples=measure_samples(trained, train_set, training, windows.labels, ngram, count, generator),
        priors=measure_priors(trained, training, ngram, count, seed),
        prior_bits=prior_bits(trained),
    )


def prior_bits(trained: TrainedModel) -> float | None:
    """KL of the fitted prior from the standard normal, a part of the mean KL of the songs' posteriors; None if none.

    That mean is what z says of a song and how far the posteriors of all songs together lie off the standard normal
    (Hoffman & Johnson 2016); of the latter this is what the fitted Gaussians see, from so many of their draws.
    """
    if trained.prior is None:
        return None
    z = trained.prior.draw(PRIOR_DRAWS, generator_of(trained, 0))
    return float((trained.prior.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(1)).mean()) / math.log(2)


def to_json(value) -> str:
    """Named tuples as objects, numbers rounded to what a table needs, a list of numbers on one line."""
    text = json.dumps(plain(value), indent=1)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)


def plain(value):
    """Named tuples as dictionaries, all the way down."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def summary(found: Evaluation) -> str:
    """The numbers that one looks at first."""
    lines = [f"{found.preset}, {found.windows} windows of {found.songs} songs ({found.split})"]
    for part, still in found.still.items():
        forced, drawn = (getattr(found.reconstruction, name).parts[part] for name in Reconstruction._fields[:2])
        lines.append(
            f"  accuracy ({part}): teacher-forced {forced.mean:.3f}, sampled {drawn.mean:.3f}; commonest {still:.3f}"
        )
    elbo = found.elbo
    lines.append(
        f"  -ELBO {elbo.nats.mean:.1f} nats ({elbo.bits_a_step:.3f} bits a step), KL {elbo.kl_bits.mean:.1f} bits"
    )
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure a trained model on songs that it has not seen.")
    parser.add_argument("--checkpoint", required=True, help="file, or the folder of a run")
    parser.add_argument("--data", required=True, help="folder of the songs that the manifest names")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default corpus.csv)")
    parser.add_argument("--split", default="test", help="which songs to measure on (default test)")
    parser.add_argument("--cache", help="folder that keeps what was read, for the next time")
    parser.add_argument("--limit", type=int, help="windows to make do with; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: a checkpoint and songs to numbers."""
    options = parse_arguments(arguments)
    try:
        trained = TrainedModel.load(options.checkpoint, options.device)
        how = {"manifest": options.manifest, "cache": options.cache}
        splits = [load_corpus(options.data, part, trained.converter, **how) for part in ("train", options.split)]
        run = read_checkpoint(options.checkpoint)["run"]
        found = evaluate(trained, *splits, split=options.split, run=run, limit=options.limit, seed=options.seed)
    except ValueError as fault:
        raise SystemExit(f"error: {fault}") from None
    print(summary(found))
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(to_json(found) + "\n")


if __name__ == "__main__":
    main()
