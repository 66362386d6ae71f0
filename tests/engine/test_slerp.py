"""Spherical interpolation: both ends, arcs, half turns."""

import pytest
import torch

from engine.slerp import slerp

E, N = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])


@pytest.mark.parametrize("end", [N, E, 2 * E, -E, -2 * E, torch.zeros(3), E + 1e-9 * N, -E + 1e-7 * N, E + N])
def test_slerp_reaches_both_ends_and_never_jumps(end):
    points = torch.stack([slerp(E, end, t) for t in torch.linspace(0, 1, 9).tolist()])
    assert torch.isfinite(points).all()
    torch.testing.assert_close(points[0], E, atol=1e-5, rtol=0)
    torch.testing.assert_close(points[-1], end, atol=1e-5, rtol=0)
    assert (points.diff(dim=0).norm(dim=1) < 0.5 * (E.norm() + end.norm())).all()  # no jump


def test_slerp_is_an_arc():
    """Between orthogonal unit vectors every point has length 1; the midpoint is at 45 degrees; a half turn avoids 0."""
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(slerp(x, y, 0.5), torch.tensor([0.5**0.5, 0.5**0.5]))
    assert all(slerp(x, y, t).norm().item() == pytest.approx(1) for t in (0.1, 0.7))
    assert slerp(x, -x, 0.5).norm().item() == pytest.approx(1)
    assert slerp(E, E, 0.3).tolist() == E.tolist()
