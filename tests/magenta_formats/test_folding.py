"""A Gaussian in a model's weights, in place of a prior beside them."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from generate import TrainedModel
from helpers import equal_weights, made_songs, shrink
from magenta_checkpoint import load_magenta_checkpoint
from magenta_formats.folding import diagonal_factor, fold_gaussian
from magenta_formats.javascript import export_magenta_js
from model import MusicVAE
from prior import fit_gaussian

PRESETS = (
    "cat-mel_2bar_tiny",
    "cat-drums_2bar_tiny",
    "hier-mel_16bar",
    "hierdec-trio_16bar",
    "trio_2bar_tiny",
    "groovae_4bar",
    "hier-drums_16bar_mini",
)
DENSE = ("hier-drums_16bar_mini",)  # whose upper layers are dense here


def made_model(name):
    """A model whose weights are large enough that z matters, and the tensors of a few windows."""
    torch.manual_seed(0)
    config = shrink(name, bars=4 if "16bar" in name else None, curriculum=0)
    upper = "dense" if name in DENSE else "lstm"
    model = MusicVAE(replace(config.model, upper=upper)).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model, config, config.converter.to_tensors(made_songs(config.converter).windows(range(24)))


def posteriors(z_size, count=400):
    """Means that correlate, far from 0, and standard deviations."""
    mu = 3 + torch.randn(count, z_size) @ torch.randn(z_size, z_size) / 4
    return mu, 0.1 + torch.rand(count, z_size)


@pytest.mark.parametrize("name", PRESETS)
def test_the_folded_model_decodes_a_standard_normal_as_the_model_decodes_the_gaussian(name):
    model, config, tensors = made_model(name)
    mu, sigma = posteriors(config.model.z_size)
    folded = fold_gaussian(model, mu, sigma, width=0.8)
    (mean,), scale, _ = fit_gaussian(mu.double(), sigma.double())
    ours = torch.randn(24, len(mean))
    theirs = (mean + 0.8 * ours.double() @ diagonal_factor(scale, sigma.double()).T).float()
    logits = folded.decode(ours, tensors.targets, tensors.lengths)
    torch.testing.assert_close(logits, model.decode(theirs, tensors.targets, tensors.lengths), rtol=1e-4, atol=1e-4)
    assert (logits - model.decode(ours, tensors.targets, tensors.lengths)).abs().max() > 0.1


def test_the_factor_has_the_gaussians_covariance_and_makes_the_mean_posterior_diagonal():
    mu, sigma = (part.double() for part in posteriors(8))
    scale = fit_gaussian(mu, sigma).scale
    factor = diagonal_factor(scale, sigma)
    torch.testing.assert_close(factor @ factor.T, scale @ scale.T)
    inverse = torch.linalg.inv(factor)
    mean = inverse * sigma.square().mean(0) @ inverse.T
    torch.testing.assert_close(mean, mean.diag().diag(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_the_posterior_mean_is_the_one_of_the_same_music(name):
    """Decoding the folded model's mean gives what the model's own mean gives."""
    model, config, (inputs, targets, lengths, _) = made_model(name)
    folded = fold_gaussian(model, *posteriors(config.model.z_size))
    ours, theirs = (vae.decode(vae.encode(inputs).loc, targets, lengths) for vae in (folded, model))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_the_training_songs_posteriors_fill_a_standard_normal():
    """The draws of all posteriors have mean 0 and covariance 1, and each posterior costs no more KL than before."""
    model, _, (inputs, *_) = made_model("cat-mel_2bar_tiny")
    before = model.encode(inputs)
    folded = fold_gaussian(model, before.loc.detach(), before.scale.detach())
    after = folded.encode(inputs)
    assert after.loc.mean(0).abs().max() < 1e-4
    covariance = after.loc.T.cov(correction=0) + after.scale.square().mean(0).diag()
    torch.testing.assert_close(covariance, torch.eye(len(covariance)), rtol=0, atol=1e-3)
    ours, theirs = (kl_divergence(posterior, Normal(0.0, 1.0)).sum() for posterior in (after, before))
    assert ours < theirs


def test_a_diagonal_gaussian_keeps_posteriors_as_they_are():
    """Where dimensions do not correlate, sigma' is sigma over the Gaussian's standard deviation."""
    model, config, (inputs, *_) = made_model("cat-mel_2bar_tiny")
    sigma = model.encode(inputs).scale.detach()
    spread = torch.linspace(1, 3, config.model.z_size)
    mu = torch.cat([torch.eye(config.model.z_size), -torch.eye(config.model.z_size)]) * spread
    folded = fold_gaussian(model, mu, sigma.mean(0).expand_as(mu))
    gaussian = (mu.square().mean(0) + sigma.mean(0).square()).sqrt()
    ours = folded.encode(inputs).scale.mean(0).sort().values
    torch.testing.assert_close(ours, (sigma.mean(0) / gaussian).sort().values, rtol=0.05, atol=0)


def test_the_model_that_is_folded_stays_as_it_was():
    model, config, _ = made_model("cat-mel_2bar_tiny")
    again = made_model("cat-mel_2bar_tiny")[0]
    fold_gaussian(model, *posteriors(config.model.z_size))
    assert equal_weights(model, again)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda mu, sigma: (mu[:, 1:], sigma[:, 1:], 1.0), r"mu and sigma must be \[n, 16\], as the model"),
        (lambda mu, sigma: (mu, -sigma, 1.0), "sigma must be at least 0"),
        (lambda mu, sigma: (mu * math.nan, sigma, 1.0), "the posteriors are not finite"),
        (lambda mu, sigma: (mu, sigma, 0), "width must be a number above 0, got 0"),
        (lambda mu, sigma: (mu, sigma, -1), "width must be a number above 0, got -1"),
    ],
)
def test_posteriors_of_another_model_are_refused(change, words):
    model, config, _ = made_model("cat-mel_2bar_tiny")
    with pytest.raises(ValueError, match=words):
        fold_gaussian(model, *change(*posteriors(config.model.z_size)))


def test_a_folded_model_is_exported_like_any_other(tmp_path):
    model, config, _ = made_model("cat-mel_2bar_tiny")
    songs = made_songs(config.converter, windows=200)
    trained = TrainedModel(model, config)
    folded = trained.folded(songs)
    export_magenta_js(folded.model, folded.config, tmp_path / "folded")
    again = load_magenta_checkpoint(tmp_path / "folded")
    z = folded.draw_z(3, seed=0)
    torch.testing.assert_close(again.sample(z=z, temperature=0), folded.model.sample(z=z, temperature=0))
    _, mu, sigma = folded.encode(songs.windows(range(200)))
    assert folded.prior is None
    covariance = mu.T.cov(correction=0) + sigma.square().mean(0).diag()
    torch.testing.assert_close(covariance, torch.eye(len(covariance)) / 0.8**2, rtol=0, atol=1e-3)
