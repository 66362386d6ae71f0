"""Attribute vectors (Roberts et al. 2018, arXiv 1803.05428, section 5, "Attribute Vector Arithmetic")."""

from typing import NamedTuple

import numpy as np
import torch

from engine.checks import checked_seed
from generate import TrainedModel
from midi_utils import SongDataset, evenly
from music.attributes import (
    ATTRIBUTES,
)
from paper.measured_songs import first_part, make_generator
from paper.reconstruction import decode_sampled
from studio.directions import outer_quarters

TRAINING_WINDOWS = 8192  # evenly spaced training windows from which attribute vectors are computed


class AttributeTable(NamedTuple):
    """The effect of adding and subtracting attribute vectors on samples (paper, section 5)."""

    names: list[str]
    before: list[float]  # mean of each attribute over the samples
    added: list[list[float]]  # one row per added vector, one column per attribute: its mean afterwards
    subtracted: list[list[float]]


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
