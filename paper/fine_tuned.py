"""Fine-tunes the piano on a folder of loops for some minutes, and measures it on those that it was not tuned on.

    python -m paper.fine_tuned FOLDER --minutes 5 --out results/piano_2bar_tuned.json

Four fifths of the songs are trained on, by the recipe of main.ipynb. Loops that are shorter than the window are
repeated. The F1 of the others is measured before and after, as paper/pianos.py does.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from checkpoint import model_name
from console import errors_in_a_line, say
from engine.checks import checked_positive
from generate import TrainedModel
from midi_utils import load_songs
from paper.json_results import write_json
from paper.pianos import PianoReconstruction, check_is_piano, measure_reconstruction
from train import train

RECIPE = {"learning_rate": 1e-3, "batch_size": 32}  # of main.ipynb


def tune(trained: TrainedModel, folder: Path, minutes: float, seed: int = 0) -> dict:
    """The measurements before and after, with the number of steps that the minutes allowed."""
    converter = replace(trained.converter, loop=True)
    config = replace(trained.config, converter=converter, training=replace(trained.config.training, **RECIPE))
    train_set, held_out, _ = load_songs(folder, converter).split(valid=0.2, seed=seed)
    with tempfile.TemporaryDirectory() as run:
        running = {"minutes": minutes, "eval_every": 10**6, "seed": seed, "device": "cpu", "progress": False}
        result = train(config, train_set, out_dir=run, init_from=trained.model, **running)
    models = {"before": trained.model, "after": result.model}
    found = {
        name: measure_reconstruction(TrainedModel(model, config), held_out, np.arange(len(held_out)))
        for name, model in models.items()
    }
    facts = {"minutes": minutes, "threads": torch.get_num_threads(), "steps": result.history[-1].step}
    return {**facts, "tuned_on": len(train_set.names), **found}


def summary(when: str, found: PianoReconstruction) -> str:
    """A line of the main numbers."""
    notes, frames = (interval.mean for interval in found.most_likely)
    return f"{when}: note F1 {notes:.3f}, frame F1 {frames:.3f} at {found.elbo.kl_bits.mean:.0f} bits"


def main(arguments: list[str] | None = None):
    """The command: tunes, writes the numbers and prints the main ones."""
    parser = argparse.ArgumentParser(description="Fine-tune a model of pianos on loops and measure it on others.")
    parser.add_argument("folder", type=Path, help="folder of MIDI files")
    parser.add_argument("--checkpoint", type=Path, default=Path("pretrained/piano_2bar.pt"), help="the model")
    parser.add_argument("--minutes", type=float, default=5, help="of training (default: 5)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    with errors_in_a_line():
        checked_positive("--minutes", options.minutes)
        trained = TrainedModel.load(options.checkpoint)
        check_is_piano(trained)
        found = tune(trained, options.folder, options.minutes)
        write_json(options.out, {"name": model_name(options.checkpoint), **found})
    say("\n".join(summary(when, found[when]) for when in ("before", "after")))


if __name__ == "__main__":
    main()
