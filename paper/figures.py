"""The figures of the paper's section 5 (Roberts et al. 2018, arXiv 1803.05428) from measured results.

A result is a file that `python evaluation.py ... --out results/NAME.json` wrote, read with `json.loads`: the fields of
`evaluation.Evaluation` as plain dictionaries and lists. No model is needed: samples come as labels.
"""

import math
import re
from collections.abc import Sequence
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from music.attributes import STEPS_PER_BAR
from music.drums import DRUM_CLASSES
from music.melody import FIRST_PITCH, MIN_PITCH, NO_EVENT
from notebook_utils import (
    BLUE,
    DRUM_NAMES,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    ROLE_COLOURS,
    SKY,
    VERMILLION,
    closed_figure,
    plain_axes,
)
from paper.tables import MISSING, label_of, number

NATURALS = ((0, 2, 4, 5, 7, 9, 11), "CDEFGAB")  # pitch classes and their names
LONG_STEPS = 16  # notes of this many steps and more share a bar of the histogram of durations
PAGE = (8, 4)  # rows and columns of a page of windows
PAGE_MARGINS = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.94, "hspace": 0.1, "wspace": 0.05}
LEGEND_INCHES = 1.7  # width of a legend entry
DRUM_ROW = 3  # height of a drum's row below a trio's lowest note, in semitones
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK, GREY)

LabelArray = np.ndarray  # [n, steps] or [n, steps, 3]


# --- curves -----------------------------------------------------------------------------------------------------------


def _panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of `columns`, each of a width and a height in inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = (columns * width, rows * height)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in grid.flat[count:]:
        axis.remove()
    return figure, list(grid.flat[:count])


def _dress(axis: Axes, title: str, x: str = "", y: str = "") -> None:
    plain_axes(axis)
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xlabel(x, color=GREY, fontsize=9)
    axis.set_ylabel(y, color=GREY, fontsize=9)
    axis.tick_params(labelsize=8)


def _legend(figure: Figure, axis: Axes) -> None:
    """One legend for all axes, below them."""
    handles, labels = axis.get_legend_handles_labels()
    columns = int(figure.get_figwidth() // LEGEND_INCHES)
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=9)


def plot_accuracy_by_step(results: Sequence[dict]) -> Figure:
    """Accuracy from a draw of z per step of a window (thin line) and per bar (thick line), one panel per part."""
    panels = [(result, part) for result in results for part in result["majority"]]
    figure, axes = _panels(len(panels), 2, 6.5, 2.2)
    for axis, (result, part) in zip(axes, panels, strict=True):
        for kind, colour in (("teacher_forced", ORANGE), ("sampled", BLUE)):
            _draw_steps(axis, 100 * np.array(result["reconstruction"][kind]["by_step"][part]), colour, kind)
        axis.axhline(100 * result["majority"][part], color=GREY, linestyle=":", label="majority label")
        _dress(axis, label_of(result) + ("" if part == "all" else f", {part}"), "bar", "accuracy, %")
        _mark_bars(axis, len(result["reconstruction"]["sampled"]["by_step"][part]))
        axis.set_ylim(0, 101)
    _legend(figure, axes[0])
    return closed_figure(figure)


def _draw_steps(axis: Axes, values: np.ndarray, colour: str, kind: str) -> None:
    axis.plot(np.arange(len(values)) + 0.5, values, color=colour, alpha=0.35, linewidth=0.8)
    bars, style = values.reshape(-1, STEPS_PER_BAR).mean(1), {"color": colour, "linewidth": 2, "baseline": None}
    axis.stairs(bars, np.arange(len(bars) + 1) * STEPS_PER_BAR, label=kind.replace("_", "-"), **style)


