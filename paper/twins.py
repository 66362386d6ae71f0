"""Compares models that have a conductor with their flat twins: trained alike, measured on the same windows.

    python -m paper.twins HIERARCHICAL FLAT [HIERARCHICAL FLAT ...] --data FOLDER --out results/twins.json

Each pair of checkpoints gives the gain of the conductor in accuracy, over all steps and bar by bar, and in what a
window costs. Each model also decodes windows on to 64 bars, four times what it was trained on, from draws of their
posteriors. Their form is measured in the bars that it was trained on and in those beyond, beside songs of that length.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import model_name, read_checkpoint
from corpus import load_splits, song_paths
from generate import TrainedModel
from midi_utils import Converter, SongDataset, Windows, evenly
from music.attributes import STEPS_PER_BAR, note_density, repetition
from music.labels import FIRST_PITCH, NO_EVENT
from music.melody import MelodyConverter
from paper.longer import first_bars
from paper.measured_songs import make_generator
from paper.reconstruction import Interval, bootstrap, decode_sampled, decode_teacher_forced
from paper.several import add_arguments, write_each
from studio.clip_tools import whole_songs

PIECES = 200  # decoded on
BARS = 64  # of each
PARTS = {"1 to 16": (0, 16), "17 to 32": (16, 32), "33 to 64": (32, 64)}  # bars of a piece
BARS_BACK = (1, 2, 4, 8, 16)
LIMIT = 4096  # windows


class Form(NamedTuple):
    """Means over pieces, in some of their bars."""

    similarity: dict[int, float]  # of a bar's events with those of the bar so many bars earlier, in this part or before
    notes: float  # per step
    rests: float  # share of the steps at which no note sounds


class Decoded(NamedTuple):
    """Windows as one model decodes them, per window."""

    forced: np.ndarray  # [n, bars] share of the steps that are right, teacher-forced
    sampled: np.ndarray  # [n, bars] free-running
    kl_bits: np.ndarray  # [n]
    nats: np.ndarray  # [n], -ELBO


class Pair(NamedTuple):
    """A model with a conductor beside its flat twin; gains are its numbers minus those of the twin."""

    names: list[str]  # of the two
    preset: str  # of the first
    steps: int | None  # of training
    seed: int | None
    split: str
    songs: int
    windows: int
    forced: Interval  # gains in accuracy
    sampled: Interval
    forced_by_bar: list[float]
    sampled_by_bar: list[float]
    kl_bits: Interval  # gains in cost, per window
    nats: Interval
    form: dict[str, dict[str, Form]]  # of what is decoded on, by 'conductor', 'flat' or 'songs', then by part of PARTS


def decoded(trained: TrainedModel, songs: SongDataset, chosen: np.ndarray) -> Decoded:
    """Decodes windows from a draw of their posteriors."""
    windows = songs.windows(chosen)
    encoding = trained.encode(windows, make_generator(trained, 0))
    forced, nats = decode_teacher_forced(trained, windows, encoding.z)
    sampled = decode_sampled(trained, encoding.z, make_generator(trained, 1))
    right = ((labels == windows.labels).reshape(len(chosen), -1, STEPS_PER_BAR) for labels in (forced, sampled))
    kl = encoding.kl.cpu().numpy()
    return Decoded(*(bars.mean(2) for bars in right), kl / np.log(2), nats + kl)


def form_by_part(pieces: np.ndarray) -> dict[str, Form]:
    """The form of pieces [n, steps] in the bars of each of PARTS."""
    return {name: form(pieces, start, end) for name, (start, end) in PARTS.items()}


def form(pieces: np.ndarray, start: int, end: int) -> Form:
    """The form of melodies [n, steps] from bar `start` to before bar `end`, both counted from 0.

    A bar is compared with earlier ones, also with those before `start`. Bars without an event count for no similarity.
    """
    bars, before = slice(start * STEPS_PER_BAR, end * STEPS_PER_BAR), {back: max(start - back, 0) for back in BARS_BACK}
    similarity = {
        back: float(np.nanmean(repetition(pieces[:, first * STEPS_PER_BAR : bars.stop], back)))
        for back, first in before.items()
        if back < end
    }
    return Form(similarity, float(note_density(pieces[:, bars]).mean()), float(rests(pieces)[:, bars].mean()))


def rests(pieces: np.ndarray) -> np.ndarray:
    """Whether no note sounds, at each step of melodies [n, steps]: [n, steps] bool."""
    latest = np.maximum.accumulate(np.where(pieces != NO_EVENT, np.arange(pieces.shape[1]), 0), axis=1)
    return np.take_along_axis(pieces, latest, axis=1) < FIRST_PITCH


def decoded_on(trained: TrainedModel, windows: Windows) -> np.ndarray:
    """Labels [n, steps] of BARS bars, decoded at temperature 1 from draws of the windows' posteriors."""
    z = trained.encode(windows, make_generator(trained, 0)).z
    return decode_sampled(trained, z, make_generator(trained, 1), steps=BARS * STEPS_PER_BAR)


