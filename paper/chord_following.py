"""Measures how music follows chords: melodies of a model that is given them, beside the songs' own.

    python -m paper.chord_following CHECKPOINT ... --data FOLDER --out results/mel_2bar_chords.json

A note follows its chord if its pitch class is a tone of the chord's triad when the note begins. Measured are held-out
windows; draws of the prior under the chords of these windows, at temperature 1; and windows that are decoded from their
posterior means at temperature 0, under their own chords and, as the tool `reharmonize` does, under those of another
window. The share of notes that would follow the chords of another window by chance stands beside each. For windows
under other chords this is a window that they were neither encoded nor decoded with. The share that still follows the
chords that they were encoded with is measured apart.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from checkpoint import model_name
from corpus import load_splits
from generate import TrainedModel
from midi_utils import SongDataset, Windows, evenly
from music.attributes import average_interval, set_f1
from music.chords import CHORD_DEPTH, ROOTS, TRIAD_TONES
from music.labels import FIRST_PITCH, MIN_PITCH
from music.melody import MelodyConverter
from paper.measured_songs import HeldOut, make_generator
from paper.reconstruction import (
    Accuracy,
    Elbo,
    Interval,
    bootstrap,
    decode_sampled,
    decode_teacher_forced,
    majority_shares,
    measure_accuracy,
    measure_elbo,
)
from paper.several import add_arguments, describe, facts_of, measure_checkpoints

PARTS = ("all",)  # of a melody


class Following(NamedTuple):
    """How some music follows chords; shares are of the notes that begin under a chord."""

    given: Interval  # share that follows the chords that the music was given
    first: Interval  # of the notes on the first step of a window alone
    others: Interval  # that would follow chords that it was neither encoded nor decoded with
    old: Interval | None  # that follows the chords that it was encoded with; None unless it was given new ones
    rhythm: Interval | None  # F1 of the steps with an onset, against the window that was decoded; None for draws
    interval: Interval  # mean size of the intervals between successive notes, in semitones


class ChordEvaluation(NamedTuple):
    """All measurements of one model of melodies that follows chords."""

    name: str
    preset: str
    parameters: int
    steps: int | None
    minutes: float | None
    seed: int | None
    split: str
    prior: str
    prior_width: float
    songs: int
    windows: int
    without_sources: list[str]  # of the corpus, in neither the training nor the test set
    majority: dict[str, float]  # share of the majority label
    reconstruction: dict[str, Accuracy]  # teacher-forced and sampled, from a draw of the posterior, under own chords
    elbo: Elbo
    following: dict[str, Following]  # by kind of music


def chord_tones() -> np.ndarray:
    """Whether each pitch class is a tone of each chord class: [49, 12] bool; no chord has none."""
    tones = np.zeros((CHORD_DEPTH, len(ROOTS)), bool)
    for k in range(1, CHORD_DEPTH):
        triad, root = divmod(k - 1, len(ROOTS))
        tones[k, [(root + tone) % len(ROOTS) for tone in TRIAD_TONES[triad]]] = True
    return tones


def share_that_follows(labels: np.ndarray, chords: np.ndarray, song: np.ndarray) -> Interval:
    """The share of the notes under a chord that are tones of it, over windows that have such notes; 0 if none has.

    Args:
        labels: [n, steps] of melodies.
        chords: [n, steps] chord classes.
        song: [n] the song of each window.
    """
    begins = (labels >= FIRST_PITCH) & (chords > 0)
    pitch_class = (labels.astype(int) - FIRST_PITCH + MIN_PITCH) % len(ROOTS)
    follows, some = begins & chord_tones()[chords, pitch_class], begins.any(1)
    if not some.any():
        return Interval(0.0, 0.0, 0.0)
    return bootstrap(follows.sum(1)[some] / begins.sum(1)[some], song[some])


def measure_following(
    labels: np.ndarray,
    given: np.ndarray,
    others: np.ndarray,
    song: np.ndarray,
    decoded: np.ndarray | None = None,
    old: np.ndarray | None = None,
) -> Following:
    """Measures melodies [n, steps] under the chords [n, steps] that they were given and under others.

    Args:
        decoded: the windows that the melodies were decoded from; None for draws.
        old: the chords that these windows were encoded with; None unless the melodies were given new ones.
    """
    follows, by_chance = (share_that_follows(labels, chords, song) for chords in (given, others))
    first = share_that_follows(labels[:, :1], given[:, :1], song)
    still = None if old is None else share_that_follows(labels, old, song)
    sizes, rhythm = average_interval(labels), None
    some = np.isfinite(sizes)  # of the windows with two notes or more
    interval = bootstrap(sizes[some], song[some]) if some.any() else Interval(0.0, 0.0, 0.0)
    if decoded is not None:
        rhythm = bootstrap(set_f1(*((one >= FIRST_PITCH)[..., None] for one in (labels, decoded))), song)
    return Following(follows, first, by_chance, still, rhythm, interval)


def measure_all(trained: TrainedModel, windows: Windows, song: np.ndarray, mu: Tensor) -> dict[str, Following]:
    """Held-out windows, draws under their chords, and the windows decoded under their own and under other chords.

    Raises:
        ValueError: fewer than four windows, which give no chords of others.
    """
    labels, own = windows.labels, windows.controls
    if len(own) < 4:
        raise ValueError(f"four windows or more give chords of others to compare with, got {len(own)}")
    others, third = (np.roll(own, len(own) // k, 0) for k in (2, 4))  # of two windows far away
    z, elsewhere = trained.draw_z(len(own), seed=0), windows._replace(controls=others)
    drawn = decode_under(trained, z, windows)
    rebuilt, moved = (decode_under(trained, mu, under, temperature=0.0) for under in (windows, elsewhere))
    return {
        "held-out songs": measure_following(labels, own, others, song),
        "draws under the songs' chords": measure_following(drawn, own, others, song),
        "songs decoded under their own chords": measure_following(rebuilt, own, others, song, labels),
        "songs decoded under other chords": measure_following(moved, others, third, song, labels, own),
    }


def decode_under(trained: TrainedModel, z: Tensor, windows: Windows, temperature: float = 1.0) -> np.ndarray:
    """Labels [n, steps] of latent vectors [n, Z] under the chords of windows."""
    controls = trained.converter.to_tensors(windows).controls.to(trained.device)
    return decode_sampled(trained, z, make_generator(trained, 1), temperature, controls)


def evaluate_chords(
    name: str,
    trained: TrainedModel,
    test_set: SongDataset,
    *,
    split: str = "test",
    without_sources: Sequence[str] = (),
    run: dict | None = None,
    limit: int | None = None,
) -> ChordEvaluation:
    """Takes every measurement of a model of melodies that follows chords.

    Args:
        name: of the model, in the result.
        test_set: songs that it was not trained on.
        split: name of the test set in the result.
        without_sources: names of sources that are not in it, for the result.
        run: what a checkpoint records about its training.
        limit: maximum of windows, evenly spaced; all when None.

    Raises:
        ValueError: a model of other music.
    """
    check_follows(trained)
    chosen = evenly(len(test_set), limit or len(test_set))
    windows, song = test_set.windows(chosen), test_set.song[chosen]
    held_out, encoding = HeldOut(windows, song, {}), trained.encode(windows, make_generator(trained, 0))
    forced, nats = decode_teacher_forced(trained, windows, encoding.z)
    drawn = decode_under(trained, encoding.z, windows)
    return ChordEvaluation(
        name=name,
        split=split,
        songs=len(np.unique(song)),
        windows=len(chosen),
        without_sources=sorted(without_sources),
        majority=majority_shares(windows.labels, PARTS),
        reconstruction={
            kind: measure_accuracy(labels, held_out, PARTS)
            for kind, labels in (("teacher_forced", forced), ("sampled", drawn))
        },
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
        following=measure_all(trained, windows, song, encoding.mu),
        **describe(trained, run or {}),
    )


def check_follows(trained: TrainedModel):
    """Raises ValueError for a model that is none of melodies with chords."""
    kind = trained.converter
    if not isinstance(kind, MelodyConverter) or not kind.chords:
        raise ValueError(f"{trained.config.name} is no model of melodies that follow chords")


def measure_checkpoint(path: Path, options: argparse.Namespace) -> ChordEvaluation:
    """Measures one checkpoint as the command's options say."""
    trained = TrainedModel.load(path)
    check_follows(trained)
    (songs,) = load_splits(options, trained.converter, (options.split,), options.without_sources)
    facts = facts_of(path, options) | {"without_sources": options.without_sources}
    return evaluate_chords(model_name(path), trained, songs, **facts)


