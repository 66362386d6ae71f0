"""A mixture of Gaussians over z, of one or of many, fitted by expectation maximisation.

Axes: n windows, K Gaussians, Z size of z, C known numbers of a vector.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import one_hot

from engine.checks import checked_count, checked_generator, checked_non_negative, described, finite_floats
from engine.rng import normal

WINDOWS_PER_GAUSSIAN = 64  # on average, and at most
EM_ROUNDS = 15  # of an expectation and a maximisation step each


class MixturePrior(NamedTuple):
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
        width = checked_non_negative("width", width)
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

    def given(self, first: Tensor) -> "MixturePrior":
        """The mixture over the other numbers of a vector, given its first ones: [K, Z - C], of `first` [C]."""
        known = len(first)
        away = torch.linalg.solve_triangular(self.scale[:known, :known], (first - self.means[:, :known]).T, upper=False)
        means = self.means[:, known:] + away.T @ self.scale[known:, :known].T
        weights = (self.weights.log() - away.square().sum(0) / 2).softmax(0)
        return MixturePrior(means, self.scale[known:, known:], weights)


def checked_posteriors(mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of posteriors, [n, Z] finite floats each, as `fit_mixture` takes them."""
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


def fit_mixture(mu: Tensor, sigma: Tensor, windows_per_gaussian: int = WINDOWS_PER_GAUSSIAN) -> MixturePrior:
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
    return MixturePrior(*(part.to(mu) for part in (means, torch.linalg.cholesky(covariance), weights)))


def fit_gaussian(mu: Tensor, sigma: Tensor) -> MixturePrior:
    """The Gaussian with the mean and the covariance of the aggregate posterior. Arguments: see `fit_mixture`."""
    return fit_mixture(mu, sigma, len(checked_posteriors(mu, sigma)[0]))
