"""CUDA graphs: the many small kernels of a loop, recorded once and from then on launched together."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

KEPT = 4  # recordings of a model; each holds the memory of what it computes

Tensors = tuple[Tensor | None, ...]


class Recording:
    """A function of tensors, without gradient, recorded with tensors of certain shapes and types."""

    def __init__(self, function: Callable[..., Tensor], tensors: Tensors, constants: tuple):
        self.inputs = tuple(None if tensor is None else tensor.clone() for tensor in tensors)
        side, dtype, enabled = torch.cuda.Stream(), torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        side.wait_stream(torch.cuda.current_stream())
        # without its cache: a replay has to cast the weights as they are then
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled, cache_enabled=False):
            with torch.cuda.stream(side):
                function(*self.inputs, *constants)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = function(*self.inputs, *constants)

    def __call__(self, tensors: Tensors) -> Tensor:
        for own, new in zip(self.inputs, tensors, strict=True):
            if own is not None:
                own.copy_(new)
        self.graph.replay()
        return self.output.clone()


_recordings: WeakKeyDictionary[nn.Module, dict[tuple, Recording]] = WeakKeyDictionary()


def run_as_graph(model: nn.Module, function: Callable[..., Tensor], tensors: Tensors, *constants) -> Tensor:
    """function(*tensors, *constants) on a GPU, by a recording of it where there is one of this model and these shapes.

    The function reads the model's parameters as they are at each call, draws no random number and never waits for the
    GPU; what it does may depend on the constants and on shapes alone.
    """
    shapes = tuple(None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors)
    places = tuple(parameter.data_ptr() for parameter in model.parameters())
    precision = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
    key, recordings = (shapes, constants, precision, places), _recordings.setdefault(model, {})
    if key not in recordings:
        while len(recordings) >= KEPT:
            recordings.pop(next(iter(recordings)))
        recordings[key] = Recording(function, tensors, constants)
    return recordings[key](tensors)
