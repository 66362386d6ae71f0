"""Accuracies, their intervals and the ELBO equal values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from generate import Encoding
from helpers import made_songs
from loss import accuracy as step_accuracy
from midi_utils import (
    MelodyConverter,
    Windows,
)
from paper.measured_songs import (
    HeldOut,
    key_invariant,
    window_groups,
)
from paper.reconstruction import (
    bootstrap,
    decode_teacher_forced,
    majority_shares,
    measure_accuracy,
    measure_elbo,
)


def windows_of(labels):
    labels = np.array(labels)
    return Windows(labels, np.full(len(labels), labels.shape[1], np.int32), None)


def test_bootstrap_draws_songs_not_windows():
    """Song 5 has one window of 0, song 9 three of 1. The four draws of two songs give 0, 0.75 twice, and 1."""
    values, song = np.array([0.0, 1, 1, 1]), np.array([5, 9, 9, 9])
    assert bootstrap(values, song) == (0.75, 0.0, 1.0)
    assert bootstrap(values, np.zeros(4, int)) == (0.75, 0.75, 0.75)
    assert bootstrap(values, song, seed=1) == bootstrap(values, song, seed=1)


def test_accuracy_counts_steps_per_part():
    windows = windows_of([[2, 0, 1, 0], [3, 0, 0, 0]])
    predicted = np.array([[2, 0, 1, 4], [4, 0, 0, 0]])
    found = measure_accuracy(predicted, HeldOut(windows, np.array([0, 1]), {}), ("all",))
    assert found.parts["all"].mean == 6 / 8
    assert found.by_step["all"] == [0.5, 1.0, 1.0, 0.5]
    trio, names = HeldOut(windows_of([[[2, 3, 4], [0, 0, 0]]]), np.array([0]), {}), ("melody", "bass", "drums")
    found = measure_accuracy(np.array([[[2, 9, 4], [0, 9, 1]]]), trio, names)
    assert [found.parts[name].mean for name in names] == [1.0, 0.0, 0.5]


def test_elbo_equals_the_value_worked_out_by_hand():
    """KL of N(m, 1) is m^2 / 2 nats: 0.5 and 2 for the two windows. Only the first dimension's mean varies."""
    mu = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    found = measure_elbo(Encoding(mu, mu, torch.ones(2, 2)), np.array([3.0, 4.5]), np.array([0, 1]), steps=32)
    assert found.nats.mean == pytest.approx((3.5 + 6.5) / 2)
    assert found.reconstruction.mean == pytest.approx(3.75)
    assert found.kl_bits.mean == pytest.approx(1.25 / math.log(2))
    assert found.bits_per_step == pytest.approx(5 / 32 / math.log(2))
    assert (found.active_dimensions, found.dimensions) == (1, 2)


def test_majority_shares_are_those_of_the_most_common_label():
    assert majority_shares(np.array([[0, 0, 0, 5], [0, 2, 0, 5]]), ("all",)) == {"all": 5 / 8}
    assert majority_shares(np.array([[[1, 0, 7], [1, 2, 7]]]), ("a", "b", "c")) == {"a": 1.0, "b": 0.5, "c": 1.0}


def test_accuracy_by_group_is_a_mean_over_the_groups_windows():
    """The new window has every second step right, the copy has all of them right."""
    training = made_songs(MelodyConverter(), 4)
    labels = np.stack([training.labels[0], 91 - training.labels[1]])
    names, copied = np.array(["a/b/x.mid", "y.mid"]), set(key_invariant(training.converter, training.labels))
    windows = Windows(labels, np.full(2, 32))
    groups = window_groups(training.converter, windows, names, copied)
    assert {name: mask.tolist() for name, mask in groups.items()} == {"new": [False, True], "a/b": [True, False]}
    predicted = labels.copy()
    predicted[1, ::2] = 99
    held_out = HeldOut(windows, np.arange(2), groups | {"empty": np.zeros(2, bool)})
    found = measure_accuracy(predicted, held_out, ("all",))
    assert found.by_group == {"new": {"all": 0.5}, "a/b": {"all": 1.0}}


def test_teacher_forced_accuracy_equals_that_of_the_loss(trained):
    """For the same z, both count the same labels as correct."""
    songs = made_songs(trained.converter, 12)
    windows = songs.windows(slice(None))
    z = trained.encode(windows, seed=0).z
    labels, nats = decode_teacher_forced(trained, windows, z)
    tensors = trained.converter.to_tensors(windows)
    with torch.no_grad():
        logits = trained.model.decode(z, tensors.targets)
    wanted = step_accuracy(logits, tensors.targets, output=trained.model.config.output)
    share = (labels == windows.labels).reshape(*labels.shape[:2], -1).mean((0, 1))
    assert share == pytest.approx(wanted.numpy(), abs=1e-6)
    assert nats.shape == (12,)
