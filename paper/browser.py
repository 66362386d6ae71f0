"""What magenta.js plays: samples from N(0, I) of the models in pretrained/magenta_js, beside held-out music.

    python -m paper.browser --data FOLDER --out results/browser.json

The exported weights, with 8 bits each and a Gaussian folded in, are read back and measured on the test split as
paper/publish.py measures the samples of other models. FOLDER holds the songs of corpus.csv.
"""

import argparse

from corpus import load_splits
from generate import TrainedModel
from paper.measured_songs import read_training_set
from paper.prior_choice import measure_priors
from paper.published import FOR_MAGENTA_JS
from paper.several import measure_samples_by_name
from paper.tables import samples_table


def measure(name: str, options: argparse.Namespace) -> dict:
    """One model, with the fields that `samples_table` reads."""
    trained = TrainedModel.load(options.folder / name)
    train_set, test_set = load_splits(options, trained.converter, ("train", "test"), ())
    training, count = read_training_set(trained, train_set), min(options.limit, len(test_set))
    priors = measure_priors(trained, training, count, 0, test_set.labels[:])
    return {"name": name, "preset": trained.config.name, "priors": priors}


def main(arguments: list[str] | None = None):
    """The command: measures all models, writes the numbers and prints their table."""
    measure_samples_by_name(
        arguments,
        "Measure what the models for magenta.js play.",
        "pretrained/magenta_js",
        FOR_MAGENTA_JS,
        measure,
        samples_table,
    )


if __name__ == "__main__":
    main()
