"""The CPU kernels (lstm.cpp), whether they are available, and matrix products by oneDNN.

The kernels are compiled at first use, in about two seconds, on Linux with a C++ compiler and a PyTorch that has oneDNN.

Axes: N rows, F inputs, O outputs.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

SOURCE_FILE = Path(__file__).with_name("lstm.cpp")
COMPILER_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC")
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


# ---- Kernels ----


def fused_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether the fused functions run on a device in a dtype: on the CPU, with a compiler and oneDNN."""
    if device.type != "cpu" or dtype not in KERNEL_SUFFIXES or compiled_kernels() is None:
        return False
    return dtype == torch.float32 or cpu_supports_bfloat16()


@lru_cache(maxsize=1)
def cpu_supports_bfloat16() -> bool:
    """Returns whether the CPU multiplies matrices in bfloat16, natively or by emulation (see precision.py)."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def call_kernel(name: str, dtype: torch.dtype, arrays: tuple, sizes: tuple[int, ...]):
    """Calls a kernel on tensors, arrays of ctypes, and None for a null pointer."""
    pointers = [array.data_ptr() if isinstance(array, Tensor) else array for array in arrays]
    compiled_kernels()[f"{name}_{KERNEL_SUFFIXES[dtype]}"](*pointers, *sizes)


@lru_cache(maxsize=1)
def compiled_kernels() -> dict[str, Callable[..., None]] | None:
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
    weight, kernel = weight.contiguous(), compiled_kernels()[f"multiply_{KERNEL_SUFFIXES[weight.dtype]}"]
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
