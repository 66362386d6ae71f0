"""Priors compared by their samples, and the choice of one.

Axes: n windows, steps, Z size of z.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch.distributions import Normal

from engine.checks import checked_type
from generate import PRIOR_WINDOWS, TrainedModel
from midi_utils import SongDataset, evenly
from music.attributes import (
    NGram,
    hit_density,
    note_density,
    pitch_range,
    repetition,
)
from music.drums import DRUMS_DEPTH
from paper.measured_songs import TrainingSet, is_copy, make_generator, non_overlapping, read_training_set
from paper.reconstruction import decode_sampled
from prior import FITS, DiffusionPrior, MixturePrior

SAMPLES = 256  # pieces drawn from the prior; the paper adds attribute vectors to 256, too
PRIOR_WIDTHS = (1.0, 0.8, 0.6)  # factors on a fitted prior's standard deviation at which samples are compared
PRIOR_DRAWS = 8192  # draws that estimate the KL of a fitted prior from N(0, I)
STANDARD_NORMAL, HELD_OUT = "standard normal", "held-out music"  # names in `measure_priors`
MAX_DEVIATION = 0.1  # from real windows, of a prior that `choose_prior` takes for its few copies


class Candidate(NamedTuple):
    """A prior, and the width that z are drawn at."""

    prior: MixturePrior | DiffusionPrior | None  # N(0, I) when None
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
        candidates: the priors by name; by default the standard normal and the model's own prior at PRIOR_WIDTHS.
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


def prior_candidates(priors: dict[str, MixturePrior | DiffusionPrior]) -> dict[str, Candidate]:
    """The standard normal, and each prior at each of PRIOR_WIDTHS, as "mixture width 0.8".

    A smaller scale gives samples that are closer to the songs and less new (Kingma & Dhariwal 2018, "Glow", on sampling
    at a reduced temperature).
    """
    scaled = {
        f"{name} width {scale}".lstrip(): Candidate(prior, scale)
        for name, prior in priors.items()
        for scale in PRIOR_WIDTHS
    }
    return {STANDARD_NORMAL: Candidate(None, 1.0)} | scaled


def part_ngrams(trained: TrainedModel, training: TrainingSet) -> list[NGram]:
    """The n-gram model of each part of the training set."""
    labels, depths = non_overlapping(training.songs), trained.model.config.output_depths
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
    bar_steps = trained.converter.steps_per_bar
    near, far = (
        float(np.nanmean(repetition(labels, back, bar_steps))) if labels.shape[1] > back * bar_steps else None
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
    candidates, training = fit_candidates(trained, train_set, kinds), read_training_set(trained, train_set)
    found = measure_priors(trained, training, count, seed, valid_set.labels[:], candidates)
    trained.prior, trained.prior_width = candidates[choose_prior(found)]
    return found


def fit_candidates(
    trained: TrainedModel, train_set: SongDataset, kinds: Sequence[str] = tuple(FITS)
) -> dict[str, Candidate]:
    """Priors of each kind that are fitted to songs, as in `TrainedModel.fit_prior`, at each width; and N(0, I)."""
    posterior = trained.posterior(train_set.windows(evenly(len(train_set), PRIOR_WINDOWS)))
    return prior_candidates({kind: FITS[kind](posterior.loc, posterior.scale) for kind in kinds})


def choose_prior(found: Mapping[str, PriorSamples], deviation: Callable = deviation) -> str:
    """The name of the prior whose samples resemble real windows, of what `measure_priors` found with `data`.

    Among the priors within MAX_DEVIATION of real windows it is the one with the fewest copies, then with the least
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
    near = [name for name in away if away[name] <= MAX_DEVIATION]
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
