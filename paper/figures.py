"""The tables and figures of the paper's section 5 (Roberts et al. 2018, arXiv 1803.05428), from what was measured.

A result is what `python evaluation.py ... --out results/NAME.json` wrote: the fields of evaluation.py's `Evaluation` as
plain dictionaries and lists. Tables are Markdown; each row that the paper has too bears the paper's number. No network
is needed for any of it: samples come as labels.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from evaluation import NEW
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
    finished,
    plain_axes,
)

# Reconstruction accuracy by preset, without its size, and part: teacher-forced, sampled (the paper's tables 1 and 2, as
# remembered). The flat models are the paper's baseline.
PAPER = {
    "cat-mel_2bar": {"all": (0.986, 0.951)},
    "cat-drums_2bar": {"all": (0.979, 0.917)},
    "flat-mel_16bar": {"all": (0.883, 0.620)},
    "hier-mel_16bar": {"all": (0.919, 0.812)},
    "flat-drums_16bar": {"all": (0.884, 0.549)},
    "hier-drums_16bar": {"all": (0.928, 0.879)},
    "flat-trio_16bar": {"melody": (0.796, 0.579), "bass": (0.829, 0.565), "drums": (0.903, 0.641)},
    "hier-trio_16bar": {"melody": (0.848, 0.753), "bass": (0.880, 0.773), "drums": (0.912, 0.863)},
}
SIZES = re.compile("_(tiny|mini|small|med|big)$")
KINDS = ("teacher_forced", "sampled", "teacher_forced_from_mean", "sampled_from_mean")
NOTHING = "–"
NATURALS = ((0, 2, 4, 5, 7, 9, 11), "CDEFGAB")  # pitch classes and their names
LONGEST = 16  # steps: durations from here on share a bar of the histogram
PAGE = (8, 4)  # rows and columns of a page of windows
PAGE_ROOM = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.94, "hspace": 0.1, "wspace": 0.05}
LEGEND_INCHES = 1.7  # width of an entry
DRUM_ROW = 3  # semitones that a drum takes below a trio's lowest note
LINE_SPOTS = (((8, 2), "left"), ((-6, -12), "right"))  # of a name, clear of a line that falls
LOOSE_SPOTS = (((-8, -10), "right"), ((2, 10), "left"), ((8, -4), "left"))  # the last serves all that follow
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK, GREY)

Labels = np.ndarray  # [n, steps] or [n, steps, 3]


# --- tables -----------------------------------------------------------------------------------------------------------


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """So many digits after the point; a dash for what there is not."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def with_interval(interval: dict[str, float], digits: int = 3) -> str:
    """A mean and its 95 % interval."""
    mean, low, high = (number(interval[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def paper_accuracy(preset: str, part: str) -> tuple[float | None, float | None]:
    """The paper's accuracies, teacher-forced and sampled, for a preset of any size; None where it has none."""
    return PAPER.get(SIZES.sub("", preset).replace("hierdec-", "hier-"), {}).get(part, (None, None))


def accuracy_table(results: Sequence[dict]) -> str:
    """Reconstruction from a draw of z and from the mean, beside the paper's, which is from a draw."""
    header = ("model", "part", "commonest label", "teacher-forced", "the paper's", "sampled", "the paper's")
    header += ("teacher-forced, from the mean", "sampled, from the mean")
    return markdown(header, (row for result in results for row in _accuracy_rows(result)))


def _accuracy_rows(result: dict) -> Iterable[list[str]]:
    for part, still in result["still"].items():
        ours = [with_interval(result["reconstruction"][kind]["parts"][part]) for kind in KINDS]
        forced, drawn = map(number, paper_accuracy(result["preset"], part))
        yield [result["preset"], part, number(still), ours[0], forced, ours[1], drawn, *ours[2:]]


def group_table(results: Sequence[dict]) -> str:
    """Accuracy, sampled from a draw of z, of all windows, of those that are new, and of each source's."""
    sources = sorted({group for result in results for group in result["groups"]} - {NEW})
    return markdown(
        ("model", "part", "all", "new", *sources), (row for result in results for row in _group_rows(result, sources))
    )


def _group_rows(result: dict, sources: Sequence[str]) -> Iterable[list[str]]:
    found = result["reconstruction"]["sampled"]
    for part in result["still"]:
        shares = [found["by_group"].get(group, {}).get(part) for group in (NEW, *sources)]
        yield [result["preset"], part, number(found["parts"][part]["mean"]), *map(number, shares)]


def hierarchy_table(results: Sequence[dict]) -> str:
    """What a hierarchical decoder gains over the flat one of the same size, in accuracy from a draw, by windows."""
    header = ("music", "part", "windows", "teacher-forced, gain", "the paper's", "sampled, gain", "the paper's")
    of_preset = {result["preset"]: result for result in results}
    pairs = [(of_preset.get(_flat_twin(name)), hierarchical) for name, hierarchical in of_preset.items()]
    return markdown(header, (row for pair in pairs if pair[0] not in (None, pair[1]) for row in _gain_rows(*pair)))


def _flat_twin(preset: str) -> str:
    return "flat-" + preset.partition("-")[2]


def _gain_rows(flat: dict, hierarchical: dict) -> Iterable[list[str]]:
    pairs = [[result["reconstruction"][kind] for result in (hierarchical, flat)] for kind in KINDS[:2]]
    for part in flat["still"]:
        music = [flat["preset"].removeprefix("flat-"), part]
        forced, drawn = (f"{high['parts'][part]['mean'] - low['parts'][part]['mean']:+.3f}" for high, low in pairs)
        theirs = _paper_gains(flat["preset"], hierarchical["preset"], part)
        yield [*music, f"all {flat['windows']:,}", forced, theirs[0], drawn, theirs[1]]
        for group in pairs[0][0]["by_group"]:
            forced, drawn = (
                f"{high['by_group'][group][part] - low['by_group'][group][part]:+.3f}" for high, low in pairs
            )
            yield [*music, f"{group}, {flat['groups'][group]:,}", forced, NOTHING, drawn, NOTHING]


def _paper_gains(flat: str, hierarchical: str, part: str) -> list[str]:
    """The paper's, teacher-forced and sampled."""
    pairs = zip(paper_accuracy(hierarchical, part), paper_accuracy(flat, part), strict=True)
    return [NOTHING if None in pair else f"{pair[0] - pair[1]:+.3f}" for pair in pairs]


def facts_table(results: Sequence[dict]) -> str:
    """How the models were trained, and what they were measured on."""
    header = ("model", "parameters", "steps", "minutes", "seed", "measured on", "songs", "windows")
    return markdown(header, map(_facts_row, results))


def _facts_row(result: dict) -> list[str]:
    training = (number(result[key], int(key == "minutes")) for key in ("parameters", "steps", "minutes", "seed"))
    return [result["preset"], *training, result["split"], *(number(result[key], 0) for key in ("songs", "windows"))]


def bound_table(results: Sequence[dict]) -> str:
    """The bound on held-out music: rate and distortion of each model at its own beta and free bits."""
    header = ("model", "-ELBO, nats a window", "bits a step", "reconstruction, nats", "KL, bits")
    header += ("off the standard normal, bits", "active dimensions")
    return markdown(header, map(_bound_row, results))


def _bound_row(result: dict) -> list[str]:
    elbo = result["elbo"]
    nats, reconstruction, rate = (with_interval(elbo[key], 1) for key in ("nats", "reconstruction", "kl_bits"))
    active = f"{elbo['active_dimensions']} of {elbo['dimensions']}"
    off = number(result["prior_bits"], 1)
    return [result["preset"], nats, number(elbo["bits_a_step"]), reconstruction, rate, off, active]


def novelty_table(results: Sequence[dict]) -> str:
    """How near samples come to the training set, and how likely its n-gram model finds them; held-out music beside."""
    header = ["model"]
    for name in ("copies of training windows", "distance to the nearest", "n-gram cost, nats a step"):
        header += [f"{name}: samples", "held-out music"]
    return markdown(header, (_novelty_row(result["preset"], result["samples"]) for result in results))


def _novelty_row(preset: str, samples: dict) -> list[str]:
    cost = samples["statistics"]["n-gram cost, nats a step"]
    likenesses = (samples["copies"], samples["nearest"], cost)
    return [preset, *(number(likeness[of]) for likeness in likenesses for of in ("samples", "data"))]


def prior_table(results: Sequence[dict]) -> str:
    """What samples are like by where z is drawn: each cell n-gram cost, repetition of the bar before, and copies."""
    ways = list(dict.fromkeys(way for result in results for way in result["priors"]))
    header = ("model", *ways, "held-out music")
    return markdown(header, (_prior_row(result, ways) for result in results))


def _prior_row(result: dict, ways: Sequence[str]) -> list[str]:
    samples = result["samples"]
    names = ("n-gram cost, nats a step", "repetition at 1 bars")
    real = [samples["statistics"][name]["data"] for name in names] + [samples["copies"]["data"]]
    found = [result["priors"][way].values() if way in result["priors"] else () for way in ways]
    return [result["preset"], *(_like(*values) if values else NOTHING for values in (*found, real))]


def _like(cost: float, back: float, copies: float) -> str:
    return f"{cost:.2f} nats, {100 * back:.0f} % again, {100 * copies:.1f} % copies"


# --- curves -----------------------------------------------------------------------------------------------------------


def _panels(count: int, columns: int, width: float, height: float, **how) -> tuple[Figure, list[Axes]]:
    """So many axes in rows, each of a size in inches; those left over in the last row are not drawn."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = (columns * width, rows * height)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **how)
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
    """One for all axes, below them."""
    handles, labels = axis.get_legend_handles_labels()
    columns = int(figure.get_figwidth() // LEGEND_INCHES)
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=9)


def plot_accuracy_by_step(results: Sequence[dict]) -> Figure:
    """Accuracy from a draw of z at each step of a window (thin) and its mean over each bar (thick), a panel a part."""
    panels = [(result, part) for result in results for part in result["still"]]
    figure, axes = _panels(len(panels), 2, 6.5, 2.2)
    for axis, (result, part) in zip(axes, panels, strict=True):
        for kind, colour in (("teacher_forced", ORANGE), ("sampled", BLUE)):
            _draw_steps(axis, 100 * np.array(result["reconstruction"][kind]["by_step"][part]), colour, kind)
        axis.axhline(100 * result["still"][part], color=GREY, linestyle=":", label="always the commonest label")
        _dress(axis, result["preset"] + ("" if part == "all" else f", {part}"), "bar", "% of windows right")
        _mark_bars(axis, len(result["reconstruction"]["sampled"]["by_step"][part]))
        axis.set_ylim(0, 101)
    _legend(figure, axes[0])
    return finished(figure)


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
    """For each model, over t from one window to another, the distances to both ends and, below, the n-gram cost.

    The model's are drawn full, those of a Bernoulli mix of the two ends dashed (paper, section 5).
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
    return finished(figure)


def _draw_interpolation(above: Axes, below: Axes, result: dict) -> None:
    found = result["interpolation"]
    for prefix, style, who in (("", "-", "model"), ("mixed_", "--", "mix")):
        for end, colour in (("start", BLUE), ("end", VERMILLION)):
            label = f"{who}, to the {end}"
            above.plot(found["points"], found[f"{prefix}to_{end}"], style, color=colour, label=label, lw=1.4)
        below.plot(found["points"], found[f"{prefix}cost"], style, color=INK, lw=1.4)
    _dress(above, result["preset"], "", "Hamming distance")
    _dress(below, "", "t", "n-gram cost, nats a step")
    above.set_ylim(bottom=0)


def plot_rate_distortion(points: Sequence[dict]) -> Figure:
    """Distortion over rate of models of several free bits and betas; a line joins those that differ in beta alone.

    Args:
        points: with preset, free_bits, beta, kl_bits (bits a window) and reconstruction (nats a window).
    """
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    ordered = sorted(points, key=lambda point: (point["preset"], point["free_bits"] > 0, point["kl_bits"]))
    kinds = groupby(ordered, key=lambda point: (point["preset"], point["free_bits"] > 0))
    for k, ((preset, free), group) in enumerate(kinds):
        _draw_points(axis, list(group), PALETTE[k % len(PALETTE)], f"{preset}, {'with' if free else 'no'} free bits")
    _dress(axis, "rate and distortion on held-out music", "KL, bits a window", "reconstruction, nats a window")
    axis.margins(x=0.25, y=0.15)
    axis.set_xlim(left=0)
    axis.legend(frameon=False, fontsize=9)
    return finished(figure)


def _draw_points(axis: Axes, points: list[dict], colour: str, label: str) -> None:
    """Points of one kind, each with its name; joined where nothing but beta differs."""
    at, free = [(point["kl_bits"], point["reconstruction"]) for point in points], points[0]["free_bits"] > 0
    axis.plot(*zip(*at), "s" if free else "-o", color=colour, label=label)
    spots = LOOSE_SPOTS if free else LINE_SPOTS
    for nth, (point, place) in enumerate(zip(points, at, strict=True)):
        text = (
            f"{point['free_bits']:g} free bits, β {point['beta']:g}" if point["free_bits"] else f"β {point['beta']:g}"
        )
        (x, y), side = spots[min(nth, len(spots) - 1)]
        axis.annotate(text, place, (x, y), textcoords="offset points", ha=side, fontsize=8, color=GREY)


# --- attributes -------------------------------------------------------------------------------------------------------


def attribute_changes(table: dict) -> tuple[np.ndarray, np.ndarray]:
    """By how many % of its mean over samples each attribute changes when a vector is added and when it is subtracted.

    Returns:
        Two matrices [vectors, attributes]; nan where the attribute was 0 before.
    """
    before = np.array(table["before"], float)
    before[before == 0] = np.nan
    return tuple(100 * (np.array(table[key], float) / before - 1) for key in ("added", "subtracted"))


def plot_attributes(result: dict) -> Figure:
    """What adding and subtracting each attribute vector does to all five attributes, in % (paper, section 5)."""
    names = [name.replace("_", " ") for name in result["attributes"]["names"]]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained", sharey=True)
    for axis, what, change in zip(axes, ("added", "subtracted"), attribute_changes(result["attributes"]), strict=True):
        image = axis.imshow(change, cmap="RdBu", vmin=-100, vmax=100)
        for (row, column), value in np.ndenumerate(change):
            text = NOTHING if np.isnan(value) else f"{round(value):+d}"
            axis.text(column, row, text, ha="center", va="center", color="white" if abs(value) > 60 else INK)
        _label_matrix(axis, f"{result['preset']}: vector {what}", names)
    axes[0].set_ylabel("vector", color=GREY)
    figure.colorbar(image, ax=axes, shrink=0.8, label="change of the attribute, %")
    return finished(figure)


def _label_matrix(axis: Axes, title: str, names: Sequence[str]) -> None:
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    axis.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.tick_params(length=0, colors=GREY)
    axis.spines[:].set_visible(False)


# --- samples beside data ----------------------------------------------------------------------------------------------


def plot_statistics(result: dict) -> Figure:
    """Histograms of samples and of held-out music, their onsets a step, and how far bars repeat earlier ones."""
    found = result["samples"]["statistics"]
    histograms = [name for name in found if isinstance(found[name]["samples"], list) and name != "self-similarity"]
    densities = [name for name in found if name.endswith(("notes a step", "hits a step"))]
    repetitions = [name for name in found if name.startswith("repetition")]
    figure, axes = _panels(len(histograms) + 2, 4, 3.6, 2.6)
    for axis, name in zip(axes, histograms, strict=False):
        _draw_histogram(axis, name, found[name])
    _draw_bars(axes[-2], [found[name] for name in densities], [name.removesuffix(" a step") for name in densities])
    _dress(axes[-2], "density", "", "onsets a step")
    backs = [re.sub(r"\D+", "", name) or "chance" for name in repetitions]
    _draw_bars(axes[-1], [found[name] for name in repetitions], backs)
    _dress(axes[-1], "repetition", "bars back", "share of the events")
    _legend(figure, axes[0])
    figure.suptitle(result["preset"], x=0.01, ha="left", fontsize=11, color=INK)
    return finished(figure)


def _draw_bars(axis: Axes, likenesses: Sequence[dict], labels: Sequence[str]) -> None:
    at = np.arange(len(likenesses))
    for shift, of, colour, label in ((-0.2, "data", GREY, "held-out music"), (0.2, "samples", BLUE, "samples")):
        axis.bar(at + shift, [likeness[of] for likeness in likenesses], 0.4, color=colour, label=label)
    axis.set_xticks(at, labels)
    axis.set_xlim(-1, len(at))


def _draw_histogram(axis: Axes, name: str, histogram: dict) -> None:
    shares = {of: histogram[of] for of in ("samples", "data")}
    if name.endswith("durations"):
        shares = {of: _lumped(values) for of, values in shares.items()}
    bins = [dict(zip(shares, pair, strict=True)) for pair in zip(*shares.values(), strict=True)]
    _draw_bars(axis, bins, [str(k) for k in range(len(bins))])
    title = name.removeprefix("drums ")
    _dress(axis, f"{title} ({number(histogram['divergence_bits'])} bits apart)", "", "share")
    if name.endswith("pitch classes"):
        axis.set_xticks(*NATURALS)
    elif name.endswith("drum classes"):
        axis.set_xticks(range(DRUM_CLASSES), DRUM_NAMES, rotation=40, ha="right")
    else:
        axis.set_xticks([0, 1, 3, 7, 11, 15], ["1", "2", "4", "8", "12", f"{LONGEST}+"])
        axis.set_xlabel("sixteenths", color=GREY, fontsize=9)


def _lumped(durations: Sequence[float]) -> list[float]:
    """Shares of the notes of 1, 2, ... steps, those of `LONGEST` and more in one."""
    return [*durations[1:LONGEST], sum(durations[LONGEST:])]


def plot_self_similarity(result: dict) -> Figure:
    """How alike the bars of a window are, in held-out music and in samples; the diagonal is left out of the scale."""
    found = result["samples"]["statistics"]["self-similarity"]
    matrices = [np.array(found[of], float) for of in ("data", "samples")]
    for matrix in matrices:
        np.fill_diagonal(matrix, np.nan)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    top = max(np.nanmax(np.nan_to_num(matrix)) for matrix in matrices)
    for axis, matrix, title in zip(axes, matrices, ("held-out music", "samples"), strict=True):
        bars = len(matrix)
        image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=top, extent=(0.5, bars + 0.5, bars + 0.5, 0.5))
        axis.set_title(f"{result['preset']}: {title}", loc="left", fontsize=10, color=INK)
        axis.tick_params(length=0, colors=GREY)
        axis.set_xlabel("bar", color=GREY)
    axes[0].set_ylabel("bar", color=GREY)
    figure.colorbar(image, ax=axes, label="share of the events alike")
    return finished(figure)


# --- pages of piano rolls ---------------------------------------------------------------------------------------------


def parts_of(preset: str) -> tuple[str, ...]:
    """The parts that a preset's labels hold: a melody, drums, or three."""
    return tuple(ROLE_COLOURS) if "trio" in preset else ("drums",) if "drums" in preset else ("melody",)


def plot_pages(samples: Labels, music: Labels, parts: Sequence[str], titles: tuple[str, str]) -> Figure:
    """A page of samples and, in the same layout and on the same scale, one of real music: 32 windows each.

    Args:
        samples, music: labels [n, steps], or [n, steps, 3] of trios; the first 32 of each are drawn.
        parts: what the labels hold, as `parts_of` gives it.
        titles: of the two pages.
    """
    columns = [labels.reshape(*labels.shape[:2], -1) for labels in (samples, music)]
    scale = _pitch_range(columns, parts)
    figure = plt.figure(figsize=(15, PAGE[0] * (1.15 if len(parts) > 1 else 0.85)))
    for page, labels, title in zip(figure.subfigures(1, 2), columns, titles, strict=True):
        _draw_page(page, labels, parts, scale)
        page.suptitle(title, x=0.01, y=0.985, ha="left", fontsize=11, color=INK)
    return finished(figure)


def _pitch_range(pages: Sequence[np.ndarray], parts: Sequence[str]) -> tuple[float, float]:
    """The lowest and the highest row of both pages: all pitches that occur, and below them a trio's drums."""
    if parts == ("drums",):
        return -DRUM_ROW, DRUM_CLASSES * DRUM_ROW
    pitched = np.concatenate([page[..., : len(parts) - (len(parts) > 1)].ravel() for page in pages]).astype(int)
    notes = pitched[pitched >= FIRST_PITCH] if (pitched >= FIRST_PITCH).any() else np.array([FIRST_PITCH])
    low, high = notes.min() - FIRST_PITCH + MIN_PITCH, notes.max() - FIRST_PITCH + MIN_PITCH
    return low - 2 - (DRUM_CLASSES + 1) * DRUM_ROW * ("drums" in parts), high + 2


def _draw_page(page: SubFigure, labels: np.ndarray, parts: Sequence[str], scale: tuple[float, float]) -> None:
    for axis in page.subplots(*PAGE, gridspec_kw=PAGE_ROOM).flat:
        axis.set_axis_off()
    for axis, window in zip(page.axes, labels, strict=False):
        axis.set_axis_on()
        _draw_window(axis, window, parts, scale)


def _draw_window(axis: Axes, window: np.ndarray, parts: Sequence[str], scale: tuple[float, float]) -> None:
    """The parts of a window [steps, parts], without a word."""
    axis.vlines(np.arange(STEPS_PER_BAR, len(window), STEPS_PER_BAR), *scale, color=PALE, linewidth=0.5, zorder=0)
    for part, labels in zip(parts, window.T, strict=True):
        rows, starts, ends = _hits(labels, scale[0] + DRUM_ROW) if part == "drums" else _notes(labels)
        axis.hlines(rows, starts, ends, color=ROLE_COLOURS[part], linewidth=2)
    axis.set(xlim=(0, len(window)), ylim=scale, xticks=[], yticks=[])
    axis.spines[:].set_color(PALE)


def _notes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pitch, first step and end of a melody's notes; a note lasts until the next event or the window's end."""
    events = np.flatnonzero(labels != NO_EVENT)
    ends = np.append(events[1:], len(labels))
    sounds = labels[events] >= FIRST_PITCH
    pitches = labels[events][sounds].astype(int) - FIRST_PITCH + MIN_PITCH
    return pitches, events[sounds], ends[sounds] - 0.2


def _hits(labels: np.ndarray, lowest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, beginning and end of the drums' hits."""
    steps, kinds = np.nonzero(labels.astype(int)[:, None] >> np.arange(DRUM_CLASSES) & 1)
    return lowest + DRUM_ROW * kinds, steps, steps + 0.8
