"""Compares training in bfloat16 and in float32: held-out loss of `cat-mel_2bar_small` at batch size 64, three seeds.

    python benchmarks/precision.py TRAIN_FOLDER VALID_FOLDER

Runs are kept in runs/precision and continue where they stopped. The result is benchmarks/results/precision.json.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from configs import CONFIGS, Config
from midi_utils import SongDataset, load_songs
from train import train

RESULT = Path(__file__).with_name("results") / "precision.json"
STEPS, BATCH, SEEDS = 2000, 64, (0, 1, 2)
PRECISIONS = ("float32", "bfloat16")


def preset() -> Config:
    """`cat-mel_2bar_small` with batch size 64."""
    config = CONFIGS["cat-mel_2bar_small"]
    return replace(config, training=replace(config.training, batch_size=BATCH))


def held_out_loss(train_set: SongDataset, valid_set: SongDataset, precision: str, seed: int) -> float:
    """Held-out loss after the last step, in nats per window."""
    options = {"steps": STEPS, "eval_every": STEPS, "device": "cpu", "precision": precision, "seed": seed}
    out_dir = Path("runs") / "precision" / f"{precision}-{seed}"
    return train(preset(), train_set, valid_set, out_dir=out_dir, **options).history[-1].valid.loss


def summary(losses: dict[str, list[float]]) -> dict:
    """The losses and their means per precision, and the relative excess of bfloat16's mean over float32's."""
    means = {precision: sum(values) / len(values) for precision, values in losses.items()}
    return {"losses": losses, "means": means, "excess": means["bfloat16"] / means["float32"] - 1}


def main(train_folder: str, valid_folder: str):
    """The command: trains all six models, prints and writes the losses."""
    sets = [load_songs(folder, preset().converter) for folder in (train_folder, valid_folder)]
    losses = {precision: [held_out_loss(*sets, precision, seed) for seed in SEEDS] for precision in PRECISIONS}
    content = {"preset": preset().name, "batch": BATCH, "steps": STEPS, "seeds": SEEDS, "torch": torch.__version__}
    content |= {"windows": [len(windows) for windows in sets]} | summary(losses)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare held-out losses of bfloat16 and float32.")
    parser.add_argument("train_folder", help="folder of MIDI files to train on")
    parser.add_argument("valid_folder", help="folder of MIDI files to measure on")
    main(**vars(parser.parse_args()))
