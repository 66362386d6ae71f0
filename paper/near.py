"""Measures the tools near a song: how far versions of a clip lie from it, and how near personalised samples are.

    python -m paper.near pretrained/mel_2bar.pt --data FOLDER --out results/near.json

It takes songs of the test split of corpus.csv, in a fixed order. Of each, the clip is the first track that the model
reads, up to MAX_BARS. The seeds are the same for every song.

- The distance of a version is the share of its steps that differ from the clip's, and 1 minus the F1 of its notes, by
  onset step and pitch.
- The cost of a sample is that under an n-gram model of the song's own windows, one after another. A copy is a sample
  that equals a window of the song, from any bar on.
"""

import argparse
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from checkpoint import model_name
from console import errors_in_a_line, say
from corpus import MANIFEST, song_paths
from generate import TrainedModel
from midi_utils import load_midi
from music.attributes import NGram, hamming, nearest_distance, note_density, set_f1
from music.clips import Clip
from music.labels import FIRST_PITCH, MELODY_DEPTH
from paper.json_results import to_plain, write_json
from paper.measured_songs import check_measurable, make_generator
from paper.reconstruction import decode_sampled
from paper.tables import markdown, number

SONGS = 20
MIN_BARS, MAX_BARS = 16, 32  # of a song's clip
AMOUNTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
DIALS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 64  # per song and dial
TEMPERATURE = 0.5  # of samples, as of the command generate.py


class Distance(NamedTuple):
    """From a clip, means over songs."""

    steps: float  # share that differs
    notes: float  # 1 - F1


class NearSong(NamedTuple):
    """Samples beside the windows of a song, means over songs."""

    cost: float  # nats per step under the n-gram model of the song
    copies: float  # share of the samples that are windows of the song
    nearest: float  # share of the steps that differ from the nearest window of the song
    density: float  # notes per step


class Near(NamedTuple):
    """All measurements of one model."""

    model: str
    songs: list[str]
    vary: dict[str, Distance]  # by amount
    independent: Distance  # of samples of the model's prior, decoded in the same way
    personalize: dict[str, NearSong]  # by dial
    prior: NearSong  # of the model before it is personalised
    own: NearSong  # of the song's windows themselves, to which the n-gram model was fitted
    seconds: list[float]  # that each song took to personalise


