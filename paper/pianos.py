"""Measures models of pianos: agreement of notes and of sounding keys, the ELBO, and samples beside real music.

    python -m paper.pianos CHECKPOINT ... --data FOLDER --out results/piano_2bar.json [--others FOLDER ...]

Every checkpoint is measured on the test split of corpus.csv (`--split valid` while recipes are chosen) and on folders
of songs that it was not trained on. Decoding runs free from the posterior mean: each step's most likely notes, and
notes drawn at temperature 1. Agreement is the F1 of each window, see music/piano_measures.py.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import model_name
from console import say
from corpus import load_splits
from generate import TrainedModel
from midi_utils import PianoConverter, SongDataset, evenly, load_songs
from music.attributes import NGram
from music.labels import MELODY_DEPTH
from music.piano_measures import (
    chord_kinds,
    common_kinds,
    frame_f1,
    key_range,
    keys_per_step,
    note_f1,
    onsets_per_step,
    outer_voice,
    piano_key_invariant,
    together_histogram,
)
from paper.measured_songs import make_generator, non_overlapping, windows_on_grid
from paper.other_sources import OTHER_WINDOWS
from paper.prior_choice import (
    HELD_OUT,
    SAMPLES,
    Candidate,
    choose_prior,
    draw_samples,
    fit_candidates,
    largest_deviation,
    prior_candidates,
)
from paper.reconstruction import Elbo, Interval, bootstrap, decode_sampled, measure_elbo, reconstruction_nats
from paper.several import add_arguments, by_name, describe, facts_of, measure_checkpoints
from prior import FITS


class Agreement(NamedTuple):
    """F1 of the notes, by onset step and key, and of the keys that sound in each step."""

    notes: Interval
    frames: Interval


class PianoReconstruction(NamedTuple):
    """What is decoded from the posterior means of windows, and what z costs."""

    songs: int
    windows: int
    most_likely: Agreement
    drawn: Agreement  # at temperature 1
    by_source: dict[str, dict[str, float]]  # F1 of the most likely notes and frames, per source of the corpus
    elbo: Elbo


class PianoSamples(NamedTuple):
    """Means over windows, samples or real ones."""

    cost_highest: float  # of the highest voice, nats per step under the n-gram model of the training set's
    cost_lowest: float
    onsets: float  # per step
    keys: float  # that sound, per step
    range: float  # highest minus lowest key, semitones
    common: float  # share of the chords whose kind is among those that make up 95 % of the training set's
    copies: float  # share of windows that occur in the training set, in any key
    together: list[float]  # of the steps where two notes or more begin, the share where k begin, at index k


class PianoEvaluation(NamedTuple):
    """All measurements of one model of pianos."""

    name: str
    preset: str
    output: str
    parameters: int
    steps: int | None
    minutes: float | None
    seed: int | None
    split: str
    prior: str
    prior_width: float
    reconstruction: PianoReconstruction
    others: dict[str, PianoReconstruction]  # by folder, of songs that it was not trained on
    samples: dict[str, PianoSamples]  # of N(0, I), of the model's prior, and of held-out windows


class PianoTraining(NamedTuple):
    """A training set in the forms that samples are compared with."""

    windows: set[bytes]  # `piano_key_invariant`
    kinds: np.ndarray  # `common_kinds`
    highest: NGram
    lowest: NGram


def check_is_piano(trained: TrainedModel):
    """Raises ValueError for a model of other music."""
    if not isinstance(trained.converter, PianoConverter):
        raise ValueError(f"{trained.config.name} is no model of pianos: evaluation.py measures it")


def read_training(train_set: SongDataset) -> PianoTraining:
    """The facts of a training set; its n-gram models are of windows that share no bar."""
    labels = non_overlapping(train_set)
    voices = [NGram.fit(outer_voice(labels, highest), MELODY_DEPTH) for highest in (True, False)]
    return PianoTraining(set(piano_key_invariant(train_set.labels[:])), common_kinds(chord_kinds(labels)), *voices)


# ---- Reconstruction ----


def measure_reconstruction(trained: TrainedModel, songs: SongDataset, chosen: np.ndarray) -> PianoReconstruction:
    """Measures a model on the windows of some songs at the given indices."""
    windows, song = songs.windows(chosen), songs.song[chosen]
    encoding = trained.encode(windows, make_generator(trained, 0))
    likely, drawn = (
        _f1(decode_sampled(trained, encoding.mu, make_generator(trained, 0), temperature), windows.labels)
        for temperature in (0, 1.0)
    )
    source = np.array([Path(songs.names[k]).parent.name for k in song])
    nats = reconstruction_nats(trained, windows, encoding.z)
    return PianoReconstruction(
        songs=len(np.unique(song)),
        windows=len(chosen),
        most_likely=Agreement(*(bootstrap(f1, song) for f1 in likely.values())),
        drawn=Agreement(*(bootstrap(f1, song) for f1 in drawn.values())),
        by_source={
            str(name): {of: float(f1[source == name].mean()) for of, f1 in likely.items()}
            for name in np.unique(source)
            if name
        },
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
    )


def _f1(found: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """The F1 of each window [n], by the names of `Agreement`."""
    return {"notes": note_f1(found, wanted), "frames": frame_f1(found, wanted)}


# ---- Samples ----


def measure_labels(labels: np.ndarray, training: PianoTraining) -> PianoSamples:
    """Measures windows, samples or real ones."""
    kinds = chord_kinds(labels)
    copies = [window in training.windows for window in piano_key_invariant(labels)]
    voices = ((training.highest, True), (training.lowest, False))
    return PianoSamples(
        *(float(ngram.cost(outer_voice(labels, highest)).mean()) for ngram, highest in voices),
        onsets=float(onsets_per_step(labels).mean()),
        keys=float(keys_per_step(labels).mean()),
        range=float(key_range(labels).mean()),
        common=float(np.isin(kinds, training.kinds).mean()) if len(kinds) else 0.0,
        copies=float(np.mean(copies)),
        together=together_histogram(labels).round(5).tolist(),
    )


def measure_candidates(
    trained: TrainedModel, training: PianoTraining, held_out: np.ndarray, candidates: Mapping[str, Candidate]
) -> dict[str, PianoSamples]:
    """Measures SAMPLES samples of each prior, with the same random numbers, and held-out windows [n, steps, voices]."""
    samples = {name: draw_samples(trained, candidate, SAMPLES, seed=0) for name, candidate in candidates.items()}
    return {name: measure_labels(labels, training) for name, labels in ({HELD_OUT: held_out} | samples).items()}


def deviation(samples: PianoSamples, real: PianoSamples) -> float:
    """The largest relative deviation of samples from real windows in costs, notes and range, of either sign."""
    return largest_deviation(zip(samples[:5], real[:5], strict=True))


def fit_chosen_piano_prior(
    trained: TrainedModel, train_set: SongDataset, valid_set: SongDataset, kinds: Sequence[str] = tuple(FITS)
) -> None:
    """Gives the model the prior of these kinds whose samples resemble the valid split, see `choose_prior`."""
    candidates = fit_candidates(trained, train_set, kinds)
    held_out = valid_set.labels[evenly(len(valid_set), OTHER_WINDOWS)]
    found = measure_candidates(trained, read_training(train_set), held_out, candidates)
    trained.prior, trained.prior_width = candidates[choose_prior(found, deviation)]


# ---- The whole evaluation ----


def evaluate_piano(
    name: str,
    trained: TrainedModel,
    train_set: SongDataset,
    test_set: SongDataset,
    *,
    split: str = "test",
    others: Mapping[str, SongDataset] | None = None,
    run: dict | None = None,
    limit: int | None = None,
) -> PianoEvaluation:
    """Takes every measurement of a model of pianos.

    Args:
        name: of the model, in the result.
        train_set: the songs that it was trained on; copies, chords and n-gram models come from them.
        test_set: songs that it was not trained on.
        split: name of the test set in the result.
        others: by name, songs of other sources that it was not trained on; those off the grid are left out.
        run: what a checkpoint records about its training.
        limit: maximum of windows, evenly spaced; all of the test set, OTHER_WINDOWS of each other when None.

    Raises:
        ValueError: a model of other music.
    """
    check_is_piano(trained)
    training = read_training(train_set)
    chosen = evenly(len(test_set), limit or len(test_set))
    own = {"prior": Candidate(trained.prior, trained.prior_width)} if trained.prior else {}
    priors = prior_candidates({}) | own
    facts = describe(trained, run or {})
    return PianoEvaluation(
        name=name,
        output=trained.model.config.output,
        split=split,
        reconstruction=measure_reconstruction(trained, test_set, chosen),
        others={name: _measure_other(trained, songs, limit or OTHER_WINDOWS) for name, songs in (others or {}).items()},
        samples=measure_candidates(trained, training, test_set.labels[chosen], priors),
        **facts,
    )


def _measure_other(trained: TrainedModel, songs: SongDataset, limit: int) -> PianoReconstruction:
    on_grid = windows_on_grid(songs)
    return measure_reconstruction(trained, songs, on_grid[evenly(len(on_grid), limit)])


def read_others(options: argparse.Namespace, converter: PianoConverter) -> dict[str, SongDataset]:
    """The songs of each folder of --others, by its name; a folder without a window is left out, with a line.

    Raises:
        ValueError: two folders of one name.
    """
    found = {}
    for name, folder in by_name(options.others, "folders of --others").items():
        try:
            found[name] = load_songs(folder, converter, cache=options.cache)
        except ValueError as error:
            say(f"{folder} is not measured: {str(error).splitlines()[0]}")
    return found


def measure_checkpoint(path: Path, options: argparse.Namespace) -> PianoEvaluation:
    """Measures one checkpoint as the command's options say."""
    trained = TrainedModel.load(path)
    check_is_piano(trained)
    songs = load_splits(options, trained.converter, ("train", options.split), ())
    others = read_others(options, trained.converter)
    return evaluate_piano(model_name(path), trained, *songs, others=others, **facts_of(path, options))


def summary(found: PianoEvaluation) -> str:
    """The main numbers in a few lines."""
    rows = {found.split: found.reconstruction} | found.others
    lines = [f"{found.name}: {found.preset}, output {found.output}, {found.parameters:,} parameters"]
    for name, row in rows.items():
        notes, frames = (interval.mean for interval in row.most_likely)
        drawn = row.drawn.frames.mean
        costs = f"KL {row.elbo.kl_bits.mean:.0f} bits, -ELBO {row.elbo.nats.mean:.1f} nats"
        lines.append(
            f"  {name}, {row.windows} windows: note F1 {notes:.3f}, frames {frames:.3f} ({drawn:.3f}); {costs}"
        )
    for name, samples in found.samples.items():
        numbers = ", ".join(f"{key} {value:.2f}" for key, value in samples._asdict().items() if key != "together")
        lines.append(f"  {name}: {numbers}")
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure models of pianos.")
    add_arguments(parser, sources=False)
    others = "folders of songs that it was not trained on"
    parser.add_argument("--others", type=Path, nargs="+", default=[], help=others)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures checkpoints one after the other, and writes a list of all."""
    measure_checkpoints(parse_arguments(arguments), measure_checkpoint, summary)


if __name__ == "__main__":
    main()
