"""Measures how the time of training grows with batch, length and width, of sampling with length, of reading with songs.

    python benchmarks/growth.py                  every panel of the figure
    python benchmarks/growth.py songs sampled    these panels; the others stay as they were measured last

The command writes docs/growth.png and benchmarks/results/growth.json. The figure has one panel per size that varies;
the model is the 2-bar melody model of `BASE`. A curve turns linear at the first size where its slope on two
logarithmic axes is at least 0.9, both there and on average from there to the last size. Below that size, a call also
takes time for work that does not depend on the size. The number of operations grows with the square of the width, so
the curve of the width goes on to a slope of 2.
"""

import argparse
import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib.pyplot as plt
import mido
import torch

from benchmarks.floors import product_type
from benchmarks.measure import ROOT, WORKS, Call, durations
from benchmarks.rows import Row
from benchmarks.tables import markdown, results_path
from configs import CONFIGS, Config, with_converter
from midi_utils import load_songs

PICTURE = ROOT / "docs" / "growth.png"
BASE = "cat-mel_2bar_small"  # 2 bars, encoder 512 units wide, decoder 256
NEAR = 0.9  # a curve has a slope where it reaches this share of it
BUDGET = 0.3  # seconds of calls per point; at least three calls
STEPS_PER_BAR = 16  # sixteenth notes
BATCHES = tuple(2**k for k in range(3, 11))  # 8 to 1024
BARS = (2, 4, 8, 16, 32, 64)
SAMPLED_BARS = (1, *BARS)
WIDTHS = (256, 384, 512, 768, 1024, 1536, 2048)
SONGS = (100, 1_000, 10_000, 100_000)
NOTES = 8  # of a song, each a quarter long
COLOURS = {"float32": "tab:blue"}  # other precisions are orange


class Panel(NamedTuple):
    """A size that varies while the others are fixed."""

    title: str
    axis: str
    sizes: tuple[int, ...]
    batch: int  # batch size; 0 where the batch varies, or where there is none
    guides: tuple[int, ...] = (1,)  # slopes that the curves are compared with
    work: str = "train"  # one of WORKS in measure.py; empty for reading songs, which has no precision


PANELS = {
    "batch": Panel(f"training, {BASE}, 2 bars", "batch (sequences)", BATCHES, 0),
    "bars": Panel(f"training, {BASE}, batch 16", "length (bars)", BARS, 16),
    "width": Panel("training, layers of one width, 2 bars, batch 32", "width (units)", WIDTHS, 32, (1, 2)),
    "sampled": Panel(f"sampling, {BASE}, 16 pieces", "length of the samples (bars)", SAMPLED_BARS, 16, work="sample"),
    "songs": Panel("load_songs, songs of two bars, without a cache", "songs", SONGS, 0, work=""),
}


class Curve(NamedTuple):
    """Seconds of the fastest of several calls at each size of a panel."""

    panel: str
    device: str
    precision: str
    sizes: list[int]
    seconds: list[float]


def sized_config(panel: str, size: int) -> tuple[Config, int]:
    """The preset at a size of a panel, and its batch size."""
    config = CONFIGS[BASE]
    batch = size if panel == "batch" else PANELS[panel].batch
    config = replace(config, training=replace(config.training, sampling_schedule="constant", sampling_rate=0.0))
    if panel in ("bars", "sampled"):
        return with_converter(config, bars=size), batch
    if panel == "width":
        widths = {"enc_rnn_size": (size,), "dec_rnn_size": (size, size)}
        return replace(config, model=replace(config.model, **widths)), batch
    return config, batch


def write_songs(folder: Path, count: int):
    """Writes songs of two bars into a folder; the digits of a song's number are its pitches, so no two are equal."""
    for k in range(count):
        notes = [(60 + int(digit), kind) for digit in f"{k:0{NOTES}d}" for kind in ("note_on", "note_off")]
        events = [mido.Message(kind, note=note, time=480 * (kind == "note_off")) for note, kind in notes]
        mido.MidiFile(tracks=[mido.MidiTrack(events)]).save(folder / f"{k:0{NOTES}d}.mid")


def call_of(panel: str, size: int, device: str, precision: str, folder: Path) -> Call:
    """What is timed at a size of a panel: a training step, sampling, or reading the songs that it writes."""
    config, batch = sized_config(panel, size)
    work = PANELS[panel].work
    if not work:
        write_songs(folder, size)
        return lambda: load_songs(folder, config.converter, progress=False)
    return WORKS[work](Row(device, precision, BASE, work, batch), config, folder)


def call_seconds(panel: str, size: int, device: str, precision: str) -> float:
    """Seconds of the fastest of several calls."""
    with tempfile.TemporaryDirectory() as folder:
        call = call_of(panel, size, device, precision, Path(folder))
        return min(durations(call, torch.device(device), BUDGET))


def measure_curve(panel: str, device: str, precision: str) -> Curve:
    """Measures a panel's curve on one device in one precision."""
    sizes = list(PANELS[panel].sizes)
    seconds = [call_seconds(panel, size, device, precision) for size in sizes]
    print(panel, device, precision, *(f"{one:.3g}" for one in seconds), file=sys.stderr)
    name = str(product_type(torch.device(device), precision)).removeprefix("torch.")
    return Curve(panel, device, name, sizes, seconds)


