"""Losses, accuracies and schedules in cases that can be computed by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from engine.classes import class_indices
from loss import (
    accuracy,
    beta_at,
    elbo_loss,
    kl_divergence,
    learning_rate_at,
    reconstruction_loss,
    sampling_probability_at,
    segments_at,
)
from outputs import OUTPUTS, groove_losses, nade_logits

TRIO_DEPTHS = OUTPUTS["trio"].depths(692)


def one_hot(labels, depth):
    return F.one_hot(torch.tensor(labels), depth).float()


def test_the_kl_of_the_prior_is_zero():
    assert kl_divergence(Normal(torch.zeros(3, 8), torch.ones(3, 8))).tolist() == [0, 0, 0]


def test_the_kl_of_a_posterior_is_the_one_computed_by_hand():
    """0.5 * (mu^2 + sigma^2 - 1) - ln sigma, summed over the dimensions."""
    posterior = Normal(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]))
    assert kl_divergence(posterior).item() == pytest.approx(0.5 + 1.5 - math.log(2))


def test_uniform_logits_cost_the_logarithm_of_the_classes_per_step():
    targets = one_hot([[0, 1, 2, 3, 4]], 90)
    assert reconstruction_loss(torch.zeros(1, 5, 90), targets, output="categorical").item() == pytest.approx(
        5 * math.log(90)
    )


def test_uniform_logits_of_a_trio_cost_the_sum_over_its_parts():
    targets = torch.cat([one_hot([[1, 2]], depth) for depth in TRIO_DEPTHS], -1)
    nats = reconstruction_loss(torch.zeros(1, 2, sum(TRIO_DEPTHS)), targets, output="trio")
    assert nats.item() == pytest.approx(2 * sum(map(math.log, TRIO_DEPTHS)))


def test_steps_past_the_length_cost_nothing():
    logits, targets = torch.randn(2, 6, 10), one_hot([[3] * 6] * 2, 10)
    nats = reconstruction_loss(logits, targets, torch.tensor([4, 6]), output="categorical")
    assert nats[0].item() == pytest.approx(
        reconstruction_loss(logits[:1, :4], targets[:1, :4], output="categorical").item()
    )


@pytest.mark.parametrize("output, depths", [("categorical", (10,)), ("trio", TRIO_DEPTHS)])
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 6])])
def test_class_indices_cost_what_their_one_hot_frames_cost(output, depths, lengths):
    """The same nats, gradients and accuracy, for frames without a class, too."""
    torch.manual_seed(0)
    logits = torch.randn(2, 6, sum(depths)).requires_grad_()
    dense = torch.cat([one_hot([[1, 2, 0, 3, 3, 9]] * 2, depth) for depth in depths], -1)
    dense[1, 2] = 0
    indices = class_indices(dense, depths)
    for measure in (reconstruction_loss, accuracy):
        of_indices, of_dense = (measure(logits, targets, lengths, output=output) for targets in (indices, dense))
        torch.testing.assert_close(of_indices, of_dense)
    gradients = (
        torch.autograd.grad(reconstruction_loss(logits, targets, lengths, output=output).sum(), logits)
        for targets in (indices, dense)
    )
    torch.testing.assert_close(*gradients)


def test_the_probabilities_of_a_nade_sum_to_one():
    """Over the eight frames of three bits; the first bit depends on no other bit."""
    random = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 5, generator=random), torch.randn(3, 5, generator=random)
    frames = torch.tensor([[k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(8)]).float()[:, None]  # (8, 1, 3)
    logits = torch.randn(1, 1, 8, generator=random).expand(8, 1, 8)
    probability = (-reconstruction_loss(logits, frames, output="nade", nade_weights=weights)).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-4)
    first = logits[0, 0, 5] + logits[0, 0, :5].sigmoid() @ weights[1][0]
    assert probability[4:].sum().item() == pytest.approx(first.sigmoid().item(), abs=1e-4)
    conditional = nade_logits(logits, frames, weights)[:, 0]
    assert torch.equal(conditional[:4, 0], conditional[4:, 0])  # a bit's logit does not depend on the bit itself
    assert not torch.equal(conditional[:4, 1], conditional[4:, 1])


def test_the_bits_of_a_nade_without_couplings_are_independent():
    weights = torch.zeros(2, 3), torch.zeros(2, 3)
    logits, bits = torch.tensor([[[9.0, 9, 9, 0, 2]]]), torch.tensor([[[1.0, 0]]])
    nats = reconstruction_loss(logits, bits, output="nade", nade_weights=weights)
    assert nats.item() == pytest.approx(math.log(2) + math.log(1 + math.e**2), abs=1e-4)
    assert accuracy(logits, bits, output="nade", nade_weights=weights).tolist() == [0]
    assert accuracy(logits, torch.ones(1, 1, 2), output="nade", nade_weights=weights).tolist() == [1]


def test_a_bit_that_is_certain_and_wrong_costs_a_finite_number_of_nats():
    weights = torch.zeros(1, 1), torch.zeros(1, 1)
    logits, bits = torch.tensor([[[0.0, 1e4]]]), torch.zeros(1, 1, 1)
    nats = reconstruction_loss(logits, bits, output="nade", nade_weights=weights)
    assert nats.item() == pytest.approx(-math.log(1e-6), rel=1e-3)
    assert reconstruction_loss(torch.tensor([[[1e4, 0, 0]]]), torch.zeros(1, 1, 3), output="groove").isfinite()


def test_a_nade_needs_its_weights():
    with pytest.raises(ValueError, match="needs output_weights"):
        reconstruction_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 1), output="nade")


def test_the_losses_of_a_groove_are_the_ones_computed_by_hand():
    """One drum: ln 2 for a hit of probability 0.5, (0.5 - 1)^2 for its velocity, (0 - 0.2)^2 for its offset."""
    logits, targets = torch.zeros(1, 1, 3), torch.tensor([[[1.0, 1.0, 0.2]]])
    assert [part.item() for part in groove_losses(logits, targets)] == pytest.approx([math.log(2), 0.25, 0.04])
    assert reconstruction_loss(logits, targets, output="groove").item() == pytest.approx(math.log(2) + 0.29)
    assert accuracy(torch.tensor([[[3.0, -3, 0, 0, 0, 0]]]), torch.ones(1, 1, 6), output="groove").tolist() == [0.5]


def test_lengths_per_segment_count_steps_and_average_over_segments():
    """Two segments of three steps, of which two and one count. The accuracy is the mean of the segments'."""
    logits, targets = torch.zeros(1, 6, 4), one_hot([[0, 0, 1, 1, 1, 1]], 4)
    lengths = torch.tensor([[2, 1]])
    nats = reconstruction_loss(logits, targets, lengths, output="categorical")
    assert nats.item() == pytest.approx(3 * math.log(4))
    assert accuracy(logits, targets, lengths, output="categorical").item() == 0.5


