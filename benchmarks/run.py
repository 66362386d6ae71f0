"""Times this project, and optionally Magenta, row by row; prints tables and writes JSON.

    python benchmarks/run.py                                  every row, into results/NAME.json; NAME is the machine's
    python benchmarks/run.py --peer DIR                       also Magenta, installed in the environment DIR
    python benchmarks/run.py --rows train 512 --name trial    rows whose names contain all words, into trial.json
    python benchmarks/run.py --docs                           no timing: makes docs/speed.md from the JSON

Each row runs in a fresh process. A row's floor is the longer of two times: its operations at the rate of a large matrix
product in its precision, and its bytes at the rate of reading a buffer of that size (see floors.py).
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import floors
from benchmarks.measure import MAX_CALLS, ROOT, SLOW, SONGS, Measurement, processor_name, write_loops
from benchmarks.page import write_page
from benchmarks.rows import MODELS, OURS_ALONE, Row, all_rows, config_of, select
from benchmarks.tables import (
    Machine,
    Result,
    Results,
    load_results,
    machine_text,
    results_path,
    save_results,
    speed_text,
    start_text,
)

MAGENTA = Path(__file__).with_name("magenta.py")
ROUNDS = 3  # with Magenta: ours and theirs alternate this many times
BUDGET = 1.5  # seconds of timed calls per row, shared by its rounds
QUICK_BUDGET = 0.1
MAX_APART = 1.5  # ratio of two measurements of one machine's rates


class ProcessFailed(RuntimeError):
    """A process that ended with an error."""


def run_process(command: list[str], seconds: float | None = None) -> Measurement:
    """The measurement that a process prints.

    Raises:
        ProcessFailed: it ended with an error, and the message is the last line that it wrote; or it took longer than
            `seconds` and was stopped.
    """
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=seconds)
    except subprocess.TimeoutExpired as fault:
        raise ProcessFailed(f"stopped after {seconds:.3g} s") from fault
    if ran.returncode:
        raise ProcessFailed((ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"])[-1])
    return Measurement(**json.loads(ran.stdout.strip().splitlines()[-1]))


def measure_ours(row: Row, budget: float, seconds: float | None = None) -> Measurement:
    """Times a row of this project, within some seconds in all."""
    return run_process([sys.executable, "-m", "benchmarks.measure", json.dumps(row), str(budget)], seconds)


def magenta_task(row: Row, budget: float, folder: Path) -> dict:
    """The description of a row that benchmarks/magenta.py takes; loops are written to the folder."""
    config = config_of(row)
    loops = write_loops(folder, config.converter) if row.work.startswith("loops") else None
    return {
        "config": MODELS[row.model].magenta,
        "work": row.work,
        "batch": row.batch,
        "sizes": {name: getattr(config.model, name) for name in ("z_size", "enc_rnn_size", "dec_rnn_size")},
        "sampling_probability": config.training.sampling_rate,
        "depths": config.model.output_depths,  # of the parts of a frame
        "files": [str(path) for path in loops or sorted(SONGS.glob("*.mid"))],
        "budget": budget,  # seconds
        "slow": SLOW,
        "most_calls": MAX_CALLS,
    }


def measure_magenta(row: Row, budget: float, peer: Path) -> list[Measurement]:
    """Times the same row of Magenta's on the processor; an empty list if that fails, with a line on stderr."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            task = json.dumps(magenta_task(row, budget, Path(folder)))
            return [run_process([str(peer / "bin" / "python"), str(MAGENTA), task])]
    except ProcessFailed as fault:
        print(f"\nMagenta, {row.name}: {fault}", file=sys.stderr)
        return []


def medians(rounds: list[Measurement]) -> Measurement:
    """The median of each field."""
    return Measurement(*map(statistics.median, zip(*rounds)))


def result(row: Row, rounds: list[Measurement], theirs: list[Measurement]) -> Result:
    """The result of a row from its rounds."""
    found = medians(rounds)._asdict() | {"seconds": [one.seconds for one in rounds]}
    if theirs:
        other = medians(theirs)
        found |= {"magenta_seconds": [one.seconds for one in theirs], "magenta_memory": other.memory}
        found |= {"magenta_first_seconds": other.first_seconds, "magenta_import_seconds": other.import_seconds}
    return Result(*row, **found)


class Options(NamedTuple):
    """Seconds of timed calls per row, the environment with Magenta, and the most seconds that a process may take."""

    budget: float
    peer: Path | None = None
    seconds: float | None = None


def timed_group(rows: list[Row], options: Options) -> list[Result]:
    """Times rows that differ in precision only, in turn with the one row of Magenta's."""
    first = rows[0]
    known = MODELS[first.model].magenta and (first.model, first.work) not in OURS_ALONE
    paired = options.peer and first.device == "cpu" and known
    rounds = ROUNDS if paired else 1
    ours_of, theirs, budget = {row: [] for row in rows}, [], options.budget / rounds
    for _ in range(rounds):
        for row in rows:
            ours_of[row].append(measure_ours(row, budget, options.seconds))
        if paired:
            theirs += measure_magenta(first, budget, options.peer)
    return [result(row, found, theirs) for row, found in ours_of.items()]


