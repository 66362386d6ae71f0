"""The mixture that samples are drawn from."""

import math

import pytest
import torch

from checkpoint import save_checkpoint, stored_prior
from generate import TrainedModel
from helpers import shrink
from model import MusicVAE
from prior import WINDOWS_EACH, Prior, fit_prior


def clusters(centres: torch.Tensor, each: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Posteriors [n, Z] scattered about some centres, in any order, and the covariance of all draws about a centre."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.5, 0.0], [0.4, 0.2]])
    noise = torch.randn(len(centres) * each, 2, generator=generator) @ turn.T
    mu = (centres.repeat(each, 1) + noise)[torch.randperm(len(noise), generator=generator)]
    return mu, torch.full_like(mu, 0.3), turn @ turn.T + 0.09 * torch.eye(2)


def test_clusters_are_found():
    """Three far from each other, of unequal sizes: where they are, their shares and the covariance about each."""
    centres = torch.tensor([[6.0, 0.0], [-6.0, 0.0], [-6.0, 0.0], [0.0, 9.0]])
    mu, sigma, covariance = clusters(centres, each=16 * WINDOWS_EACH)
    prior = fit_prior(mu, sigma)
    assert len(prior.means) == 64
    nearest = torch.cdist(prior.means, centres[[0, 1, 3]]).argmin(1)
    shares = torch.zeros(3).index_add(0, nearest, prior.weights)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.5, 0.25]), rtol=0, atol=1e-4)
    drawn = prior.draw(40_000, torch.Generator().manual_seed(0))
    about = drawn - centres[torch.cdist(drawn, centres).argmin(1)]
    torch.testing.assert_close(about.T.cov(), covariance, rtol=0, atol=0.02)


def test_a_width_of_half_goes_half_as_far_from_the_means():
    mu, sigma, _ = clusters(torch.tensor([[6.0, 0.0], [-6.0, 0.0]]), each=WINDOWS_EACH)
    prior = fit_prior(mu, sigma)
    whole, half, none = (prior.draw(50, torch.Generator().manual_seed(0), width) for width in (1.0, 0.5, 0.0))
    assert (torch.cdist(none, prior.means).amin(1) == 0).all()
    torch.testing.assert_close(half - none, (whole - none) / 2)
    assert (whole != none).all()


def test_a_few_windows_have_one_gaussian_of_their_mean_and_covariance():
    mu, sigma, _ = clusters(torch.zeros(1, 2), each=WINDOWS_EACH)
    prior = fit_prior(mu, sigma)
    torch.testing.assert_close(prior.means, mu.mean(0, keepdim=True))
    torch.testing.assert_close(prior.scale @ prior.scale.T, mu.T.cov(correction=0) + 0.09 * torch.eye(2))
    assert prior.weights.tolist() == [1]


def test_no_other_mixture_of_that_kind_is_likelier_nearby():
    """A maximum: moving the means, the scale or the weights a little makes draws of the posteriors less likely."""
    mu, _, _ = clusters(torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), each=WINDOWS_EACH)
    prior = fit_prior(mu, torch.zeros_like(mu))
    best = prior.log_prob(mu).mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        means, scale, weights = (part + 0.05 * torch.randn(part.shape, generator=generator) for part in prior)
        for other in (prior._replace(means=means), prior._replace(scale=scale.tril()), prior._replace(weights=weights)):
            assert other.log_prob(mu).mean() < best


def test_a_model_that_has_diverged_has_no_prior():
    mu = torch.full((3, 2), math.nan)
    with pytest.raises(ValueError, match="diverged"):
        fit_prior(mu, torch.ones_like(mu))


def test_the_density_by_hand():
    """Half of it at 0, half at 3, of deviation 2."""
    prior = Prior(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0]]), torch.tensor([0.5, 0.5]))
    want = math.log((0.5 + 0.5 * math.exp(-9 / 8)) / (2 * math.sqrt(2 * math.pi)))
    assert prior.log_prob(torch.zeros(1, 1)).item() == pytest.approx(want, rel=1e-6)


def test_a_prior_of_the_first_version_is_read(tmp_path):
    """One Gaussian, its mean and its scale."""
    config = shrink("cat-mel_2bar_tiny")
    model = MusicVAE(config.model)
    mean = torch.arange(float(config.model.z_size))
    save_checkpoint(tmp_path / "old.pt", model, config, prior=(mean, 0.001 * torch.eye(len(mean))))
    drawn = TrainedModel.load(tmp_path / "old.pt").draw_z(3, 0)
    torch.testing.assert_close(drawn, mean.expand(3, -1), rtol=0, atol=0.01)
    assert stored_prior({"prior": None}) is None
