"""The objective: reconstruction and KL in nats, free bits, the ELBO, and schedules as pure functions of the step.

Sections 2.1 and 4.1 of the paper (arXiv 1803.05428). Numbers match Magenta's base_model.py and lstm_models.py. Free
bits are a budget for an example's total KL, as there, and not for each dimension. What a frame costs is in outputs.py.

Axes: B batch, T steps, S segments, D depth of a frame, P parts of a frame.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from engine.checks import checked_count, checked_non_negative, checked_number, checked_share, checked_type, described
from engine.masks import step_mask
from outputs import Output, output_kind


class ElboLoss(NamedTuple):
    """Means over a batch; `loss` is what is minimised, the rest is for reading."""

    loss: Tensor  # nats
    reconstruction: Tensor  # nats
    kl_nats: Tensor  # before free bits


def reconstruction_loss(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    output: str,
    output_weights: nn.Module | None = None,
    nade_weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Negative log-likelihood of each sequence, summed over steps and parts (lstm_models.py, reconstruction_loss).

    Args:
        logits: [B, T, logit depth], raw, as `MusicVAE.decode` returns them.
        targets: [B, T, D], as the decoder reads them: one-hot in each part, bits, or a groove's hits (0 or 1),
            velocities (0 to 1) and offsets (-1 to 1). Or int64 [B, T, P], as `Output.compact` makes them, for a
            kind whose `index_count` is not None.
        lengths: [B] or [B, S], number of steps that count; all of them when None.
        output: name of the kind of output, see `outputs.OUTPUTS`.
        output_weights: parameters of that kind, as `MusicVAE.output_weights` has them; None for a kind without any.
        nade_weights: those of a NADE as a pair of tensors [D, H], in place of `output_weights`.

    Returns:
        Nats, [B].

    Raises:
        ValueError: an unknown kind of output, or logits, targets and lengths that do not fit each other.
    """
    kind = _fitting_kind(output, logits, targets, lengths)
    nats = kind.nats(_in_dtype_of(targets, logits), targets, output_weights or nade_weights)  # (B, T)
    if lengths is not None:
        nats = nats * step_mask(lengths, nats.shape[1])
    return nats.sum(1)


def _in_dtype_of(targets: Tensor, logits: Tensor) -> Tensor:
    """Logits in the dtype of dense targets; unchanged if the targets are class indices."""
    return logits.to(targets.dtype) if targets.is_floating_point() else logits


def _fitting_kind(output: str, logits: Tensor, targets: Tensor, lengths: Tensor | None) -> Output:
    """The kind of output of that name; raises ValueError for tensors that it does not compare. Reads no values."""
    kind = output_kind(output)
    for name, tensor in (("logits", logits), ("targets", targets)):
        if checked_type(name, tensor, Tensor, "a tensor [B, T, depth]").ndim != 3:
            raise ValueError(f"{name} must be [B, T, depth], got {list(tensor.shape)}")
    (batch, steps, _), depth = targets.shape, _frame_depth(kind, logits, targets)
    hidden = max(logits.shape[2] - depth, 0) if kind.has_hidden_units else 0
    wanted = [batch, steps, kind.logit_depth(depth, hidden)]
    if list(logits.shape) != wanted:
        raise ValueError(f"logits must be {wanted} for targets {list(targets.shape)}, got {list(logits.shape)}")
    if lengths is not None and (not isinstance(lengths, Tensor) or lengths.ndim not in (1, 2) or len(lengths) != batch):
        raise ValueError(f"lengths must be a tensor [{batch}] or [{batch}, S], got {described(lengths)}")
    return kind


def _frame_depth(kind: Output, logits: Tensor, targets: Tensor) -> int:
    """Depth of the frames that targets stand for; raises ValueError for one that this kind never has."""
    are_indices = targets.dtype == torch.int64 and targets.shape[2] == kind.index_count
    if not (are_indices or targets.is_floating_point()):
        raise ValueError(f"targets must be floats, or int64 class indices, got {described(targets)}")
    depth = kind.indexed_depth(logits.shape[2]) if are_indices else targets.shape[2]
    kind.depths(depth)
    return depth


