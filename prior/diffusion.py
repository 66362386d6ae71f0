"""A diffusion model over z (Mittal et al. 2021, "Symbolic Music Generation with Diffusion Models", arXiv 2103.16091).

Preconditioning, noise levels and sampler are those of Karras et al. 2022 ("Elucidating the Design Space of
Diffusion-Based Generative Models", arXiv 2206.00364). Two points differ from both papers. With them it trains in
minutes on a CPU:

- It diffuses a single vector with a residual MLP. Mittal et al. diffuse those of successive windows with a transformer.
- It starts from a mixture of Gaussians, whose best guess of z behind noise is known. The MLP learns the rest. Sampling
  starts from the mixture as well, at a noise that hides its difference from the songs (Zheng et al. 2022, "Truncated
  Diffusion Probabilistic Models", arXiv 2202.09671).

Axes: n windows, K Gaussians, Z size of z, W width of the MLP, B its blocks, F features of a noise level.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.adam import minimise
from engine.checks import checked_count, checked_generator, checked_non_negative
from engine.rng import integers, normal, seeded
from prior.mixture import checked_posteriors, fit_gaussian, fit_mixture

MLP_WIDTH = 384  # W
MLP_BLOCKS = 3  # B
FREQUENCIES = 16  # of the sines and cosines that describe a noise level
FEATURES = 2 * FREQUENCIES + 1  # F: with a constant 1, whose weights are the biases
UPDATES = 4000  # of a diffusion model's training
BATCH = 256  # draws from the posteriors per update
LEARNING_RATE = 2e-3  # at its highest
BETA2 = 0.99  # of Adam
WARM_UP = 200  # updates in which the learning rate rises; it falls to 0 by a cosine
NOISE_MEAN, NOISE_SPREAD = -0.5, 1.0  # of the log of the noise levels in training (Karras et al., table 1: -1.2, 1.2)
NOISE_LEVELS = 18  # of sampling; two evaluations of the MLP each
MAX_NOISE, MIN_NOISE = 4.0, 0.03  # standard deviations, of whitened z
NOISE_POWER = 7  # spaces the levels (Karras et al., equation 5)


class DiffusionPrior(NamedTuple):
    """A diffusion model: a mixture and an MLP remove the noise of whitened z, x = scale^-1 (z - mean), step by step."""

    mean: Tensor  # [Z] of the aggregate posterior
    scale: Tensor  # [Z, Z]: its covariance is scale @ scale.T
    centres: Tensor  # [K, Z], means of the mixture's Gaussians, whitened
    spread: Tensor  # [Z], their standard deviations, whitened; the whitened Gaussians have no correlations
    weights: Tensor  # [K], sum to 1
    read: Tensor  # [W, Z + F], weights of the MLP's first layer; the features of the noise level follow its input
    inner: Tensor  # [B, W, W + F], weights of each residual block's first layer
    outer: Tensor  # [B, W, W], of its second
    write: Tensor  # [Z, W + F], of the last layer

    @property
    def z_size(self) -> int:
        """Z."""
        return self.mean.shape[-1]

    def wanted_shapes(self, z_size: int) -> tuple[list[int], ...]:
        """The shapes that the fields must have, in order, in a model with this size of z."""
        count, units, blocks = (part.shape[:1].numel() for part in (self.centres, self.read, self.inner))
        mixture = [z_size], [z_size, z_size], [count, z_size], [z_size], [count]
        layers = [blocks, units, units + FEATURES], [blocks, units, units]
        return *mixture, [units, z_size + FEATURES], *layers, [z_size, units + FEATURES]

    def __repr__(self) -> str:
        return f"diffusion model of {sum(part.numel() for part in self):,} parameters over z of size {self.z_size}"

    @torch.no_grad()
    def draw(self, n: int, generator: Generator | None = None, width: float = 1.0) -> Tensor:
        """Draws n latent vectors, [n, Z], by Heun's method (Karras et al. 2022, algorithm 1).

        Args:
            n: number of vectors.
            generator: random numbers, on the prior's device. All are drawn at the start.
            width: factor on the noise that the draw starts from, about the centre of one of the Gaussians; less than 1
                stays nearer to the centres. Where z is Gaussian, it is the factor on the standard deviation.

        Raises:
            ValueError: n is below 1 or width below 0.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_non_negative("width", width)
        noise = normal((n, self.z_size), generator, self.mean.device)
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        levels = _noise_levels().tolist()
        x = self.centres[which] + width * (self.spread.square() + levels[0] ** 2).sqrt() * noise
        for level, lower in zip(levels, [*levels[1:], 0.0], strict=True):
            slope = self._slope(x, level)
            there = x + (lower - level) * slope
            x = x + (lower - level) * (slope + self._slope(there, lower)) / 2 if lower else there
        return self.mean + x @ self.scale.T

    def denoised(self, x: Tensor, level: Tensor) -> Tensor:
        """The mean of whitened z given x, z with noise: [n, Z].

        The mixture's own mean and what the MLP adds to it, with the scales of Karras et al. 2022 (table 1) for data of
        standard deviation 1.

        Args:
            x: [n, Z].
            level: [n, 1], standard deviation of the noise.
        """
        whole = (1 + level.square()).sqrt()
        return self._mixture_mean(x, level.square()) + level / whole * self._mlp(x / whole, noise_features(level))

    def _slope(self, x: Tensor, level: float) -> Tensor:
        """dx / d level along the path from noise to z."""
        return (x - self.denoised(x, x.new_full((len(x), 1), level))) / level

    def _mixture_mean(self, x: Tensor, noise: Tensor) -> Tensor:
        """The mean of z given x, were z the mixture alone; noise [n, 1] is a variance."""
        own = self.spread.square()
        total = own + noise  # (n, Z)
        share = self.weights.log() + (x / total) @ self.centres.T - (0.5 / total) @ self.centres.square().T  # (n, K)
        return (own * x + noise * (share.softmax(1) @ self.centres)) / total

    def _mlp(self, x: Tensor, features: Tensor) -> Tensor:  # [n, Z], [n, F] -> [n, Z]
        hidden = F.linear(torch.cat([x, features], 1), self.read)  # (n, W)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            hidden = hidden + F.linear(F.silu(_normalised(hidden, features, inner)), outer)
        return _normalised(hidden, features, self.write)


