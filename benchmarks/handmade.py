"""Times each hand-written part of engine/ against the PyTorch function that would replace it, on the CPU.

    python benchmarks/handmade.py        # about five minutes; writes benchmarks/results/handmade.json

Times are CPU seconds of a single thread, which other programs on the machine change little. Ours and the replacement
are timed in turn; a row has the median of each and the median ratio of the pairs. torch.compile compiles once per
length, in a fresh process.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.floors import product_type
from benchmarks.measure import ROOT, drawing, processor_name, training
from benchmarks.rows import Row
from benchmarks.tables import markdown, number, results_path
from configs import CONFIGS
from engine import kernels
from engine.adam import BETA1, EPSILON, Adam
from model import MusicVAE

BASE = "cat-mel_2bar_small"
CPU = torch.device("cpu")
BATCH = 64  # sequences per training step
BETA2 = 0.999
FIRST_STEP_ROUNDS = 7  # of two processes each
UPDATE_ROUNDS, STEP_ROUNDS, SAMPLE_ROUNDS = 50, 9, 50
COMPILED_STEPS = (8, 16, 32)  # lengths of a sample; a two-bar melody has 32 steps


class Comparison(NamedTuple):
    """CPU seconds of a hand-written part and of its replacement, from calls in turn."""

    part: str
    work: str
    precision: str  # empty for work without matrix products
    replacement: str
    ours: list[float]
    theirs: list[float]


class TorchAdam:
    """torch.optim.Adam with TensorFlow's epsilon, with the methods of `engine.adam.Adam` that training uses."""

    def __init__(self, model: torch.nn.Module, **options):
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, betas=(BETA1, BETA2), **options)
        self.zero_grad = self.optimizer.zero_grad
        self.updates = 0

    def step(self, learning_rate: float):
        """Updates the parameters from their gradients."""
        self.updates += 1
        epsilon = EPSILON / math.sqrt(1 - BETA2**self.updates)
        self.optimizer.param_groups[0].update(lr=learning_rate, eps=epsilon)
        self.optimizer.step()


REPLACEMENTS = {
    "torch.optim.Adam, fused": partial(TorchAdam, fused=True),
    "torch.optim.Adam, foreach": partial(TorchAdam, foreach=True),
}
OPTIMIZERS = {"Adam": Adam} | REPLACEMENTS


def cpu_seconds() -> float:
    """CPU seconds of this process so far, and of the processes that it started and that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def seconds_of(call: Callable[[], object]) -> float:
    """CPU seconds that a call takes."""
    start = cpu_seconds()
    call()
    return cpu_seconds() - start


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of two calls that alternate, after a warm-up of each."""
    ours(), theirs()
    pairs = [(seconds_of(ours), seconds_of(theirs)) for _ in range(rounds)]
    return tuple(map(list, zip(*pairs, strict=True)))


