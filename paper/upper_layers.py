"""Compares LSTMs with dense layers between the segments of a 16-bar model and its z.

    python -m paper.upper_layers drums_16bar_third piano_16bar --data FOLDER --out results/upper_layers.json

Each stage begins with a published 2-bar model, see `training.two_levels`. Both kinds of layers learn alike, from the
same segments of the train split, with the stage's β: to pass the z of all segments through one z. They make
fewer updates than `long_from_short` makes, as LSTMs take long. They are measured on windows of the valid split.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from checkpoint import load_checkpoint
from configs import Config
from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_splits
from engine.checks import checked_count
from engine.rng import seeded
from model import parameter_count
from paper.json_results import to_plain, write_json
from paper.published import PUBLISHED
from paper.recipes import STAGES, stage_config
from paper.tables import upper_layers_table
from training.start import new_model
from training.two_levels import (
    Segments,
    checked_beta,
    encode_segments,
    error_cost,
    train_upper_layers,
    upper_layers,
    upper_losses,
)

PRETRAINED = Path(__file__).parents[1] / "pretrained"
WINDOWS, HELD_OUT = 10_000, 1_024
UPDATES = 750
KINDS = ("lstm", "dense")
REACH = 3.0  # the embeddings of an LSTM lie between -1 and 1; z is divided by this number for it
WITHOUT_CHANGES = {"mixed": 0.0, "rearranged": 0.0, "transpose_range": (0, 0)}


class Upper(NamedTuple):
    """Layers of one kind after their updates."""

    parameters: int
    seconds: float  # of the updates
    error: float  # what the errors of the segments' z cost, nats per window
    kl_bits: float  # per window


class UpperLayers(NamedTuple):
    """Both kinds of layers between the segments and the z of one stage."""

    name: str
    beta: float  # weight of the KL
    updates: int
    windows: int  # that are trained on
    held_out: int  # windows that are measured
    unread: float  # error when every segment's z is taken to be 0, nats per window
    kinds: dict[str, Upper]


def compare(name: str, options: argparse.Namespace) -> UpperLayers:
    """Trains and measures both kinds of layers of a stage that begins with a published 2-bar model."""
    for count in ("windows", "held_out", "updates"):
        checked_count(f"--{count.replace('_', '-')}", getattr(options, count))
    stage = STAGES[name]
    config = stage_config(stage, "mini")
    flat, recipe = load_checkpoint(PRETRAINED / f"{stage.layers}.pt")
    plain = replace(config, training=replace(config.training, **WITHOUT_CHANGES))
    songs = load_splits(options, config.converter, ("train", "valid"), stage.without_sources)
    drawn = zip((config, plain), songs, (options.windows, options.held_out), (0, 1), strict=True)
    known, held_out = (encode_segments(flat, checked_beta(recipe.training), *each) for each in drawn)
    return UpperLayers(
        name=name,
        beta=config.training.max_beta,
        updates=options.updates,
        windows=len(known.z),
        held_out=len(held_out.z),
        unread=error_cost(held_out, 0.0).item(),
        kinds={kind: measure(kind, config, known, held_out, options.updates) for kind in KINDS},
    )


def measure(kind: str, config: Config, known: Segments, held_out: Segments, updates: int) -> Upper:
    """Trains layers of one kind on known segments and measures them on others."""
    model = new_model(replace(config.model, upper=kind), seed=0)
    known, held_out = (within_reach(kind, segments) for segments in (known, held_out))
    began = time.perf_counter()
    train_upper_layers(model, known, config.training.max_beta, updates, seed=0)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        segments = Segments(*(part.float() for part in held_out))
        error, kl_nats = upper_losses(model, segments, seeded("cpu", "held-out segments"))
    return Upper(parameter_count(upper_layers(model)), seconds, error.item(), kl_nats.item() / math.log(2))


def within_reach(kind: str, segments: Segments) -> Segments:
    """Segments whose z a kind of layers can write; an error costs what it did."""
    reach = REACH if kind == "lstm" else 1.0
    return segments._replace(z=segments.z / reach, weights=segments.weights.float() * reach**2)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Compare LSTMs with dense layers above the segments of long models.")
    names = [name for name, stage in STAGES.items() if stage.layers in PUBLISHED]
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=f"stages: {', '.join(names)}")
    add_corpus_arguments(parser, sources=False)
    parser.add_argument("--out", type=Path, required=True, help="file to write, JSON")
    for name, default in (("windows", WINDOWS), ("held-out", HELD_OUT), ("updates", UPDATES)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"number of them (default: {default:,})")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: writes the comparison of each stage."""
    options = parse_arguments(arguments)
    with errors_in_a_line(ValueError):
        found = [compare(name, options) for name in options.names]
    write_json(options.out, found)
    say(upper_layers_table(to_plain(found)))


if __name__ == "__main__":
    main()
