"""The objective: reconstruction and KL in nats, free bits, the ELBO, and the schedules as pure functions of the step.

Sections 2.1 and 4.1 of the paper (arXiv 1803.05428); numbers as in Magenta's base_model.py and lstm_models.py, whose
free bits are a budget on an example's total KL and not on each dimension.

Axes: B batch, T steps, S segments, D depth of a frame, H hidden units of a NADE, N any axes.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal

TRIO_DEPTHS = (90, 90, 512)  # classes of melody, bass and drums, side by side in a trio's frame
OUTPUTS = ("categorical", "trio", "nade", "groove")  # what a frame can be, see `reconstruction_loss`
NADE_EPSILON = 1e-6  # added to a probability before its logarithm (magenta/common/nade.py)
GROOVE_EPSILON = 1e-7  # the same for a groove's hits (tf.losses.log_loss)

NadeWeights = tuple[Tensor, Tensor]  # from each bit to the hidden units and back, [D, H] both


class ElboLoss(NamedTuple):
    """Means over a batch; `loss` is what is minimised, the rest is for reading."""

    loss: Tensor  # nats
    reconstruction: Tensor  # nats
    kl_nats: Tensor  # before free bits


def output_depths(output: str, depth: int) -> tuple[int, ...]:
    """Depths of the parts that stand side by side in a frame: a trio's three, else the one."""
    if output not in OUTPUTS:
        raise ValueError(f"output must be one of {OUTPUTS}, got {output!r}")
    return TRIO_DEPTHS if output == "trio" else (depth,)


def step_mask(lengths: Tensor, steps: int) -> Tensor:
    """True where a step lies within its sequence, or within its segment: lengths [B] or [B, S] -> [B, steps]."""
    lengths = lengths if lengths.ndim == 2 else lengths[:, None]
    segment = torch.arange(steps // lengths.shape[1], device=lengths.device)
    return (segment < lengths[..., None]).flatten(1)


def reconstruction_loss(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    output: str,
    nade_weights: NadeWeights | None = None,
) -> Tensor:
    """Negative log-likelihood of each sequence, summed over steps and parts (lstm_models.py, reconstruction_loss).

    Args:
        logits: [B, T, D], raw; of a NADE [B, T, H + D], the biases of its hidden units | of its bits.
        targets: [B, T, D], one-hot in each part, or bits, or a groove's hits 0 or 1 | velocities 0..1 | offsets -1..1.
        lengths: [B] or [B, S] steps that count, all of them when None.
        output: what a frame is: 'categorical' one softmax, 'trio' three, 'nade' bits that depend on the ones before,
            'groove' hits by their logarithmic loss, velocities and offsets by their squared error.
        nade_weights: of a NADE, as `MusicVAE.nade_weights` has them.

    Returns:
        Nats, [B].
    """
    nats = _step_nats(logits.to(targets.dtype), targets, output, nade_weights)  # (B, T)
    if lengths is not None:
        nats = nats * step_mask(lengths, nats.shape[1])
    return nats.sum(1)


def _step_nats(logits: Tensor, targets: Tensor, output: str, nade_weights: NadeWeights | None) -> Tensor:
    if output == "nade":
        return _log_loss(nade_logits(logits, targets, nade_weights).sigmoid(), targets, NADE_EPSILON).sum(-1)
    if output == "groove":
        return sum(groove_losses(logits, targets))
    depths = output_depths(output, logits.shape[-1])
    parts = zip(logits.split(depths, -1), targets.split(depths, -1), strict=True)
    return sum(-(y * F.log_softmax(x, -1)).sum(-1) for x, y in parts)


def _log_loss(probability: Tensor, bits: Tensor, epsilon: float) -> Tensor:
    """Nats of bits, with a floor under the logarithms."""
    return -(bits * (probability + epsilon).log() + (1 - bits) * (1 - probability + epsilon).log())


def nade_logits(logits: Tensor, bits: Tensor, weights: NadeWeights | None) -> Tensor:
    """Logit of each bit of a frame given the bits before it (Larochelle & Murray 2011; magenta/common/nade.py).

    Args:
        logits: [N, H + D], the biases of the hidden units | of the bits.
        bits: [N, D].
        weights: from each bit to the hidden units and back.

    Returns:
        [N, D].
    """
    if weights is None:
        raise ValueError("output 'nade' needs nade_weights, as MusicVAE.nade_weights has them")
    enc, dec = weights
    hidden, biases = logits.split((enc.shape[1], enc.shape[0]), -1)
    couplings = []
    for k in range(len(enc)):  # bit by bit: one call over all of them would need D times the memory
        couplings.append(hidden.sigmoid() @ dec[k])
        hidden = torch.addcmul(hidden, bits[..., k, None], enc[k])
    return biases + torch.stack(couplings, -1)


def groove_losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of a groove's hits, velocities and offsets (GrooveLstmDecoder): [N, D] -> [N] each, summed over drums."""
    hits, velocities, offsets = logits.chunk(3, -1)
    hit_targets, velocity_targets, offset_targets = targets.chunk(3, -1)
    return (
        _log_loss(hits.sigmoid(), hit_targets, GROOVE_EPSILON).sum(-1),
        (velocities.sigmoid() - velocity_targets).square().sum(-1),
        (offsets.tanh() - offset_targets).square().sum(-1),
    )


def accuracy(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    output: str,
    nade_weights: NadeWeights | None = None,
) -> Tensor:
    """Share of steps that the model has right, for each part (the paper's measure, Table 1).

    A softmax is right where its most likely class is the target's, a NADE where every bit is more likely than not; of
    a groove's hits, for which the reference has no such number, each drum counts by itself. Lengths for each segment
    give the mean over the segments of their shares, as in the reference.

    Args: as `reconstruction_loss`.

    Returns:
        Shares in 0..1, [parts].
    """
    right = _step_hits(logits.to(targets.dtype), targets, output, nade_weights)  # (B, T, parts)
    segments = lengths.shape[1] if lengths is not None and lengths.ndim == 2 else 1
    counted = right.new_ones(right.shape[:2]) if lengths is None else step_mask(lengths, right.shape[1])
    right, counted = (part.unflatten(1, (segments, -1)) for part in (right, counted[..., None]))
    return ((right * counted).sum((0, 2)) / counted.sum((0, 2)).clamp(min=1)).mean(0)


def _step_hits(logits: Tensor, targets: Tensor, output: str, nade_weights: NadeWeights | None) -> Tensor:
    if output == "nade":
        bits = nade_logits(logits, targets, nade_weights).sigmoid() >= 0.5
        return (bits == targets.bool()).all(-1, keepdim=True).float()
    if output == "groove":
        hits = logits.chunk(3, -1)[0].sigmoid() >= 0.5
        return (hits == targets.chunk(3, -1)[0].bool()).float().mean(-1, keepdim=True)
    depths = output_depths(output, logits.shape[-1])
    parts = zip(logits.split(depths, -1), targets.split(depths, -1), strict=True)
    return torch.stack([x.argmax(-1) == y.argmax(-1) for x, y in parts], -1).float()


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


def segments_at(step: int, *, segments: int, curriculum: int) -> int:
    """Segments of a window at a step: they double, from one, in equal shares of the first `curriculum` steps.

    A number that does not divide `segments` gives way to the largest below it that does (Bengio et al. 2009,
    "Curriculum Learning").
    """
    doublings = (segments - 1).bit_length()
    longest = 2 ** (step * doublings // curriculum) if step < curriculum else segments
    return next(k for k in range(longest, 0, -1) if segments % k == 0)


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
