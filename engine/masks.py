"""Which steps of a window count: those before its length."""

import torch
from torch import Tensor


def step_mask(lengths: Tensor, steps: int) -> Tensor:
    """True at the steps within each sequence, or within each segment: lengths [B] or [B, S] -> [B, steps]."""
    lengths = lengths if lengths.ndim == 2 else lengths[:, None]
    segment = torch.arange(steps // lengths.shape[1], device=lengths.device)
    return (segment < lengths[..., None]).flatten(1)
