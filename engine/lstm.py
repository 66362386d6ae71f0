"""LSTM layers, whole sequences at once and step by step, as fast as a machine allows.

On a GPU a layer is cuDNN's, in bfloat16 where the installed one takes that. On a processor with a C++ compiler,
training and single steps are our own: matrix products are oneDNN's, from weights laid out for it once a call, but for a
single sequence a kernel's of our own, from weights as they lie; the elementwise rest of a step is one pass of another,
and so is the draw of its classes; the compiler builds them at first use, in about a second; and an input that is the
same at every step is multiplied once. Everywhere else it is `torch.nn.LSTM`, as it is on the processor for whole
sequences without gradient and for small layers, where it is as fast. All compute the same.

Axes: N sequences, T steps, F features of a frame, E features of the constant input, H width of a layer.
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

SOURCE = Path(__file__).with_name("lstm.cpp")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
FUSED_MIN_SIZE = 8192  # sequences times width from which on our own layer trains faster than PyTorch's
ARRAY, SIZE = ctypes.c_void_p, ctypes.c_int64
ARGUMENTS = {  # of each kernel
    "forward": [ARRAY] * 7 + [SIZE] * 3,
    "backward": [ARRAY] * 7 + [SIZE] * 2,
    "multiply": [ARRAY] * 4 + [SIZE] * 2,
    "draw": [ARRAY] * 4 + [ctypes.c_float] + [SIZE] * 3,
}
KERNELS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}  # precisions that the kernels serve


class LstmState(NamedTuple):
    """Output and cell of one layer: [N, H] each."""

    h: Tensor
    c: Tensor


class LstmLayer(nn.LSTM):
    """One LSTM layer over [N, T, F], initialised as TensorFlow's (contrib_rnn.LSTMBlockCell): one bias."""

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool = False):
        super().__init__(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        for name, parameter in self.named_parameters():
            if "bias_hh" in name:
                parameter.requires_grad_(False)

    def reset_parameters(self):
        """Glorot's uniform range over the joint kernel of input and state; biases 0, the forget gate's 1."""
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
        at: int = 0,
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """All steps.

        Args:
            frames: [N, T, F], or packed.
            state: of a one-way layer before the first step; zero when None.
            constant: [N, E], read beside the frame at every step.
            at: how many of the frame's features stand before the constant's.

        Returns:
            Outputs [N, T, H or 2H], packed where the frames were, and the last ones [N, H or 2H], forward | backward.
        """
        dtype, packed = compute_dtype(self.weight_hh_l0), isinstance(frames, PackedSequence)
        worth_it = not packed and torch.is_grad_enabled() and len(frames) * self.hidden_size > FUSED_MIN_SIZE
        if worth_it and fused_available(frames.device, dtype):
            outputs = self._fused(frames.transpose(0, 1).to(dtype).contiguous(), state, constant, at)
        else:
            frames = frames if constant is None else insert_constant(frames, constant, at)
            outputs, h = self._pytorchs(frames, state, dtype)
            if packed:
                return outputs, torch.cat(h.unbind(), -1)
        last = outputs[:, -1]
        if self.bidirectional:
            last = torch.cat([last[:, : self.hidden_size], outputs[:, 0, self.hidden_size :]], -1)
        return outputs, last

    def _pytorchs(self, frames: Tensor | PackedSequence, state: LstmState | None, dtype: torch.dtype):
        """PyTorch's own: outputs and last outputs, cast by hand on a GPU, where autocast makes every LSTM float16."""
        hx, half = state and (state.h[None], state.c[None]), torch.is_autocast_enabled("cuda")
        if half and not isinstance(frames, PackedSequence):
            return self.cast(frames, hx, dtype)
        with torch.autocast("cuda", enabled=False) if half else nullcontext():
            outputs, (h, _) = super().forward(frames, hx)
        return outputs, h

    def cast(self, frames: Tensor, hx: tuple[Tensor, Tensor] | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Outputs [N, T, H or 2H] and last outputs by PyTorch's layer, with everything in a precision."""
        weights = [w.to(dtype) for suffix in self.directions for w in self.weights(suffix)]
        zero = frames.new_zeros(len(self.directions), len(frames), self.hidden_size)
        hx = [part.to(dtype) for part in hx or (zero, zero)]
        with torch.autocast(frames.device.type, enabled=False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
            how = (True, 1, 0.0, self.training, self.bidirectional, True)
            outputs, h, _ = torch._VF.lstm(frames.to(dtype), hx, weights, *how)
        return outputs, h

    def _fused(self, frames: Tensor, state: LstmState | None, constant: Tensor | None, at: int) -> Tensor:
        dtype, zero = frames.dtype, frames.new_zeros(frames.shape[1], self.hidden_size)
        h, c = state or (zero, zero)
        outputs = []
        for suffix in self.directions:
            weight, recurrent, bias, _ = (w.to(dtype) for w in self.weights(suffix))
            gates = bias.expand(len(zero), -1)
            if constant is not None:
                gates = F.linear(constant.to(dtype), weight[:, at : at + constant.shape[-1]], bias)
                weight = torch.cat([weight[:, :at], weight[:, at + constant.shape[-1] :]], 1)
            sequence = (frames, gates, weight, recurrent, h.to(dtype), c.float(), suffix != "")
            outputs.append(FusedLstm.apply(*sequence))
        return torch.cat(outputs, -1).transpose(0, 1)

    @property
    def directions(self) -> tuple[str, ...]:
        """What the names of each direction's weights end in."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def weights(self, suffix: str = "") -> list[Tensor]:
        """weight_ih, weight_hh, bias_ih and bias_hh of a direction."""
        return [getattr(self, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def insert_constant(frames: Tensor, constant: Tensor, at: int) -> Tensor:
    """Frames [N, T, F] with a constant [N, E] at every step, after the first `at` features: [N, T, F + E]."""
    repeated = constant[:, None].expand(-1, frames.shape[1], -1)
    return torch.cat([frames[..., :at], repeated, frames[..., at:]], -1)


def lstm_layers(input_size: int, sizes: tuple[int, ...], bidirectional: bool = False) -> nn.ModuleList:
    """Stacked layers, each a module of its own, so that widths may differ."""
    directions = 2 if bidirectional else 1
    inputs = (input_size, *(directions * size for size in sizes[:-1]))
    return nn.ModuleList(LstmLayer(i, size, bidirectional) for i, size in zip(inputs, sizes, strict=True))


def compute_dtype(weight: Tensor) -> torch.dtype:
    """The precision of matrix products with a weight here: autocast's where that is on."""
    device = weight.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else weight.dtype


def runs_on_cudnn(outputs: Tensor) -> bool:
    """Whether cuDNN's LSTM made outputs, by their graph of gradients."""
    nodes = [outputs.grad_fn]
    while nodes:
        node = nodes.pop()
        if "CudnnRnn" in type(node).__name__:
            return True
        nodes += [following for following, _ in node.next_functions if following is not None]
    return False


@lru_cache(maxsize=1)
def cudnn_takes_bfloat16() -> bool:
    """Whether the installed cuDNN runs LSTMs in bfloat16 on the GPU that is there, if any: tried, not looked up."""
    if not torch.cuda.is_available():
        return False
    try:
        with torch.enable_grad(), torch.random.fork_rng():
            frames = torch.zeros(1, 2, 8, device="cuda")
            return runs_on_cudnn(LstmLayer(8, 8).cuda().cast(frames, None, torch.bfloat16)[0])
    except RuntimeError:
        return False


@lru_cache
def supports_bfloat16(device: torch.device) -> bool:
    """Whether LSTMs run in bfloat16 on a device."""
    if device.type == "cpu":
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type == "cuda" and cudnn_takes_bfloat16()


class FusedLstm(Function):
    """All steps of one direction of a layer on the CPU; every argument but c in the precision of the products."""

    @staticmethod
    def forward(ctx, frames, gates, weight, recurrent, h, c, backwards: bool) -> Tensor:
        """frames [T, N, F], what every step's gates begin with [N, 4H], weights [4H, F] and [4H, H], h and c [N, H]."""
        gates, h, c = gates.contiguous(), h.contiguous(), c.contiguous()
        activated = matmul(frames.flatten(0, 1), weight.t()).view(len(frames), len(h), -1)
        outputs, cells = frames.new_empty(len(frames), *h.shape), c.new_empty(len(frames), *c.shape)
        multiply, state = prepare_linear(recurrent, rows=len(h)), LstmState(h, c)
        for t in _order(len(frames), backwards):
            new = LstmState(outputs[t], cells[t])
            step_forward(activated[t], None, multiply(state.h, gates), state.c, activated[t], new)
            state = new
        ctx.save_for_backward(frames, weight, recurrent, h, c, activated, outputs, cells)
        ctx.backwards = backwards
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, d_outputs):
        frames, weight, recurrent, h, c, activated, outputs, cells = ctx.saved_tensors
        d_outputs, d_gates = d_outputs.contiguous(), torch.empty_like(activated)
        d_h, d_c = torch.zeros_like(h), torch.zeros_like(c)
        multiply, shift = prepare_linear(recurrent.t(), rows=len(h)), 1 if ctx.backwards else -1
        order = _order(len(frames), ctx.backwards)
        for t in reversed(order):
            before = c if t == order[0] else cells[t + shift]
            step_backward(activated[t], before, cells[t], d_outputs[t], d_h, d_c, d_gates[t])
            d_h = multiply(d_gates[t])
        earlier = torch.cat([outputs[1:], h[None]] if ctx.backwards else [h[None], outputs[:-1]])
        by_step = d_gates.flatten(0, 1)
        d_weight, d_recurrent = (matmul(x.flatten(0, 1).t(), by_step).t() for x in (frames, earlier))
        d_frames = matmul(by_step, weight).view_as(frames) if ctx.needs_input_grad[0] else None
        return d_frames, d_gates.sum(0), d_weight, d_recurrent, d_h, d_c, None


def _order(steps: int, backwards: bool) -> range:
    return range(steps - 1, -1, -1) if backwards else range(steps)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; float32 by oneDNN, as bfloat16 is anyway: on some processors it is twice as fast as PyTorch's choice."""
    if a.dtype == torch.bfloat16:
        return a @ b
    return torch.ops.mkldnn._linear_pointwise.default(a, b.t(), None, "none", [], "")


def prepare_linear(weight: Tensor, bias: Tensor | None = None, rows: int = 1) -> Callable[..., Tensor]:
    """A function of x [rows, F] and a summand [rows, O], which is the bias [O] where none is given: x @ weight.T + it.

    The weight [O, F] is laid out once for many calls, where that helps; one row takes it as it lies.
    """
    if not fused_available(weight.device, weight.dtype):
        return lambda x, summand=bias: F.linear(x, weight) if summand is None else torch.addmm(summand, x, weight.t())
    return _direct_product(weight, bias) if rows == 1 else _packed_product(weight, bias, rows)


def _direct_product(weight: Tensor, bias: Tensor | None) -> Callable[..., Tensor]:
    weight, multiply = weight.contiguous(), kernels()[f"multiply_{KERNELS[weight.dtype]}"]
    outputs, inputs = weight.shape

    def direct(x: Tensor, summand: Tensor | None = bias) -> Tensor:
        out, added = x.new_empty(1, outputs), None if summand is None else summand.data_ptr()
        multiply(weight.data_ptr(), x.data_ptr(), added, out.data_ptr(), inputs, outputs)
        return out

    return direct


def _packed_product(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[..., Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    plain, added = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._linear_pointwise.binary

    def multiply(x: Tensor, summand: Tensor | None = None) -> Tensor:
        return plain(x, packed, bias, "none", [], "") if summand is None else added(x, summand, packed, None, "add")

    return multiply


def lstm_cell(table: Tensor | None, rows: Tensor | None, recurrent: Tensor, c: Tensor) -> LstmState:
    """The elementwise part of a step, without gradient.

    Args:
        table: [K, 4H], of which the gates take the sum of the given rows, or [N, 4H] without them; nothing when None.
        rows: [N, P], int64.
        recurrent: [N, 4H], the rest of the gates.
        c: [N, H], the cell before, float32.
    """
    if fused_available(recurrent.device, recurrent.dtype):
        new = LstmState(recurrent.new_empty(c.shape), torch.empty_like(c))
        step_forward(table, rows, recurrent, c, None, new)
        return new
    gates = recurrent if table is None else recurrent + (table if rows is None else table[rows].sum(1))
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return LstmState(o.sigmoid() * c.tanh().to(o.dtype), c)


def step_forward(table, rows, recurrent: Tensor, c: Tensor, activated: Tensor | None, new: LstmState):
    """`lstm_cell` by the kernel, into `new`; what the gates became goes into `activated` [N, 4H], where it is given."""
    parts = 0 if table is None else 1 if rows is None else rows.shape[1]
    arrays = [None if array is None else array.data_ptr() for array in (table, rows, recurrent, c, new.c, activated)]
    kernels()[f"forward_{KERNELS[recurrent.dtype]}"](*arrays, new.h.data_ptr(), parts, *c.shape)


def step_backward(activated: Tensor, before: Tensor, c: Tensor, above: Tensor, later: Tensor, d_c, d_gates):
    """The gradient of a step's gates, into `d_gates`, from those of its output, `above` and `later`, and of its cell.

    activated and d_gates [N, 4H]; the others [N, H]: cells before and after, and d_c, which becomes that of `before`.
    """
    arrays = (array.data_ptr() for array in (activated, before, c, above, later, d_c, d_gates))
    kernels()[f"backward_{KERNELS[activated.dtype]}"](*arrays, *c.shape)


def draw_classes(logits: Tensor, depths: tuple[int, ...], temperature: float, uniforms: Tensor) -> Tensor:
    """A class of each part's softmax, as `model.frame_rows`: logits [N, D], uniforms [N, P]; temperature 0: arg-max.

    A class is where the uniform number falls among the classes' shares, laid end to end.
    """
    if fused_available(logits.device, logits.dtype):
        return _drawn_by_kernel(logits, depths, temperature, uniforms)
    rows, first = [], 0
    for part, number in zip(logits.float().split(depths, -1), uniforms.split(1, -1), strict=True):
        if temperature == 0:
            index = part.argmax(-1, keepdim=True)
        else:
            scaled = part if temperature == 1 else (part - part.amax(-1, keepdim=True)) / temperature
            shares = scaled.softmax(-1).cumsum(-1)
            index = torch.searchsorted(shares, number * shares[:, -1:], right=True).clamp(max=part.shape[-1] - 1)
        rows.append(index + first if first else index)
        first += part.shape[-1]
    return torch.cat(rows, -1) if len(rows) > 1 else rows[0]


def _drawn_by_kernel(logits: Tensor, depths: tuple[int, ...], temperature: float, uniforms: Tensor) -> Tensor:
    logits, uniforms = logits.contiguous(), uniforms.float().contiguous()
    classes = torch.empty(uniforms.shape, dtype=torch.int64)
    arrays = (logits.data_ptr(), (SIZE * len(depths))(*depths), uniforms.data_ptr(), classes.data_ptr())
    kernels()[f"draw_{KERNELS[logits.dtype]}"](*arrays, temperature, len(depths), *logits.shape)
    return classes


def fused_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether our own layer serves: on the CPU, in float32 or where that runs bfloat16, with a compiler and oneDNN."""
    if device.type != "cpu" or dtype not in KERNELS or kernels() is None:
        return False
    return dtype == torch.float32 or supports_bfloat16(device)


@lru_cache(maxsize=1)
def kernels() -> dict[str, Callable[..., None]] | None:
    """The compiled kernels by name, built when a machine first calls for them; None where something does not work."""
    compiler = next(filter(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++")), None)
    if compiler is None or platform.system() != "Linux" or not torch.backends.mkldnn.is_available():
        return None
    try:
        _check_products()
        library = ctypes.CDLL(str(build(compiler)))
    except (OSError, subprocess.CalledProcessError, AttributeError, RuntimeError):
        return None
    found = {}
    for dtype in KERNELS.values():
        for way, arguments in ARGUMENTS.items():
            kernel = found[f"{way}_{dtype}"] = library[f"{way}_{dtype}"]
            kernel.argtypes, kernel.restype = arguments, None
    return found


def _check_products():
    """Raises RuntimeError where oneDNN's products, which PyTorch does not document, are not what they were."""
    weight, bias, summand = torch.arange(6.0).view(3, 2), torch.ones(3), torch.full((2, 3), 2.0)
    multiply = _packed_product(weight, bias, rows=2)
    made = multiply(torch.eye(2)), multiply(torch.eye(2), summand), matmul(weight.t(), weight)
    wanted = weight.t() + bias, weight.t() + summand, weight.t() @ weight
    if not all(map(torch.equal, made, wanted)):
        raise RuntimeError("a product differs")


def build(compiler: str) -> Path:
    """The kernels' shared library, compiled unless one of this source lies there for this processor already.

    Raises:
        OSError, subprocess.CalledProcessError: nowhere to write, or a compiler that fails.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = [line for line in lines if line.startswith(("flags", "Features"))]
    key = hashlib.sha1(repr((SOURCE.read_text(), FLAGS, processor[:1])).encode()).hexdigest()[:16]
    library = SOURCE.parent / "__pycache__" / f"lstm-{key}.so"
    if not library.exists():
        library.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(made)], check=True, capture_output=True)
            made.replace(library)
    return library
