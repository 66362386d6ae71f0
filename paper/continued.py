"""Measures how clips go on: as songs do, as a model's sequence prior does, and as variations of the clip.

    python -m paper.continued CHECKPOINT ... --data FOLDER --out results/continued.json

A clip is the first 8 bars of a song of the test split, or of `--split`. The song itself goes on for 8 bars, and so do a
model's pieces. Of the new bars it measures:

- for melodies, the share of their notes whose pitch class is in the clip, the interval from the clip's last note to the
  first new one, and the distance of their mean pitches;
- the ratio of their onsets to the clip's: its logarithm without its sign, and the share of pieces below a half;
- the share of silent bars, and of windows that equal one of the clip.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import check_file, model_name
from console import errors_in_a_line, say
from corpus import MANIFEST, song_paths
from generate import TrainedModel
from midi_utils import Converter, DrumsConverter, MelodyConverter, evenly
from music.attributes import STEPS_PER_BAR, hit_density, note_density
from music.clips import Clip
from music.labels import FIRST_PITCH
from paper.json_results import write_json
from studio.clip_tools import whole_songs
from studio.compose import VARIATION

BARS = 8  # of a clip, and of what follows
SONGS = 50
TEMPERATURE = 0.5
KINDS = {"as the model does": None, f"variation {VARIATION}": VARIATION}


class Continued(NamedTuple):
    """How clips go on, means over songs; the first three are nan for drums."""

    in_pitch_classes: float  # share of the notes
    first_interval: float  # semitones
    register: float  # semitones
    density: float  # absolute logarithm of the ratio of onsets
    sparse: float  # share of the pieces
    silent_bars: float
    copies: float  # share of the windows


def measure_pair(own: np.ndarray, new: np.ndarray, converter: Converter) -> Continued:
    """Measures what follows a clip: labels [steps] of both."""
    density = hit_density if isinstance(converter, DrumsConverter) else note_density
    (before,), (after,) = density(own[None]), density(new[None])
    ratio = after / before
    windows = {window.tobytes() for window in own.reshape(-1, converter.steps)}
    copies = np.mean([window.tobytes() in windows for window in new.reshape(-1, converter.steps)])
    silent = np.mean(density(new.reshape(-1, STEPS_PER_BAR)) == 0)
    melody = pitches_of(own, new) if isinstance(converter, MelodyConverter) else (np.nan,) * 3
    return Continued(*melody, abs(np.log(max(ratio, 0.01))), float(ratio < 0.5), float(silent), float(copies))


def pitches_of(own: np.ndarray, new: np.ndarray) -> tuple[float, float, float]:
    """The measures of melodies, see `Continued`; nan if nothing follows."""
    before, after = (line[line >= FIRST_PITCH].astype(int) for line in (own, new))
    if not len(after):
        return (np.nan,) * 3
    share = np.isin(after % 12, before % 12).mean()
    return float(share), float(abs(after[0] - before[-1])), float(abs(after.mean() - before.mean()))


def measure(trained: TrainedModel, songs: list[Clip]) -> dict[str, Continued]:
    """Measures songs of at least 2 BARS bars, and a model's continuations of their first BARS."""
    steps, converter = BARS * STEPS_PER_BAR, trained.converter
    found = {"as songs do": [measure_pair(*np.split(song.labels[: 2 * steps], 2), converter) for song in songs]}
    for kind, variation in KINDS.items():
        lines = []
        for seed, song in enumerate(songs):
            clip = song._replace(labels=song.labels[:steps])
            (piece,) = trained.continue_clip(clip, BARS, variation=variation, temperature=TEMPERATURE, seed=seed)
            lines.append(trained.clip(piece, bars=2 * BARS).labels)
        found[kind] = [measure_pair(*np.split(line, 2), converter) for line in lines]
    return {kind: Continued(*map(mean_known, zip(*own, strict=True))) for kind, own in found.items()}


def mean_known(values: tuple[float, ...]) -> float:
    """The mean of the values that are not nan; nan without a warning if there is none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def table(found: list[dict]) -> str:
    """The results of the command as a Markdown table."""
    lines = [
        "| model | clips go on | notes in the clip's pitch classes | first interval, semitones | register | "
        "density | half as dense | silent bars | copied windows |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        for kind, row in one["continued"].items():
            numbers = [row[name] for name in Continued._fields]
            shown = ["–" if value is None or np.isnan(value) else f"{value:.2f}" for value in numbers]
            lines.append(f"| `{one['name']}` | {kind} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure how clips go on.")
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="a model of melodies or drums")
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="songs and splits (default: paper/corpus.csv)")
    parser.add_argument("--split", default="test", help="split of the songs (default: test)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures each model, and writes and shows the results."""
    options, found = parse_arguments(arguments), []
    with errors_in_a_line():
        check_file(options.out)
        paths = song_paths(options.data, options.split, options.manifest)
        for checkpoint in options.checkpoints:
            trained = TrainedModel.load(checkpoint)
            if not isinstance(trained.converter, MelodyConverter | DrumsConverter):
                raise ValueError(f"{checkpoint} is no model of melodies or drums")
            songs = [song for song in whole_songs(paths.values(), trained.converter) if is_long(song)]
            songs = [songs[k] for k in evenly(len(songs), SONGS)]
            continued = {kind: own._asdict() for kind, own in measure(trained, songs).items()}
            row = {"name": model_name(checkpoint), "split": options.split, "songs": len(songs), "continued": continued}
            found.append(row)
        write_json(options.out, found)
    say(table(found))


def is_long(song: Clip) -> bool:
    """Whether a song has a clip and as many bars after it, and notes in the clip."""
    steps = BARS * STEPS_PER_BAR
    return len(song.labels) >= 2 * steps and bool((song.labels[:steps] > 0).any())


if __name__ == "__main__":
    main()
