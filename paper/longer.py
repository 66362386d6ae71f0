"""Measures pieces of 64 bars that `TrainedModel.compose` makes, beside real songs and windows drawn independently.

    python -m paper.longer pretrained/mel_2bar_low.pt --data FOLDER --out results/longer_pieces.json [--save MODEL]

A model without a sequence prior is fitted to the songs of the train split; `--save` writes it with its prior. Real
songs are those of the test split, or of `--split`, that go on for 64 bars, from their first note. What is measured:

- the similarity of the bars of a melody with those 1, 2, 4, 8 and 16 bars earlier, see `music.attributes.repetition`;
- the share of its windows that equal the window before;
- the drift of its key: the Jensen-Shannon divergence of the pitch classes of two of its quarters, 16 bars each, mean
  over the pairs;
- the drift of its register: the largest difference of the mean pitches of two quarters.
"""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import check_file, model_name, read_checkpoint
from console import errors_in_a_line, say
from corpus import MANIFEST, song_paths
from generate import TrainedModel
from midi_utils import MelodyConverter
from music.attributes import STEPS_PER_BAR, jensen_shannon_bits, note_density, pitch_class_histogram, repetition
from music.clips import Clip
from music.labels import FIRST_PITCH
from paper.json_results import write_json
from studio.clip_tools import whole_songs

BARS = 64
DISTANCES = (1, 2, 4, 8, 16)  # bars
PIECES = 100
TEMPERATURE = 0.5


class Spread(NamedTuple):
    """A measure over pieces."""

    mean: float
    error: float  # standard error of the mean
    quartiles: tuple[float, float, float]


class Form(NamedTuple):
    """The measures of several pieces."""

    pieces: int
    similarity: dict[str, Spread]  # by distance in bars
    repeats: Spread  # share of the windows
    key_drift_bits: Spread
    register_drift: Spread  # semitones
    notes: Spread  # per step


class LongerPieces(NamedTuple):
    """What the command writes."""

    name: str
    split: str  # of the real songs
    seed: int
    temperature: float
    bars: int
    composed: Form
    independent: Form
    real: Form
    inside: dict[str, list[str]]  # by kind of piece, the distances whose mean similarity lies in the real quartiles


def window_repeats(line: np.ndarray, steps: int) -> float:
    """The share of the windows of labels [n * steps] that equal the window before."""
    windows = line.reshape(-1, steps)
    return float((windows[1:] == windows[:-1]).all(1).mean())


def quarters(line: np.ndarray) -> list[np.ndarray]:
    """The quarters of a melody [steps] that have notes: labels [1, steps / 4] each."""
    return [part[None] for part in np.array_split(line, 4) if (part >= FIRST_PITCH).any()]


def key_drift(line: np.ndarray) -> float:
    """The mean divergence of the pitch classes of two quarters of a melody [steps]: bits; nan with fewer."""
    histograms = [pitch_class_histogram(part) for part in quarters(line)]
    divergences = [jensen_shannon_bits(p, q) for p, q in itertools.combinations(histograms, 2)]
    return float(np.mean(divergences)) if divergences else np.nan


def register_drift(line: np.ndarray) -> float:
    """The largest difference of the mean pitches of two quarters of a melody [steps]: semitones."""
    means = [part[part >= FIRST_PITCH].mean() for part in quarters(line)]
    return float(max(means) - min(means)) if means else np.nan


def spread(values: list[float]) -> Spread:
    """Mean, its standard error and quartiles of the values that are not nan."""
    known = np.array(values)[~np.isnan(values)]
    error = float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else np.nan
    return Spread(float(known.mean()), error, tuple(np.percentile(known, (25, 50, 75)).tolist()))


