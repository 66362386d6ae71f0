"""All measurements of the paper's section 5 on a trained model (Roberts et al. 2018, arXiv 1803.05428).

    python evaluation.py --checkpoint runs/x --data FOLDER --out results/x.json

FOLDER holds the songs that a manifest lists (corpus.py). The model is measured on the songs of one split, by default
the test split, and with `--other-sources SOURCE ...` also on whole sources that it was not trained on. Every random
draw comes from one seed, so a second run gives the same numbers.

Each measurement is in a module of its own: paper/reconstruction.py, interpolation.py, attribute_vectors.py, samples.py
and prior_choice.py. Measures of music that need no model are in music/attributes.py.
"""

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import check_file, read_checkpoint
from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_corpus, load_splits
from engine.checks import checked_count, checked_seed
from generate import TrainedModel
from magenta_checkpoint import is_magenta_checkpoint
from midi_utils import Converter, SongDataset, evenly
from model import parameter_count
from music.drums import DRUMS_DEPTH
from paper.attribute_vectors import AttributeTable, measure_attributes
from paper.interpolation import Interpolation, measure_interpolation
from paper.json_results import write_json
from paper.measured_songs import (
    TrainingSet,
    check_measurable,
    choose_held_out,
    held_out_at,
    make_generator,
    read_training_set,
    windows_on_grid,
)
from paper.prior_choice import SAMPLES, STANDARD_NORMAL, PriorSamples, measure_prior_bits, measure_priors
from paper.reconstruction import Elbo, Reconstruction, majority_shares, measure_elbo, measure_reconstruction
from paper.samples import Samples, measure_samples
from training.start import fingerprint

PAIRS = 256  # interpolations that are averaged; the paper has 1024
OTHER_SPLITS = ("train", "valid")  # of a left-out source: a recipe may be chosen by these, but not by test songs
OTHER_WINDOWS = 4096  # of such a source, evenly spaced: a source can have 40,000


class OtherSource(NamedTuple):
    """Reconstruction and the ELBO on songs of a source that the model was not trained on, on the grid alone."""

    songs: int
    off_grid: int  # songs that are not measured, because their onsets lie off the grid
    windows: int
    majority: dict[str, float]  # as in `Evaluation`
    reconstruction: Reconstruction
    elbo: Elbo


class Evaluation(NamedTuple):
    """All measurements of one model; None where one does not apply."""

    preset: str
    parameters: int
    steps: int | None  # of training
    minutes: float | None  # of training
    seed: int | None  # of training
    ngram: str  # which songs the n-gram models were fitted to, see `name_ngrams`
    split: str
    songs: int
    windows: int
    groups: dict[str, int]  # number of windows per group
    majority: dict[str, float]  # share of the majority label per part: the accuracy of always predicting it
    reconstruction: Reconstruction
    elbo: Elbo
    interpolation: Interpolation
    attributes: AttributeTable | None
    samples: Samples
    priors: dict[str, PriorSamples]  # of each prior, and of held-out windows, see `measure_priors`
    prior: str  # of the model, in words
    prior_width: float  # factor on its standard deviation in samples
    prior_bits: float | None  # KL of the fitted prior from N(0, I)
    without_sources: list[str]  # sources of the corpus in neither the training nor the test set
    other_sources: dict[str, OtherSource]  # by source


def measure_other_source(
    trained: TrainedModel, songs: SongDataset, training: TrainingSet, limit: int | None = None, seed: int = 0
) -> OtherSource:
    """Measures a model on the songs of a source that it was not trained on.

    Args:
        songs: the source's songs; those that its report names as off the grid are left out.
        training: the set that decides which windows are new.
        limit: maximum of windows, evenly spaced; OTHER_WINDOWS when None.
        seed: of the draws, which do not depend on other measurements.

    Raises:
        ValueError: no song lies on the grid.
    """
    on_grid = windows_on_grid(songs)
    if not len(on_grid):
        raise ValueError(f"all songs with windows lie off the grid:\n{songs.report}")
    chosen = on_grid[evenly(len(on_grid), limit or OTHER_WINDOWS)]
    held_out, generator = held_out_at(trained, songs, chosen, training), make_generator(trained, seed)
    encoding = trained.encode(held_out.windows, generator)
    reconstruction, nats = measure_reconstruction(trained, held_out, encoding, generator)
    return OtherSource(
        songs=len(np.unique(held_out.song)),
        off_grid=len(songs.names) - len(np.unique(songs.song[on_grid])),
        windows=len(chosen),
        majority=majority_shares(held_out.windows.labels, trained.model.config.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, held_out.song, trained.converter.steps),
    )


def describe(trained: TrainedModel, run: dict) -> dict:
    """The fields of an `Evaluation` that describe the model and its training."""
    return {
        "preset": trained.config.name,
        "parameters": parameter_count(trained.model),
        "steps": run.get("step"),
        "minutes": run.get("seconds") and round(run["seconds"] / 60, 1),
        "seed": run.get("seed"),
        "prior": str(trained.prior or STANDARD_NORMAL),
        "prior_width": trained.prior_width,
    }


def name_ngrams(train_set: SongDataset) -> str:
    """The name of the n-gram models of a training set: costs under models of one name can be compared."""
    return f"5-grams of the disjoint ones of {len(train_set):,} windows, {fingerprint(train_set)[:12]}"


