"""The trade between rate and distortion: one family of models at several weights β of the KL (paper, section 2.1.1).

    python -m paper.rate_distortion --runs runs --data FOLDER --out results/rate_distortion.json

The command measures each stage of FRONTS whose run is in RUNS/NAME, as paper/recipes.py leaves it, on the valid split:
the rate (KL, bits per window), the distortion (reconstruction loss, nats per window), and what samples cost. Points of
other stages of FRONTS that the file already holds stay in it.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_splits
from generate import TrainedModel
from midi_utils import SongDataset, evenly
from paper.json_results import write_json
from paper.measured_songs import HeldOut, make_generator
from paper.prior_choice import HELD_OUT, STANDARD_NORMAL, choose_prior, fit_chosen_prior
from paper.reconstruction import decode_sampled, decode_teacher_forced, measure_accuracy, measure_elbo

FRONTS = {  # stages of paper/recipes.py by family, from many bits to none
    "mel_2bar": (
        "mel_2bar",
        "mel_2bar_second",
        "mel_2bar_beta_0.05",
        "mel_2bar_beta_0.1",
        "mel_2bar_low",
        "mel_2bar_beta_0.6",
        "mel_2bar_beta_1.5",
        "mel_2bar_without_z",
    ),
    "drums_2bar": (
        "drums_2bar_beta_0.06",
        "drums_2bar",
        "drums_2bar_low_first",
        "drums_2bar_low",
        "drums_2bar_without_z",
    ),
    "mel_16bar": ("mel_16bar_second", "mel_16bar"),
    "mel_16bar_high": ("mel_16bar_high", "mel_16bar_high_third", "mel_16bar_high_first"),
    "drums_16bar_second": ("drums_16bar_second", "drums_16bar_beta_0.05", "drums_16bar_beta_0.1"),
    "trio_16bar_third": ("trio_16bar_third", "trio_16bar_fourth", "trio_16bar_beta_0.1"),
}
WINDOWS = 1024  # of the valid split, evenly spaced


class Point(NamedTuple):
    """A trained model on held-out windows. Accuracies are by part, from a draw of z; costs are in nats per step."""

    name: str  # of the stage
    family: str
    steps: int  # of the stage
    beta: float
    kl_bits: float  # per window
    reconstruction: float  # nats per window, teacher-forced
    nats: float  # -ELBO per window
    teacher_forced: dict[str, float]
    sampled: dict[str, float]
    cost_standard_normal: float  # of samples whose z come from N(0, I)
    cost_prior: float  # of samples whose z come from the fitted prior
    cost_held_out: float  # of the windows themselves
    prior: str  # kind and width of the fitted prior, chosen on the same split


def measure(
    family: str, name: str, trained: TrainedModel, train_set: SongDataset, valid_set: SongDataset, limit: int
) -> Point:
    """Measures a model on `limit` held-out windows, and as many samples as `fit_chosen_prior` draws."""
    recipe, parts = trained.config.training, trained.model.config.output_kind.parts
    chosen = evenly(len(valid_set), limit)
    held_out = HeldOut(valid_set.windows(chosen), valid_set.song[chosen], groups={})
    generator = make_generator(trained, 0)
    encoding = trained.encode(held_out.windows, generator)
    forced, nats = decode_teacher_forced(trained, held_out.windows, encoding.z)
    drawn = decode_sampled(trained, encoding.z, generator)
    elbo = measure_elbo(encoding, nats, held_out.song, trained.converter.steps)
    samples = fit_chosen_prior(trained, train_set, valid_set)
    prior = choose_prior(samples)
    return Point(
        name=name,
        family=family,
        steps=recipe.steps,
        beta=recipe.max_beta,
        kl_bits=elbo.kl_bits.mean,
        reconstruction=elbo.reconstruction.mean,
        nats=elbo.nats.mean,
        teacher_forced=shares(forced, held_out, parts),
        sampled=shares(drawn, held_out, parts),
        cost_standard_normal=samples[STANDARD_NORMAL].cost,
        cost_prior=samples[prior].cost,
        cost_held_out=samples[HELD_OUT].cost,
        prior=prior,
    )


def shares(predicted, held_out: HeldOut, parts: tuple[str, ...]) -> dict[str, float]:
    """The share of the steps that are reconstructed correctly, by part."""
    return {part: found.mean for part, found in measure_accuracy(predicted, held_out, parts).parts.items()}


def read_points(out: Path) -> dict[str, dict]:
    """The points that a file holds, by name; none if there is no file.

    Raises:
        ValueError: a file of something else.
    """
    try:
        return {point["name"]: point for point in json.loads(out.read_text())} if out.exists() else {}
    except (KeyError, TypeError) as fault:
        raise ValueError(f"{out} holds no points of this command: delete it, or choose another --out") from fault


def write_points(points: dict[str, dict], out: Path):
    """Writes points by name, in the order of FRONTS."""
    names = [name for front in FRONTS.values() for name in front]
    write_json(out, [points[name] for name in names if name in points])


def find_runs(folder: Path) -> dict[str, list[str]]:
    """The stages of each front whose run is in a folder, by family.

    Raises:
        ValueError: none is.
    """
    found = {family: [name for name in front if (folder / name).is_dir()] for family, front in FRONTS.items()}
    if not any(found.values()):
        raise ValueError(f"{folder} holds no run of {', '.join(sum(FRONTS.values(), ()))}")
    return {family: names for family, names in found.items() if names}


def measure_front(family: str, names: list[str], options: argparse.Namespace, points: dict[str, dict]):
    """Measures runs of one front, which share their songs, and writes the points after each."""
    converter = TrainedModel.load(options.runs / names[0]).converter
    songs = load_splits(options, converter, ("train", "valid"), ())
    for name in names:
        point = measure(family, name, TrainedModel.load(options.runs / name), *songs, options.limit)
        points[name] = point._asdict()
        say(f"{name}: {point.kl_bits:.1f} bits, -ELBO {point.nats:.1f} nats", flush=True)
        write_points(points, options.out)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure one family of models at several weights β of the KL.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    add_corpus_arguments(parser, sources=False)
    parser.add_argument("--limit", type=int, default=WINDOWS, help=f"held-out windows of each run (default: {WINDOWS})")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures the runs that exist, and writes all points to one file."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        fronts, points = find_runs(options.runs), read_points(options.out)
        for family, names in fronts.items():
            measure_front(family, names, options, points)


if __name__ == "__main__":
    main()
