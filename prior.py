"""Where songs lie among the latent vectors: a mixture of Gaussians that samples are drawn from.

Axes: n windows, K Gaussians, Z size of z.
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.nn.functional import one_hot

from engine.rng import normal

WINDOWS_EACH = 64  # windows for each Gaussian, on average and at most
ROUNDS = 15  # of expectation and maximisation


class Prior(NamedTuple):
    """K Gaussians of one covariance."""

    means: Tensor  # [K, Z]
    scale: Tensor  # [Z, Z], lower triangular: scale @ scale.T is the covariance of each
    weights: Tensor  # [K], shares

    def draw(self, n: int, generator: Generator | None = None, width: float = 1.0) -> Tensor:
        """n latent vectors, [n, Z], each about a Gaussian's mean by so much of the deviation."""
        noise = normal((n, len(self.scale)), generator, self.scale.device)
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.means[which] + width * noise @ self.scale.T

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density at z [n, Z]: nats, [n]."""
        gaussians = MultivariateNormal(self.means, scale_tril=self.scale)
        return MixtureSameFamily(Categorical(logits=self.weights.log()), gaussians).log_prob(z)


def fit_prior(mu: Tensor, sigma: Tensor) -> Prior:
    """The mixture that is nearest to posteriors, all together, by expectation and maximisation.

    It maximises a bound on the mean log density of draws of the posteriors; with one Gaussian, that mean itself.
    Source: Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", section 4.

    Args:
        mu, sigma: [n, Z], means and standard deviations; each WINDOWS_EACH windows, or what is left, have a Gaussian.

    Raises:
        ValueError: means or deviations that are no numbers.
    """
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise ValueError("these posteriors are no numbers: the model's training has diverged")
    points, spread = mu.cpu().double(), sigma.cpu().double().square().mean(0).diag()
    share = one_hot(torch.cdist(points, points[::WINDOWS_EACH]).argmin(1)).to(points)  # [n, K], of each window
    for _ in range(ROUNDS):
        weights = share.mean(0)
        means = share.T @ points / share.sum(0).clamp(min=1e-9)[:, None]
        covariance = points.T @ points / len(points) - means.T * weights @ means + spread
        precise = means @ covariance.inverse()
        share = (weights.log() + points @ precise.T - (precise * means).sum(1) / 2).softmax(1)
    return Prior(*(part.to(mu) for part in (means, torch.linalg.cholesky(covariance), weights)))