def compare(
    models: Sequence[TrainedModel],
    songs: SongDataset,
    whole: np.ndarray,
    limit: int = LIMIT,
    pieces: int | None = None,
) -> dict:
    """The measured fields of a `Pair`.

    Args:
        models: with a conductor, and flat.
        songs: held-out windows of both models' converter.
        whole: labels [n, steps] of real songs of BARS bars.
        limit: maximum of windows, evenly spaced.
        pieces: number of windows that each model decodes on, evenly spaced; PIECES when None.

    Raises:
        ValueError: models of different converters, or of other music than melodies of 16 bars.
    """
    names = " and ".join(model.config.name for model in models)
    if models[0].converter != models[1].converter:
        raise ValueError(f"{names} are no twins: they read other windows")
    if not isinstance(models[0].converter, MelodyConverter) or models[0].converter.bars != 16:
        raise ValueError(f"{names} cannot be compared: twins of 16-bar melodies can")
    chosen = evenly(len(songs), limit)
    song, (ours, flat) = songs.song[chosen], (decoded(model, songs, chosen) for model in models)
    gains = Decoded(*(a - b for a, b in zip(ours, flat, strict=True)))
    longer = songs.windows(evenly(len(songs), pieces or PIECES))
    conducted, alone = (decoded_on(model, longer) for model in models)
    return {
        "songs": len(np.unique(song)),
        "windows": len(chosen),
        "forced": bootstrap(gains.forced.mean(1), song),
        "sampled": bootstrap(gains.sampled.mean(1), song),
        "forced_by_bar": gains.forced.mean(0).tolist(),
        "sampled_by_bar": gains.sampled.mean(0).tolist(),
        "kl_bits": bootstrap(gains.kl_bits, song),
        "nats": bootstrap(gains.nats, song),
        "form": {
            "conductor": form_by_part(conducted),
            "flat": form_by_part(alone),
            "songs": form_by_part(whole),
        },
    }


def measure_pairs(options: argparse.Namespace) -> Iterator[Pair]:
    """Each pair of the command's checkpoints, measured."""
    paths, read = options.checkpoints, cache(partial(read_songs, options))
    if len(paths) % 2:
        raise ValueError(f"checkpoints come in pairs, got {len(paths)}")
    for pair in zip(paths[::2], paths[1::2], strict=True):
        models = [TrainedModel.load(path) for path in pair]
        facts = training_facts(pair) | {"split": options.split}
        measured = compare(models, *read(models[0].converter), options.limit)
        yield Pair(names=[model_name(path) for path in pair], preset=models[0].config.name, **facts, **measured)


def training_facts(pair: Sequence[Path]) -> dict:
    """The steps and the seed that two checkpoints share; raises ValueError where they differ."""
    runs = [read_checkpoint(path)["run"] or {} for path in pair]
    facts, other = ({"steps": run.get("step"), "seed": run.get("seed")} for run in runs)
    if facts != other:
        raise ValueError(f"{pair[0]} and {pair[1]} are no twins: one has {facts}, the other {other}")
    return facts


def read_songs(options: argparse.Namespace, converter: Converter) -> tuple[SongDataset, np.ndarray]:
    """The windows of the split that the options name, and its songs of BARS bars, labels [n, steps]."""
    (songs,) = load_splits(options, converter, (options.split,), options.without_sources)
    paths = song_paths(options.data, options.split, options.manifest, without=options.without_sources).values()
    whole = first_bars(whole_songs(paths, converter), BARS)
    if not whole:
        raise ValueError(f"no song of the {options.split} split has {BARS} bars")
    return songs, np.stack(whole)


def summary(found: Pair) -> str:
    """The main numbers in a few lines."""
    gains = (
        f"{name} {interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
        for name, interval in (("teacher-forced", found.forced), ("sampled", found.sampled))
    )
    costs = f"KL {found.kl_bits.mean:+.0f} bits, -ELBO {found.nats.mean:+.0f} nats"
    lines = [f"{' - '.join(found.names)}, {found.windows} windows: {', '.join(gains)}; {costs}"]
    for kind, parts in found.form.items():
        for part, own in parts.items():
            shown = ", ".join(f"{back}: {share:.3f}" for back, share in own.similarity.items())
            lines.append(
                f"  {kind}, bars {part}: similarity {shown}; {own.notes:.3f} notes per step, rests {own.rests:.3f}"
            )
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Compare models with a conductor with their flat twins.")
    add_arguments(parser, limit=LIMIT)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures the pairs one after the other, and writes a list of all."""
    options = parse_arguments(arguments)
    write_each(measure_pairs(options), summary, options.out)


if __name__ == "__main__":
    main()