def test_free_bits_are_a_budget_for_the_whole_example():
    """Two examples with a KL of 3 and 5 bits, of which 4 are free: only one bit of the second costs."""
    kl_nats = torch.tensor([3.0, 5.0]) * math.log(2)
    elbo = elbo_loss(torch.tensor([10.0, 20.0]), kl_nats, beta=0.5, free_bits=4)
    assert elbo.loss.item() == pytest.approx(15 + 0.5 * math.log(2) / 2)
    assert elbo.kl_nats.item() == pytest.approx(4 * math.log(2))


def test_the_accuracy_of_each_part_counts_steps_within_the_lengths():
    logits = torch.cat([one_hot([[1, 1]], depth) for depth in TRIO_DEPTHS], -1)
    targets = torch.cat([one_hot([row], depth) for row, depth in zip(([1, 0], [0, 0], [1, 1]), TRIO_DEPTHS)], -1)
    assert accuracy(logits, targets, output="trio").tolist() == [0.5, 0, 1]
    assert accuracy(logits, targets, torch.tensor([1]), output="trio").tolist() == [1, 0, 1]


def test_schedules_start_and_end_at_their_limits():
    assert [beta_at(step, max_beta=0.2, beta_rate=0.0) for step in (0, 1, 9)] == [0, 0.2, 0.2]
    decay = {"learning_rate": 1e-3, "decay_rate": 0.9999, "min_learning_rate": 1e-5}
    assert learning_rate_at(0, **decay) == pytest.approx(1e-3)
    assert learning_rate_at(10**7, **decay) == pytest.approx(1e-5)
    assert [learning_rate_at(step, warm_up=4, **decay | {"decay_rate": 1.0}) for step in (0, 1, 3, 9)] == pytest.approx(
        [0.25e-3, 0.5e-3, 1e-3, 1e-3]
    )
    assert sampling_probability_at(10**7, schedule="inverse_sigmoid", rate=1000) == 1


@pytest.mark.parametrize(
    ("schedule", "rate"), [("linear", 0.5), ("constant", 2), ("exponential", 1), ("inverse_sigmoid", 0)]
)
def test_impossible_schedules_are_refused(schedule, rate):
    with pytest.raises(ValueError, match=schedule):
        sampling_probability_at(0, schedule=schedule, rate=rate)


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="fugue"):
        reconstruction_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), output="fugue")


@pytest.mark.parametrize(
    ("segments", "wanted"),
    [(16, [1, 1, 2, 2, 4, 4, 8, 8, 16, 16]), (12, [1, 1, 2, 2, 4, 4, 6, 6, 12, 12]), (2, [1] * 8 + [2, 2])],
)
def test_a_curriculum_doubles_the_segments_or_takes_the_largest_divisor_below(segments, wanted):
    assert [segments_at(step, segments=segments, curriculum=8) for step in range(10)] == wanted
    assert segments_at(0, segments=segments, curriculum=0) == segments
    assert segments_at(0, segments=1, curriculum=0) == 1
