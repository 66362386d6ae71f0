"""All steps of a single sequence by one kernel call: cores, draws and states.

Most of the time of a single sequence goes into the calls of each step. One call saves them.

Axes: S segments, T steps, P parts of a frame, F inputs, H width of a layer, D logits, K rows of a table.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.core_steps import first_layer, initial_states
from engine.fused_lstm import row_table
from engine.kernels import SIZE, call_kernel, fused_available
from engine.lstm import compute_dtype


class StepLayer(NamedTuple):
    """A layer of a core decoder over S segments, as `draw_steps` runs it; the last one of a core writes logits."""

    weight: Tensor | None  # [4H or D, F], of the layer below; None in the first layer
    added: Tensor  # [4H or D], to the gates or the logits, or [S, 1, 4H]
    recurrent: Tensor | None = None  # [4H, H]; None in the last layer, as all that follows
    table: Tensor | None = None  # [K + 1, 4H], rows of the core's own classes and of none; in the first layer
    h: Tensor | None = None  # [S, 1, H], at the start of each segment; overwritten
    c: Tensor | None = None  # the same, float32


def one_kernel_per_sequence(batch: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether `draw_steps` runs: for a single sequence, whose products read weights that are not packed."""
    return batch == 1 and fused_available(device, dtype)


def step_layers(core: nn.Module, embeddings: Tensor) -> list[StepLayer]:
    """A core decoder without controls, as one kernel takes it through the steps of a single sequence [1, S, E]."""
    dtype = compute_dtype(core.output.weight)
    of_frame, recurrent, _, gates = first_layer(core, embeddings, dtype)
    upper = ((w.to(dtype) for w in layer.weights()[:3]) for layer in core.layers[1:])
    (h, c), *starts = initial_states(core, embeddings, dtype)
    layers = [StepLayer(None, gates, recurrent, row_table(of_frame), h, c)]
    layers += [StepLayer(w, bias, r, None, h, c) for (w, r, bias), (h, c) in zip(upper, starts, strict=True)]
    return [*layers, StepLayer(core.output.weight.to(dtype), core.output.bias.to(dtype))]


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