def groups(rows: list[Row]) -> list[list[Row]]:
    """The rows in groups that differ in precision only."""
    found = {}
    for row in rows:
        found.setdefault(row._replace(precision=""), []).append(row)
    return list(found.values())


def timed(rows: list[Row], options: Options) -> list[Result]:
    """Times all rows; a group that fails is left out, with a line on stderr."""
    results = []
    for group in groups(rows):
        try:
            results += timed_group(group, options)
            print(".", end="", file=sys.stderr, flush=True)
        except ProcessFailed as fault:
            print(f"\n{group[0].name}: {fault}", file=sys.stderr)
    print(file=sys.stderr)
    return results


def matrix_rates(devices: tuple[str, ...]) -> dict[str, float]:
    """FLOP/s of a large matrix product by device and precision."""
    rates = {}
    for device in map(torch.device, devices):
        for precision in ("float32", "auto"):
            dtype = floors.product_type(device, precision)
            rates[f"{device} {precision}"] = floors.matrix_rate(device, dtype)
    return rates


def describe_machine(devices: tuple[str, ...]) -> Machine:
    """This machine with its matrix rates."""
    precisions = {d: str(floors.product_type(torch.device(d), "auto")).removeprefix("torch.") for d in devices}
    gpu = torch.cuda.get_device_name() if "cuda" in devices else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = platform.python_version(), torch.__version__
    return Machine(processor_name(), cores, gpu, *versions, precisions, matrix_rates(devices))


def default_name(machine: Machine) -> str:
    """A name for the results of a machine."""
    return re.sub(r"\W+", "_", f"{machine.cores}_cores {machine.gpu or ''}".strip().lower())


def with_best_rates(one: Machine, other: Machine) -> Machine:
    """A machine with the higher of two measurements of each rate."""
    return one._replace(rates={key: max(rate, other.rates[key]) for key, rate in one.rates.items()})


def benchmark(rows: list[Row], options: Options, devices: tuple[str, ...]) -> Results:
    """Times rows between two measurements of the machine's rates, of which the higher ones count."""
    before = describe_machine(devices)
    timings = timed(rows, options)
    return Results(with_best_rates(before, before._replace(rates=matrix_rates(devices))), timings)


def is_same_machine(one: Machine, other: Machine) -> bool:
    """Whether two descriptions are of one machine; processors of one name may differ in speed."""
    near = all(1 / MAX_APART < rate / other.rates.get(key, rate) < MAX_APART for key, rate in one.rates.items())
    return near and one._replace(rates={}) == other._replace(rates={})


def merge_results(new: Results, name: str) -> Results:
    """New results with those rows of the stored results of this machine that were not timed again, in PLAN's order."""
    if not results_path(name).exists():
        return new
    old = load_results(name)
    if not is_same_machine(old.machine, new.machine):
        return new
    rows = {row[:5]: row for row in old.rows} | {row[:5]: row for row in new.rows}
    order = {tuple(row): k for k, row in enumerate(all_rows(tuple(new.machine.precisions)))}
    known = sorted(rows, key=lambda row: order.get(tuple(row), len(order)))
    return Results(with_best_rates(old.machine, new.machine), [rows[key] for key in known])


def report(results: Results) -> str:
    """The tables that the command prints."""
    return "\n\n".join([machine_text(results), speed_text(results), start_text(results)])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Time this project, and optionally Magenta.")
    parser.add_argument("--peer", type=Path, help="virtual environment with magenta 2.1.4")
    parser.add_argument("--rows", nargs="+", default=[], metavar="WORD", help="only rows whose names contain all words")
    parser.add_argument(
        "--name",
        help="name of the results (default: the machine's; with --rows or --quick nothing is written without a name)",
    )
    parser.add_argument("--quick", action="store_true", help="few calls per row: a trial run, not a measurement")
    parser.add_argument(
        "--docs", action="store_true", help="no timing: only make the tables and the figure of docs/speed.md anew"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: times rows, prints tables and writes the results."""
    options = parse_arguments(arguments)
    if options.docs:
        return write_page()
    if options.peer and not (options.peer / "bin" / "python").exists():
        raise SystemExit(f"error: {options.peer} is not a Python environment")
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    rows = select(all_rows(devices), options.rows)
    if not rows:
        names = "\n".join(row.name for row in all_rows(devices))
        raise SystemExit(f"error: no row's name contains all of {options.rows}; the rows are:\n{names}")
    results = benchmark(rows, Options(QUICK_BUDGET if options.quick else BUDGET, options.peer), devices)
    print(report(results))
    name = options.name or (None if options.rows or options.quick else default_name(results.machine))
    if name:
        save_results(name, merge_results(results, name))
        print(f"\n{results_path(name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