def measure_form(lines: list[np.ndarray], steps: int) -> Form:
    """Measures melodies, labels [bars * 16] each, of windows of so many steps."""
    distances = [bars for bars in DISTANCES if bars < len(lines[0]) // STEPS_PER_BAR]
    return Form(
        pieces=len(lines),
        similarity={str(bars): spread([repetition(line[None], bars)[0] for line in lines]) for bars in distances},
        repeats=spread([window_repeats(line, steps) for line in lines]),
        key_drift_bits=spread([key_drift(line) for line in lines]),
        register_drift=spread([register_drift(line) for line in lines]),
        notes=spread([note_density(line[None])[0] for line in lines]),
    )


def inside(form: Form, real: Form) -> list[str]:
    """The distances at which the mean similarity lies within the quartiles of real songs."""
    low_high = {bars: (own.quartiles[0], own.quartiles[2]) for bars, own in real.similarity.items()}
    return [bars for bars, own in form.similarity.items() if low_high[bars][0] <= own.mean <= low_high[bars][1]]


def first_bars(clips: list[Clip], bars: int = BARS) -> list[np.ndarray]:
    """The first bars of the clips that have as many."""
    return [clip.labels[: bars * STEPS_PER_BAR] for clip in clips if len(clip.labels) >= bars * STEPS_PER_BAR]


def measure(
    name: str,
    trained: TrainedModel,
    split: str,
    real: list[np.ndarray],
    *,
    bars: int = BARS,
    pieces: int = PIECES,
    seed: int = 0,
) -> LongerPieces:
    """Measures a model of melodies that has a sequence prior.

    Args:
        name, split: of the model and of the real songs, in the result.
        real: melodies, labels [bars * 16] each.
    """
    options = {"temperature": TEMPERATURE, "seed": seed}
    made = {
        "composed": trained.compose(bars, n=pieces, **options),
        "independent": trained.sample_clips(pieces, bars, variation=1.0, **options),
    }
    steps = trained.converter.steps
    forms = {
        kind: measure_form([trained.clip(one, bars=bars).labels for one in own], steps) for kind, own in made.items()
    }
    of_real = measure_form(real, steps)
    found = {kind: inside(form, of_real) for kind, form in forms.items()}
    return LongerPieces(name, split, seed, TEMPERATURE, bars, *forms.values(), of_real, found)


def save_fitted(trained: TrainedModel, source: Path, path: Path) -> None:
    """Writes a model with its priors in the precision of the file that it is from, with that file's record of the run.

    The model takes this precision.
    """
    content = read_checkpoint(source)
    trained.model.to(next(iter(content["model"].values())).dtype)
    trained.save(path, content["run"])


def table(found: dict) -> str:
    """The means, and the quartiles of real songs, of a result of the command: a Markdown table."""
    forms = [found[kind] for kind in ("real", "composed", "independent")]
    rows = {f"bars {bars} apart": [form["similarity"][bars] for form in forms] for bars in forms[0]["similarity"]}
    rows["repeated windows"] = [form["repeats"] for form in forms]
    rows["key drift, bits"] = [form["key_drift_bits"] for form in forms]
    rows["register drift, semitones"] = [form["register_drift"] for form in forms]
    rows["notes per step"] = [form["notes"] for form in forms]
    lines = [
        "| mean over pieces, ± standard error | real songs | their quartiles | composed | independent windows |",
        "|---|---|---|---|---|",
    ]
    for name, (real, *others) in rows.items():
        low, _, high = real["quartiles"]
        means = " | ".join(f"{own['mean']:.2f} ± {own['error']:.2f}" for own in others)
        lines.append(f"| {name} | {real['mean']:.2f} ± {real['error']:.2f} | {low:.2f} to {high:.2f} | {means} |")
    return "\n".join(lines) + "\n"


def summary(found: LongerPieces) -> str:
    """The means in a few lines, with the quartiles of real songs."""
    lines = []
    for kind in ("real", "composed", "independent"):
        form = getattr(found, kind)
        means = ", ".join(f"{bars}: {own.mean:.3f} ± {own.error:.3f}" for bars, own in form.similarity.items())
        drifts = f"key {form.key_drift_bits.mean:.3f} bits, register {form.register_drift.mean:.1f} semitones"
        lines.append(f"{kind}, {form.pieces} pieces: {means}; repeats {form.repeats.mean:.3f}; {drifts}")
    quartiles = ((bars, own.quartiles) for bars, own in found.real.similarity.items())
    lines.append(
        "real quartiles: " + ", ".join(f"{bars}: {low:.3f} to {high:.3f}" for bars, (low, _, high) in quartiles)
    )
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure longer pieces.")
    parser.add_argument("checkpoint", type=Path, help="a model of melodies")
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="songs and splits (default: paper/corpus.csv)")
    parser.add_argument("--split", default="test", help="split of the real songs (default: test)")
    parser.add_argument("--pieces", type=int, default=PIECES, help=f"number of pieces (default: {PIECES})")
    parser.add_argument("--bars", type=int, default=BARS, help=f"of each piece (default: {BARS})")
    parser.add_argument("--save", type=Path, help="file for the model with its sequence prior")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: fits the prior where the model has none, measures, and writes the result."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        for path in filter(None, (options.out, options.save)):
            check_file(path)
        trained = TrainedModel.load(options.checkpoint)
        if not isinstance(trained.converter, MelodyConverter):
            raise ValueError(f"{options.checkpoint} is no model of melodies")
        if options.bars < 1 or options.bars % trained.converter.bars:
            own = trained.converter.bars
            raise ValueError(f"--bars must be a multiple of {own}, the bars of the model's windows, got {options.bars}")
        paths = song_paths(options.data, options.split, options.manifest)
        real = first_bars(whole_songs(paths.values(), trained.converter), options.bars)
        if not real:
            raise ValueError(f"no song of the {options.split} split has {options.bars} bars: give --bars")
        if trained.sequence_prior is None:
            trained.fit_sequence_prior(song_paths(options.data, "train", options.manifest).values())
        if options.save:
            save_fitted(trained, options.checkpoint, options.save)
            trained = TrainedModel.load(options.save)  # measured as the file holds it
        name = model_name(options.checkpoint)
        found = measure(name, trained, options.split, real, bars=options.bars, pieces=options.pieces)
        write_json(options.out, found)
    say(summary(found))


if __name__ == "__main__":
    main()
