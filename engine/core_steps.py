"""A core decoder that goes one step at a time, without gradient: for samples and for scheduled sampling.

A core is a `model.CoreDecoder`: `depth` of its frames, `initial_state`, `layers` and `output`.

Axes as in model.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.fused_lstm import (
    GateInputs,
    LstmState,
    LstmTrace,
    lstm_cell,
    new_trace,
    one_kernel_per_layer,
    packed_cell,
    packed_matrix,
    row_table,
)
from engine.kernels import matmul, prepare_linear
from engine.lstm import LstmLayer, compute_dtype


class PackedLayer(NamedTuple):
    """The weights of a layer that one kernel takes through steps."""

    weight: Tensor  # [4H, F]
    bias: Tensor  # [4H]
    recurrent: Tensor  # see `packed_matrix`


class CoreSteps:
    """A core decoder that goes one step at a time, without gradient.

    Whatever does not change from step to step is computed once: the initial states, the contribution of each embedding
    to the first layer's gates, and weights laid out for the products. Later changes of the weights have no effect.

    Args:
        core: the decoder.
        embeddings: [N, S, E], of all segments to come.
        before, after: depth of the parts of a frame on either side of the core's own part.
        traced_steps: length of `traces`, which keep what the steps of a single segment compute; none if 0.
    """

    def __init__(self, core: nn.Module, embeddings: Tensor, before: int, after: int, traced_steps: int):
        dtype, batch, others = compute_dtype(core.output.weight), len(embeddings), core.layers[1:]
        of_frame, recurrent, self.of_controls, self.embedding_gates = first_layer(core, embeddings, dtype)
        self.table = row_table(of_frame, before, after)  # (D + 1, 4H)
        upper = (joint_product(layer, dtype, batch) for layer in others)
        self.products = [prepare_linear(recurrent, None, batch), *upper]  # one per layer
        self.output = prepare_linear(core.output.weight.to(dtype), core.output.bias.to(dtype), batch)
        self.starts = initial_states(core, embeddings, dtype)
        self.traces = [new_trace(traced_steps, h[0]) if traced_steps else None for h, _ in self.starts]
        self.packed = [trace and self._packed(layer, dtype, batch) for layer, trace in zip(core.layers, self.traces)]

    @staticmethod
    def _packed(layer: LstmLayer, dtype: torch.dtype, batch: int) -> PackedLayer | None:
        """The weights as `decode`'s kernel for all steps reads them, if it has one, so that both round alike."""
        weight, recurrent, bias, _ = (w.to(dtype) for w in layer.weights())
        at_once = one_kernel_per_layer(batch, layer.hidden_size, dtype)
        return PackedLayer(weight, bias, packed_matrix(recurrent.t())) if at_once else None

    def begin(self, segment: int, controls: Tensor):
        """Sets the states to the start of a segment; controls [N, L, C], where C may be 0."""
        self.states = [LstmState(h[segment], c[segment]) for h, c in self.starts]
        self.gates = self.embedding_gates[segment].expand(controls.shape[1], -1, -1)  # (L, N, 4H)
        if controls.shape[-1]:
            self.gates = self.gates + F.linear(controls.to(self.table.dtype).transpose(0, 1), self.of_controls)

    def step(self, frame: Tensor, t: int) -> Tensor:
        """Logits [N, logits] of the segment's step t from the frame before it, dense [N, D] or class indices [N, P]."""
        is_dense = frame.is_floating_point()
        table = frame.to(self.table.dtype) @ self.table[:-1] if is_dense else self.table
        kept = [trace and LstmTrace(*(part[t] for part in trace)) for trace in self.traces]
        self.states[0] = self._first_state(table, None if is_dense else frame, self.gates[t], kept[0])
        for k in range(1, len(self.states)):
            self.states[k] = self._upper_state(k, self.states[k - 1].h, kept[k])
        return self.output(self.states[-1].h)

    def _first_state(self, table: Tensor, indices: Tensor | None, gates: Tensor, kept: LstmTrace | None) -> LstmState:
        """The next state of the first layer, see `lstm_cell`; gates [N, 4H] of embedding and controls."""
        state = self.states[0]
        if packed := self.packed[0]:
            inputs = GateInputs(table, None if indices is None else indices[None], gates)
            return packed_cell(inputs, packed.recurrent, state, kept)
        return lstm_cell(table, indices, self.products[0](state.h, gates), state.c, kept)

    def _upper_state(self, k: int, below: Tensor, kept: LstmTrace | None) -> LstmState:
        """The next state of layer k from the output [N, F] of the layer below."""
        state = self.states[k]
        if packed := self.packed[k]:
            inputs = GateInputs(matmul(below, packed.weight.t()), None, packed.bias)
            return packed_cell(inputs, packed.recurrent, state, kept)
        return lstm_cell(None, None, self.products[k](below, state.h), state.c, kept)


def first_layer(core: nn.Module, embeddings: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first layer's weights of the frame, the state and the controls, and the embeddings' gates, [S, N, 4H]."""
    weight, recurrent, bias, _ = (w.to(dtype) for w in core.layers[0].weights())
    ends = [core.depth, core.depth + embeddings.shape[-1]]
    of_frame, of_embedding, of_controls = weight.tensor_split(ends, 1)
    return of_frame, recurrent, of_controls, F.linear(embeddings.transpose(0, 1).to(dtype), of_embedding, bias)


def initial_states(core: nn.Module, embeddings: Tensor, dtype: torch.dtype) -> list[LstmState]:
    """States [S, N, H] of each layer at the start of each segment."""
    states = core.initial_state(embeddings.transpose(0, 1))
    return [LstmState(h.to(dtype), c.to(torch.promote_types(dtype, torch.float32))) for h, c in states]


def joint_product(layer: LstmLayer, dtype: torch.dtype, batch: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of a layer's input [batch, F] and state h [batch, H] that sums both products and the bias."""
    weight, recurrent, bias, _ = (w.to(dtype) for w in layer.weights())
    if batch == 1:  # joining the weights would cost a copy and save nothing
        of_input, of_state = prepare_linear(weight, bias), prepare_linear(recurrent)
        return lambda inputs, state: of_state(state, of_input(inputs))
    both = prepare_linear(torch.cat([weight, recurrent], 1), bias, batch)
    return lambda inputs, state: both(torch.cat([inputs, state], -1))
