"""The steps of an LSTM layer on the CPU: all of them with gradient, or one at a time without, by compiled kernels.

A kernel takes a narrow layer through all steps. In bfloat16 it takes small layers only, because oneDNN multiplies large
ones faster. For other layers oneDNN multiplies, and a kernel does the elementwise part of each step in one pass.

Axes: N sequences, T steps, F features of a frame, H width of the layer, K rows of a table, P parts of a frame. The 4H
columns of the gates are i, f, g and o.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engine.kernels import call_kernel, fused_available, matmul, prepare_linear

FUSED_MIN_SIZE = 8192  # sequences times width above which a fused layer trains faster than PyTorch's in float32
AT_ONCE_WIDTH = 256  # widest layer that one kernel takes through all steps: its weights, 1 MB, stay in a core's cache
MAX_PANEL = 32  # columns of a packed matrix are filled up to a multiple of this number, or of a divisor
AT_ONCE_SIZE = {torch.float32: math.inf, torch.bfloat16: 4096}  # sequences times width; oneDNN's bfloat16 gains with it


# ---- Which kernels run ----
# `fused_available`: kernels exist for this device and dtype. `is_fused`: this layer trains with them.
# `one_kernel_per_layer`: one call for all steps of a layer, else one per step.


def is_fused(batch: int, hidden: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether a layer trains by the fused functions: where they run and are faster."""
    gain = 2 if dtype == torch.bfloat16 else 1  # half as many are enough in bfloat16
    faster = gain * batch * hidden > FUSED_MIN_SIZE or one_kernel_per_layer(batch, hidden, dtype)
    return faster and fused_available(device, dtype)


def one_kernel_per_layer(batch: int, hidden: int, dtype: torch.dtype) -> bool:
    """Returns whether one kernel takes a fused layer through all steps, without a call per step."""
    return hidden <= AT_ONCE_WIDTH and 0 < batch * hidden <= AT_ONCE_SIZE.get(dtype, 0)


# ---- What a layer computes ----


class LstmState(NamedTuple):
    """Output and cell state of one layer, [N, H] each."""

    h: Tensor
    c: Tensor


class LstmTrace(NamedTuple):
    """What every step of a layer computed, which its gradient needs."""

    gates: Tensor  # [T, N, 4H], activated
    outputs: Tensor  # [T, N, H]
    cells: Tensor  # [T, N, H], float32


class GateInputs(NamedTuple):
    """The part of a layer's gates before activation that does not depend on the hidden state."""

    table: Tensor  # rows of class indices [K, 4H], or the products of dense frames [T, N, 4H]
    indices: Tensor | None  # [T, N, P]
    gate_bias: Tensor  # [N, 4H] or [4H]


def new_trace(steps: int, h: Tensor) -> LstmTrace | None:
    """Buffers for a number of steps of a layer with outputs like h [N, H]; None for a layer that is not fused."""
    if not is_fused(*h.shape, h.device, h.dtype):
        return None
    (batch, hidden), cells = h.shape, h.new_empty(steps, *h.shape, dtype=torch.float32)
    return LstmTrace(h.new_empty(steps, batch, 4 * hidden), h.new_empty(steps, batch, hidden), cells)


# ---- One step ----


def lstm_cell(
    table: Tensor | None, indices: Tensor | None, hidden_gates: Tensor, c: Tensor, step: LstmTrace | None = None
) -> LstmState:
    """Returns the next state from the gates before their activation, without gradient.

    The gates are `hidden_gates` plus, for each sequence, the sum of the indexed rows of the table.

    Args:
        table: [K, 4H]; without indices [N, 4H], added as it is; nothing is added when None.
        indices: [N, P], int64.
        hidden_gates: [N, 4H], the product of the hidden state, and what else is added.
        c: [N, H], cell state of the step before, float32.
        step: receives what the step computes, without the axis T; only where `fused_available`.
    """
    if fused_available(hidden_gates.device, hidden_gates.dtype):
        gates, *new = step or (None, hidden_gates.new_empty(c.shape), torch.empty_like(c))
        step_forward(table, indices, hidden_gates, c, gates, LstmState(*new))
        return LstmState(*new)
    gates = hidden_gates if table is None else hidden_gates + (table if indices is None else table[indices].sum(1))
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return LstmState(o.sigmoid() * c.tanh().to(o.dtype), c)


def step_forward(
    table: Tensor | None,
    indices: Tensor | None,
    hidden_gates: Tensor,
    c: Tensor,
    activated: Tensor | None,
    new: LstmState,
):
    """Computes `lstm_cell` by the kernel.

    Args:
        table, indices, hidden_gates, c: as in `lstm_cell`.
        activated: [N, 4H], receives the activated gates; may be the table itself, or None.
        new: receives the next state.
    """
    parts = 0 if table is None else 1 if indices is None else indices.shape[1]
    tensors = (table, indices, hidden_gates, c, new.c, activated, new.h)
    call_kernel("forward", hidden_gates.dtype, tensors, (parts, *c.shape))


