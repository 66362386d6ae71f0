"""Which precision of the matrix products is the faster one here, by measurement.

A processor may list bfloat16 among its instructions and yet emulate it, more slowly than float32.
"""

import hashlib
import time
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from engine.kernels import matmul

PRODUCT = (64, 256, 1024)  # rows, inputs and outputs of the timed product: a step of a layer of 256 units
ROUNDS = 8  # timings of each precision, the best of which counts
MAX_SECONDS = 0.008  # of timed products; a slow machine makes fewer rounds
CACHE = Path(__file__).parent / "__pycache__"
CPU_FACTS = ("model name", "flags", "CPU part", "Features")  # lines of /proc/cpuinfo that tell processors apart


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