def slope_between(curve: Curve, first: int, last: int) -> float:
    """Slope on logarithmic axes between the sizes with these two indices."""
    rise, run = (math.log(values[last] / values[first]) for values in (curve.seconds, curve.sizes))
    return rise / run


def slopes(curve: Curve) -> list[float]:
    """Slope at each size, between its neighbours."""
    last = len(curve.sizes) - 1
    return [slope_between(curve, max(k - 1, 0), min(k + 1, last)) for k in range(last + 1)]


def turn(curve: Curve, slope: int = 1) -> int | None:
    """Index of the first size with about this slope, there and on average from there to the end; None if none has."""
    found, last = slopes(curve), len(curve.sizes) - 1
    steady = (k for k in range(last) if min(found[k], slope_between(curve, k, last)) >= NEAR * slope)
    return next(steady, None)


def turn_text(curve: Curve, slope: int) -> str:
    """The size from which on a curve has this slope, in words."""
    k = turn(curve, slope)
    return "not in this range" if k is None else f"from {curve.sizes[k]:,}"


def turns_text(curves: list[Curve]) -> str:
    """The curves' ends and slopes, Markdown."""
    header = ("growing", "precision", "from", "ms", "to", "ms", "slope 1", "slope 2", "last slope")
    rows = []
    for curve in curves:
        ends = (f"{size:,}" for size in (curve.sizes[0], curve.sizes[-1]))
        times = (f"{1e3 * seconds:,.0f}" for seconds in (curve.seconds[0], curve.seconds[-1]))
        first, last = zip(ends, times)
        turns = (turn_text(curve, slope) if slope in PANELS[curve.panel].guides else "" for slope in (1, 2))
        name = f"{curve.device} {curve.precision}"
        rows.append((curve.panel, name, *first, *last, *turns, f"{slopes(curve)[-1]:.2f}"))
    return markdown(header, rows)


def draw_curve(axes: plt.Axes, curve: Curve):
    """A curve with a ring where it reaches each slope; the legend states the size."""
    colour, style = COLOURS.get(curve.precision, "tab:orange"), "--" if curve.device == "cuda" else "-"
    guides = PANELS[curve.panel].guides
    turns = ", ".join(f"slope {slope} {turn_text(curve, slope)}" for slope in guides)
    label = f"{curve.device}, {curve.precision}: {turns}"
    axes.loglog(curve.sizes, curve.seconds, style, marker=".", color=colour, label=label)
    for k in {turn(curve, slope) for slope in guides} - {None}:
        axes.plot(curve.sizes[k], curve.seconds[k], "o", markersize=11, fillstyle="none", color=colour)


def draw_panel(axes: plt.Axes, panel: str, curves: list[Curve]):
    """The curves of a panel, with lines of the slopes that they are compared with."""
    title, label, sizes, _, guides, _ = PANELS[panel]
    for curve in curves:
        draw_curve(axes, curve)
    low = 0.6 * min(curve.seconds[0] for curve in curves)
    for slope, style in zip(guides, (":", "-.")):
        line = [low * (size / sizes[0]) ** slope for size in sizes]
        axes.loglog(sizes, line, style, color="grey", label=f"slope {slope}")
    axes.set(title=title, xlabel=label, ylabel="seconds")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16)
    )  # below the axes, away from the curves


def draw(curves: list[Curve]) -> plt.Figure:
    """The figure, one panel per size that was varied."""
    figure = plt.figure(figsize=(15, 10.4), layout="constrained")
    measured = [panel for panel in PANELS if any(curve.panel == panel for curve in curves)]
    for k, panel in enumerate(measured, 1):
        draw_panel(figure.add_subplot(2, 3, k), panel, [curve for curve in curves if curve.panel == panel])
    return figure


def write_picture(curves: list[Curve]):
    """Writes the figure to docs/growth.png."""
    draw(curves).savefig(PICTURE, dpi=110)


def load_growth() -> list[Curve]:
    """The curves of results/growth.json."""
    return [Curve(**curve) for curve in json.loads(results_path("growth").read_text())]


def kinds_of(panel: str) -> list[tuple[str, str]]:
    """The device and the precision of each curve of a panel: float32, and what 'auto' selects where it differs."""
    if not PANELS[panel].work:
        return [("cpu", "float32")]
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    halved = [d for d in devices if product_type(torch.device(d), "auto") != torch.float32]
    return [(d, p) for d in devices for p in (("float32", "auto") if d in halved else ("float32",))]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure and draw time against batch, length, width and songs.")
    parser.add_argument("panels", nargs="*", metavar="PANEL", help=f"some of {', '.join(PANELS)}; default: all")
    options = parser.parse_args(arguments)
    for panel in set(options.panels) - set(PANELS):
        parser.error(f"there is no panel {panel!r}: give some of {', '.join(PANELS)}")
    return options


def main(arguments: list[str] | None = None):
    """The command: measures the curves of the panels, writes them with the others and draws all."""
    chosen = parse_arguments(arguments).panels or list(PANELS)
    curves = [measure_curve(panel, *kind) for panel in chosen for kind in kinds_of(panel)]
    curves += [curve for curve in load_growth() if curve.panel not in chosen]
    curves.sort(key=lambda curve: list(PANELS).index(curve.panel))
    results_path("growth").write_text(json.dumps([curve._asdict() for curve in curves], indent=1) + "\n")
    write_picture(curves)
    print(turns_text(curves))


if __name__ == "__main__":
    main()