def _mark_bars(axis: Axes, steps: int) -> None:
    bars = range(steps // STEPS_PER_BAR)
    axis.grid(False, axis="x")
    for bar in bars:
        axis.axvline(bar * STEPS_PER_BAR, color=PALE, linewidth=1, zorder=0)
    axis.set_xticks([bar * STEPS_PER_BAR for bar in bars], [str(bar + 1) for bar in bars])
    axis.set_xlim(0, steps)


def plot_interpolations(results: Sequence[dict]) -> Figure:
    """Per model, the distances to both ends of an interpolation over t, and below them the n-gram cost.

    Solid lines are the model's; dashed lines are the baseline's, a Bernoulli mix of the two ends (paper, section 5).
    """
    columns = min(4, len(results))
    rows = 2 * -(-len(results) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.2 * rows), squeeze=False, layout="constrained")
    pairs = np.stack([grid[::2], grid[1::2]], -1).reshape(-1, 2)
    for pair, result in zip(pairs, results, strict=False):
        _draw_interpolation(*pair, result)
    for axis in pairs[len(results) :].flat:
        axis.remove()
    _legend(figure, pairs[0, 0])
    return closed_figure(figure)


def _draw_interpolation(above: Axes, below: Axes, result: dict) -> None:
    found = result["interpolation"]
    for prefix, style, who in (("", "-", "model"), ("mixed_", "--", "mix")):
        for end, colour in (("start", BLUE), ("end", VERMILLION)):
            label = f"{who}, to the {end}"
            above.plot(found["points"], found[f"{prefix}to_{end}"], style, color=colour, label=label, lw=1.4)
        below.plot(found["points"], found[f"{prefix}cost"], style, color=INK, lw=1.4)
    _dress(above, label_of(result), "", "Hamming distance")
    _dress(below, "", "t", "n-gram cost, nats per step")
    above.set_ylim(bottom=0)


def plot_rate_distortion(points: Sequence[dict]) -> Figure:
    """Distortion over rate, one panel per family, with the beta of each model.

    Along the dashed line a window costs as many nats, KL and reconstruction together, as under the model without z.

    Args:
        points: of `paper.rate_distortion`, as dictionaries; those of a family follow each other.
    """
    families = [list(group) for _, group in groupby(points, key=lambda point: point["family"])]
    figure, axes = _panels(len(families), 2, 5.5, 4)
    for axis, family, colour in zip(axes, families, PALETTE):
        _draw_front(axis, family, colour)
        _dress(axis, family[0]["family"], "KL, bits per window", "reconstruction, nats per window")
    return closed_figure(figure)


def _is_without_z(point: dict) -> bool:
    return point["name"].endswith("without_z")


def _draw_front(axis: Axes, points: list[dict], colour: str) -> None:
    """The points of one family, from many bits to none."""
    rates, distortions = zip(*((point["kl_bits"], point["reconstruction"]) for point in points))
    axis.plot(rates, distortions, "-o", color=colour)
    for point, place in zip(points, zip(rates, distortions)):
        style = {"textcoords": "offset points", "fontsize": 8, "color": GREY}
        axis.annotate("without z" if _is_without_z(point) else f"β {point['beta']:g}", place, (6, 4), **style)
    for point in filter(_is_without_z, points):
        end = min(max(rates), point["nats"] / math.log(2))
        axis.plot((0, end), (point["nats"], point["nats"] - end * math.log(2)), "--", color=GREY)
    axis.set(xlim=(0, 1.15 * max(rates)), ylim=(0, 1.08 * max(distortions)))


# --- attributes -------------------------------------------------------------------------------------------------------


def attribute_changes(table: dict) -> tuple[np.ndarray, np.ndarray]:
    """The change of each attribute's mean, in % of its mean over the samples, for each vector.

    Returns:
        Two matrices [vectors, attributes], for vectors added and subtracted; nan where the attribute was 0 before.
    """
    before = np.array(table["before"], float)
    before[before == 0] = np.nan
    return tuple(100 * (np.array(table[key], float) / before - 1) for key in ("added", "subtracted"))


def plot_attributes(result: dict) -> Figure:
    """The change of all attributes in % when each attribute vector is added and subtracted (paper, section 5)."""
    names = [name.replace("_", " ") for name in result["attributes"]["names"]]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained", sharey=True)
    for axis, which, change in zip(axes, ("added", "subtracted"), attribute_changes(result["attributes"]), strict=True):
        image = axis.imshow(change, cmap="RdBu", vmin=-100, vmax=100)
        for (row, column), value in np.ndenumerate(change):
            text = MISSING if np.isnan(value) else f"{round(value):+d}"
            axis.text(column, row, text, ha="center", va="center", color="white" if abs(value) > 60 else INK)
        _label_matrix(axis, f"{label_of(result)}: vector {which}", names)
    axes[0].set_ylabel("vector", color=GREY)
    figure.colorbar(image, ax=axes, shrink=0.8, label="change of the attribute, %")
    return closed_figure(figure)


