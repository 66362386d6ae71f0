"""Priors fitted after training, for samples that are nearer to the songs than N(0, I).

`Prior` is a mixture of Gaussians over z, of one or of many. `DiffusionPrior` is a diffusion model over z (Mittal et al.
2021, "Symbolic Music Generation with Diffusion Models", arXiv 2103.16091), with the preconditioning, noise levels and
sampler of Karras et al. 2022 ("Elucidating the Design Space of Diffusion-Based Generative Models", arXiv 2206.00364).
It differs from both in two points, with which it trains in minutes on a CPU:

- It diffuses a single vector with a residual MLP. Mittal et al. diffuse those of successive windows with a transformer.
- It starts from a mixture of Gaussians, whose best guess of z behind noise is known. The MLP learns the rest. Sampling
  starts from the mixture as well, at a noise that hides its difference from the songs (Zheng et al. 2022, "Truncated
  Diffusion Probabilistic Models", arXiv 2202.09671).

`SequencePrior` draws the codes of the consecutive windows of a piece. Most of what makes the form of a song is that
windows come back, exactly or varied, so it chooses for each window whether to repeat an earlier one, to vary one, to
rest, or to draw a new code near those before.

`PersonalPrior` is a small VAE on the latent vectors of a few songs (Dinculescu 2019, "MidiMe: Personalizing a MusicVAE
model with user data"). These choices are ours:

- The standard deviation of its decoder is that of the model's posteriors. Its loss and the model's own then add up to a
  bound on the songs' likelihood, without a weight between reconstruction and KL.
- It trains on draws from the posteriors, since a song has few windows.
- The dial does not change the training. It moves each draw towards one of the prior that it replaces.

Axes: n windows, K Gaussians, Z size of z, W width of the MLP, B its blocks, F features of a noise level; of a
`SequencePrior`, L lags, H hidden units, M windows remembered, O features of a choice, C features of a place; of a
`PersonalPrior`, U size of its latent vectors, M draws of the prior that it replaces.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import one_hot
from tqdm import tqdm

from engine.adam import Adam
from engine.checks import checked_count, checked_generator, checked_number, described, finite_floats
from engine.rng import integers, normal, seeded
from engine.slerp import slerp_rows

WINDOWS_PER_GAUSSIAN = 64  # on average, and at most
EM_ROUNDS = 15  # of an expectation and a maximisation step each

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
MOST_NOISE, LEAST_NOISE = 4.0, 0.03  # standard deviations, of whitened z
NOISE_POWER = 7  # spaces the levels (Karras et al., equation 5)

LAGS = 32  # L: windows, back to which a window can repeat another
REMEMBERED = 4  # M: last windows, whose choices weigh in the next one
PHASES = 8  # windows of a group, in which every place has a habit of its own: 16 bars, for windows of 2
OWN_FEATURES = 2 * REMEMBERED + 2  # O
PLACE_FEATURES = OWN_FEATURES + PHASES + 3  # C
HIDDEN = 64  # H
ALIKE = 0.3  # largest squared distance of a variation from its original, as a share of that of any two windows
SAME = 1e-5  # the same, of a repetition; codes of equal windows differ by rounding
CODE_SPREAD = 0.3  # standard deviation of a code about its posterior's mean, as a share of the posterior's
SEQUENCE_WIDTH = 0.58  # factor on the standard deviation of drawn codes; chosen on the songs of the valid split
SEQUENCE_ROWS = 24_576  # most new windows that the mixture of a sequence prior is fitted to
CHOICE_UPDATES = 1500  # of the training of the choice
CHOICE_BATCH = 512  # most windows per update
CHOICE_RATE = 5e-3  # learning rate at its highest
MIDDLES = 16  # drawn between a start and an end; the end goes on best from the one that is taken

SMALL_Z = 8  # U
SMALL_WIDTH = 128  # of a small VAE's hidden layers
PERSONAL_UPDATES = 500  # of its training
PERSONAL_BATCH = 32  # draws from the posteriors per update
PERSONAL_RATE = 3e-3  # learning rate at the start; it falls to 0 by a cosine

checked_dial = partial(checked_number, wanted="a number from 0 (these songs) to 1 (anything)", low=0, high=1)


class Prior(NamedTuple):
    """A mixture of K Gaussians that share one covariance."""

    means: Tensor  # [K, Z]
    scale: Tensor  # [Z, Z], lower triangular Cholesky factor: the covariance is scale @ scale.T
    weights: Tensor  # [K], sum to 1

    @property
    def z_size(self) -> int:
        """Z."""
        return self.means.shape[-1]

    def wanted_shapes(self, z_size: int) -> tuple[list[int], ...]:
        """The shapes that the fields must have, in order, in a model with this size of z."""
        count = self.means.shape[:1].numel()
        return [count, z_size], [z_size, z_size], [count]

    def __repr__(self) -> str:
        count, z_size = self.means.shape
        return f"mixture of {count} Gaussian{'s' * (count > 1)} over z of size {z_size}"

    def draw(self, n: int, generator: Generator | None = None, width: float = 1.0) -> Tensor:
        """Draws n latent vectors, [n, Z].

        Args:
            n: number of vectors.
            generator: random numbers, on the prior's device.
            width: factor on the standard deviation of each Gaussian; less than 1 stays nearer to the means.

        Raises:
            ValueError: n is below 1 or width below 0.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_number("width", width, "a number of at least 0", low=0)
        noise = normal((n, len(self.scale)), generator, self.scale.device)
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.means[which] + width * noise @ self.scale.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at z [n, Z]: nats, [n].

        Raises:
            ValueError: z has another shape or is not finite.
        """
        z_size = len(self.scale)
        z = finite_floats("z", z, f"[n, {z_size}] numbers", self.means)
        if z.ndim != 2 or z.shape[1] != z_size:
            raise ValueError(f"z must be [n, {z_size}], got {list(z.shape)}")
        gaussians = MultivariateNormal(self.means, scale_tril=self.scale)
        return MixtureSameFamily(Categorical(logits=self.weights.log()), gaussians).log_prob(z)

    def given(self, first: Tensor) -> "Prior":
        """The mixture over the other numbers of a vector, given its first ones: [K, Z - C], of `first` [C]."""
        known = len(first)
        away = torch.linalg.solve_triangular(self.scale[:known, :known], (first - self.means[:, :known]).T, upper=False)
        means = self.means[:, known:] + away.T @ self.scale[known:, :known].T
        weights = (self.weights.log() - away.square().sum(0) / 2).softmax(0)
        return Prior(means, self.scale[known:, known:], weights)


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
        count, width, blocks = (part.shape[:1].numel() for part in (self.centres, self.read, self.inner))
        mixture = [z_size], [z_size, z_size], [count, z_size], [z_size], [count]
        blocks = [blocks, width, width + FEATURES], [blocks, width, width]
        return *mixture, [width, z_size + FEATURES], *blocks, [z_size, width + FEATURES]

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
        width = checked_number("width", width, "a number of at least 0", low=0)
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
    ends = MOST_NOISE ** (1 / NOISE_POWER), LEAST_NOISE ** (1 / NOISE_POWER)
    return torch.linspace(*ends, NOISE_LEVELS, dtype=torch.float64) ** NOISE_POWER


# ---- Sequences ----


class Codes(NamedTuple):
    """The codes of consecutive windows."""

    z: Tensor  # [n, Z]
    sounds: Tensor  # [n] bool: whether the window has an onset; the code of one without means nothing

    def then(self, z: Tensor, sounds: bool) -> "Codes":
        """These windows and one more, of the code z [Z]."""
        return Codes(torch.cat([self.z, z[None]]), torch.cat([self.sounds, self.sounds.new_tensor([sounds])]))

    def summary(self) -> Tensor | None:
        """The last code and the mean code of the windows that sound, [2 Z]; None if none does."""
        heard = self.z[self.sounds]
        return torch.cat([heard[-1], heard.mean(0)]) if len(heard) else None


class SequencePrior(NamedTuple):
    """Codes of the windows of a piece: each repeats or varies one of the L windows before it, rests, or is new.

    An MLP weighs these choices by how the last windows chose. A new code comes from a mixture of Gaussians, given the
    code before it and the mean of all before it. A variation comes from a Gaussian, given the code that it varies.
    """

    means: Tensor  # [K, 3 Z], of the code before, the mean code and the new code
    scale: Tensor  # [3 Z, 3 Z], as in `Prior`
    weights: Tensor  # [K], sum to 1
    varied_means: Tensor  # [1, 2 Z], of a code and its variation
    varied_scale: Tensor  # [2 Z, 2 Z]
    apart: Tensor  # [1], mean squared distance of the codes of any two windows
    lags: Tensor  # [L + 1, H], biases of the MLP's first layer, by lag; lag 0 stands for no earlier window
    own: Tensor  # [O, H], its weights of which of the last M windows chose this lag, and of the share of all that did
    place: Tensor  # [C, H], its weights of the place in the piece
    choose: Tensor  # [H, 2], second layer: logits of varying and of repeating; at lag 0, of a rest and of a new code

    @property
    def z_size(self) -> int:
        """Z."""
        return self.means.shape[-1] // 3

    def wanted_shapes(self, z_size: int) -> tuple[list[int], ...]:
        """The shapes that the fields must have, in order, in a model with this size of z."""
        count, width = self.means.shape[:1].numel(), self.lags.shape[1:].numel()
        new = [count, 3 * z_size], [3 * z_size, 3 * z_size], [count]
        choice = [LAGS + 1, width], [OWN_FEATURES, width], [PLACE_FEATURES, width], [width, 2]
        return *new, [1, 2 * z_size], [2 * z_size, 2 * z_size], [1], *choice

    def __repr__(self) -> str:
        return f"sequence prior of {sum(part.numel() for part in self):,} parameters over z of size {self.z_size}"

    @torch.no_grad()
    def draw(
        self,
        n: int,
        generator: Generator | None = None,
        width: float = SEQUENCE_WIDTH,
        start: Codes | None = None,
        end: Codes | None = None,
    ) -> Codes:
        """Draws the codes of n windows.

        Args:
            n: number of windows.
            generator: random numbers, on the prior's device.
            width: factor on the standard deviations; less than 1 stays nearer to what is typical.
            start: the windows before.
            end: the windows after. They are taken to lie before `start`, too, as if the piece ran in a circle, so that
                the new windows take up both. Of MIDDLES draws it is the one from which `end` follows best.

        Raises:
            ValueError: n is below 1 or width below 0.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_number("width", width, "a number of at least 0", low=0)
        nothing = Codes(self.means.new_zeros(0, self.z_size), self.means.new_zeros(0, dtype=torch.bool))
        start, end = start or nothing, end or nothing
        before, length = Codes(*map(torch.cat, zip(end, start, strict=True))), len(start.z) + n + len(end.z)
        draws = []
        for _ in range(MIDDLES if end.sounds.any() else 1):
            codes = before
            for _ in range(n):
                codes = codes.then(*self._next(codes, length, len(end.z), generator, width))
            draws.append(codes)
        best = max(draws, key=lambda codes: self._fits(codes, end)) if len(draws) > 1 else draws[0]
        return Codes(*(part[len(before.z) :] for part in best))

    def _next(
        self, codes: Codes, length: int, shift: int, generator: Generator | None, width: float
    ) -> tuple[Tensor, bool]:
        """The code [Z] of the window after `codes`, and whether it sounds."""
        choices = self._choices(codes, length, shift, width).flatten()
        lag, second = divmod(int(torch.multinomial(choices, 1, generator=generator)), 2)
        if lag and second:
            return codes.z[-lag], bool(codes.sounds[-lag])
        if lag:
            varied = Prior(self.varied_means, self.varied_scale, self.weights.new_ones(1))
            return varied.given(codes.z[-lag]).draw(1, generator, width)[0], True
        if second:
            return self._new_code(codes).draw(1, generator, width)[0, -self.z_size :], True
        return codes.z.new_zeros(self.z_size), False

    def _choices(self, codes: Codes, length: int, shift: int, width: float) -> Tensor:
        """The probability of each choice for the window after `codes`: [L + 1, 2], as in `choose`."""
        past = likeness(codes, width * self.apart)  # the narrower the draws, the nearer to each other
        features = choice_features(torch.cat([past, past.new_zeros(1, LAGS + 1)]), length, shift)
        logits = choice_logits(*(part[-1:] for part in features), *self[-4:])[0]
        logits[len(codes.z) + 1 :] = -torch.inf
        if not codes.sounds.any():
            logits[0, 0] = -torch.inf  # a piece starts with a note
        logits[1:, 0][: len(codes.z)].masked_fill_(~codes.sounds.flip(0)[:LAGS], -torch.inf)  # nothing to vary
        return logits.flatten().softmax(0).reshape(-1, 2)

    def _new_code(self, codes: Codes) -> Prior:
        """The mixture that a new code after `codes` comes from; the first one has no code before it to be given."""
        joint, summary = Prior(self.means, self.scale, self.weights), codes.summary()
        return joint if summary is None else joint.given(summary)

    def _fits(self, codes: Codes, end: Codes) -> float:
        """How well the end goes on: the log density of its first code that sounds, as a new one."""
        return float(self._new_code(codes).log_prob(end.z[end.sounds][:1]))


