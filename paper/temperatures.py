"""Samples of published models at several temperatures of decoding, beside held-out music.

    python -m paper.temperatures --data FOLDER --out results/temperatures.json

The latent vectors are drawn from each model's own prior, and are the same at each temperature. The songs are those of
the valid split. FOLDER holds the songs of corpus.csv.
"""

import argparse

from corpus import load_splits
from generate import TrainedModel
from midi_utils import evenly
from paper.measured_songs import make_generator, read_training_set
from paper.prior_choice import HELD_OUT, measure_windows, part_ngrams
from paper.reconstruction import decode_sampled
from paper.several import measure_samples_by_name
from paper.tables import temperature_table

SAMPLED = ("mel_2bar_low", "drums_2bar", "mel_16bar", "drums_16bar", "trio_16bar")  # models of pretrained/
TEMPERATURES = (0.3, 0.5, 0.7, 1.0)


def measure(name: str, options: argparse.Namespace) -> dict:
    """One model: held-out windows, and as many samples at each temperature."""
    trained = TrainedModel.load(options.folder / f"{name}.pt")
    train_set, valid_set = load_splits(options, trained.converter, ("train", "valid"), ())
    training, count = read_training_set(trained, train_set), min(options.limit, len(valid_set))
    windows = {HELD_OUT: valid_set.labels[evenly(len(valid_set), count)]}
    z = trained.draw_z(count, make_generator(trained, 0))
    for temperature in TEMPERATURES:
        windows[f"{temperature}"] = decode_sampled(trained, z, make_generator(trained, 1), temperature)
    ngrams = part_ngrams(trained, training)
    found = {music: measure_windows(trained, training, ngrams, labels) for music, labels in windows.items()}
    return {"name": name, "preset": trained.config.name, "samples": found}


def main(arguments: list[str] | None = None):
    """The command: measures all models, writes the numbers and prints their table."""
    measure_samples_by_name(
        arguments, "Measure samples at several temperatures.", "pretrained", SAMPLED, measure, temperature_table
    )


if __name__ == "__main__":
    main()
