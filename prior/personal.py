"""A small VAE on the latent vectors of a few songs.

Source: Dinculescu 2019, "MidiMe: Personalizing a MusicVAE model with user data". These choices are ours:

- The standard deviation of its decoder is that of the model's posteriors. Its loss and the model's own then add up to a
  bound on the songs' likelihood, without a weight between reconstruction and KL.
- It trains on draws from the posteriors, since a song has few windows.
- The dial does not change the training. It moves each draw towards one of the prior that it replaces.

Axes: n windows, Z size of z, U size of its latent vectors, W width, M draws of the prior that it replaces.
"""

import math
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Generator, Tensor, nn

from engine.adam import minimise
from engine.checks import checked_count, checked_generator, checked_number
from engine.rng import integers, normal, seeded
from engine.slerp import slerp_rows

SMALL_Z = 8  # U
SMALL_WIDTH = 128  # of a small VAE's hidden layers
PERSONAL_UPDATES = 500  # of its training
PERSONAL_BATCH = 32  # draws from the posteriors per update
PERSONAL_RATE = 3e-3  # learning rate at the start; it falls to 0 by a cosine

checked_dial = partial(checked_number, wanted="a number from 0 (these songs) to 1 (anything)", low=0, high=1)


def mixed(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Latent vectors [n, Z] on the arcs from start to end, whose variance comes from the end to a share.

    A mixture (1 - share)^0.5 start + share^0.5 end of vectors at right angles, as draws of z nearly are, lies on the
    arc at the angle whose squared sine is the share.
    """
    return slerp_rows(start.cpu(), end.cpu(), math.asin(math.sqrt(share)) / (math.pi / 2)).to(start)


class PersonalPrior(NamedTuple):
    """A small VAE's decoder, and draws of the prior that it replaces. Weights have their biases in the last column."""

    default_width = 0.0

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
        units, count = (max(1, part.shape[:1].numel()) for part in (self.read, self.others))
        inputs = max(2, self.read.shape[1:].numel())
        return [z_size], [units, inputs], [units, units + 1], [z_size, units + 1], [count, z_size]

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

    def loss() -> Tensor:
        rows = integers(0, len(mu), (PERSONAL_BATCH,), source, mu.device)
        z = mu[rows] + sigma[rows] * normal((PERSONAL_BATCH, z_size), source, mu.device)
        centre, log_sigma = _small_mlp(z - mean, *encoder).chunk(2, 1)
        u = centre + log_sigma.exp() * normal(centre.shape, source, mu.device)
        decoded = PersonalPrior(mean, *decoder, others).decoded(u)
        reconstruction = ((z - decoded) / spread).square().sum(1) / 2
        kl = (centre.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1) / 2
        return (reconstruction + kl).mean()

    both = nn.ModuleList([encoder, decoder])
    minimise(both, loss, PERSONAL_UPDATES, PERSONAL_RATE, progress="Training on the songs")
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
