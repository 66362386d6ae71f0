"""LSTM layers for training (whole sequences) and sampling (single steps), with compiled kernels on the CPU.

Every backend computes the same function:

- On a GPU, cuDNN runs the layers, in bfloat16 where the installed version supports it.
- On a CPU with a C++ compiler and oneDNN, training and single steps use the fused functions of this module. A kernel
  runs a narrow layer through all steps. In bfloat16 it runs small layers only, because oneDNN multiplies large ones
  faster. Other matrix products use oneDNN, with weights packed once per call. A single sequence uses a matrix-vector
  kernel on unpacked weights, and one kernel call draws all its steps. Other kernels do the elementwise part of a step,
  and the drawing of classes, in one pass. An input that is constant over time is multiplied once. The kernels
  (lstm.cpp) are compiled at first use, in about two seconds.
- Everywhere else, `torch.nn.LSTM` runs the layers. It also runs small layers and sequences without gradient on the
  CPU, where it is as fast.

docs/speed.md says how much time the kernels save.

Axes: N sequences, T steps, F features of a frame, E features of the constant input, H width of a layer, K rows of a
table, D logits, P parts of a frame.
"""

import ctypes
import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

SOURCE_FILE = Path(__file__).with_name("lstm.cpp")
COMPILER_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
FUSED_MIN_SIZE = 8192  # sequences times width above which a fused layer trains faster than PyTorch's in float32
AT_ONCE_WIDTH = 256  # widest layer that one kernel takes through all steps: its weights, 1 MB, stay in a core's cache
MOST_PANEL = 32  # columns of a packed matrix are filled up to a multiple of this number, or of a divisor
AT_ONCE_SIZE = {torch.float32: math.inf, torch.bfloat16: 4096}  # sequences times width; oneDNN's bfloat16 gains with it
POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64
ARGUMENT_TYPES = {  # per kernel
    "forward": [POINTER] * 7 + [SIZE] * 3,
    "backward": [POINTER] * 7 + [SIZE] * 2,
    "pack": [POINTER] * 2 + [SIZE] * 4,
    "forward_steps": [POINTER] * 9 + [SIZE] * 6,
    "backward_steps": [POINTER] * 8 + [SIZE] * 4,
    "scatter": [POINTER] * 3 + [SIZE] * 3,
    "transpose": [POINTER] * 2 + [SIZE] * 3,
    "multiply": [POINTER] * 4 + [SIZE] * 2,
    "nats": [POINTER] * 5 + [SIZE] * 3,
    "nats_gradient": [POINTER] * 6 + [SIZE] * 3,
    "draw": [POINTER] * 4 + [ctypes.c_float] + [SIZE] * 3,
    "draw_steps": [POINTER] * 4 + [ctypes.c_float] + [SIZE] * 5,
}
LIST_ARGUMENTS = {  # of the kernels of list_draws.py, in float32 alone
    "draw_lists_float32": [POINTER] * 6 + [ctypes.c_float] + [SIZE] * 4,
    "list_units_float32": [POINTER] * 4 + [SIZE] * 4,
    "list_units_backward_float32": [POINTER] * 5 + [SIZE] * 5,
}
KERNEL_SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}  # of the kernels' names, per dtype


class LstmState(NamedTuple):
    """Output and cell state of one layer, [N, H] each."""

    h: Tensor
    c: Tensor


class LstmTrace(NamedTuple):
    """What every step of a layer computed, which its gradient needs."""

    gates: Tensor  # [T, N, 4H], activated
    outputs: Tensor  # [T, N, H]
    cells: Tensor  # [T, N, H], float32


class LstmShares(NamedTuple):
    """What the gates of a layer receive beside the product of its state."""

    table: Tensor  # rows of class indices [K, 4H], or the products of dense frames [T, N, 4H]
    indices: Tensor | None  # [T, N, P]
    gate_bias: Tensor  # [N, 4H] or [4H]


