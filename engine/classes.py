"""Frames of classes: each part of a frame is a class, one-hot or as its index among the classes of all parts.

Axes: D classes of all parts, P parts.
"""

from itertools import accumulate

import torch
from torch import Tensor


def starts(depths: tuple[int, ...]) -> list[int]:
    """Position of the first class of each part."""
    return [0, *accumulate(depths[:-1])]


def class_indices(frames: Tensor, depths: tuple[int, ...]) -> Tensor:
    """Position of the one in each part of frames [..., D], counted over the whole frame; D for a part that is all zero.

    Returns:
        [..., P], int64.
    """
    indices = []
    for part, first in zip(frames.split(depths, -1), starts(depths), strict=True):
        value, index = part.max(-1)
        indices.append(torch.where(value > 0, index + first, frames.shape[-1]))
    return torch.stack(indices, -1)


def one_hot_frames(indices: Tensor, depth: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Frames [..., D] from the positions [..., P] of their ones; D stands for none."""
    zeros = torch.zeros(*indices.shape[:-1], depth + 1, dtype=dtype, device=indices.device)
    return zeros.scatter_(-1, indices, 1.0)[..., :-1].contiguous()
