"""The benchmark's results as JSON and as Markdown tables."""

import json
import statistics
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import ONE_PRECISION

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


class Machine(NamedTuple):
    """The machine that the rows ran on."""

    processor: str
    cores: int
    gpu: str | None
    python: str
    torch: str
    precisions: dict[str, str]  # the precision that 'auto' selects on each device
    rates: dict[str, float]  # FLOP/s of a large product, by device and precision: "cpu float32"


class Result(NamedTuple):
    """The measurement of a row: medians over one or several rounds, except for `seconds`."""

    device: str
    precision: str
    model: str
    work: str
    batch: int
    seconds: list[float]  # per call, one median per round
    first_seconds: float
    import_seconds: float
    memory: float  # bytes
    items: int
    flops: int
    bytes_seconds: float
    memory_floor: int
    magenta_seconds: list[float] = []  # noqa: RUF012  (a default of a NamedTuple, never changed)
    magenta_first_seconds: float | None = None
    magenta_import_seconds: float | None = None
    magenta_memory: float | None = None


class Results(NamedTuple):
    """The results of one run of the benchmark."""

    machine: Machine
    rows: list[Result]


def results_path(name: str) -> Path:
    """The file of the results with this name."""
    return RESULTS / f"{name}.json"


def save_results(name: str, results: Results):
    """Writes results as JSON."""
    content = {"machine": results.machine._asdict(), "rows": [row._asdict() for row in results.rows]}
    results_path(name).parent.mkdir(parents=True, exist_ok=True)
    results_path(name).write_text(json.dumps(content, indent=1) + "\n")


def load_results(name: str) -> Results:
    """Reads results that `save_results` wrote."""
    content = json.loads(results_path(name).read_text())
    return Results(Machine(**content["machine"]), [Result(**row) for row in content["rows"]])


def floor_seconds(row: Result, machine: Machine) -> float:
    """The lower bound on a row's time: its products at the machine's rate, or moving its bytes, whichever is longer."""
    return max(row.flops / machine.rates[f"{row.device} {row.precision}"], row.bytes_seconds)


def ratio(theirs: float | None, ours: float) -> str:
    """Their value over ours; empty if there is none of theirs."""
    return f"{theirs / ours:.2f}" if theirs else ""


def number(value: float | None, unit: float = 1.0) -> str:
    """A value in a unit, to three significant digits; empty for None and 0."""
    if not value:
        return ""
    value /= unit
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table whose columns line up in plain text: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    left = [column in WORDS or k == 0 for k, column in enumerate(header)]

    def line(cells):
        padded = (cell.ljust(w) if flush else cell.rjust(w) for cell, w, flush in zip(cells, widths, left))
        return "| " + " | ".join(padded) + " |"

    rule = ("-" * w if flush else "-" * (w - 1) + ":" for w, flush in zip(widths, left))
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])


WORDS = ("work", "precision", "model", "growing", "replacement")  # columns of words, like the first column
SPEED = ("work", "precision", "ms", "per second", "Magenta, ms", "speedup", "floor, ms", "share",
         "MB", "Magenta, MB")  # fmt: skip
START = ("model", "work", "precision", "imports, s", "first step, s", "Magenta, s", "speedup", "floor, s",
         "MB", "Magenta, MB", "floor, MB", "share")  # fmt: skip


def precision_name(row: Result, machine: Machine) -> str:
    """The precision of a row's products; empty for work without products."""
    if row.work in ONE_PRECISION:
        return ""
    return machine.precisions[row.device] if row.precision == "auto" else row.precision


def work_name(row: Result) -> str:
    """The work with its number of items per call."""
    return f"{row.work}, {row.items}" if row.items > 1 or row.work.startswith("sample") else row.work


def speed_cells(row: Result, machine: Machine) -> tuple[str, ...]:
    """A row of the table of speeds."""
    ours, floor = statistics.median(row.seconds), floor_seconds(row, machine)
    theirs = statistics.median(row.magenta_seconds) if row.magenta_seconds else None
    return (
        work_name(row), precision_name(row, machine), number(ours, 1e-3), number(row.items / ours),
        number(theirs, 1e-3), ratio(theirs, ours), number(floor, 1e-3), f"{floor / ours:.1%}",
        number(row.memory, 1e6), number(row.magenta_memory, 1e6),
    )  # fmt: skip


def start_cells(row: Result, machine: Machine) -> tuple[str, ...]:
    """A row of the table of first steps and memory."""
    return (
        row.model, work_name(row), precision_name(row, machine), number(row.import_seconds), number(row.first_seconds),
        number(row.magenta_first_seconds), ratio(row.magenta_first_seconds, row.first_seconds),
        number(floor_seconds(row, machine)), number(row.memory, 1e6), number(row.magenta_memory, 1e6),
        number(row.memory_floor, 1e6), f"{row.memory_floor / row.memory:.1%}",
    )  # fmt: skip


def machine_text(results: Results) -> str:
    """A line with the machine's parts and versions, and a line with its matrix rates."""
    m = results.machine
    gpu = f", {m.gpu}" if m.gpu else ""
    names = {f"{device} auto": f"{device} {name}" for device, name in m.precisions.items()}
    distinct = [(names.get(key, key), rate) for key, rate in m.rates.items() if names.get(key) not in m.rates]
    rates = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in distinct)
    return f"{m.processor}, {m.cores} cores{gpu}; Python {m.python}, torch {m.torch}.\nMatrix rates: {rates}."


def speed_text(results: Results) -> str:
    """One table of speeds per device and model."""
    parts = []
    for device, model in dict.fromkeys((row.device, row.model) for row in results.rows):
        rows = [row for row in results.rows if (row.device, row.model) == (device, model)]
        cells = [speed_cells(row, results.machine) for row in rows]
        parts.append(f"`{model}`, {device}\n\n{markdown(SPEED, cells)}")
    return "\n\n".join(parts)


def start_text(results: Results) -> str:
    """The table of first steps and memory."""
    rows = [row for row in results.rows if row.work == "train"]
    return markdown(START, [start_cells(row, results.machine) for row in rows]) if rows else ""