def likeness(codes: Codes, apart: Tensor) -> Tensor:
    """Which windows come back: [n, L + 1], of each window and lag 2 for a repetition, 1 for a variation, else 0.

    At lag 0 it is 2 for a window that is new, and 1 for the first one that rests. `apart`: see `SequencePrior`.
    """
    z, sounds = codes
    found = z.new_zeros(len(z), LAGS + 1)
    for lag in range(1, min(LAGS, len(z) - 1) + 1):
        distance = (z[lag:] - z[:-lag]).square().sum(1)
        both, neither = sounds[lag:] & sounds[:-lag], ~(sounds[lag:] | sounds[:-lag])
        found[lag:, lag] = both * ((distance <= ALIKE * apart).to(z) + (distance <= SAME * apart)) + 2 * neither
    found[:, 0] = (found == 0).all(1) * (1 + sounds.to(z))
    return found


def choice_logits(own: Tensor, place: Tensor, *weights: Tensor) -> Tensor:
    """The MLP of the choice: [n, L + 1, 2], of what `choice_features` returns and the last fields of a prior."""
    of_lag, of_own, of_place, choose = weights
    return F.silu(of_lag + own @ of_own + (place @ of_place)[:, None]) @ choose


def choice_features(past: Tensor, length: int, shift: int = 0) -> tuple[Tensor, Tensor]:
    """What the choice of each window depends on, all of it earlier: [n, L + 1, O] and [n, C].

    Args:
        past: `likeness` of n windows.
        length: number of windows of the piece.
        shift: windows before the piece's first one.
    """
    n = len(past)
    padded = torch.cat([past.new_zeros(REMEMBERED, LAGS + 1), past])
    last = torch.stack([padded[REMEMBERED - k :][:n] for k in range(1, REMEMBERED + 1)], 2)  # (n, L + 1, M)
    index, made = torch.arange(n, device=past.device), torch.stack([past >= 1, past == 2], 2).to(past)
    shares = (made.cumsum(0) - made) / index.clamp(min=1)[:, None, None]
    own = torch.cat([last >= 1, last == 2, shares], 2).to(past)
    at = index - shift
    place = [(at.clamp(min=0) + 1).log(), (length - at).clamp(min=1).log(), torch.ones_like(past[:, 0])]
    return own, torch.cat([own[:, 0], one_hot(at % PHASES, PHASES).to(past), torch.stack(place, 1)], 1)