def _label_matrix(axis: Axes, title: str, names: Sequence[str]) -> None:
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.tick_params(length=0, colors=GREY)
    axis.spines[:].set_visible(False)


# --- samples and held-out music ---------------------------------------------------------------------------------------


def plot_statistics(result: dict) -> Figure:
    """Histograms of samples and of held-out music, their onsets per step, and how much bars repeat earlier bars."""
    found = result["samples"]["statistics"]
    histograms = [name for name in found if isinstance(found[name]["samples"], list) and name != "self-similarity"]
    densities = [name for name in found if name.endswith(("notes per step", "hits per step"))]
    repetitions = [name for name in found if name.startswith("repetition")]
    figure, axes = _panels(len(histograms) + 2, 4, 3.6, 2.6)
    for axis, name in zip(axes, histograms, strict=False):
        _draw_histogram(axis, name, found[name])
    _draw_bars(axes[-2], [found[name] for name in densities], [name.removesuffix(" per step") for name in densities])
    _dress(axes[-2], "density", "", "onsets per step")
    backs = [re.sub(r"\D+", "", name) or "chance" for name in repetitions]
    _draw_bars(axes[-1], [found[name] for name in repetitions], backs)
    _dress(axes[-1], "repetition", "bars back", "share of the events")
    _legend(figure, axes[0])
    figure.suptitle(label_of(result), x=0.01, ha="left", fontsize=11, color=INK)
    return closed_figure(figure)


def _draw_bars(axis: Axes, comparisons: Sequence[dict], labels: Sequence[str]) -> None:
    at = np.arange(len(comparisons))
    for shift, of, colour, label in ((-0.2, "data", GREY, "held-out music"), (0.2, "samples", BLUE, "samples")):
        axis.bar(at + shift, [comparison[of] for comparison in comparisons], 0.4, color=colour, label=label)
    axis.set_xticks(at, labels)
    axis.set_xlim(-1, len(at))


def _draw_histogram(axis: Axes, name: str, histogram: dict) -> None:
    shares = {of: histogram[of] for of in ("samples", "data")}
    if name.endswith("durations"):
        shares = {of: _lump_long(values) for of, values in shares.items()}
    bins = [dict(zip(shares, pair, strict=True)) for pair in zip(*shares.values(), strict=True)]
    _draw_bars(axis, bins, [str(k) for k in range(len(bins))])
    title = name.removeprefix("drums ")
    _dress(axis, f"{title} ({number(histogram['divergence_bits'])} bits apart)", "", "share")
    if name.endswith("pitch classes"):
        axis.set_xticks(*NATURALS)
    elif name.endswith("drum classes"):
        axis.set_xticks(range(DRUM_CLASSES), DRUM_NAMES, rotation=40, ha="right")
    else:
        axis.set_xticks([0, 1, 3, 7, 11, 15], ["1", "2", "4", "8", "12", f"{LONG_STEPS}+"])
        axis.set_xlabel("sixteenths", color=GREY, fontsize=9)


def _lump_long(durations: Sequence[float]) -> list[float]:
    """Shares of the notes that last 1, 2, ... steps; the last number is for `LONG_STEPS` steps and more."""
    return [*durations[1:LONG_STEPS], sum(durations[LONG_STEPS:])]


def plot_self_similarity(result: dict) -> Figure:
    """Similarity of each pair of bars in a window, for held-out music and for samples; the diagonal is left blank."""
    found = result["samples"]["statistics"]["self-similarity"]
    matrices = [np.array(found[of], float) for of in ("data", "samples")]
    for matrix in matrices:
        np.fill_diagonal(matrix, np.nan)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    top = max(np.nanmax(np.nan_to_num(matrix)) for matrix in matrices)
    for axis, matrix, title in zip(axes, matrices, ("held-out music", "samples"), strict=True):
        bars = len(matrix)
        image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=top, extent=(0.5, bars + 0.5, bars + 0.5, 0.5))
        axis.set_title(f"{label_of(result)}: {title}", loc="left", fontsize=10, color=INK)
        axis.tick_params(length=0, colors=GREY)
        axis.set_xlabel("bar", color=GREY)
    axes[0].set_ylabel("bar", color=GREY)
    figure.colorbar(image, ax=axes, label="share of equal events")
    return closed_figure(figure)