def new_trace(steps: int, h: Tensor) -> LstmTrace | None:
    """Buffers for a number of steps of a layer with outputs like h [N, H]; None for a layer that is not fused."""
    if not is_fused(*h.shape, h.device, h.dtype):
        return None
    (batch, hidden), cells = h.shape, h.new_empty(steps, *h.shape, dtype=torch.float32)
    return LstmTrace(h.new_empty(steps, batch, 4 * hidden), h.new_empty(steps, batch, hidden), cells)


# ---- The layer ----


class LstmLayer(nn.LSTM):
    """One LSTM layer over [N, T, F], with the initial weights and the single bias of TensorFlow's LSTMBlockCell.

    PyTorch's second bias, `bias_hh`, stays zero and is not trained.
    """

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool = False):
        super().__init__(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        for name, parameter in self.named_parameters():
            if "bias_hh" in name:
                parameter.requires_grad_(False)

    def reset_parameters(self):
        """Draws Glorot-uniform weights, with a bound for input and state; sets biases to 0, the forget gate's to 1."""
        bound = math.sqrt(6 / (self.input_size + 5 * self.hidden_size))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.uniform_(-bound, bound) if "weight" in name else parameter.zero_()
                if "bias_ih" in name:
                    parameter[self.hidden_size : 2 * self.hidden_size] = 1.0

    def forward(
        self,
        frames: Tensor | PackedSequence,
        state: LstmState | None = None,
        constant: Tensor | None = None,
        constant_index: int = 0,
        trace: LstmTrace | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Runs all steps.

        Args:
            frames: [N, T, F], or a packed sequence; or the class indices [N, T, P] of one-hot frames, F for no class.
            state: initial state of a unidirectional layer; zeros when None.
            constant: [N, E], an input that is the same at every step; not with a packed sequence.
            constant_index: position of the constant among the layer's F + E input features.
            trace: buffers in which `lstm_cell` left all steps but the last, which then alone remains to be run.

        Returns:
            Outputs [N, T, H or 2H], packed if the frames were, and final outputs [N, H or 2H], forward | backward.
        """
        dtype, packed = compute_dtype(self.weight_hh_l0), isinstance(frames, PackedSequence)
        trained = not packed and torch.is_grad_enabled()
        if trace or (trained and is_fused(len(frames), self.hidden_size, frames.device, dtype)):
            frames = frames.to(dtype) if frames.is_floating_point() else frames
            return self._forward_fused(
                frames.transpose(0, 1).contiguous(), dtype, state, constant, constant_index, trace
            )
        if not packed and not frames.is_floating_point():
            depth = self.input_size - (0 if constant is None else constant.shape[-1])
            frames = one_hot_frames(frames, depth, self.weight_hh_l0.dtype)
        frames = frames if constant is None else insert_constant(frames, constant, constant_index)
        outputs, h = self._forward_torch(frames, state, dtype)
        if packed:
            return outputs, torch.cat(h.unbind(), -1)
        final = outputs[:, -1]
        if self.bidirectional:
            final = torch.cat([final[:, : self.hidden_size], outputs[:, 0, self.hidden_size :]], -1)
        return outputs, final

    def _forward_torch(self, frames: Tensor | PackedSequence, state: LstmState | None, dtype: torch.dtype):
        """Outputs and final outputs of torch.nn.LSTM, cast here on a GPU, where autocast would make it float16."""
        hx, cast = state and (state.h[None], state.c[None]), torch.is_autocast_enabled("cuda")
        if cast and not isinstance(frames, PackedSequence):
            return self.forward_in_dtype(frames, hx, dtype)
        with torch.autocast("cuda", enabled=False) if cast else nullcontext():
            outputs, (h, _) = super().forward(frames, hx)
        return outputs, h

    def forward_in_dtype(
        self, frames: Tensor, hx: tuple[Tensor, Tensor] | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Runs torch.nn.LSTM with weights, state and frames cast to a dtype.

        Args:
            frames: [N, T, F].
            hx: initial h and c, [directions, N, H] each; zeros when None.
            dtype: of all operands.

        Returns:
            Outputs [N, T, H or 2H] and final outputs [directions, N, H].
        """
        weights = [w.to(dtype) for suffix in self.suffixes for w in self.weights(suffix)]
        zeros = frames.new_zeros(len(self.suffixes), len(frames), self.hidden_size)
        hx = [part.to(dtype) for part in hx or (zeros, zeros)]
        with torch.autocast(frames.device.type, enabled=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            # has_biases, num_layers, dropout, train, bidirectional, batch_first
            options = (True, 1, 0.0, self.training, self.bidirectional, True)
            outputs, h, _ = torch._VF.lstm(frames.to(dtype), hx, weights, *options)
        return outputs, h

    def _forward_fused(
        self,
        frames: Tensor,
        dtype: torch.dtype,
        state: LstmState | None,
        constant: Tensor | None,
        constant_index: int,
        trace: LstmTrace | None,
    ) -> tuple[Tensor, Tensor]:
        """Outputs and final outputs of frames [T, N, F] or class indices [T, N, P]."""
        zeros = torch.zeros(frames.shape[1], self.hidden_size)
        h, c = state or (zeros, zeros)
        results = []
        for suffix in self.suffixes:
            weight, recurrent, gate_bias, _ = (w.to(dtype) for w in self.weights(suffix))
            if constant is not None:
                end = constant_index + constant.shape[-1]
                gate_bias = F.linear(constant.to(dtype), weight[:, constant_index:end], gate_bias)
                weight = torch.cat([weight[:, :constant_index], weight[:, end:]], 1)
            weights = (gate_bias, weight, recurrent)
            results.append(FusedLstm.apply(frames, *weights, h.to(dtype), c.float(), suffix != "", trace))
        outputs, final = (torch.cat(directions, -1) for directions in zip(*results, strict=True))
        return outputs.transpose(0, 1), final

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of the weights' names, one per direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def weights(self, suffix: str = "") -> list[Tensor]:
        """Returns weight_ih, weight_hh, bias_ih and bias_hh of one direction."""
        return [getattr(self, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


# ---- Frames, tables and precision ----


def one_hot_frames(indices: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
    """Frames [N, D] from the positions [N, P] of their ones; D stands for none."""
    zeros = torch.zeros(*indices.shape[:-1], depth + 1, dtype=dtype, device=indices.device)
    return zeros.scatter_(-1, indices, 1.0)[..., :-1]


def row_table(weight: Tensor, before: int = 0, after: int = 0) -> Tensor:
    """Columns of a weight [4H, F] as rows [before + F + after + 1, 4H], between and before rows of zeros."""
    return F.pad(weight.t(), (0, 0, before, after + 1))


def insert_constant(frames: Tensor, constant: Tensor, index: int) -> Tensor:
    """Inserts a constant [N, E] into every frame of [N, T, F], before the feature `index`: [N, T, F + E]."""
    repeated = constant[:, None].expand(-1, frames.shape[1], -1)
    return torch.cat([frames[..., :index], repeated, frames[..., index:]], -1)


def lstm_layers(input_size: int, sizes: tuple[int, ...], bidirectional: bool = False) -> nn.ModuleList:
    """Builds stacked layers, one module per width in `sizes`; nn.LSTM alone would need equal widths."""
    directions = 2 if bidirectional else 1
    inputs = (input_size, *(directions * size for size in sizes[:-1]))
    return nn.ModuleList(LstmLayer(i, size, bidirectional) for i, size in zip(inputs, sizes, strict=True))


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Returns the dtype of matrix products with a weight: autocast's where that is enabled, else the weight's own."""
    device = weight.device.type
    cast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if cast else weight.dtype


def runs_on_cudnn(outputs: Tensor) -> bool:
    """Returns whether cuDNN's LSTM computed the outputs, according to their autograd graph."""
    nodes = [outputs.grad_fn]
    while nodes:
        node = nodes.pop()
        if "CudnnRnn" in type(node).__name__:
            return True
        nodes += [following for following, _ in node.next_functions if following is not None]
    return False


@lru_cache(maxsize=1)
def cudnn_supports_bfloat16() -> bool:
    """Returns whether cuDNN runs LSTMs in bfloat16 on the current GPU, by running a small one; False without a GPU."""
    if not torch.cuda.is_available():
        return False
    try:
        with torch.enable_grad(), torch.random.fork_rng():
            frames = torch.zeros(1, 2, 8, device="cuda")
            return runs_on_cudnn(LstmLayer(8, 8).cuda().forward_in_dtype(frames, None, torch.bfloat16)[0])
    except RuntimeError:
        return False


@lru_cache
def supports_bfloat16(device: torch.device) -> bool:
    """Returns whether LSTMs run in bfloat16 on a device."""
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type == "cuda" and cudnn_supports_bfloat16()


# ---- All steps with gradient, on the CPU ----


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
            shares = LstmShares(matmul(left.flatten(0, 1), weight.t()).unflatten(0, (-1, len(h))), None, gate_bias)
        else:
            shares = LstmShares(row_table(weight), left, gate_bias)
        steps = trace or new_trace(len(frames), h)
        if dense and not trace:
            steps = steps._replace(gates=shares.table)  # activated in place
        state = LstmState(steps.outputs[first - 1], steps.cells[first - 1]) if first else LstmState(h, c)
        run_steps = _run_at_once if one_kernel_per_layer(*h.shape, h.dtype) else _run_step_by_step
        run_steps(shares, recurrent, state, LstmTrace(*(part[first:] for part in steps)), reverse)
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
        go_back = _go_back_at_once if one_kernel_per_layer(*h.shape, h.dtype) else _go_back_step_by_step
        d_h = go_back(LstmTrace(gates, outputs, cells), recurrent, c, d_outputs, d_h, d_c, d_gates, ctx.reverse)
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


def _run_at_once(shares: LstmShares, recurrent: Tensor, state: LstmState, trace: LstmTrace, reverse: bool):
    """Fills a trace by one kernel."""
    run_packed(shares, packed_matrix(recurrent.t()), state, trace, reverse)


def packed_matrix(matrix: Tensor) -> Tensor:
    """A matrix [I, O], of any strides, as the kernels that take a layer through all steps read it."""
    inputs, outputs = matrix.shape
    panels = torch.zeros(math.ceil(outputs / MOST_PANEL) * MOST_PANEL * inputs)
    call_kernel("pack", matrix.dtype, (matrix, panels), (*matrix.shape, *matrix.stride()))
    return panels


def packed_cell(shares: LstmShares, packed: Tensor, state: LstmState, step: LstmTrace) -> LstmState:
    """Returns the next state by `run_packed`; the step's trace has no axis T."""
    run_packed(shares, packed, state, LstmTrace(*(part[None] for part in step)))
    return LstmState(step.outputs, step.cells)


def run_packed(shares: LstmShares, packed: Tensor, state: LstmState, trace: LstmTrace, reverse: bool = False):
    """Fills the trace of a layer's steps by one kernel, without gradient.

    Args:
        shares: what the gates receive beside the product of the state.
        packed: `packed_matrix` of the recurrent weight, [H, 4H].
        state: before the first step.
        trace: of these steps.
        reverse: go from the last step to the first.
    """
    added = shares.gate_bias.contiguous()
    tensors = (shares.table, shares.indices, packed, added, *state, *trace)
    parts = 1 if shares.indices is None else shares.indices.shape[-1]
    sizes = (parts, *trace.outputs.shape, reverse, len(added) if added.ndim == 2 else 1)
    call_kernel("forward_steps", trace.outputs.dtype, tensors, sizes)


def _run_step_by_step(shares: LstmShares, recurrent: Tensor, state: LstmState, trace: LstmTrace, reverse: bool):
    """Fills a trace with products by oneDNN."""
    (table, indices, gate_bias), (gates, outputs, cells) = shares, trace
    multiply, added = prepare_linear(recurrent, gate_bias, len(state.h)), ()
    if gate_bias.ndim == 2:
        multiply, added = prepare_linear(recurrent, None, len(state.h)), (gate_bias.contiguous(),)
    for t in _step_order(len(outputs), reverse):
        new, of_frame = LstmState(outputs[t], cells[t]), (table[t], None) if indices is None else (table, indices[t])
        step_forward(*of_frame, multiply(state.h, *added), state.c, gates[t], new)
        state = new


def _go_back_at_once(
    trace: LstmTrace,
    recurrent: Tensor,
    c: Tensor,
    d_outputs: Tensor | None,
    d_h: Tensor,
    d_c: Tensor,
    d_gates: Tensor,
    reverse: bool,
) -> Tensor:
    """As `_go_back_step_by_step`, by one kernel."""
    d_h = d_h.clone()  # which the kernel replaces
    tensors = (trace.gates, c, trace.cells, packed_matrix(recurrent), d_outputs, d_h, d_c, d_gates)
    call_kernel("backward_steps", recurrent.dtype, tensors, (*trace.cells.shape, reverse))
    return d_h


def _go_back_step_by_step(
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


# ---- Matrix products ----


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Returns a @ b; in float32 by oneDNN, which is twice as fast as PyTorch's choice (MKL) on some processors."""
    if a.dtype == torch.bfloat16:
        return a @ b  # PyTorch uses oneDNN for these
    return torch.ops.mkldnn._linear_pointwise.default(a, b.t(), None, "none", [], "")


def prepare_linear(weight: Tensor, bias: Tensor | None = None, batch_size: int = 1) -> Callable[..., Tensor]:
    """Returns a linear function that is called many times with one weight.

    Args:
        weight: [O, F]; packed for oneDNN where that helps. Later changes of its values may be ignored.
        bias: [O], or None.
        batch_size: N, rows of every x.

    Returns:
        A function of x [N, F] and, optionally, a summand [N, O]. It returns x @ weight.T + summand, or
        x @ weight.T + bias without a summand.
    """
    if not fused_available(weight.device, weight.dtype):
        return lambda x, summand=bias: F.linear(x, weight) if summand is None else torch.addmm(summand, x, weight.t())
    return matrix_vector_linear(weight, bias) if batch_size == 1 else packed_linear(weight, bias, batch_size)


def matrix_vector_linear(weight: Tensor, bias: Tensor | None) -> Callable[..., Tensor]:
    """Returns the function of `prepare_linear` for a batch of 1, by the `multiply` kernel."""
    weight, kernel = weight.contiguous(), kernels()[f"multiply_{KERNEL_SUFFIXES[weight.dtype]}"]
    outputs, inputs = weight.shape

    def multiply(x: Tensor, summand: Tensor | None = bias) -> Tensor:
        out, added = x.new_empty(1, outputs), None if summand is None else summand.data_ptr()
        kernel(weight.data_ptr(), x.data_ptr(), added, out.data_ptr(), inputs, outputs)
        return out

    return multiply


def packed_linear(weight: Tensor, bias: Tensor | None, batch_size: int) -> Callable[..., Tensor]:
    """Returns the function of `prepare_linear` by oneDNN, with the weight packed for a batch size."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), batch_size)
    linear, linear_add = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._linear_pointwise.binary

    def multiply(x: Tensor, summand: Tensor | None = None) -> Tensor:
        if summand is None:
            return linear(x, packed, bias, "none", [], "")
        return linear_add(x, summand, packed, None, "add")

    return multiply


# ---- One step ----


def lstm_cell(
    table: Tensor | None, indices: Tensor | None, recurrent: Tensor, c: Tensor, step: LstmTrace | None = None
) -> LstmState:
    """Returns the next state from the gates before their activation, without gradient.

    The gates are `recurrent` plus, for each sequence, the sum of the indexed rows of the table.

    Args:
        table: [K, 4H]; without indices [N, 4H], added as it is; nothing is added when None.
        indices: [N, P], int64.
        recurrent: [N, 4H].
        c: [N, H], cell state of the step before, float32.
        step: receives what the step computes, without the axis T; only where `fused_available`.
    """
    if fused_available(recurrent.device, recurrent.dtype):
        gates, *new = step or (None, recurrent.new_empty(c.shape), torch.empty_like(c))
        step_forward(table, indices, recurrent, c, gates, LstmState(*new))
        return LstmState(*new)
    gates = recurrent if table is None else recurrent + (table if indices is None else table[indices].sum(1))
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return LstmState(o.sigmoid() * c.tanh().to(o.dtype), c)


def step_forward(
    table: Tensor | None,
    indices: Tensor | None,
    recurrent: Tensor,
    c: Tensor,
    activated: Tensor | None,
    new: LstmState,
):
    """Computes `lstm_cell` by the kernel.

    Args:
        table, indices, recurrent, c: as in `lstm_cell`.
        activated: [N, 4H], receives the activated gates; may be the table itself, or None.
        new: receives the next state.
    """
    parts = 0 if table is None else 1 if indices is None else indices.shape[1]
    call_kernel("forward", recurrent.dtype, (table, indices, recurrent, c, new.c, activated, new.h), (parts, *c.shape))


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


# ---- Drawing classes ----


def draw_classes(logits: Tensor, depths: tuple[int, ...], temperature: float, uniforms: Tensor) -> Tensor:
    """Draws a class from the softmax of each part of the logits, by inverse transform sampling.

    Args:
        logits: [N, D].
        depths: number of classes of each of the P parts; their sum is D.
        temperature: divides the logits; 0 takes the most likely class.
        uniforms: [N, P], in [0, 1).

    Returns:
        [N, P], int64: positions of the drawn classes among the D logits.
    """
    if fused_available(logits.device, logits.dtype):
        return _draw_by_kernel(logits, depths, temperature, uniforms)
    drawn, first = [], 0
    for part, number in zip(logits.float().split(depths, -1), uniforms.split(1, -1), strict=True):
        index = _draw_part(part, number, temperature)
        drawn.append(index + first if first else index)
        first += part.shape[-1]
    return torch.cat(drawn, -1) if len(drawn) > 1 else drawn[0]


def _draw_part(logits: Tensor, number: Tensor, temperature: float) -> Tensor:
    """Classes [N, 1] of one part."""
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


# ---- A whole roll-out in one kernel ----


class StepLayer(NamedTuple):
    """A layer of a core decoder over S segments, as `draw_steps` runs it; the last one of a core writes logits."""

    weight: Tensor | None  # [4H or D, F], of the layer below; None in the first layer
    added: Tensor  # [4H or D], to the gates or the logits, or [S, 1, 4H]
    recurrent: Tensor | None = None  # [4H, H]; None in the last layer, as all that follows
    table: Tensor | None = None  # [K + 1, 4H], rows of the core's own classes and of none; in the first layer
    h: Tensor | None = None  # [S, 1, H], at the start of each segment; overwritten
    c: Tensor | None = None  # the same, float32


def one_kernel_per_roll_out(batch: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether `draw_steps` runs: for a single sequence, whose products read weights that are not packed."""
    return batch == 1 and fused_available(device, dtype)


def draw_steps(
    cores: list[list[StepLayer]],
    depths: tuple[int, ...],
    temperature: float,
    uniforms: Tensor,
    segment_steps: int | None,
) -> Tensor:
    """Draws the frames of one sequence by one kernel, with the bits of `prepare_linear`, `lstm_cell`, `draw_classes`.

    Args:
        cores: the layers of a core for all parts, or of a core for each part.
        depths, temperature: as in `draw_classes`.
        uniforms: [1, T, P], in [0, 1).
        segment_steps: steps after which the states start anew; None for a single segment.

    Returns:
        [1, T, P], int64. The frame before the first has no class.
    """
    (_, steps, parts), width = uniforms.shape, sum(depths)
    layers = [
        StepLayer(*(field if field is None else field.contiguous() for field in x)) for core in cores for x in core
    ]
    drawn = torch.full((1, steps + 1, parts), width)
    fields = [field for layer in layers for field in _step_fields(layer, parts // len(cores))]
    arrays = ((SIZE * len(fields))(*fields), (SIZE * parts)(*depths), uniforms.float().contiguous(), drawn)
    sizes = (len(layers), parts, steps, segment_steps or steps, width)
    call_kernel("draw_steps", layers[0].added.dtype, arrays, (temperature, *sizes))
    return drawn[:, 1:]


def _step_fields(layer: StepLayer, parts: int) -> list[int]:
    """The kernel's structure of a layer: addresses, and sizes."""
    outputs, inputs = layer.added.shape[-1], 0 if layer.weight is None else layer.weight.shape[1]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in layer]
    read = (0, 0) if layer.table is None else (parts, len(layer.table) - 1)
    return [*addresses, inputs, outputs, outputs if layer.added.ndim > 1 else 0, *read]


# ---- Which kernels run, and how they are built ----


def fused_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether the fused functions run on a device in a dtype: on the CPU, with a compiler and oneDNN."""
    if device.type != "cpu" or dtype not in KERNEL_SUFFIXES or kernels() is None:
        return False
    return dtype == torch.float32 or supports_bfloat16(device)


def is_fused(batch: int, hidden: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether a layer trains by the fused functions: where they run and are faster."""
    gain = 2 if dtype == torch.bfloat16 else 1  # half as many are enough in bfloat16
    faster = gain * batch * hidden > FUSED_MIN_SIZE or one_kernel_per_layer(batch, hidden, dtype)
    return faster and fused_available(device, dtype)


def one_kernel_per_layer(batch: int, hidden: int, dtype: torch.dtype) -> bool:
    """Returns whether one kernel takes a fused layer through all steps, without a call per step."""
    return hidden <= AT_ONCE_WIDTH and 0 < batch * hidden <= AT_ONCE_SIZE.get(dtype, 0)


def call_kernel(name: str, dtype: torch.dtype, arrays: tuple, sizes: tuple[int, ...]):
    """Calls a kernel on tensors, arrays of ctypes, and None for a null pointer."""
    pointers = [array.data_ptr() if isinstance(array, Tensor) else array for array in arrays]
    kernels()[f"{name}_{KERNEL_SUFFIXES[dtype]}"](*pointers, *sizes)


@lru_cache(maxsize=1)
def kernels() -> dict[str, Callable[..., None]] | None:
    """Returns the compiled kernels by name, built at the first call, or None where they cannot be built."""
    compiler = next(filter(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++")), None)
    if compiler is None or platform.system() != "Linux" or not torch.backends.mkldnn.is_available():
        return None
    try:
        _check_onednn()
        library = ctypes.CDLL(str(build_library(compiler)))
    except (OSError, subprocess.CalledProcessError, AttributeError, RuntimeError):
        return None
    types = {f"{name}_{suffix}": types for suffix in KERNEL_SUFFIXES.values() for name, types in ARGUMENT_TYPES.items()}
    found = {}
    for name, arguments in (types | LIST_ARGUMENTS).items():
        kernel = found[name] = library[name]
        kernel.argtypes, kernel.restype = arguments, None
    return found


def _check_onednn():
    """Raises RuntimeError if PyTorch's undocumented oneDNN operators compute something else than expected."""
    weight, bias, summand = torch.arange(6.0).view(3, 2), torch.ones(3), torch.full((2, 3), 2.0)
    multiply = packed_linear(weight, bias, batch_size=2)
    computed = multiply(torch.eye(2)), multiply(torch.eye(2), summand), matmul(weight.t(), weight)
    expected = weight.t() + bias, weight.t() + summand, weight.t() @ weight
    if not all(map(torch.equal, computed, expected)):
        raise RuntimeError("oneDNN's linear operators differ from what this module expects")


def build_library(compiler: str) -> Path:
    """Returns the path of the kernels' shared library, compiled if none exists for this source and processor.

    Raises:
        OSError: the folder is not writable.
        subprocess.CalledProcessError: the compiler failed.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = [line for line in lines if line.startswith(("flags", "Features"))]
    key = hashlib.sha1(repr((SOURCE_FILE.read_text(), COMPILER_FLAGS, processor[:1])).encode()).hexdigest()[:16]
    library = SOURCE_FILE.parent / "__pycache__" / f"lstm-{key}.so"
    if not library.exists():
        library.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            compiled = Path(folder) / library.name
            command = [compiler, *COMPILER_FLAGS, str(SOURCE_FILE), "-o", str(compiled)]
            subprocess.run(command, check=True, capture_output=True)
            compiled.replace(library)  # atomic: another process sees no library or a whole one
    return library
