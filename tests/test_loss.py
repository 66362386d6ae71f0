"""Losses on cases that can be worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from loss import (
    TRIO_DEPTHS,
    accuracy,
    beta_at,
    elbo_loss,
    kl_divergence,
    learning_rate_at,
    reconstruction_loss,
    sampling_probability_at,
)


def one_hot(labels, depth):
    return F.one_hot(torch.tensor(labels), depth).float()


def test_kl_of_the_prior_is_zero():
    assert kl_divergence(Normal(torch.zeros(3, 8), torch.ones(3, 8))).tolist() == [0, 0, 0]


def test_kl_by_hand():
    """0.5 * (mu^2 + sigma^2 - 1) - ln sigma, summed over the dimensions."""
    posterior = Normal(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]))
    assert kl_divergence(posterior).item() == pytest.approx(0.5 + 1.5 - math.log(2))


def test_uniform_logits_cost_t_log_k():
    targets = one_hot([[0, 1, 2, 3, 4]], 90)
    assert reconstruction_loss(torch.zeros(1, 5, 90), targets, output="categorical").item() == pytest.approx(
        5 * math.log(90)
    )


def test_uniform_logits_of_a_trio_cost_the_sum_of_its_parts():
    targets = torch.cat([one_hot([[1, 2]], depth) for depth in TRIO_DEPTHS], -1)
    nats = reconstruction_loss(torch.zeros(1, 2, sum(TRIO_DEPTHS)), targets, output="trio")
    assert nats.item() == pytest.approx(2 * sum(map(math.log, TRIO_DEPTHS)))


def test_steps_past_the_length_cost_nothing():
    logits, targets = torch.randn(2, 6, 10), one_hot([[3] * 6] * 2, 10)
    nats = reconstruction_loss(logits, targets, torch.tensor([4, 6]), output="categorical")
    assert nats[0].item() == pytest.approx(
        reconstruction_loss(logits[:1, :4], targets[:1, :4], output="categorical").item()
    )


def test_free_bits_are_a_budget_of_the_whole_example():
    """Two examples of 3 and 5 bits with 4 free: only the second pays, and only for one bit."""
    kl_nats = torch.tensor([3.0, 5.0]) * math.log(2)
    elbo = elbo_loss(torch.tensor([10.0, 20.0]), kl_nats, beta=0.5, free_bits=4)
    assert elbo.loss.item() == pytest.approx(15 + 0.5 * math.log(2) / 2)
    assert elbo.kl_nats.item() == pytest.approx(4 * math.log(2))


def test_accuracy_counts_each_part_within_the_lengths():
    logits = torch.cat([one_hot([[1, 1]], depth) for depth in TRIO_DEPTHS], -1)
    targets = torch.cat([one_hot([row], depth) for row, depth in zip(([1, 0], [0, 0], [1, 1]), TRIO_DEPTHS)], -1)
    assert accuracy(logits, targets, output="trio").tolist() == [0.5, 0, 1]
    assert accuracy(logits, targets, torch.tensor([1]), output="trio").tolist() == [1, 0, 1]


def test_schedules_start_and_end_where_they_should():
    assert [beta_at(step, max_beta=0.2, beta_rate=0.0) for step in (0, 1, 9)] == [0, 0.2, 0.2]
    decay = {"learning_rate": 1e-3, "decay_rate": 0.9999, "min_learning_rate": 1e-5}
    assert learning_rate_at(0, **decay) == pytest.approx(1e-3)
    assert learning_rate_at(10**7, **decay) == pytest.approx(1e-5)
    assert sampling_probability_at(10**7, schedule="inverse_sigmoid", rate=1000) == 1


@pytest.mark.parametrize(
    ("schedule", "rate"), [("linear", 0.5), ("constant", 2), ("exponential", 1), ("inverse_sigmoid", 0)]
)
def test_bad_schedules_are_refused(schedule, rate):
    with pytest.raises(ValueError, match=schedule):
        sampling_probability_at(0, schedule=schedule, rate=rate)


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="fugue"):
        reconstruction_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), output="fugue")