def step_backward(
    activated: Tensor, previous: Tensor, c: Tensor, d_output: Tensor | None, d_h: Tensor, d_c: Tensor, d_gates: Tensor
):
    """Computes the gradient of a step by the kernel.

    Args:
        activated: [N, 4H], activated gates.
        previous, c: [N, H], cell states before and after the step.
        d_output: [N, H], gradient of the step's output as the layer's output; 0 when None.
        d_h: [N, H], its gradient as the next step's input.
        d_c: [N, H], gradient of c; replaced by the gradient of `previous`.
        d_gates: [N, 4H], receives the gradient of the gates before their activation.
    """
    call_kernel("backward", activated.dtype, (activated, previous, c, d_output, d_h, d_c, d_gates), c.shape)


# ---- All steps, with gradient ----


class FusedLstm(Function):
    """All steps of one direction of a layer on the CPU; all floats but c and cells are in the products' dtype."""

    @staticmethod
    def forward(ctx, frames, gate_bias, weight, recurrent, h, c, reverse: bool, trace: LstmTrace | None):
        """Returns outputs [T, N, H] and the last of them, [N, H].

        Args:
            ctx: autograd's context.
            frames: [T, N, F], or class indices [T, N, P].
            gate_bias: [N, 4H] or [4H], added to the gates at every step.
            weight: [4H, F].
            recurrent: [4H, H].
            h: [N, H], initial output.
            c: [N, H], initial cell state, float32.
            reverse: go from the last step to the first.
            trace: holds all steps but the last, and receives the last one.
        """
        h, c, dense = h.contiguous(), c.contiguous(), frames.is_floating_point()
        first = len(frames) - 1 if trace else 0  # with a trace only the last step is left
        left = frames[first:]
        if dense:
            inputs = GateInputs(matmul(left.flatten(0, 1), weight.t()).unflatten(0, (-1, len(h))), None, gate_bias)
        else:
            inputs = GateInputs(row_table(weight), left, gate_bias)
        steps = trace or new_trace(len(frames), h)
        if dense and not trace:
            steps = steps._replace(gates=inputs.table)  # activated in place
        state = LstmState(steps.outputs[first - 1], steps.cells[first - 1]) if first else LstmState(h, c)
        _run_steps(inputs, recurrent, state, LstmTrace(*(part[first:] for part in steps)), reverse)
        ctx.save_for_backward(frames, weight, recurrent, h, c, *steps)
        ctx.reverse, ctx.bias_shape = reverse, gate_bias.shape
        ctx.set_materialize_grads(False)
        return steps.outputs, steps.outputs[0 if reverse else -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_outputs, d_last):
        frames, weight, recurrent, h, c, gates, outputs, cells = ctx.saved_tensors
        d_outputs, d_gates = None if d_outputs is None else d_outputs.contiguous(), torch.empty_like(gates)
        d_h, d_c = torch.zeros_like(h) if d_last is None else d_last.contiguous(), torch.zeros_like(c)
        d_h = _go_back(LstmTrace(gates, outputs, cells), recurrent, c, d_outputs, d_h, d_c, d_gates, ctx.reverse)
        flat = d_gates.flatten(0, 1)  # (T * N, 4H)
        before = (outputs[1:], h[None]) if ctx.reverse else (h[None], outputs[:-1])
        d_recurrent = matmul(_transposed(*before), flat).t()
        if frames.is_floating_point():
            d_weight, d_bias = matmul(_transposed(frames), flat).t(), None
        else:
            d_table = _table_gradient(flat, frames.flatten(0, 1), weight.shape[1])
            d_weight, d_bias = d_table[:-1].t(), d_table.sum(0) / frames.shape[-1]  # each step has one row per part
        if d_bias is None or len(ctx.bias_shape) == 2:
            d_bias = d_gates.sum(0 if len(ctx.bias_shape) == 2 else (0, 1))
        d_frames = matmul(flat, weight).view_as(frames) if ctx.needs_input_grad[0] else None
        return d_frames, d_bias, d_weight, d_recurrent, d_h, d_c, None, None


def packed_matrix(matrix: Tensor) -> Tensor:
    """A matrix [I, O], of any strides, as the kernels that take a layer through all steps read it."""
    inputs, outputs = matrix.shape
    panels = torch.zeros(math.ceil(outputs / MAX_PANEL) * MAX_PANEL * inputs)
    call_kernel("pack", matrix.dtype, (matrix, panels), (*matrix.shape, *matrix.stride()))
    return panels