def evaluate(
    trained: TrainedModel,
    train_set: SongDataset,
    test_set: SongDataset,
    *,
    split: str = "test",
    other_sources: Mapping[str, SongDataset] | None = None,
    without_sources: Sequence[str] = (),
    run: dict | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Takes every measurement of a model of melodies, drums (as one class per step) or trios.

    Args:
        train_set: the songs that it was trained on; attribute vectors, the n-gram model and copies come from them.
        test_set: songs that it was not trained on.
        split: name of the test set in the result.
        other_sources: by source, songs of sources that it was not trained on; each becomes a row of its own.
        without_sources: names of sources in neither set, for the result.
        run: what a checkpoint records about its training (`read_checkpoint(path)["run"]`).
        limit: maximum of windows, of pairs and of samples; the whole test set, OTHER_WINDOWS of each other source,
            PAIRS and SAMPLES when None.
        seed: of every draw.

    Raises:
        ValueError: a model of another kind of music, an empty set, one of another converter, a test set of a single
            song, or another source without a song on the grid.
    """
    check_measurable(trained)
    trained.check_songs("train_set", train_set)
    trained.check_songs("test_set", test_set)
    for name, songs in (other_sources or {}).items():
        trained.check_songs(f"other_sources[{name!r}]", songs)
    limit, seed = None if limit is None else checked_count("limit", limit), checked_seed(seed)
    training = read_training_set(trained, train_set)
    held_out, generator = choose_held_out(trained, test_set, training, limit), make_generator(trained, seed)
    windows, song, groups = held_out
    encoding = trained.encode(windows, generator)
    reconstruction, nats = measure_reconstruction(trained, held_out, encoding, generator)
    pairs, count = min(PAIRS, len(song)), min(SAMPLES, len(song))
    model = trained.model.config
    has_melody = model.output_depths[0] != DRUMS_DEPTH
    return Evaluation(
        **describe(trained, run or {}),
        ngram=name_ngrams(train_set),
        split=split,
        songs=len(np.unique(song)),
        windows=len(song),
        groups={name: int(mask.sum()) for name, mask in groups.items()},
        majority=majority_shares(windows.labels, model.output_kind.parts),
        reconstruction=reconstruction,
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
        interpolation=measure_interpolation(trained, held_out, encoding.mu, training.ngram, pairs, generator),
        attributes=measure_attributes(trained, train_set, count, seed) if has_melody else None,
        samples=measure_samples(trained, training, windows.labels, count, generator),
        priors=measure_priors(trained, training, count, seed, windows.labels),
        prior_bits=measure_prior_bits(trained),
        without_sources=sorted(without_sources),
        other_sources={
            name: measure_other_source(trained, songs, training, limit, seed)
            for name, songs in (other_sources or {}).items()
        },
    )


def summary(found: Evaluation) -> str:
    """The main numbers in a few lines."""
    lines = [f"{found.preset}, {found.windows} windows of {found.songs} songs ({found.split})", *_summary_lines(found)]
    for name, source in found.other_sources.items():
        lines.append(f"{name}, not trained on: {source.windows} windows of {source.songs} songs on the grid")
        lines += _summary_lines(source)
    return "\n".join(lines)


def _summary_lines(found: Evaluation | OtherSource) -> Iterator[str]:
    for part, majority in found.majority.items():
        forced, drawn = (getattr(found.reconstruction, name).parts[part].mean for name in Reconstruction._fields[:2])
        accuracies = f"teacher-forced {forced:.3f}, sampled {drawn:.3f}; majority label {majority:.3f}"
        yield f"  accuracy ({part}): {accuracies}"
    nats, bits, kl = found.elbo.nats.mean, found.elbo.bits_per_step, found.elbo.kl_bits.mean
    yield f"  -ELBO {nats:.1f} nats per window ({bits:.3f} bits per step), KL {kl:.1f} bits"


# ---- The command ----


def load_other_sources(options: argparse.Namespace, converter: Converter) -> dict[str, SongDataset]:
    """The songs of each source of --other-sources, without those of the test split."""
    reading = {"manifest": options.manifest, "cache": options.cache}
    names = options.other_sources
    return {name: load_corpus(options.data, OTHER_SPLITS, converter, **reading, only=[name]) for name in names}


def check_training_songs(run: dict, train_set: SongDataset):
    """Warns if a model's record names other training windows than those of these songs."""
    if run.get("data") not in (None, fingerprint(train_set)):
        warnings.warn(
            "the model was trained on other windows than those of the train split here: on other sources, in which "
            "case --without-sources must name those that it was trained without, or on songs that an earlier version "
            "read. Copies and the n-gram model are of the songs here",
            stacklevel=2,
        )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Measure a trained model on songs that it was not trained on.")
    parser.add_argument("--checkpoint", required=True, help="checkpoint file, or the folder of a run")
    add_corpus_arguments(parser)
    parser.add_argument("--split", default="test", help="split to measure on (default: test)")
    others = "sources that it was not trained on, to be measured too, each in a row of its own"
    parser.add_argument("--other-sources", nargs="+", default=[], metavar="SOURCE", help=others)
    parser.add_argument("--limit", type=int, help="maximum number of windows (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """Runs the command: measures a checkpoint, prints a summary and writes the numbers."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        if options.out:
            check_file(Path(options.out))
        trained = TrainedModel.load(options.checkpoint, options.device)
        check_measurable(trained)
        if options.limit is not None:
            checked_count("--limit", options.limit)
        without = sorted({*options.without_sources, *options.other_sources})
        songs = load_splits(options, trained.converter, ("train", options.split), without)
        run = {} if is_magenta_checkpoint(options.checkpoint) else read_checkpoint(options.checkpoint)["run"] or {}
        check_training_songs(run, songs[0])
        found = evaluate(
            trained,
            *songs,
            split=options.split,
            other_sources=load_other_sources(options, trained.converter),
            without_sources=without,
            run=run,
            limit=options.limit,
            seed=options.seed,
        )
    say(summary(found))
    if options.out:
        write_json(options.out, found)


if __name__ == "__main__":
    main()
