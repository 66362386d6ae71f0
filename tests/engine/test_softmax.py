"""The kernels' cross-entropy and choice of classes equal PyTorch's."""

import math

import pytest
import torch
import torch.nn.functional as F

from engine import softmax
from engine.kernels import compiled_kernels
from engine.softmax import class_nats, likely_classes
from helpers import needs_bfloat16

DEPTHS = (90, 3, 130)
STARTS = (0, 90, 93)
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]


@pytest.fixture(params=[True, False], ids=["kernels", "PyTorch"], autouse=True)
def kernels(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(softmax, "fused_available", lambda device, dtype: False)


def made(dtype, rows=50):
    """Logits, and classes of which a third are none."""
    torch.manual_seed(0)
    classes = torch.stack([torch.randint(depth, (rows,)) for depth in DEPTHS], -1) + torch.tensor(STARTS)
    classes[torch.rand(classes.shape) < 1 / 3] = sum(DEPTHS)
    return (9 * torch.randn(rows, sum(DEPTHS))).to(dtype).requires_grad_(), classes


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cost_of_classes_and_its_gradient_equal_those_of_a_log_softmax(dtype):
    logits, classes = made(dtype)
    slope = torch.linspace(-1, 1, len(logits))
    nats = class_nats(logits, classes, DEPTHS)
    (found,) = torch.autograd.grad((nats * slope).sum(), logits)
    exact = logits.detach().double().requires_grad_()
    one_hot = F.one_hot(classes, sum(DEPTHS) + 1)[..., :-1].sum(1)
    parts = zip(exact.split(DEPTHS, -1), one_hot.split(DEPTHS, -1), strict=True)
    wanted = sum(-(y * F.log_softmax(x, -1)).sum(-1) for x, y in parts)
    (gradient,) = torch.autograd.grad((wanted * slope).sum(), exact)
    assert nats.dtype == torch.float32
    assert found.dtype == dtype
    assert torch.allclose(nats.double(), wanted, rtol=1e-6, atol=1e-5)
    assert torch.allclose(found.double(), gradient, atol=1e-6 if dtype == torch.float32 else 4e-3)


def test_very_large_and_small_logits_have_a_finite_cost():
    logits = torch.tensor([[1e30, -1e30, 0.0], [-1e30, -1e30, -1e30]], requires_grad=True)
    nats = class_nats(logits, torch.tensor([[0], [1]]), (3,))
    assert nats.tolist() == pytest.approx([0, math.log(3)])
    (gradient,) = torch.autograd.grad(nats.sum(), logits)
    assert gradient.isfinite().all()


@pytest.mark.skipif(compiled_kernels() is None, reason="no C++ compiler, or no oneDNN, on this machine")
@pytest.mark.parametrize("kernels", [True], indirect=True)
def test_a_cost_near_0_keeps_its_digits():
    """The probability of another class than the likely one, e^-20, is smaller than a unit in the last place of 1."""
    logits = torch.tensor([[20.0, 0.0]], requires_grad=True)
    nats = class_nats(logits, torch.tensor([[0]]), (2,))
    (gradient,) = torch.autograd.grad(nats.sum(), logits)
    wanted = math.exp(-20)
    assert nats.item() == pytest.approx(wanted, rel=1e-5)
    assert gradient.tolist()[0] == pytest.approx([-wanted, wanted], rel=1e-5)


def test_a_nan_among_the_logits_makes_the_cost_nan():
    """So that training skips the update."""
    for place in range(5):
        logits = torch.zeros(2, 5)
        logits[1, place] = torch.nan
        assert class_nats(logits, torch.tensor([[0], [1]]), (5,)).isnan().tolist() == [False, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_likely_class_is_the_first_of_the_largest_logits(dtype):
    logits, _ = made(dtype)
    with torch.no_grad():
        logits[3, 90:93], logits[4, [95, 101]] = 1, 100
    wanted = [part.argmax(-1) + start for part, start in zip(logits.split(DEPTHS, -1), STARTS, strict=True)]
    assert torch.equal(likely_classes(logits, DEPTHS), torch.stack(wanted, -1))
    assert likely_classes(logits, DEPTHS)[[3, 4], [1, 2]].tolist() == [90, 95]