def packed_cell(inputs: GateInputs, packed: Tensor, state: LstmState, step: LstmTrace) -> LstmState:
    """Returns the next state by `run_packed`; the step's trace has no axis T."""
    run_packed(inputs, packed, state, LstmTrace(*(part[None] for part in step)))
    return LstmState(step.outputs, step.cells)


def run_packed(inputs: GateInputs, packed: Tensor, state: LstmState, trace: LstmTrace, reverse: bool = False):
    """Fills the trace of a layer's steps by one kernel, without gradient.

    Args:
        inputs: the gates' other part.
        packed: `packed_matrix` of the recurrent weight, [H, 4H].
        state: before the first step.
        trace: of these steps.
        reverse: go from the last step to the first.
    """
    added = inputs.gate_bias.contiguous()
    tensors = (inputs.table, inputs.indices, packed, added, *state, *trace)
    parts = 1 if inputs.indices is None else inputs.indices.shape[-1]
    sizes = (parts, *trace.outputs.shape, reverse, len(added) if added.ndim == 2 else 1)
    call_kernel("forward_steps", trace.outputs.dtype, tensors, sizes)


def _run_steps(inputs: GateInputs, recurrent: Tensor, state: LstmState, trace: LstmTrace, reverse: bool):
    """Fills a trace: by one kernel, or step by step with products by oneDNN."""
    if one_kernel_per_layer(*state.h.shape, state.h.dtype):
        run_packed(inputs, packed_matrix(recurrent.t()), state, trace, reverse)
        return
    (table, indices, gate_bias), (gates, outputs, cells) = inputs, trace
    multiply, added = prepare_linear(recurrent, gate_bias, len(state.h)), ()
    if gate_bias.ndim == 2:
        multiply, added = prepare_linear(recurrent, None, len(state.h)), (gate_bias.contiguous(),)
    for t in _step_order(len(outputs), reverse):
        new, of_frame = LstmState(outputs[t], cells[t]), (table[t], None) if indices is None else (table, indices[t])
        step_forward(*of_frame, multiply(state.h, *added), state.c, gates[t], new)
        state = new


def _go_back(
    trace: LstmTrace,
    recurrent: Tensor,
    c: Tensor,
    d_outputs: Tensor | None,
    d_h: Tensor,
    d_c: Tensor,
    d_gates: Tensor,
    reverse: bool,
) -> Tensor:
    """Fills d_gates [T, N, 4H], replaces d_c by the gradient of the initial cell c, and returns that of the output."""
    if one_kernel_per_layer(*c.shape, recurrent.dtype):
        d_h = d_h.clone()  # which the kernel replaces
        tensors = (trace.gates, c, trace.cells, packed_matrix(recurrent), d_outputs, d_h, d_c, d_gates)
        call_kernel("backward_steps", recurrent.dtype, tensors, (*trace.cells.shape, reverse))
        return d_h
    multiply, shift = prepare_linear(recurrent.t(), batch_size=len(c)), 1 if reverse else -1
    order = _step_order(len(d_gates), reverse)
    for t in reversed(order):
        previous = c if t == order[0] else trace.cells[t + shift]
        d_output = None if d_outputs is None else d_outputs[t]
        step_backward(trace.gates[t], previous, trace.cells[t], d_output, d_h, d_c, d_gates[t])
        d_h = multiply(d_gates[t])
    return d_h


def _transposed(*parts: Tensor) -> Tensor:
    """Contiguous [F, M] of the rows [M, F] of several tensors [T, N, F]; oneDNN multiplies it faster than a view."""
    parts = [part.flatten(0, 1) for part in parts]
    out, first = parts[0].new_empty(parts[0].shape[1], sum(map(len, parts))), 0
    for part in parts:
        call_kernel("transpose", out.dtype, (part, out[:, first:]), (*part.shape, out.shape[1]))
        first += len(part)
    return out


def _table_gradient(d_gates: Tensor, indices: Tensor, depth: int) -> Tensor:
    """Gradient [F + 1, 4H], float32, of a `row_table`: d_gates [M, 4H], class indices [M, P]."""
    d_table = torch.zeros(depth + 1, d_gates.shape[1])
    call_kernel("scatter", d_gates.dtype, (d_gates, indices, d_table), (indices.shape[1], *d_gates.shape))
    return d_table


def _step_order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


# ---- Tables ----


def row_table(weight: Tensor, before: int = 0, after: int = 0) -> Tensor:
    """Columns of a weight [4H, F] as rows [before + F + after + 1, 4H], between and before rows of zeros."""
    return F.pad(weight.t(), (0, 0, before, after + 1))