def summary(found: ChordEvaluation) -> str:
    """The main numbers in a few lines."""
    lines = [f"{found.name}: {found.preset}, {found.windows} windows of {found.songs} songs ({found.split})"]
    forced, drawn = (accuracy.parts["all"].mean for accuracy in found.reconstruction.values())
    costs = f"-ELBO {found.elbo.nats.mean:.1f} nats per window, KL {found.elbo.kl_bits.mean:.1f} bits"
    lines.append(f"  teacher-forced {forced:.3f}, sampled {drawn:.3f}; {costs}")
    for kind, (given, first, others, old, rhythm, interval) in found.following.items():
        kept = f", intervals of {interval.mean:.2f} semitones" + (f", {old.mean:.3f} the old chords" if old else "")
        kept += f", F1 of onsets {rhythm.mean:.3f}" if rhythm else ""
        shares = f"{given.mean:.3f} of the notes follow, {first.mean:.3f} on first steps, {others.mean:.3f} by chance"
        lines.append(f"  {kind}: {shares}{kept}")
    return "\n".join(lines)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure how models of melodies follow chords.")
    add_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures checkpoints one after the other, and writes a list of all."""
    measure_checkpoints(parse_arguments(arguments), measure_checkpoint, summary)


if __name__ == "__main__":
    main()