def checked_posteriors(mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of posteriors, [n, Z] finite floats each, as `fit_prior` takes them."""
    mu, sigma = (
        part if isinstance(part, Tensor) else finite_floats("mu and sigma", part, "floats [n, Z]", torch.zeros(()))
        for part in (mu, sigma)
    )
    if mu.ndim != 2 or mu.shape != sigma.shape or not mu.numel() or not mu.is_floating_point():
        raise ValueError(f"mu and sigma must be floats of one shape [n, Z], got {described(mu)} and {described(sigma)}")
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise ValueError("the posteriors are not finite: the model's training has diverged")
    if (sigma < 0).any():
        raise ValueError(f"sigma must be at least 0, got {sigma.min():.3g}")
    return mu, sigma


def fit_prior(mu: Tensor, sigma: Tensor, windows_per_gaussian: int = WINDOWS_PER_GAUSSIAN) -> Prior:
    """Fits a mixture to the posteriors of many windows, by expectation maximisation.

    It maximises a lower bound on the mean log density of draws from the posteriors; with a single Gaussian, that mean
    itself. One Gaussian starts at every `windows_per_gaussian`-th window.
    Source: Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", section 4.

    Args:
        mu, sigma: [n, Z], means and standard deviations of the posteriors.
        windows_per_gaussian: n gives a single Gaussian.

    Raises:
        ValueError: means and standard deviations that differ in shape, are empty or not finite, or a standard deviation
            below 0.
    """
    mu, sigma = checked_posteriors(mu, sigma)
    step = checked_count("windows_per_gaussian", windows_per_gaussian)
    points, noise = mu.cpu().double(), sigma.cpu().double().square().mean(0).diag()  # (n, Z), (Z, Z)
    share = one_hot(torch.cdist(points, points[::step]).argmin(1)).to(points)  # (n, K)
    for _ in range(EM_ROUNDS):
        weights = share.mean(0)
        means = share.T @ points / share.sum(0).clamp(min=1e-9)[:, None]
        covariance = points.T @ points / len(points) - means.T * weights @ means + noise
        precise = means @ covariance.inverse()
        share = (weights.log() + points @ precise.T - (precise * means).sum(1) / 2).softmax(1)
    return Prior(*(part.to(mu) for part in (means, torch.linalg.cholesky(covariance), weights)))


def fit_gaussian(mu: Tensor, sigma: Tensor) -> Prior:
    """The Gaussian with the mean and the covariance of the aggregate posterior. Arguments: see `fit_prior`."""
    return fit_prior(mu, sigma, len(checked_posteriors(mu, sigma)[0]))


def fit_diffusion(mu: Tensor, sigma: Tensor, updates: int | None = None) -> DiffusionPrior:
    """Trains a diffusion model on draws from the posteriors, made anew in each update. A second fit gives the same.

    Args:
        mu, sigma: as in `fit_prior`; the device of mu trains.
        updates: UPDATES when None.
    """
    mu, sigma = (part.float() for part in checked_posteriors(mu, sigma))
    updates = UPDATES if updates is None else checked_count("updates", updates)
    mixture = whitened_mixture(mu, sigma)
    mean, whiten = mixture[0], torch.linalg.inv(mixture[1].cpu()).to(mu)
    source = seeded(mu.device, "diffusion prior")
    weights = nn.ParameterList(_first_weights(mu.shape[1], source))
    optimizer = Adam(weights, BETA2)
    for update in range(updates):
        rows = integers(0, len(mu), (BATCH,), source, mu.device)
        z = mu[rows] + sigma[rows] * normal((BATCH, mu.shape[1]), source, mu.device)
        loss = _denoising_loss(DiffusionPrior(*mixture, *weights), (z - mean) @ whiten.T, source)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(LEARNING_RATE * _rate(update, updates))
    return DiffusionPrior(*mixture, *(part.detach() for part in weights))


def fit_sequence(mu: Tensor, sigma: Tensor, sounds: Tensor, song: Tensor) -> SequencePrior:
    """Fits a prior of sequences to the windows of whole songs, end to end. A second fit gives the same.

    Args:
        mu, sigma: as in `fit_prior`, song by song.
        sounds: [n] bool, whether a window has an onset.
        song: [n] whole numbers that rise, the song of each window.

    Raises:
        ValueError: as in `fit_prior`, or no song has a new window after its first.
    """
    mu, sigma = (part.float() for part in checked_posteriors(mu, sigma))
    both = mu, CODE_SPREAD * sigma
    counts = torch.unique_consecutive(song, return_counts=True)[1].tolist()
    songs, spreads = (list(map(Codes, part.split(counts), sounds.split(counts))) for part in both)
    apart = 2 * mu[sounds].var(0, correction=0).sum().reshape(1)
    past = [likeness(codes, apart) for codes in songs]
    new, (original, variation) = _new_windows(songs, past), _variations(songs, past)
    before = (torch.cat(list(map(summaries, part))) for part in (songs, spreads))
    joint = fit_prior(*(torch.cat([a[new], z[new]], 1) for a, z in zip(before, both, strict=True)))
    varied = fit_gaussian(*(torch.cat([z[original], z[variation]], 1) for z in both))
    return SequencePrior(*joint, *varied[:2], apart, *_fit_choice(past))


def summaries(codes: Codes) -> Tensor:
    """`Codes.summary` of the windows before each one: [n, 2 Z]; without meaning before the second one that sounds."""
    z, sounds = codes
    index = torch.arange(len(z), device=z.device) * sounds
    last = torch.cat([index[:1], index.cummax(0).values[:-1]])
    heard, count = z * sounds[:, None], sounds.cumsum(0) - sounds.long()
    return torch.cat([z[last], (heard.cumsum(0) - heard) / count.clamp(min=1)[:, None]], 1)


def _new_windows(songs: list[Codes], past: list[Tensor]) -> Tensor:
    """Indices of windows that are new and follow one that sounds, at most SEQUENCE_ROWS, evenly spaced."""
    parts = [(own[:, 0] == 2) & (codes.sounds.cumsum(0) > 1) for own, codes in zip(past, songs, strict=True)]
    rows = torch.nonzero(torch.cat(parts))[:, 0]
    if not len(rows):
        raise ValueError("no song has two windows that sound and differ: give whole songs, of several windows each")
    count = min(len(rows), SEQUENCE_ROWS)
    return rows[torch.linspace(0, len(rows) - 1, count, dtype=torch.float64).round().long().to(rows.device)]


def _variations(songs: list[Codes], past: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Indices of originals and their variations, the nearest of each; every window and itself if there are none."""
    pairs, first = [], 0
    for codes, own in zip(songs, past, strict=True):
        for k in torch.nonzero((own[:, 1:] == 1).any(1) & ~(own[:, 1:] == 2).any(1))[:, 0].tolist():
            originals = k - 1 - torch.nonzero(own[k, 1:] == 1)[:, 0]
            nearest = originals[(codes.z[originals] - codes.z[k]).square().sum(1).argmin()]
            pairs.append((first + int(nearest), first + k))
        first += len(codes.z)
    return torch.tensor(pairs or [(k, k) for k in range(first)]).unbind(1)


@torch.enable_grad()
def _fit_choice(past: list[Tensor]) -> list[Tensor]:
    """Trains the MLP of the choice on `likeness` of songs: lags, own, place and choose of a `SequencePrior`.

    A window that repeats several windows, or varies several and repeats none, may choose any of them.
    """
    own, place = map(torch.cat, zip(*(choice_features(song, len(song)) for song in past), strict=True))
    chosen = torch.cat([torch.stack([song == 1, song == 2], 2) for song in past])  # (n, L + 1, 2)
    chosen[..., 0] &= ~chosen[:, 1:, 1].any(1, keepdim=True)
    known = torch.cat([torch.arange(LAGS + 1) <= torch.arange(len(song))[:, None] for song in past]).to(own.device)
    source = seeded(own.device, "sequence prior")
    shapes = [LAGS + 1, HIDDEN], [OWN_FEATURES, HIDDEN], [PLACE_FEATURES, HIDDEN]
    first = [0.3 * normal(shape, source, source.device) for shape in shapes]
    weights = nn.ParameterList([*first, torch.zeros(HIDDEN, 2, device=source.device)])
    optimizer = Adam(weights, BETA2)
    for update in range(CHOICE_UPDATES):
        rows = integers(0, len(own), (min(CHOICE_BATCH, len(own)),), source, own.device)
        logits = choice_logits(own[rows], place[rows], *weights)
        logits = logits.masked_fill(~known[rows][..., None], -torch.inf).flatten(1)
        loss = (logits.logsumexp(1) - logits.masked_fill(~chosen[rows].flatten(1), -torch.inf).logsumexp(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(CHOICE_RATE * _rate(update, CHOICE_UPDATES))
    return [part.detach() for part in weights]


def _rate(update: int, updates: int) -> float:
    """The learning rate of an update, as a share of its highest: a linear rise, then a cosine."""
    return min((update + 1) / WARM_UP, 1) * (1 + math.cos(math.pi * update / updates)) / 2


def whitened_mixture(mu: Tensor, sigma: Tensor) -> list[Tensor]:
    """mean, scale, centres, spread and weights of a `DiffusionPrior`, from `fit_prior` and `fit_gaussian`.

    Of the factors of the covariance, scale is the one for which the mixture's Gaussians have no correlations.
    """
    wide = mu.cpu().double(), sigma.cpu().double()
    (mean,), whole, _ = fit_gaussian(*wide)
    means, within, weights = fit_prior(*wide)
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


FITS = {"mixture": fit_prior, "gaussian": fit_gaussian, "diffusion": fit_diffusion}  # by the kind of a prior


# ---- A few songs ----


def mixed(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Latent vectors [n, Z] on the arcs from start to end, whose variance comes from the end to a share.

    A mixture (1 - share)^0.5 start + share^0.5 end of vectors at right angles, as draws of z nearly are, lies on the
    arc at the angle whose squared sine is the share.
    """
    return slerp_rows(start.cpu(), end.cpu(), math.asin(math.sqrt(share)) / (math.pi / 2)).to(start)


class PersonalPrior(NamedTuple):
    """A small VAE's decoder, and draws of the prior that it replaces. Weights have their biases in the last column."""

    mean: Tensor  # [Z] of the songs' posterior means
    read: Tensor  # [W, U + 1], weights of the first layer
    inner: Tensor  # [W, W + 1]
    write: Tensor  # [Z, W + 1]
    others: Tensor  # [M, Z]

    @property
    def z_size(self) -> int:
        """Z."""
        return len(self.mean)

    def wanted_shapes(self, z_size: int) -> tuple[list[int], ...]:
        """The shapes that the fields must have, in order, in a model with this size of z."""
        width, count = (max(1, part.shape[:1].numel()) for part in (self.read, self.others))
        inputs = max(2, self.read.shape[1:].numel())
        return [z_size], [width, inputs], [width, width + 1], [z_size, width + 1], [count, z_size]

    def __repr__(self) -> str:
        return f"small VAE of {self.read.shape[1] - 1} dimensions over z of size {self.z_size}"

    def draw(self, n: int, generator: Generator | None = None, width: float = 0.0) -> Tensor:
        """Draws n latent vectors, [n, Z].

        Args:
            n: number of vectors.
            generator: random numbers, on the prior's device.
            width: the dial: the share of their variance that comes from `others`, the rest from the small VAE.

        Raises:
            ValueError: n is below 1 or width is not from 0 to 1.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_dial("the dial of a personal model, its prior_width,", width)
        own = self.decoded(normal((n, self.read.shape[1] - 1), generator, self.mean.device))
        others = self.others[integers(0, len(self.others), (n,), generator, self.mean.device)]
        return mixed(own, others, width)

    def decoded(self, u: Tensor) -> Tensor:
        """Latent vectors [n, Z] of the small VAE's, u [n, U]."""
        return self.mean + _small_mlp(u, self.read, self.inner, self.write)


@torch.enable_grad()
def fit_personal(mu: Tensor, sigma: Tensor, others: Tensor) -> PersonalPrior:
    """Trains a small VAE on draws from posteriors, made anew in each update. A second fit gives the same.

    Args:
        mu, sigma: [n, Z], means and standard deviations of the posteriors of the songs' windows.
        others: [M, Z], draws of the model's own prior.
    """
    source, z_size = seeded(mu.device, "personal prior"), mu.shape[1]
    mean, spread = mu.mean(0), sigma.square().mean(0).sqrt()
    encoder, decoder = (
        nn.ParameterList(_small_weights(*sizes, source)) for sizes in ((z_size, 2 * SMALL_Z), (SMALL_Z, z_size))
    )
    optimizer = Adam(nn.ModuleList([encoder, decoder]))
    for update in tqdm(range(PERSONAL_UPDATES), "Training on the songs", leave=False, disable=None):
        rows = integers(0, len(mu), (PERSONAL_BATCH,), source, mu.device)
        z = mu[rows] + sigma[rows] * normal((PERSONAL_BATCH, z_size), source, mu.device)
        centre, log_sigma = _small_mlp(z - mean, *encoder).chunk(2, 1)
        u = centre + log_sigma.exp() * normal(centre.shape, source, mu.device)
        decoded = PersonalPrior(mean, *decoder, others).decoded(u)
        reconstruction = ((z - decoded) / spread).square().sum(1) / 2
        kl = (centre.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1) / 2
        optimizer.zero_grad()
        (reconstruction + kl).mean().backward()
        optimizer.step(PERSONAL_RATE * (1 + math.cos(math.pi * update / PERSONAL_UPDATES)) / 2)
    return PersonalPrior(mean, *(weight.detach() for weight in decoder), others)


def _small_weights(inputs: int, outputs: int, source: Generator) -> list[Tensor]:
    """Initial read, inner and write of an MLP, with biases of 0."""
    sizes = (inputs, SMALL_WIDTH), (SMALL_WIDTH, SMALL_WIDTH), (SMALL_WIDTH, outputs)
    return [F.pad(normal((b, a), source, source.device) / math.sqrt(a), (0, 1)) for a, b in sizes]


def _small_mlp(x: Tensor, read: Tensor, inner: Tensor, write: Tensor) -> Tensor:
    """Two hidden layers: [n, inputs] to [n, outputs]."""
    for weight in (read, inner):
        x = F.silu(_linear(x, weight))
    return _linear(x, write)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight[:, :-1], weight[:, -1])
