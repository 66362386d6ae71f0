"""Samples from a model's prior compared with held-out music and with the training set."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Generator

from generate import TrainedModel
from midi_utils import evenly
from music.attributes import (
    NGram,
    chance_repetition,
    drum_histogram,
    duration_histogram,
    hit_density,
    jensen_shannon_bits,
    nearest_distance,
    note_density,
    pitch_class_histogram,
    repetition,
    self_similarity,
)
from music.drums import DRUMS_DEPTH
from outputs import OUTPUTS
from paper.measured_songs import TrainingSet, first_part, is_copy
from paper.reconstruction import decode_sampled

BARS_BACK = (1, 2, 4, 8)  # distances in bars at which repetition is measured


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
            f"{prefix}hits per step": compare_means(hit_density, samples, data),
        }
    return {
        f"{prefix}pitch classes": compare_histograms(pitch_class_histogram, samples, data),
        f"{prefix}durations": compare_histograms(duration_histogram, samples, data),
        f"{prefix}notes per step": compare_means(note_density, samples, data),
    }


def compare_statistics(
    samples: np.ndarray, data: np.ndarray, ngram: NGram, depths: Sequence[int], steps_per_bar: int
) -> dict[str, Comparison]:
    """Every statistic of samples and data, labels [n, steps] or [n, steps, 3].

    Args:
        depths: number of classes of each part.
        steps_per_bar: of the windows.
    """
    found, bar = {}, {"steps_per_bar": steps_per_bar}
    names = OUTPUTS["trio"].parts if len(depths) == 3 else ("",)
    for k, (name, depth) in enumerate(zip(names, depths, strict=True)):
        parts = (labels.reshape(*labels.shape[:2], -1)[..., k] for labels in (samples, data))
        found |= compare_part(f"{name} ".lstrip(), depth == DRUMS_DEPTH, *parts)
    for back in (back for back in BARS_BACK if back * steps_per_bar < data.shape[1]):
        found[f"repetition at {back} bars"] = compare_means(partial(repetition, bars_back=back, **bar), samples, data)
    found["repetition by chance"] = compare_means(partial(chance_repetition, **bar), samples, data)
    found["n-gram cost, nats per step"] = compare_means(lambda x: ngram.cost(first_part(x)), samples, data)
    found["self-similarity"] = Comparison(*(self_similarity(x, **bar).round(4).tolist() for x in (samples, data)))
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
    train_labels, bar_steps = training.songs.labels[:], trained.converter.steps_per_bar
    return Samples(
        compare_statistics(samples, data, training.ngram, trained.model.config.output_depths, bar_steps),
        Comparison(*(float(is_copy(trained.converter, labels, training.windows).mean()) for labels in pair)),
        Comparison(*(float(np.median(nearest_distance(labels, train_labels))) for labels in pair)),
    )