def note_distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - F1 of the notes of two lines of labels [steps], by onset step and pitch; 0 for two lines without notes."""
    ours, theirs = (line[None, :, None] == np.arange(FIRST_PITCH, MELODY_DEPTH) for line in (a, b))
    return 1 - float(set_f1(ours, theirs)[0])


def clips_of_songs(trained: TrainedModel, options: argparse.Namespace) -> dict[str, Clip]:
    """The clips of SONGS test songs that have enough bars, by the paths of the songs."""
    songs = list(song_paths(options.data, "test", options.manifest).items())
    found = {}
    for k in np.random.default_rng(0).permutation(len(songs)):
        name, path = songs[k]
        try:
            clip = trained.clip(load_midi(path), start_bar=0)
        except ValueError:
            continue  # nothing that the model reads
        if len(clip.labels) >= MIN_BARS * trained.converter.steps_per_bar:
            found[name] = clip._replace(labels=clip.labels[: MAX_BARS * trained.converter.steps_per_bar])
        if len(found) == options.songs:
            return found
    raise ValueError(f"{options.data} has {len(found)} test songs of {MIN_BARS} bars, of {options.songs}: add songs")


# ---- Versions ----


def distance(trained: TrainedModel, clip: Clip, version) -> Distance:
    """How far a piece of a clip's length is from it."""
    labels = trained.clip(version, bars=len(clip.labels) // trained.converter.steps_per_bar).labels
    return Distance(float(hamming(labels[None], clip.labels[None])[0]), note_distance(labels, clip.labels))


def measure_vary(trained: TrainedModel, clip: Clip) -> dict[str, Distance]:
    """Distances of versions at AMOUNTS, and of an independent piece, at temperature 0."""
    versions = {str(amount): trained.vary(clip, amount, seed=1)[0] for amount in AMOUNTS}
    bars = len(clip.labels) // trained.converter.steps_per_bar
    versions["independent"] = trained.sample_clips(1, bars, variation=1.0, temperature=0.0, seed=2)[0]
    return {name: distance(trained, clip, version) for name, version in versions.items()}


# ---- Personal models ----


def near_song(labels: np.ndarray, ngram: NGram, windows: np.ndarray) -> NearSong:
    """Measures windows [n, steps] beside those of a song."""
    nearest = nearest_distance(labels, windows)
    copies = float((labels[:, None] == windows).all(-1).any(1).mean())
    return NearSong(float(ngram.cost(labels).mean()), copies, float(nearest.mean()), float(note_density(labels).mean()))


def measure_personal(trained: TrainedModel, clip: Clip) -> tuple[dict[str, NearSong], float]:
    """Samples at DIALS, of the model's own prior, and the song's own windows; and seconds of training."""
    steps, bar = trained.converter.steps, trained.converter.steps_per_bar
    starts = range(0, len(clip.labels) - steps + 1, bar)
    windows = np.stack([clip.labels[start : start + steps] for start in starts])
    ngram = NGram.fit(windows[:: steps // bar], trained.model.config.output_depths[0])
    begin = perf_counter()
    personal = trained.personalize(clip)
    seconds = perf_counter() - begin
    found = {"prior": trained.draw_z(SAMPLES, seed=4)}
    for dial in DIALS:
        personal.prior_width = dial
        found[str(dial)] = personal.draw_z(SAMPLES, seed=4)
    drawn = {name: decode_sampled(trained, z, make_generator(trained, 3), TEMPERATURE) for name, z in found.items()}
    measured = {name: near_song(labels, ngram, windows) for name, labels in drawn.items()}
    return measured | {"own": near_song(windows[:: steps // bar], ngram, windows)}, seconds


# ---- All ----


def mean_of(rows: list):
    """Means of each field over named tuples of one kind."""
    return type(rows[0])(*(float(np.mean(column)) for column in zip(*rows, strict=True)))


def measure(name: str, trained: TrainedModel, clips: dict[str, Clip]) -> Near:
    """Takes every measurement of a model of melodies."""
    check_measurable(trained)
    versions, samples, seconds = [], [], []
    for path, clip in clips.items():
        versions.append(measure_vary(trained, clip))
        of_song, took = measure_personal(trained, clip)
        samples.append(of_song)
        seconds.append(took)
        say(f"{path}: {took:.1f} s", flush=True)
    vary = {key: mean_of([row[key] for row in versions]) for key in versions[0]}
    near = {key: mean_of([row[key] for row in samples]) for key in samples[0]}
    independent, prior, own = vary.pop("independent"), near.pop("prior"), near.pop("own")
    return Near(name, list(clips), vary, independent, near, prior, own, seconds)


def tables(found: dict) -> list[str]:
    """The tables of docs/tools.md, of a result that was read from its file: of versions, and of personal models."""
    rows = found["vary"] | {"an independent sample": found["independent"]}
    vary = [[name, number(row["steps"], 2), number(row["notes"], 2)] for name, row in rows.items()]
    names = {"prior": "the model's own prior", "own": "the song's windows"}
    rows = {f"dial {dial}": row for dial, row in found["personalize"].items()}
    rows |= {names[name]: found[name] for name in names}
    near = [[name, *_near_cells(row)] for name, row in rows.items()]
    return [
        markdown(["amount", "steps that differ", "1 - F1 of the notes"], vary),
        markdown(["samples", "n-gram cost", "copies", "steps off the nearest window", "notes per step"], near),
    ]


def _near_cells(row: dict) -> tuple[str, ...]:
    copies = f"{100 * row['copies']:.0f} %"
    return number(row["cost"], 2), copies, number(row["nearest"], 2), number(row["density"], 2)


def main(arguments: list[str] | None = None):
    """The command."""
    parser = argparse.ArgumentParser(description="Measure versions of clips and personal models.")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of a model of melodies")
    parser.add_argument("--data", required=True, help="folder of the songs that the manifest lists")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default: paper/corpus.csv)")
    parser.add_argument("--songs", type=int, default=SONGS, help=f"number of test songs (default: {SONGS})")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    with errors_in_a_line():
        trained = TrainedModel.load(options.checkpoint)
        found = measure(model_name(options.checkpoint), trained, clips_of_songs(trained, options))
        write_json(options.out, found)
    say("\n\n".join(tables(to_plain(found))))


if __name__ == "__main__":
    main()
