"""The cost of classes under softmaxes, and draws of classes from them, with compiled kernels on the CPU.

For the cost, PyTorch's functions copy bfloat16 logits to float32, write their log-softmax, and take its gradient back.
The kernels read the logits once per direction.

Axes: M rows, D logits, P parts of a row, each with a softmax of its own.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engine.classes import starts
from engine.kernels import SIZE, call_kernel, fused_available

# ---- Cost ----


def class_nats(logits: Tensor, classes: Tensor, depths: tuple[int, ...]) -> Tensor:
    """Returns the cross-entropy of classes, in float32, summed over the parts of a row.

    Args:
        logits: [M, D].
        classes: [M, P], int64, positions among all D logits; D for a part without class, which costs 0.
        depths: number of classes of each part; their sum is D.

    Returns:
        Nats, [M].
    """
    if fused_available(logits.device, logits.dtype):
        return ClassNats.apply(logits.contiguous(), classes.contiguous(), depths)
    return sum(_part_nats(x, y) for x, y in _parts(logits, classes, depths))


class ClassNats(Function):
    """`class_nats` by the kernels."""

    @staticmethod
    def forward(ctx, logits, classes, depths: tuple[int, ...]):
        nats, sums = torch.empty(len(logits)), torch.empty(*classes.shape, 2)
        ctx.depths = (SIZE * len(depths))(*depths)
        call_kernel("nats", logits.dtype, (logits, ctx.depths, classes, nats, sums), (len(depths), *logits.shape))
        ctx.save_for_backward(logits, classes, sums)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx, d_nats):
        logits, classes, sums = ctx.saved_tensors
        d_logits = torch.empty_like(logits)
        arrays = (logits, ctx.depths, classes, sums, d_nats.contiguous(), d_logits)
        call_kernel("nats_gradient", logits.dtype, arrays, (len(ctx.depths), *logits.shape))
        return d_logits, None, None


def _parts(logits: Tensor, classes: Tensor, depths: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and classes by part, counted over the part, whose depth stands for no class."""
    columns = logits.split(depths, -1), classes.unbind(-1), starts(depths), depths
    for part, index, first, depth in zip(*columns, strict=True):
        yield part, (index - first).clamp(max=depth)


def _part_nats(logits: Tensor, classes: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), classes, ignore_index=logits.shape[-1], reduction="none")


# ---- Draws ----


def likely_classes(logits: Tensor, depths: tuple[int, ...]) -> Tensor:
    """Returns the position of the largest logit of each part among all logits: [M, D] -> [M, P]."""
    return draw_classes(logits, depths, 0.0, logits.new_zeros(len(logits), len(depths)))


def draw_classes(logits: Tensor, depths: tuple[int, ...], temperature: float, uniforms: Tensor) -> Tensor:
    """Draws a class from the softmax of each part of the logits, by inverse transform sampling.

    Args:
        logits: [M, D].
        depths: number of classes of each of the P parts; their sum is D.
        temperature: divides the logits; 0 takes the most likely class.
        uniforms: [M, P], in [0, 1).

    Returns:
        [M, P], int64: positions of the drawn classes among the D logits.
    """
    if fused_available(logits.device, logits.dtype):
        return _draw_by_kernel(logits, depths, temperature, uniforms)
    parts = zip(logits.float().split(depths, -1), uniforms.split(1, -1), starts(depths), strict=True)
    return torch.cat([_draw_part(part, number, temperature) + first for part, number, first in parts], -1)


def _draw_part(logits: Tensor, number: Tensor, temperature: float) -> Tensor:
    """Classes [M, 1] of one part."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    scaled = logits if temperature == 1 else (logits - logits.amax(-1, keepdim=True)) / temperature
    cumulative = scaled.softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulative, number * cumulative[:, -1:], right=True)
    return drawn.clamp(max=logits.shape[-1] - 1)


def _draw_by_kernel(logits: Tensor, depths: tuple[int, ...], temperature: float, uniforms: Tensor) -> Tensor:
    logits, uniforms = logits.contiguous(), uniforms.float().contiguous()
    classes = torch.empty(uniforms.shape, dtype=torch.int64)
    arrays = (logits, (SIZE * len(depths))(*depths), uniforms, classes)
    call_kernel("draw", logits.dtype, arrays, (temperature, len(depths), *logits.shape))
    return classes
