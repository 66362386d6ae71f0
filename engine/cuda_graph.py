"""CUDA graphs: capture all kernels of a loop once, then launch them together.

`torch.compile(mode="reduce-overhead")` also replays CUDA graphs, but it unrolls the loop and compiles it for each
length, which takes more than a minute (docs/speed.md). A capture takes as long as two ordinary calls.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

MAX_GRAPHS_PER_MODEL = 4  # each holds the memory of its intermediate results

TensorArgs = tuple[Tensor | None, ...]


class CapturedGraph:
    """A function of tensors, captured without gradient for one set of shapes and dtypes.

    Args:
        function: what to capture, called as function(*tensors, *constants).
        tensors: example arguments with the shapes and dtypes of later calls.
        constants: further arguments, fixed for all calls.
    """

    def __init__(self, function: Callable[..., Tensor], tensors: TensorArgs, constants: tuple):
        self.inputs = tuple(None if tensor is None else tensor.clone() for tensor in tensors)
        stream = torch.cuda.Stream()
        dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        stream.wait_stream(torch.cuda.current_stream())
        # cache_enabled=False: a replay has to cast the weights that the model has then, not those of the capture
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled, cache_enabled=False):
            with torch.cuda.stream(stream):
                function(*self.inputs, *constants)  # warm-up, which capture requires on another stream
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = function(*self.inputs, *constants)

    def __call__(self, tensors: TensorArgs) -> Tensor:
        for captured, given in zip(self.inputs, tensors, strict=True):
            if captured is not None:
                captured.copy_(given)
        self.graph.replay()
        return self.output.clone()


_graphs: WeakKeyDictionary[nn.Module, dict[tuple, CapturedGraph]] = WeakKeyDictionary()


def run_as_graph(model: nn.Module, function: Callable[..., Tensor], tensors: TensorArgs, *constants) -> Tensor:
    """Returns function(*tensors, *constants), computed on a GPU by replaying a CUDA graph.

    The first call with a model, shapes, precision and constants captures the graph. Later calls replay it.

    Args:
        model: the module whose parameters the function reads; they may change their values between calls.
        function: must draw no random number and never wait for the GPU. Its control flow may depend on the constants
            and on shapes, not on values of tensors.
        tensors: arguments on the GPU, or None.
        constants: hashable arguments.
    """
    shapes = tuple(None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors)
    addresses = tuple(parameter.data_ptr() for parameter in model.parameters())
    precision = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
    key, graphs = (shapes, constants, precision, addresses), _graphs.setdefault(model, {})
    if key not in graphs:
        while len(graphs) >= MAX_GRAPHS_PER_MODEL:
            graphs.pop(next(iter(graphs)))
        graphs[key] = CapturedGraph(function, tensors, constants)
    return graphs[key](tensors)
