"""Spherical interpolation of vectors."""

import torch
from torch import Tensor

from engine.checks import checked_number, checked_type, described

MIN_SINE = 1e-6  # of the angle between two vectors; below it they count as parallel or opposite


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Spherical interpolation: the point at t on the arc between two vectors (paper, section 5; Shoemake 1985).

    Parallel vectors, and a vector and zero, are joined by a straight line. Opposite vectors are joined by a half turn
    through a direction that is orthogonal to both, along which the norm changes linearly.

    Args:
        start: [Z].
        end: [Z].
        t: position, from 0 (start) to 1 (end).

    Returns:
        [Z].

    Raises:
        ValueError: start and end are not two vectors of one size, or t is no number.
    """
    for name, vector in (("start", start), ("end", end)):
        if checked_type(name, vector, Tensor, "a tensor [Z]").ndim != 1 or len(vector) != len(start):
            raise ValueError(f"{name} must be a vector of the size of start, got {described(vector)}")
    t = checked_number("t", t)
    a, b = start.double(), end.double()
    norms = a.norm(), b.norm()
    if 0 in norms:
        return torch.lerp(start, end, t)
    u, v = a / norms[0], b / norms[1]
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())  # accurate at all angles, unlike arccos
    if angle.sin() > MIN_SINE:
        return ((((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()).to(start.dtype)
    if u @ v > 0 or len(u) == 1:
        return torch.lerp(start, end, t)
    aside = torch.zeros_like(u).index_fill(0, u.abs().argmin(), 1)
    aside = aside - (aside @ u) * u
    turned = (t * angle).cos() * u + (t * angle).sin() * aside / aside.norm()
    return (turned * torch.lerp(*norms, t)).to(start.dtype)


def slerp_rows(start: Tensor, end: Tensor, t: float) -> Tensor:
    """`slerp` of each pair of rows: [n, Z]."""
    return torch.stack([slerp(a, b, t) for a, b in zip(start, end, strict=True)])
