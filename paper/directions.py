"""Measures what each direction in latent space does to all attributes of decoded music (studio/directions.py).

    python -m paper.directions --data FOLDER

The directions of MODEL are found on the train split of the songs in FOLDER, see docs/corpus.md, and written to
pretrained/MODEL_directions.json. The posterior means of windows of the test split are moved along each of them by 1 and
by -1, and decoded at temperature 0; the means of the attributes are written to results/directions.json. So are the
cosines between directions of few windows and those of as many windows of other songs as a model's directions are found
on.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_splits
from generate import TrainedModel
from midi_utils import SongDataset, evenly
from music.attributes import ATTRIBUTES
from paper.attribute_vectors import AttributeTable, attribute_means, attribute_vectors
from paper.json_results import write_json
from paper.measured_songs import make_generator
from paper.reconstruction import decode_sampled
from studio.directions import MAX_WINDOWS, Directions

MODEL = "mel_2bar_low"
HELD_OUT_WINDOWS = 1024  # of the test split, evenly spaced
COUNTS = (128, 512, 2048, 8192)  # windows of which directions are compared
DRAWS = 20  # sets of so many windows


class Agreement(NamedTuple):
    """How directions of a number of windows agree with those of MAX_WINDOWS windows of other songs."""

    windows: int
    cosines: list[float]  # of each attribute, mean over DRAWS random sets of windows


class Measured(NamedTuple):
    """What `python -m paper.directions` writes."""

    model: str
    windows: int  # that directions are found on
    held_out: int  # windows that are moved
    attributes: AttributeTable  # their means: unmoved, and moved by 1 and by -1
    agreement: list[Agreement]


def decoded(trained: TrainedModel, z: Tensor) -> np.ndarray:
    """The most likely labels [n, steps] of z [n, Z]."""
    return decode_sampled(trained, z, make_generator(trained, 0), temperature=0)


def measure_effects(directions: Directions, z: Tensor) -> AttributeTable:
    """Means of all attributes of music decoded from z [n, Z], and from z moved along each direction."""
    rows = [
        [attribute_means(decoded(directions.trained, directions.apply(z, **{name: strength}))) for name in ATTRIBUTES]
        for strength in (1, -1)
    ]
    return AttributeTable(list(ATTRIBUTES), attribute_means(decoded(directions.trained, z)), *rows)


def measure_agreement(labels: np.ndarray, mu: np.ndarray, song: np.ndarray, seed: int = 0) -> list[Agreement]:
    """Cosines between directions of some windows of half of the songs, drawn at random, and those of the other half.

    Args:
        labels, mu, song: [n, steps], [n, Z] and [n] of windows.
    """
    random, names = np.random.default_rng(seed), np.unique(song)
    in_half = np.isin(song, random.permutation(names)[: len(names) // 2])
    (half,), others = np.nonzero(in_half), random.permutation(np.flatnonzero(~in_half))[:MAX_WINDOWS]
    all_others, found = attribute_vectors(labels[others], mu[others]), []
    for count in (count for count in COUNTS if count <= len(half)):
        sets = [random.permutation(half)[:count] for _ in range(DRAWS)]
        cosines = [_cosines(attribute_vectors(labels[one], mu[one]), all_others) for one in sets]
        found.append(Agreement(count, np.mean(cosines, 0).tolist()))
    return found


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows: [n, Z] each to [n]."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def measure(name: str, trained: TrainedModel, train_set: SongDataset, test_set: SongDataset, folder: Path) -> Measured:
    """Finds a model's directions, writes them to the folder pretrained/, and measures them."""
    directions = trained.directions(train_set)
    directions.save(folder / "pretrained" / f"{name}_directions.json")
    held_out = test_set.windows(evenly(len(test_set), HELD_OUT_WINDOWS))
    effects = measure_effects(directions, trained.encode(held_out).mu)
    chosen = evenly(len(train_set), 3 * MAX_WINDOWS)  # so that each half of the songs has MAX_WINDOWS
    windows = train_set.windows(chosen)
    agreement = measure_agreement(windows.labels, trained.encode(windows).mu.cpu().numpy(), train_set.song[chosen])
    return Measured(name, min(len(train_set), MAX_WINDOWS), len(held_out.labels), effects, agreement)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure directions in latent space.")
    add_corpus_arguments(parser, sources=False)
    here = "folder that gets pretrained/ and results/ (default: the current one)"
    parser.add_argument("--to", type=Path, default=Path(), help=here)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        trained = TrainedModel.load(Path("pretrained") / f"{MODEL}.pt")
        found = measure(MODEL, trained, *load_splits(options, trained.converter, ("train", "test"), ()), options.to)
    path = options.to / "results" / "directions.json"
    write_json(path, found)
    say(f"{path}: directions of {MODEL} on {found.windows:,} windows, measured on {found.held_out:,}")


if __name__ == "__main__":
    main()