def noise_features(level: Tensor) -> Tensor:
    """Sines and cosines of the logarithm of noise levels [n, 1], and a constant 1: [n, F]."""
    frequencies = torch.logspace(-0.3, 1.5, FREQUENCIES, device=level.device)
    angles = level.log() / 4 * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.ones_like(level)], 1)


def _normalised(hidden: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """A linear layer of the normalised hidden units and the features."""
    return F.linear(torch.cat([F.layer_norm(hidden, hidden.shape[1:]), features], 1), weight)


def _noise_levels() -> Tensor:
    """The noise levels of sampling, falling: [NOISE_LEVELS] (Karras et al. 2022, equation 5)."""
    ends = MAX_NOISE ** (1 / NOISE_POWER), MIN_NOISE ** (1 / NOISE_POWER)
    return torch.linspace(*ends, NOISE_LEVELS, dtype=torch.float64) ** NOISE_POWER


def fit_diffusion(mu: Tensor, sigma: Tensor, updates: int | None = None) -> DiffusionPrior:
    """Trains a diffusion model on draws from the posteriors, made anew in each update. A second fit gives the same.

    Args:
        mu, sigma: as in `fit_mixture`; the device of mu trains.
        updates: UPDATES when None.
    """
    mu, sigma = (part.detach().float() for part in checked_posteriors(mu, sigma))
    updates = UPDATES if updates is None else checked_count("updates", updates)
    mixture = whitened_mixture(mu, sigma)
    mean, whiten = mixture[0], torch.linalg.inv(mixture[1].cpu()).to(mu)
    source = seeded(mu.device, "diffusion prior")
    weights = nn.ParameterList(_first_weights(mu.shape[1], source))

    def loss() -> Tensor:
        rows = integers(0, len(mu), (BATCH,), source, mu.device)
        z = mu[rows] + sigma[rows] * normal((BATCH, mu.shape[1]), source, mu.device)
        return _denoising_loss(DiffusionPrior(*mixture, *weights), (z - mean) @ whiten.T, source)

    minimise(weights, loss, updates, LEARNING_RATE, warm_up=WARM_UP, beta2=BETA2)
    return DiffusionPrior(*mixture, *(part.detach() for part in weights))


def whitened_mixture(mu: Tensor, sigma: Tensor) -> list[Tensor]:
    """mean, scale, centres, spread and weights of a `DiffusionPrior`, from `fit_mixture` and `fit_gaussian`.

    Of the factors of the covariance, scale is the one for which the mixture's Gaussians have no correlations.
    """
    wide = mu.cpu().double(), sigma.cpu().double()
    (mean,), whole, _ = fit_gaussian(*wide)
    means, within, weights = fit_mixture(*wide)
    whiten = torch.linalg.inv(whole)
    spread, turn = torch.linalg.eigh(whiten @ within @ within.T @ whiten.T)
    parts = mean, whole @ turn, (means - mean) @ whiten.T @ turn, spread.clamp(min=0).sqrt(), weights
    return [part.to(mu) for part in parts]


def _first_weights(z_size: int, source: Generator) -> list[Tensor]:
    """Initial read, inner, outer and write of a `DiffusionPrior`, whose MLP adds nothing to the mixture yet."""
    shapes = [MLP_WIDTH, z_size + FEATURES], [MLP_BLOCKS, MLP_WIDTH, MLP_WIDTH + FEATURES]
    shapes += ([MLP_BLOCKS, MLP_WIDTH, MLP_WIDTH],)
    weights = [normal(shape, source, source.device) / math.sqrt(shape[-1]) for shape in shapes]
    return [*weights, torch.zeros(z_size, MLP_WIDTH + FEATURES, device=source.device)]


def _denoising_loss(prior: DiffusionPrior, x: Tensor, source: Generator) -> Tensor:
    """Weighted squared error at random noise levels; 1 for a model that knows mean and covariance alone.

    x [n, Z] is whitened z (Karras et al. 2022, section 5).
    """
    level = (NOISE_MEAN + NOISE_SPREAD * normal((len(x), 1), source, x.device)).exp()
    error = prior.denoised(x + level * normal(x.shape, source, x.device), level) - x
    return (error.square() * (1 + 1 / level.square())).mean()
