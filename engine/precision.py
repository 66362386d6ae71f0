"""The precision of the matrix products, and which one is faster here, by measurement.

A processor may list bfloat16 among its instructions and yet emulate it, more slowly than float32.
"""

import hashlib
import time
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from engine.kernels import matmul
from engine.lstm import supports_bfloat16

PRODUCT = (64, 256, 1024)  # rows, inputs and outputs of the timed product: a step of a layer of 256 units
ROUNDS = 8  # timings of each precision, the best of which counts
MAX_SECONDS = 0.008  # of timed products; a slow machine makes fewer rounds
CACHE = Path(__file__).parent / "__pycache__"
CPU_FACTS = ("model name", "flags", "CPU part", "Features")  # lines of /proc/cpuinfo that tell processors apart


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context of a forward pass with matrix products in the given precision. Weights keep theirs.

    Args:
        device: of the model.
        precision: as in `chosen_precision`.

    Raises:
        ValueError: an unknown precision, or bfloat16 on a device that does not run it.
    """
    half = chosen_precision(device, precision) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def chosen_precision(device: torch.device, precision: str) -> str:
    """The precision of matrix products on a device, 'float32' or 'bfloat16'.

    Args:
        device: of the model.
        precision: 'float32'; 'bfloat16', for a CPU with instructions for it or a GPU whose cuDNN runs LSTMs in it; or
            'auto', which is bfloat16 where that runs and is faster, see `bfloat16_is_faster`, and float32 elsewhere.

    Raises:
        ValueError: an unknown precision, or bfloat16 on a device that does not run it.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}")
    if precision == "bfloat16" and not supports_bfloat16(device):
        raise ValueError(f"no LSTM runs in bfloat16 on {device} here: choose precision 'float32' or 'auto'")
    if precision != "auto":
        return precision
    return "bfloat16" if supports_bfloat16(device) and bfloat16_is_faster(device) else "float32"


@lru_cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Returns whether products in bfloat16 are faster than in float32, on a device that runs LSTMs in bfloat16.

    On the CPU a small product is timed once per machine and number of threads, in less than 20 ms, and the answer is
    kept in a file. A GPU that runs LSTMs in bfloat16 has units for it.
    """
    if device.type != "cpu":
        return True
    path = CACHE / f"precision-{_machine_key()}.txt"
    known = path.read_text() if path.is_file() else ""
    if known in ("bfloat16", "float32"):
        return known == "bfloat16"
    faster = product_seconds(torch.bfloat16) < product_seconds(torch.float32)
    _keep(path, "bfloat16" if faster else "float32")
    return faster


def product_seconds(dtype: torch.dtype) -> float:
    """Returns the seconds of the fastest of a few products of the size of a layer's step, on the CPU."""
    rows, inputs, outputs = PRODUCT
    a, b = torch.ones(rows, inputs, dtype=dtype), torch.ones(inputs, outputs, dtype=dtype)
    matmul(a, b)  # the first product sets up oneDNN
    seconds = [_timed(a, b)]
    while len(seconds) < ROUNDS and sum(seconds) < MAX_SECONDS / 2:
        seconds.append(_timed(a, b))
    return min(seconds)


def _timed(a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    matmul(a, b)
    return time.perf_counter() - start


def _machine_key() -> str:
    """Digest of what the answer depends on: the processor, its threads in use and PyTorch's version."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    facts = dict.fromkeys(line for line in lines if line.startswith(CPU_FACTS))  # each once, not per core
    return hashlib.sha1(repr((torch.__version__, torch.get_num_threads(), *facts)).encode()).hexdigest()[:16]


def _keep(path: Path, answer: str):
    """Writes an answer for the next process, where the folder can be written."""
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(answer)
    except OSError:
        pass
