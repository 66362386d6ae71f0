"""LSTM layers, which run whole sequences; core_steps.py and single_sequence.py take the steps of a sample.

Every backend computes the same function:

- On a GPU, cuDNN runs the layers, in bfloat16 where the installed version supports it.
- On a CPU with a C++ compiler and oneDNN, training uses the compiled kernels of fused_lstm.py. An input that is
  constant over time is multiplied once.
- Everywhere else, `torch.nn.LSTM` runs the layers. It also runs small layers and sequences without gradient on the
  CPU, where it is as fast.

docs/speed.md says how much time the kernels save.

Axes: N sequences, T steps, F features of a frame, E features of the constant input, H width of a layer, P parts
of a frame.
"""

import math
import warnings
from contextlib import nullcontext
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from engine.classes import one_hot_frames
from engine.fused_lstm import FusedLstm, LstmState, LstmTrace, is_fused
from engine.kernels import cpu_supports_bfloat16

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


# ---- Frames and precision ----


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
        return cpu_supports_bfloat16()
    return device.type == "cuda" and cudnn_supports_bfloat16()
