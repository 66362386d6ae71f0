"""Lists of codes, see bit_lists.py, whose places rise: code by code, each given those before it.

Axes: N lists, L codes of a list, C = 2 * places codes, and C itself, which ends a list and fills the rest of it,
H hidden units, M codes of all lists, those that end a list included.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engine.kernels import call_kernel, fused_available
from engine.softmax import draw_classes


def draw_lists(
    hidden: Tensor, biases: Tensor, table: Tensor, weight: Tensor, temperature: float, uniforms: Tensor
) -> Tensor:
    """Draws lists: the logits of the next code are weight tanh(hidden + sum of the rows of the codes before) + biases.

    Args:
        hidden: [N, H].
        biases: [N, C + 1].
        table: [C + 1, H], the row of each code.
        weight: [C + 1, H].
        temperature: divides the logits; 0 takes the most likely code.
        uniforms: [N, L], in [0, 1).

    Returns:
        int64 [N, L].
    """
    tensors = [x.float().contiguous() for x in (hidden, biases, table, weight, uniforms)]
    codes = torch.empty(uniforms.shape, dtype=torch.int64, device=hidden.device)
    if fused_available(hidden.device, torch.float32):
        sizes = (*hidden.shape, len(table) // 2, uniforms.shape[1])
        call_kernel("draw_lists", torch.float32, (*tensors, codes), (temperature, *sizes))
        return codes
    hidden, biases, table, weight, uniforms = tensors
    last = torch.full((len(hidden),), -1, device=hidden.device)
    for k, uniform in enumerate(uniforms.split(1, -1)):
        scores = above(last, F.linear(hidden.tanh(), weight) + biases)
        last = codes[:, k] = draw_classes(scores, (len(table),), temperature, uniform)[:, 0]
        hidden = hidden + table[last]
    return codes


def list_units(hidden: Tensor, table: Tensor, codes: Tensor) -> Tensor:
    """The hidden units that each code is predicted from, tanh(hidden + sum of the rows of the codes before it): [M, H].

    Args:
        hidden: [N, H].
        table: [C + 1, H].
        codes: [N, L].
    """
    if fused_available(hidden.device, hidden.dtype) and hidden.dtype == table.dtype == torch.float32:
        return ListUnits.apply(hidden.contiguous(), table.contiguous(), codes.contiguous())
    before = F.pad(table[codes].cumsum(1), (0, 0, 1, -1))
    return (hidden[:, None] + before)[is_predicted(codes, len(table) - 1)].tanh()


def is_predicted(codes: Tensor, end: int) -> Tensor:
    """Which codes of lists [N, L] are predicted, those that end a list included: [N, L] bool."""
    return F.pad(codes, (1, -1), value=-1) != end


class ListUnits(Function):
    """`list_units` on the CPU, by kernels that need no memory for the ends of the lists."""

    @staticmethod
    def forward(ctx, hidden: Tensor, table: Tensor, codes: Tensor) -> Tensor:
        """Returns [M, H]."""
        end, (count, width) = len(table) - 1, hidden.shape
        units = hidden.new_empty(int(is_predicted(codes, end).sum()), width)
        sizes = (count, width, codes.shape[1], end)
        call_kernel("list_units", torch.float32, (hidden, table, codes, units), sizes)
        ctx.save_for_backward(units, codes)
        ctx.rows = end + 1
        return units

    @staticmethod
    @once_differentiable
    def backward(ctx, d_units: Tensor) -> tuple[Tensor, Tensor, None]:
        """Returns the gradients of hidden and table."""
        units, codes = ctx.saved_tensors
        (count, length), width = codes.shape, units.shape[1]
        d_hidden, d_table = units.new_empty(count, width), units.new_zeros(ctx.rows, width)
        arrays = (units, d_units.contiguous(), codes, d_hidden, d_table)
        sizes = (count, width, length, ctx.rows - 1, len(units))
        call_kernel("list_units_backward", torch.float32, arrays, sizes)
        return d_hidden, d_table, None


def above(last: Tensor, scores: Tensor) -> Tensor:
    """Scores [M, C + 1], with -inf for the codes whose place is not above that of the code `last` [M], -1 for none.

    After C, the end of a list, there is nothing but C.
    """
    end = scores.shape[-1] - 1
    places = torch.arange(end + 1, device=scores.device) % (end // 2)
    places[end] = end
    last = torch.where(last == end, end - 1, torch.where(last < 0, last, last % (end // 2)))
    return scores.masked_fill(places <= last[:, None], -math.inf)