# --- pages of piano rolls ---------------------------------------------------------------------------------------------


def parts_of(preset: str) -> tuple[str, ...]:
    """The parts of a preset's labels: ("melody",), ("drums",) or all three."""
    return tuple(ROLE_COLOURS) if "trio" in preset else ("drums",) if "drums" in preset else ("melody",)


def plot_pages(samples: LabelArray, music: LabelArray, parts: Sequence[str], titles: tuple[str, str]) -> Figure:
    """Piano rolls of 32 samples and of 32 windows of real music, on two pages with one scale.

    Args:
        samples, music: labels [n, steps], or [n, steps, 3] for trios; the first 32 of each are drawn.
        parts: the parts of the labels, from `parts_of`.
        titles: of the two pages.
    """
    columns = [labels.reshape(*labels.shape[:2], -1) for labels in (samples, music)]
    scale = _pitch_range(columns, parts)
    figure = plt.figure(figsize=(15, PAGE[0] * (1.15 if len(parts) > 1 else 0.85)))
    for page, labels, title in zip(figure.subfigures(1, 2), columns, titles, strict=True):
        _draw_page(page, labels, parts, scale)
        page.suptitle(title, x=0.01, y=0.985, ha="left", fontsize=11, color=INK)
    return closed_figure(figure)


def _pitch_range(pages: Sequence[np.ndarray], parts: Sequence[str]) -> tuple[float, float]:
    """The lowest and the highest row of both pages: every pitch that occurs, with a trio's drums below them."""
    if parts == ("drums",):
        return -DRUM_ROW, DRUM_CLASSES * DRUM_ROW
    pitched = np.concatenate([page[..., : len(parts) - (len(parts) > 1)].ravel() for page in pages]).astype(int)
    notes = pitched[pitched >= FIRST_PITCH] if (pitched >= FIRST_PITCH).any() else np.array([FIRST_PITCH])
    low, high = notes.min() - FIRST_PITCH + MIN_PITCH, notes.max() - FIRST_PITCH + MIN_PITCH
    return low - 2 - (DRUM_CLASSES + 1) * DRUM_ROW * ("drums" in parts), high + 2


def _draw_page(page: SubFigure, labels: np.ndarray, parts: Sequence[str], scale: tuple[float, float]) -> None:
    for axis in page.subplots(*PAGE, gridspec_kw=PAGE_MARGINS).flat:
        axis.set_axis_off()
    for axis, window in zip(page.axes, labels, strict=False):
        axis.set_axis_on()
        _draw_window(axis, window, parts, scale)


def _draw_window(axis: Axes, window: np.ndarray, parts: Sequence[str], scale: tuple[float, float]) -> None:
    """All parts of a window [steps, parts], without labels."""
    axis.vlines(np.arange(STEPS_PER_BAR, len(window), STEPS_PER_BAR), *scale, color=PALE, linewidth=0.5, zorder=0)
    for part, labels in zip(parts, window.T, strict=True):
        rows, starts, ends = _hits(labels, scale[0] + DRUM_ROW) if part == "drums" else _notes(labels)
        axis.hlines(rows, starts, ends, color=ROLE_COLOURS[part], linewidth=2)
    axis.set(xlim=(0, len(window)), ylim=scale, xticks=[], yticks=[])
    axis.spines[:].set_color(PALE)


def _notes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pitch, first step and end of each note; a note lasts until the next event or the window's end."""
    events = np.flatnonzero(labels != NO_EVENT)
    ends = np.append(events[1:], len(labels))
    sounds = labels[events] >= FIRST_PITCH
    pitches = labels[events][sounds].astype(int) - FIRST_PITCH + MIN_PITCH
    return pitches, events[sounds], ends[sounds] - 0.2


def _hits(labels: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and end of each drum hit."""
    steps, kinds = np.nonzero(labels.astype(int)[:, None] >> np.arange(DRUM_CLASSES) & 1)
    return lowest + DRUM_ROW * kinds, steps, steps + 0.8
