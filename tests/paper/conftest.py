"""A made-up result for the tests of tables and figures."""

import matplotlib as mpl

mpl.use("agg")

import pytest

from evaluation import Evaluation
from paper.attribute_vectors import AttributeTable
from paper.interpolation import Interpolation
from paper.json_results import to_plain
from paper.other_sources import OtherSource
from paper.prior_choice import PriorSamples
from paper.reconstruction import Accuracy, Elbo, Interval, Reconstruction
from paper.samples import Comparison, Samples

ATTRIBUTES = ["c_diatonic", "note_density"]


@pytest.fixture
def made():
    """A function that makes results."""
    return made_result


def around(mean):
    """A mean with an interval of 0.01 on either side."""
    return Interval(mean, mean - 0.01, mean + 0.01)


def made_result(preset, forced=0.9, sampled=0.7, parts=("all",), bars=2):
    """What evaluation.py writes for a model of this many bars, read back."""
    accuracies = [
        Accuracy(
            dict.fromkeys(parts, around(share)),
            {part: [share] * 8 * bars + [0.5] * 8 * bars for part in parts},
            {"new": dict.fromkeys(parts, share - 0.1), "groove": dict.fromkeys(parts, share / 2)},
        )
        for share in (forced, sampled, forced + 0.02, sampled + 0.02)
    ]
    durations = Comparison([0, 0.5] + [0.0] * 15 + [0.5] + [0.0] * 15, [0, 1.0] + [0.0] * 31, 0.25)
    statistics = {
        "pitch classes": Comparison([0.5, *[0.0] * 10, 0.5], [1.0, *[0.0] * 11], 0.311),
        "durations": durations,
        "notes per step": Comparison(0.25, 0.5),
        "repetition at 1 bars": Comparison(0.1, 0.4),
        "repetition by chance": Comparison(0.05, 0.06),
        "n-gram cost, nats per step": Comparison(1.5, 1.25),
        "self-similarity": Comparison([[1.0, 0.1], [0.1, 1.0]], [[1.0, 0.4], [0.4, 1.0]]),
    }
    line = [0.0, 0.5, 1.0]
    return to_plain(
        Evaluation(
            preset=preset,
            parameters=764_058,
            steps=None,
            minutes=31.25,
            seed=0,
            ngram="5-grams of the disjoint ones of 64 windows, 0123456789ab",
            split="test",
            songs=46,
            windows=1064,
            groups={"new": 700, "groove": 64},
            majority=dict.fromkeys(parts, 0.613),
            reconstruction=Reconstruction(*accuracies),
            elbo=Elbo(Interval(444.7, 382.1, 504.5), 2.506, around(314.7), around(187.5), 111, 128),
            interpolation=Interpolation(line, [0.1, 0.3, 0.5], [0.5, 0.3, 0.1], [2.0] * 3, line, line[::-1], [3.0] * 3),
            attributes=AttributeTable(ATTRIBUTES, [0.5, 0.0], [[0.75, 0.1], [0.5, 0.2]], [[0.25, 0], [0.55, 0]]),
            samples=Samples(statistics, Comparison(0.0625, 0.125), Comparison(0.2, 0.1)),
            priors={"standard normal": PriorSamples(3.5, 0.1, 0.0), "width 0.8": PriorSamples(1.5, 0.25, 0.0625)},
            prior="mixture of 9 Gaussians",
            prior_width=0.8,
            prior_bits=12.34,
            without_sources=["game"],
            other_sources={
                "game": OtherSource(
                    songs=12,
                    off_grid=3,
                    windows=2345,
                    majority=dict.fromkeys(parts, 0.5),
                    reconstruction=Reconstruction(*accuracies[2:], *accuracies[:2]),
                    elbo=Elbo(Interval(40.25, 30, 50), 2.0, around(30), Interval(14.6, 12.4, 17.6), 9, 128),
                )
            },
        )
    )
