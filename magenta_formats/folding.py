"""Folds a Gaussian over z into a model's weights, so that N(0, I) decodes to music.

magenta.js, and Magenta, draw z from N(0, I) and know no other prior. Let the songs' posteriors together have the mean m
and the covariance S. The folded model has the latent vector z' with z = A z' + m, where A A' = width^2 S. Each layer
that reads z takes in A and m:

    W z + b  =  (W A) z' + (W m + b)

so the folded model decodes z' from N(0, I) as the given one decodes z from N(m, width^2 S). The encoder's mean is exact
as well, mu' = A^-1 (mu - m). Its standard deviation is not: A^-1 diag(sigma^2) A^-T has correlations, which a posterior
of independent dimensions cannot express. Two approximations keep the loss small:

- Of all A, it is the one that makes the mean over songs of these covariances diagonal.
- Per song, the square root of the diagonal is sigma', whose layer is fitted by least squares: softplus^-1(sigma') is
  taken as a linear function of softplus^-1(sigma).

Axes: n windows, Z size of z.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from engine.checks import checked_positive, checked_type
from model import MusicVAE
from prior import checked_posteriors, fit_gaussian

MIN_SIGMA = 1e-12  # so that a standard deviation of 0 has a logarithm


def fold_gaussian(model: MusicVAE, mu: Tensor, sigma: Tensor, width: float = 1.0) -> MusicVAE:
    """A copy of a model whose N(0, I) is the given model's Gaussian.

    Args:
        model: is left unchanged.
        mu, sigma: [n, Z], means and standard deviations of the posteriors of the training songs.
        width: factor on the standard deviation of the Gaussian; less than 1 stays nearer to the mean.

    Raises:
        ValueError: posteriors that `prior.fit_mixture` refuses, of another size of z, or a width that is not above 0.
    """
    mu, sigma = (part.cpu().double() for part in checked_posteriors(mu, sigma))
    z_size = checked_type("model", model, MusicVAE, "a MusicVAE, such as TrainedModel.model").config.z_size
    if mu.shape[1] != z_size:
        raise ValueError(f"mu and sigma must be [n, {z_size}], as the model, got {list(mu.shape)}")
    width = checked_positive("width", width)
    (mean,), scale, _ = fit_gaussian(mu, sigma)
    factor = width * diagonal_factor(scale, sigma)
    folded = deepcopy(model)
    _fold_decoder(folded, mean, factor)
    _fold_encoder(folded, mean, factor, sigma)
    return folded


def diagonal_factor(scale: Tensor, sigma: Tensor) -> Tensor:
    """The factor A of the covariance scale scale' for which the mean of A^-1 diag(sigma^2) A^-T is diagonal.

    Args:
        scale: [Z, Z], lower triangular, float64.
        sigma: [n, Z], float64.

    Returns:
        [Z, Z].
    """
    inverse = torch.linalg.solve_triangular(scale, torch.eye(len(scale)).to(scale), upper=False)
    _, turn = torch.linalg.eigh(inverse * sigma.square().mean(0) @ inverse.T)
    return scale @ turn


@torch.no_grad()
def _fold_decoder(model: MusicVAE, mean: Tensor, factor: Tensor) -> None:
    """The layers that read z: those of a conductor, else of the core decoder its first state and layer."""
    if model.conductor:
        reads_z = model.conductor if model.config.upper == "dense" else model.conductor.initial_state
        _fold_input(reads_z.dense.weight, reads_z.dense.bias, mean, factor)
        return
    for core in model.cores:
        first = core.layers[0]
        _fold_input(core.initial_state.dense.weight, core.initial_state.dense.bias, mean, factor)
        _fold_input(first.weight_ih_l0, first.bias_ih_l0, mean, factor, core.depth)


def _fold_input(weight: nn.Parameter, bias: nn.Parameter, mean: Tensor, factor: Tensor, start: int = 0) -> None:
    """Changes a layer that reads z as its inputs from `start` on."""
    of_z = weight[:, start : start + len(mean)]
    product = of_z.cpu().double()
    bias += (product @ mean).to(bias)
    of_z.copy_(product @ factor)


@torch.no_grad()
def _fold_encoder(model: MusicVAE, mean: Tensor, factor: Tensor, sigma: Tensor) -> None:
    """The encoder's last layers."""
    inverse = torch.linalg.inv(factor)
    _lead_on(model.encoder.mu, inverse, -inverse @ mean)
    before, after = (_inverse_softplus(part) for part in (sigma, (sigma.square() @ inverse.square().T).sqrt()))
    known = torch.cat([before, torch.ones(len(before), 1).to(before)], 1)  # (n, Z + 1)
    found = torch.linalg.lstsq(known, after, driver="gelsd").solution  # (Z + 1, Z), of the least norm
    _lead_on(model.encoder.sigma, found[:-1].T, found[-1])


def _lead_on(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Replaces a layer's output y by weight y + bias."""
    layer.bias.copy_(weight @ layer.bias.cpu().double() + bias)
    layer.weight.copy_(weight @ layer.weight.cpu().double())


def _inverse_softplus(values: Tensor) -> Tensor:
    values = values.clamp(min=MIN_SIGMA)
    return values + torch.log(-torch.expm1(-values))
