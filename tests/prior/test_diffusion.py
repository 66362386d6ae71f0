"""Diffusion models over z."""

import math

import pytest
import torch

from checkpoint import read_checkpoint
from configs import CONFIGS
from generate import TrainedModel
from helpers import shrink
from model import MusicVAE
from prior.diffusion import DiffusionPrior, fit_diffusion
from prior.mixture import WINDOWS_PER_GAUSSIAN, fit_gaussian, fit_mixture

MAX_PARAMETERS = 2_000_000


@pytest.fixture
def small_mlp(monkeypatch):
    """Wide enough for two dimensions."""
    monkeypatch.setattr("prior.diffusion.MLP_WIDTH", 32)


def ring(count):
    """Posteriors on a circle, which Gaussians do not describe well: mu and sigma [n, 2]."""
    angle = torch.linspace(0, 2 * math.pi, count + 1)[:-1]
    mu = 3 * torch.stack([angle.cos(), angle.sin()], 1)[torch.randperm(count, generator=seeded())]
    return mu, torch.full_like(mu, 0.1)


def seeded():
    return torch.Generator().manual_seed(0)


def test_an_untrained_diffusion_model_draws_a_gaussian(small_mlp):
    """The MLP adds nothing yet, and so few windows give a single Gaussian, which the sampler has to reproduce."""
    noise = torch.randn(WINDOWS_PER_GAUSSIAN, 2, generator=seeded())
    mu = torch.tensor([2.0, 5.0]) + noise @ torch.tensor([[0.5, 0.0], [0.4, 0.2]]).T
    sigma = torch.full_like(mu, 0.3)
    prior, gaussian = fit_diffusion(mu, sigma, updates=1), fit_gaussian(mu, sigma)
    prior = prior._replace(write=torch.zeros_like(prior.write))
    drawn = prior.draw(10_000, seeded())
    torch.testing.assert_close(drawn.mean(0), gaussian.means[0], rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.T.cov(), gaussian.scale @ gaussian.scale.T, rtol=0.05, atol=0.01)
    half = prior.draw(10_000, seeded(), width=0.5)
    torch.testing.assert_close(half - gaussian.means, (drawn - gaussian.means) / 2, rtol=0, atol=1e-4)


def test_the_mixture_alone_denoises_as_bayes_has_it(small_mlp):
    """Against the mean of z over a fine grid, for two Gaussians on a line; the MLP is silent."""
    mu = torch.tensor([-2.0, 2.0]).repeat_interleave(WINDOWS_PER_GAUSSIAN)[:, None]
    prior = fit_diffusion(mu, torch.full_like(mu, 0.5), updates=1)
    prior = prior._replace(write=torch.zeros_like(prior.write))
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    density = sum((-((grid - centre) ** 2) / (2 * 0.5**2)).exp() for centre in (-2, 2))
    scale, level = prior.scale.item(), 0.4
    for x in (-1.0, 0.1, 0.7):
        posterior = density * (-((x - grid / scale) ** 2) / (2 * level**2)).exp()
        want = (posterior * grid / scale).sum() / posterior.sum()
        found = prior.denoised(torch.tensor([[x]]), torch.tensor([[level]]))
        assert found.item() == pytest.approx(want.item(), abs=1e-4)


def test_training_draws_nearer_to_the_songs_than_the_mixture_does(small_mlp):
    """Songs on a ring, which four Gaussians describe badly."""
    mu, sigma = ring(4 * WINDOWS_PER_GAUSSIAN)
    off = [
        (prior.draw(1000, seeded()).norm(dim=1) - 3).abs().mean()
        for prior in (fit_diffusion(mu, sigma, updates=800), fit_mixture(mu, sigma))
    ]
    assert off[0] < off[1] / 2


def test_a_diffusion_model_is_repeatable(small_mlp):
    mu, sigma = ring(256)
    one, two = (fit_diffusion(mu, sigma, updates=3) for _ in range(2))
    assert all(map(torch.equal, one, two))
    assert torch.equal(one.draw(5, seeded()), two.draw(5, seeded()))
    assert not torch.equal(one.draw(5, seeded()), one.draw(5, seeded().manual_seed(1)))
    assert one.draw(5, seeded(), 0.5).shape == (5, 2)


def test_a_diffusion_model_trains_where_gradients_are_off(small_mlp):
    mu, sigma = ring(WINDOWS_PER_GAUSSIAN)
    with torch.no_grad():
        prior = fit_diffusion(mu, sigma, updates=2)
    assert not any(part.requires_grad for part in prior)


def test_without_noise_all_draws_about_a_centre_are_equal(small_mlp):
    mu, sigma = ring(WINDOWS_PER_GAUSSIAN)
    drawn = fit_diffusion(mu, sigma, updates=20).draw(6, seeded(), width=0)
    torch.testing.assert_close(drawn, drawn[:1].expand(6, -1))


@pytest.mark.parametrize("z_size", sorted({config.model.z_size for config in CONFIGS.values()}))
def test_a_diffusion_model_has_at_most_two_million_parameters(z_size):
    """With as many Gaussians as a prior has at most."""
    mu = torch.randn(300, z_size, generator=seeded())
    prior = fit_diffusion(mu, torch.ones_like(mu), updates=1)
    most = prior._replace(centres=torch.zeros(384, z_size), weights=torch.zeros(384))
    assert sum(part.numel() for part in most) <= MAX_PARAMETERS
    assert [list(part.shape) for part in prior] == list(prior.wanted_shapes(z_size))


def test_a_diffusion_model_says_what_it_is(small_mlp):
    mu, sigma = ring(WINDOWS_PER_GAUSSIAN)
    prior = fit_diffusion(mu, sigma, updates=1)
    count = sum(part.numel() for part in prior)
    assert repr(prior) == f"diffusion model of {count:,} parameters over z of size 2"


def test_a_checkpoint_keeps_a_diffusion_model_and_its_width(tmp_path, small_mlp):
    config = shrink("cat-mel_2bar_tiny")
    mu = torch.randn(100, config.model.z_size, generator=seeded())
    prior = fit_diffusion(mu, torch.ones_like(mu), updates=2)
    trained = TrainedModel(MusicVAE(config.model), config, prior=prior, prior_width=0.9)
    trained.save(tmp_path / "model.pt")
    again = TrainedModel.load(tmp_path / "model.pt")
    assert isinstance(again.prior, DiffusionPrior)
    assert all(map(torch.equal, again.prior, prior))
    assert again.prior_width == 0.9
    assert torch.equal(again.draw_z(4, seed=0), prior.draw(4, seeded(), 0.9))
    assert read_checkpoint(tmp_path / "model.pt")["prior"]["kind"] == "diffusion"
