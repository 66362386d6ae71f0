"""The trade between rate and distortion: one preset trained with several free bits and betas (paper, section 2.1.1).

    python -m paper.rate_distortion --config cat-mel_2bar_tiny --data FOLDER --out results/rate_distortion.json

Each pair of free bits and beta gives one point on the valid split: the rate (KL, bits per window) and the distortion
(reconstruction loss, nats per window). A command that was interrupted continues from its checkpoints.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from configs import CONFIGS, Config
from console import errors_in_a_line
from evaluation import add_corpus_arguments, load_splits
from midi_utils import SongDataset
from train import TrainingDiverged, train

RECIPES = ((0.0, 1.0), (0.0, 0.5), (0.0, 0.2), (0.0, 0.05), (24.0, 0.2), (48.0, 0.2), (48.0, 1.0))  # free bits, beta
EVAL_EVERY = 500  # steps


class Point(NamedTuple):
    """A trained model, measured on held-out windows."""

    preset: str
    steps: int
    seed: int
    free_bits: float
    beta: float
    kl_bits: float  # per window
    reconstruction: float  # nats per window
    accuracy: float  # teacher-forced, 0 to 1


def with_recipe(config: Config, free_bits: float, beta: float) -> Config:
    """The preset with other free bits and another beta."""
    return replace(config, training=replace(config.training, free_bits=free_bits, max_beta=beta))


def measure(config: Config, songs: Sequence[SongDataset], folder: Path, **run) -> Point:
    """Trains a preset on the first of two sets of songs and measures it on the second.

    Args:
        folder: of all runs; this one gets a folder of its own inside.
        run: `steps`, `seed` and `device` of `train.train`.
    """
    recipe = config.training
    out = folder / f"{config.name}_{recipe.free_bits:g}_{recipe.max_beta:g}"
    step, _, found = train(config, *songs, out_dir=out, eval_every=EVAL_EVERY, **run).history[-1]
    facts = (config.name, step, run["seed"], recipe.free_bits, recipe.max_beta)
    return Point(*facts, found.kl_bits, found.reconstruction, found.accuracy)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Train a preset with several free bits and betas.")
    parser.add_argument("--config", default="cat-mel_2bar_tiny", choices=CONFIGS, metavar="PRESET", help="preset")
    add_corpus_arguments(parser)
    parser.add_argument("--steps", type=int, help="training steps of each run (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0, help="of every run (default: 0)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the fastest)")
    parser.add_argument("--runs", type=Path, default=Path("runs/rate_distortion"), help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: trains and measures one model per pair, and writes all points to one file."""
    options = parse_arguments(arguments)
    config, run = CONFIGS[options.config], {name: getattr(options, name) for name in ("steps", "seed", "device")}
    with errors_in_a_line(ValueError, TrainingDiverged):
        songs = load_splits(options, config.converter, ("train", "valid"), options.without_sources)
        points = [measure(with_recipe(config, *recipe), songs, options.runs, **run) for recipe in RECIPES]
    rows = ",\n ".join(json.dumps(point._asdict()) for point in points)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(f"[\n {rows}\n]\n")


if __name__ == "__main__":
    main()
