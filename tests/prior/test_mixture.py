"""Mixtures of Gaussians over z."""

import math

import pytest
import torch

from checkpoint import read_checkpoint, save_checkpoint, stored_prior
from helpers import shrink
from model import MusicVAE
from prior.mixture import WINDOWS_PER_GAUSSIAN, MixturePrior, fit_gaussian, fit_mixture


def clusters(centres: torch.Tensor, each: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shuffled posteriors about some centres: mu and sigma [n, Z], and the covariance of their draws about a centre."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.5, 0.0], [0.4, 0.2]])
    noise = torch.randn(len(centres) * each, 2, generator=generator) @ turn.T
    mu = (centres.repeat(each, 1) + noise)[torch.randperm(len(noise), generator=generator)]
    return mu, torch.full_like(mu, 0.3), turn @ turn.T + 0.09 * torch.eye(2)


def test_the_fit_finds_clusters():
    """Three distant clusters of unequal size: the fit has their centres, their shares and their covariance."""
    centres = torch.tensor([[6.0, 0.0], [-6.0, 0.0], [-6.0, 0.0], [0.0, 9.0]])
    mu, sigma, covariance = clusters(centres, each=16 * WINDOWS_PER_GAUSSIAN)
    prior = fit_mixture(mu, sigma)
    assert len(prior.means) == 64
    nearest = torch.cdist(prior.means, centres[[0, 1, 3]]).argmin(1)
    shares = torch.zeros(3).index_add(0, nearest, prior.weights)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.5, 0.25]), rtol=0, atol=1e-4)
    drawn = prior.draw(40_000, torch.Generator().manual_seed(0))
    about = drawn - centres[torch.cdist(drawn, centres).argmin(1)]
    torch.testing.assert_close(about.T.cov(), covariance, rtol=0, atol=0.02)


def test_half_the_width_draws_half_as_far_from_the_means():
    mu, sigma, _ = clusters(torch.tensor([[6.0, 0.0], [-6.0, 0.0]]), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_mixture(mu, sigma)
    whole, half, none = (prior.draw(50, torch.Generator().manual_seed(0), width) for width in (1.0, 0.5, 0.0))
    assert (torch.cdist(none, prior.means).amin(1) == 0).all()
    torch.testing.assert_close(half - none, (whole - none) / 2)
    assert (whole != none).all()


def test_few_windows_get_one_gaussian_with_their_mean_and_covariance():
    mu, sigma, _ = clusters(torch.zeros(1, 2), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_mixture(mu, sigma)
    torch.testing.assert_close(prior.means, mu.mean(0, keepdim=True))
    torch.testing.assert_close(prior.scale @ prior.scale.T, mu.T.cov(correction=0) + 0.09 * torch.eye(2))
    assert prior.weights.tolist() == [1]


def test_the_fit_is_a_local_maximum_of_the_likelihood():
    """Moving the means, the scale or the weights a little makes draws from the posteriors less likely."""
    mu, _, _ = clusters(torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_mixture(mu, torch.zeros_like(mu))
    best = prior.log_prob(mu).mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        means, scale, weights = (part + 0.05 * torch.randn(part.shape, generator=generator) for part in prior)
        for other in (prior._replace(means=means), prior._replace(scale=scale.tril()), prior._replace(weights=weights)):
            assert other.log_prob(mu).mean() < best


def test_posteriors_that_are_not_finite_are_refused():
    mu = torch.full((3, 2), math.nan)
    with pytest.raises(ValueError, match="not finite: the model's training has diverged"):
        fit_mixture(mu, torch.ones_like(mu))


def test_the_density_of_two_gaussians_is_the_one_computed_by_hand():
    """Half of the mass at 0 and half at 3, standard deviation 2."""
    prior = MixturePrior(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0]]), torch.tensor([0.5, 0.5]))
    want = math.log((0.5 + 0.5 * math.exp(-9 / 8)) / (2 * math.sqrt(2 * math.pi)))
    assert prior.log_prob(torch.zeros(1, 1)).item() == pytest.approx(want, rel=1e-6)


def test_a_checkpoint_keeps_its_prior(tmp_path):
    config = shrink("cat-mel_2bar_tiny")
    z_size = config.model.z_size
    prior = MixturePrior(torch.randn(3, z_size), torch.eye(z_size), torch.tensor([0.5, 0.25, 0.25]))
    for name, given in (("with.pt", prior), ("without.pt", None)):
        save_checkpoint(tmp_path / name, MusicVAE(config.model), config, prior=given)
    kept = stored_prior(read_checkpoint(tmp_path / "with.pt"))
    assert all(map(torch.equal, kept, prior))
    assert stored_prior(read_checkpoint(tmp_path / "without.pt")) is None


def test_a_prior_says_what_it_is():
    prior = MixturePrior(torch.zeros(384, 160), torch.eye(160), torch.full((384,), 1 / 384))
    assert repr(prior) == f"{prior}" == "mixture of 384 Gaussians over z of size 160"
    assert repr(prior._replace(means=torch.zeros(1, 160))) == "mixture of 1 Gaussian over z of size 160"


def test_a_single_gaussian_has_the_mean_and_covariance_of_all_posteriors():
    mu, sigma, _ = clusters(torch.tensor([[6.0, 0.0], [-6.0, 0.0]]), each=2 * WINDOWS_PER_GAUSSIAN)
    gaussian = fit_gaussian(mu, sigma)
    torch.testing.assert_close(gaussian.means, mu.mean(0, keepdim=True))
    torch.testing.assert_close(gaussian.scale @ gaussian.scale.T, mu.T.cov(correction=0) + 0.09 * torch.eye(2))
    assert gaussian.weights.tolist() == [1]


def test_a_mixture_given_the_first_numbers_has_the_conditional_density():
    generator = torch.Generator().manual_seed(0)
    scale = torch.randn(5, 5, generator=generator).tril() + 3 * torch.eye(5)
    prior = MixturePrior(torch.randn(3, 5, generator=generator), scale, torch.tensor([0.2, 0.5, 0.3]))
    first, others = torch.randn(2, generator=generator), torch.randn(4, 3, generator=generator)
    both = torch.cat([first.expand(4, 2), others], 1)
    margin = MixturePrior(prior.means[:, :2], scale[:2, :2], prior.weights).log_prob(first[None])
    torch.testing.assert_close(prior.given(first).log_prob(others), prior.log_prob(both) - margin)