def accuracy(
    logits: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    output: str,
    output_weights: nn.Module | None = None,
    nade_weights: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Share of the steps whose most likely frame is the target, for each part (the paper's measure, Table 1).

    Lengths per segment give the mean over the segments of their shares, as in the reference.

    Args: as for `reconstruction_loss`.

    Returns:
        Shares in 0..1, [P].

    Raises: as for `reconstruction_loss`.
    """
    kind = _fitting_kind(output, logits, targets, lengths)
    right = kind.correct(_in_dtype_of(targets, logits), targets, output_weights or nade_weights)  # (B, T, P)
    segments = lengths.shape[1] if lengths is not None and lengths.ndim == 2 else 1
    counted = right.new_ones(right.shape[:2]) if lengths is None else step_mask(lengths, right.shape[1])
    right, counted = (part.unflatten(1, (segments, -1)) for part in (right, counted[..., None]))
    return ((right * counted).sum((0, 2)) / counted.sum((0, 2)).clamp(min=1)).mean(0)


def kl_divergence(posterior: Normal) -> Tensor:
    """KL of q(z|x) from the standard normal prior: nats, [B]."""
    checked_type("posterior", posterior, Normal, "a torch.distributions.Normal, as MusicVAE.encode returns it")
    prior = Normal(torch.zeros_like(posterior.loc), torch.ones_like(posterior.scale))
    return torch.distributions.kl_divergence(posterior, prior).sum(-1)


def elbo_loss(reconstruction: Tensor, kl_nats: Tensor, *, beta: float = 1.0, free_bits: float = 0.0) -> ElboLoss:
    """Negative ELBO with a weighted KL beyond its free budget (paper, equation 2; base_model.py, _compute_model_loss).

    loss = mean(reconstruction) + beta * mean(max(kl - free_bits * ln 2, 0))

    Args:
        reconstruction, kl_nats: [B], nats.
        beta: weight of the KL.
        free_bits: budget of an example's total KL, in bits.

    Raises:
        ValueError: reconstruction and KL of different shapes, or a beta or free_bits that is below 0 or not finite.
    """
    for name, nats in (("reconstruction", reconstruction), ("kl_nats", kl_nats)):
        if checked_type(name, nats, Tensor, "a tensor [B] of nats").shape != reconstruction.shape:
            raise ValueError(f"{name} must be of the shape of reconstruction, got {described(nats)}")
    beta, free_bits = checked_non_negative("beta", beta), checked_non_negative("free_bits", free_bits)
    cost = (kl_nats - free_bits * math.log(2)).clamp(min=0)
    loss = reconstruction.mean() + beta * cost.mean()
    return ElboLoss(loss, reconstruction.mean(), kl_nats.mean())


def power(name: str, rate: float, step: int) -> float:
    """rate ** step in single precision, as the reference has it: its 0.9999 ** 10000 is 1.7e-4 below the exact one."""
    rate, step = checked_share(name, rate), checked_count("step", step, least=0)
    return (torch.tensor(rate, dtype=torch.float32) ** step).item()


def beta_at(step: int, *, max_beta: float, beta_rate: float) -> float:
    """Weight of the KL at a step: (1 - beta_rate ** step) * max_beta. A rate of 0 gives max_beta from step 1 on."""
    return (1 - power("beta_rate", beta_rate, step)) * checked_number("max_beta", max_beta)


def learning_rate_at(
    step: int, *, learning_rate: float, decay_rate: float, min_learning_rate: float, warm_up: int = 0
) -> float:
    """Exponential decay towards a floor, (learning_rate - min) * decay_rate ** step + min, after a linear rise.

    The rise is a factor (step + 1) / warm_up, up to 1; 0 is no rise.
    """
    learning_rate = checked_number("learning_rate", learning_rate)
    min_learning_rate = checked_number("min_learning_rate", min_learning_rate)
    rise = min((step + 1) / max(checked_count("warm_up", warm_up, least=0), 1), 1)
    return rise * ((learning_rate - min_learning_rate) * power("decay_rate", decay_rate, step) + min_learning_rate)


def segments_at(step: int, *, segments: int, curriculum: int) -> int:
    """Segments of a window at a step: they double, from one, in equal shares of the first `curriculum` steps.

    A number that does not divide `segments` gives way to the largest below it that does (Bengio et al. 2009,
    "Curriculum Learning").
    """
    step, segments = checked_count("step", step, least=0), checked_count("segments", segments)
    curriculum = checked_count("curriculum", curriculum, least=0)
    doublings = (segments - 1).bit_length()
    longest = 2 ** (step * doublings // curriculum) if step < curriculum else segments
    return next(k for k in range(longest, 0, -1) if segments % k == 0)


def sampling_probability_at(step: int, *, schedule: str, rate: float) -> float:
    """Probability that scheduled sampling feeds the model its own draw at a step (lstm_utils.get_sampling_probability).

    Args:
        step: global step.
        schedule: 'constant', with the probability `rate`; 'exponential', 1 - rate ** step; or 'inverse_sigmoid',
            1 - k / (k + e ** (step / k)) with k = rate.
        rate: from 0 to 1 for 'constant', between 0 and 1 for 'exponential', at least 1 for 'inverse_sigmoid'.

    Raises:
        ValueError: an unknown schedule, or a rate outside its interval.
    """
    step, rate = checked_count("step", step, least=0), checked_number("sampling_rate", rate, "a finite number")
    if schedule == "constant" and 0 <= rate <= 1:
        return float(rate)
    if schedule == "exponential" and 0 < rate < 1:
        return 1 - power("sampling_rate", rate, step)
    if schedule == "inverse_sigmoid" and rate >= 1:
        return 1 - 1 / (1 + math.exp(min(step / rate, 700)) / rate)  # e^709 is the largest double
    known = "'constant' (rate from 0 to 1), 'exponential' (between 0 and 1) or 'inverse_sigmoid' (of at least 1)"
    raise ValueError(f"the sampling schedule must be {known}, got {schedule!r} with rate {rate}")