def run_child(*arguments: str, **environment: str) -> str:
    """Runs this command in a fresh process of one thread, with environment variables; returns what it prints."""
    command = [sys.executable, "-m", "benchmarks.handmade", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"} | environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def first_step(optimizer: str):
    """The imports of a training program, a new model, and its first step."""
    training(Row("cpu", "float32", BASE, "train", BATCH), CONFIGS[BASE], ROOT, OPTIMIZERS[optimizer])()


def compare_first_steps() -> Comparison:
    """A program from its start to the end of its first training step."""
    name = next(iter(REPLACEMENTS))
    times = in_turn(*(partial(run_child, "--first-step", optimizer) for optimizer in ("Adam", name)), FIRST_STEP_ROUNDS)
    return Comparison("engine/adam.py", f"imports and first step, {BATCH}", "float32", name, *times)


def compare_updates(name: str) -> Comparison:
    """An update of the weights from random gradients."""
    calls = []
    for make_optimizer in (Adam, REPLACEMENTS[name]):
        optimizer = make_optimizer(MusicVAE(CONFIGS[BASE].model))
        for parameter in optimizer.parameters:
            parameter.grad = torch.randn_like(parameter)
        calls.append(partial(optimizer.step, 1e-3))
    return Comparison("engine/adam.py", "update", "", name, *in_turn(*calls, UPDATE_ROUNDS))


def without_kernels(call: Callable[[], object]) -> Callable[[], object]:
    """The call with PyTorch's functions instead of the kernels."""

    def plain():
        with patch.object(kernels, "compiled_kernels", lambda: None):
            call()

    return plain


def compare_kernels(precision: str) -> list[Comparison]:
    """A training step and the sampling of one sequence, with and without the kernels."""
    name = str(product_type(CPU, precision)).removeprefix("torch.")
    rows = []
    for work, make, batch, rounds in (("train", training, BATCH, STEP_ROUNDS), ("sample", drawing, 1, SAMPLE_ROUNDS)):
        call = make(Row("cpu", precision, BASE, work, batch), CONFIGS[BASE], ROOT)
        times = in_turn(call, without_kernels(call), rounds)
        rows.append(Comparison("engine/lstm.cpp", f"{work}, {batch}", name, "PyTorch's layers and operators", *times))
    return rows


def compile_sampling(steps: int) -> dict[str, float]:
    """CPU seconds of sampling one sequence in a Python loop, and of the first call of the same loop compiled."""
    config = CONFIGS[BASE].model
    model, z = MusicVAE(config).eval(), torch.randn(1, config.z_size)

    def sample(z: torch.Tensor) -> torch.Tensor:
        return model.sample(z=z, steps=steps, temperature=0)

    with patch.object(kernels, "compiled_kernels", lambda: None):  # the compiler cannot see into kernels
        sample(z)
        loop = seconds_of(lambda: sample(z))
        return {"loop": loop, "compiled": seconds_of(lambda: torch.compile(sample, mode="reduce-overhead")(z))}


def compare_compiled(steps: int) -> Comparison:
    """The loop called twice, as capturing a CUDA graph does, against compiling it."""
    with tempfile.TemporaryDirectory() as cache:  # an empty one, so that everything is compiled
        found = json.loads(run_child("--compile", str(steps), TORCHINDUCTOR_CACHE_DIR=cache).splitlines()[-1])
    work = f"first sample, {steps} steps"
    return Comparison(
        "engine/cuda_graph.py", work, "float32", "torch.compile", [2 * found["loop"]], [found["compiled"]]
    )


def measure() -> list[Comparison]:
    """All rows."""
    halved = product_type(CPU, "auto") != torch.float32
    comparisons = [compare_first_steps(), *map(compare_updates, REPLACEMENTS)]
    for precision in ("float32", "auto") if halved else ("float32",):
        comparisons += compare_kernels(precision)
    return comparisons + list(map(compare_compiled, COMPILED_STEPS))


def ratio(comparison: Comparison) -> float:
    """How many times as long as ours the replacement takes: the median over the pairs."""
    return statistics.median(b / a for a, b in zip(comparison.ours, comparison.theirs, strict=True))


def load_handmade() -> dict:
    """The content of results/handmade.json."""
    content = json.loads(results_path("handmade").read_text())
    return content | {"comparisons": [Comparison(**one) for one in content["comparisons"]]}


def handmade_text(content: dict) -> str:
    """The machine and the table of comparisons."""
    header = ("part", "work", "precision", "ours, ms", "replacement", "ms", "ratio")
    rows = []
    for one in content["comparisons"]:
        ours, theirs = (number(statistics.median(seconds), 1e-3) for seconds in (one.ours, one.theirs))
        rows.append((f"`{one.part}`", one.work, one.precision, ours, one.replacement, theirs, number(ratio(one))))
    return f"{content['processor']}, {content['cores']} cores; torch {content['torch']}.\n\n{markdown(header, rows)}"


def main(arguments: list[str] | None = None):
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Time the hand-written parts of engine/ against PyTorch's functions.")
    parser.add_argument("--first-step", choices=OPTIMIZERS, help="only make one training step (for timing a process)")
    parser.add_argument("--compile", type=int, metavar="STEPS", help="only compile a sampling loop, and print times")
    options = parser.parse_args(arguments)
    if options.first_step:
        return first_step(options.first_step)
    if options.compile:
        return print(json.dumps(compile_sampling(options.compile)))
    torch.set_num_threads(1)
    content = {"processor": processor_name(), "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}
    content["comparisons"] = [one._asdict() for one in measure()]
    results_path("handmade").write_text(json.dumps(content, indent=1) + "\n")
    print(handmade_text(load_handmade()))


if __name__ == "__main__":
    main()
