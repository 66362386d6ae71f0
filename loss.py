"""The objective: reconstruction and KL in nats, free bits, the ELBO, and the schedules as pure functions of the step.

Sections 2.1 and 4.1 of the paper (arXiv 1803.05428); numbers as in Magenta's base_model.py and lstm_models.py, whose
free bits are a budget on an example's total KL and not on each dimension.

Axes: B batch, T steps, D depth of a frame.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal

TRIO_DEPTHS = (90, 90, 512)  # classes of melody, bass and drums, side by side in a trio's frame


class ElboLoss(NamedTuple):
    """Means over a batch; `loss` is what is minimised, the rest is for reading."""

    loss: Tensor  # nats
    reconstruction: Tensor  # nats
    kl_nats: Tensor  # before free bits


def output_depths(output: str, depth: int) -> tuple[int, ...]:
    """Depths of the softmaxes that stand side by side in a frame of `depth` classes."""
    if output == "categorical":
        return (depth,)
    if output == "trio":
        return TRIO_DEPTHS
    raise ValueError(f"output must be 'categorical' or 'trio', got {output!r}")


def step_mask(lengths: Tensor, steps: int) -> Tensor:
    """True where a step lies within its sequence: lengths [B] -> [B, steps]."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def reconstruction_loss(logits: Tensor, targets: Tensor, lengths: Tensor | None = None, *, output: str) -> Tensor:
    """Negative log-likelihood of each sequence, summed over steps and parts (lstm_models.py, reconstruction_loss).

    Args:
        logits: [B, T, D], raw.
        targets: [B, T, D], one-hot in each part.
        lengths: [B] steps that count, all of them when None.
        output: 'categorical' or 'trio', what a frame is.

    Returns:
        Nats, [B].
    """
    depths = output_depths(output, logits.shape[-1])
    parts = zip(logits.split(depths, -1), targets.split(depths, -1), strict=True)
    nats = sum(-(y * F.log_softmax(x.to(y.dtype), -1)).sum(-1) for x, y in parts)  # (B, T)
    if lengths is not None:
        nats = nats * step_mask(lengths, nats.shape[1])
    return nats.sum(1)


def accuracy(logits: Tensor, targets: Tensor, lengths: Tensor | None = None, *, output: str) -> Tensor:
    """Share of steps whose most likely class is the target's, for each part (the paper's measure, Table 1).

    Args: as `reconstruction_loss`.

    Returns:
        Shares in 0..1, [parts].
    """
    depths = output_depths(output, logits.shape[-1])
    parts = zip(logits.split(depths, -1), targets.split(depths, -1), strict=True)
    hits = torch.stack([x.argmax(-1) == y.argmax(-1) for x, y in parts], -1)  # (B, T, parts)
    if lengths is not None:
        hits = hits[step_mask(lengths, hits.shape[1])]
    return hits.flatten(0, -2).float().mean(0)


def kl_divergence(posterior: Normal) -> Tensor:
    """KL of q(z|x) from the standard normal prior: nats, [B]."""
    prior = Normal(torch.zeros_like(posterior.loc), torch.ones_like(posterior.scale))
    return torch.distributions.kl_divergence(posterior, prior).sum(-1)


def elbo_loss(reconstruction: Tensor, kl_nats: Tensor, *, beta: float = 1.0, free_bits: float = 0.0) -> ElboLoss:
    """Negative ELBO with a weighted KL beyond its free budget (paper, equation 2; base_model.py, _compute_model_loss).

    loss = mean(reconstruction) + beta * mean(max(kl - free_bits * ln 2, 0))

    Args:
        reconstruction, kl_nats: [B], nats.
        beta: weight of the KL.
        free_bits: budget of an example's total KL, in bits.
    """
    cost = (kl_nats - free_bits * math.log(2)).clamp(min=0)
    loss = reconstruction.mean() + beta * cost.mean()
    return ElboLoss(loss, reconstruction.mean(), kl_nats.mean())


def power(rate: float, step: int) -> float:
    """rate ** step in single precision, as the reference has it: its 0.9999 ** 10000 is 1.7e-4 below the exact one."""
    return (torch.tensor(rate, dtype=torch.float32) ** step).item()


def beta_at(step: int, *, max_beta: float, beta_rate: float) -> float:
    """Weight of the KL at a step: (1 - beta_rate ** step) * max_beta; with a rate of 0 max_beta from step 1 on."""
    return (1 - power(beta_rate, step)) * max_beta


def learning_rate_at(step: int, *, learning_rate: float, decay_rate: float, min_learning_rate: float) -> float:
    """Exponential decay towards a floor: (learning_rate - min) * decay_rate ** step + min."""
    return (learning_rate - min_learning_rate) * power(decay_rate, step) + min_learning_rate


def sampling_probability_at(step: int, *, schedule: str, rate: float) -> float:
    """Probability that scheduled sampling feeds the model its own draw at a step (lstm_utils.get_sampling_probability).

    Args:
        step: global step.
        schedule: 'constant' (rate), 'exponential' (1 - rate ** step), 'inverse_sigmoid' (1 - k / (k + e^(step / k))).
        rate: in [0, 1], in (0, 1), k of at least 1.

    Raises:
        ValueError: an unknown schedule, or a rate outside its interval.
    """
    if schedule == "constant" and 0 <= rate <= 1:
        return float(rate)
    if schedule == "exponential" and 0 < rate < 1:
        return 1 - power(rate, step)
    if schedule == "inverse_sigmoid" and rate >= 1:
        return 1 - 1 / (1 + math.exp(min(step / rate, 700)) / rate)  # e^709 is the largest double
    raise ValueError(f"no sampling schedule {schedule!r} with rate {rate}; see sampling_probability_at")
