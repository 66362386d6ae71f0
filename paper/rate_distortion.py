"""What a bit of z buys: the same preset trained with several free bits and weights of the KL (paper, section 2.1.1).

    python -m paper.rate_distortion --config cat-mel_2bar_tiny --data FOLDER --out results/rate_distortion.json

Each pair gives one point on held-out songs: the rate, KL in bits a window, and the distortion, reconstruction loss in
nats a window. A run that was stopped goes on.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from configs import CONFIGS, Config
from corpus import MANIFEST, load_corpus
from midi_utils import SongDataset
from train import train

PAIRS = ((0.0, 1.0), (0.0, 0.5), (0.0, 0.2), (0.0, 0.05), (24.0, 0.2), (48.0, 0.2), (48.0, 1.0))  # free bits, beta


class Point(NamedTuple):
    """A trained model on held-out windows."""

    preset: str
    steps: int
    seed: int
    free_bits: float
    beta: float
    kl_bits: float  # a window
    reconstruction: float  # nats a window
    accuracy: float  # teacher-forced, 0..1


def measure(
    config: Config, free_bits: float, beta: float, parts: tuple[SongDataset, SongDataset], folder: Path, **how
) -> Point:
    """Trains on the first part, for `how` of `train.train`, and measures the second."""
    recipe = replace(config.training, free_bits=free_bits, max_beta=beta)
    out = folder / f"{config.name}_{free_bits:g}_{beta:g}"
    result = train(replace(config, training=recipe), *parts, out_dir=out, eval_every=500, **how)
    step, _, found = result.history[-1]
    return Point(config.name, step, how["seed"], free_bits, beta, found.kl_bits, found.reconstruction, found.accuracy)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Train a preset with several free bits and betas.")
    parser.add_argument("--config", default="cat-mel_2bar_tiny")
    parser.add_argument("--data", required=True, help="folder of the songs that the manifest names")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default corpus.csv)")
    parser.add_argument("--cache", help="folder that keeps what was read, for the next time")
    parser.add_argument("--steps", type=int, help="updates of each; the preset's own by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cuda, mps or cpu; the fastest by default")
    parser.add_argument("--runs", default="runs/rate_distortion", help="folder of the runs")
    parser.add_argument("--out", required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: a point a pair, all of them in one file."""
    options = parse_arguments(arguments)
    try:
        config = CONFIGS[options.config]
        how = {"manifest": options.manifest, "cache": options.cache}
        parts = tuple(load_corpus(options.data, part, config.converter, **how) for part in ("train", "valid"))
        run = {"steps": options.steps, "seed": options.seed, "device": options.device}
        points = [measure(config, *pair, parts, Path(options.runs), **run) for pair in PAIRS]
    except (ValueError, KeyError) as fault:
        raise SystemExit(f"error: {fault.args[0]}") from None
    rows = ",\n ".join(json.dumps(point._asdict()) for point in points)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(f"[\n {rows}\n]\n")


if __name__ == "__main__":
    main()
