"""How often the chords that `music.clip_chords` estimates are those of the Nottingham tunes' chord tracks.

    python -m paper.chord_accuracy --data FOLDER

FOLDER holds the corpus's folders `nottingham` (a melody and its chords per tune) and `mma_nottingham` (the same tunes,
accompanied by MMA). The chords count at the start of each half bar, as long as the melody lasts.
"""

import argparse
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pretty_midi import PrettyMIDI

from console import errors_in_a_line, say
from midi_utils import MelodyConverter, load_midi
from music.chords import ROOTS, TRIAD_TONES
from music.clip_chords import chords_of_clip
from music.clips import read_clip
from paper.tables import markdown, number

CONVERTER = MelodyConverter(bars=2, programs=None, chords=True)
CHORD_STEPS = 8  # half a bar of 4/4
KINDS = {  # from what the chords are estimated: the name in the table
    "mma": "MMA's accompaniment",
    "chords": "the chord track itself",
    "melody": "the melody alone",
}


class Chords(NamedTuple):
    """Chord classes at the half bars of a song."""

    true: np.ndarray  # [half bars], 0 for no chord
    estimated: np.ndarray  # [half bars]


class Accuracy(NamedTuple):
    """Shares of the half bars of all songs that have a chord."""

    songs: int
    half_bars: int
    root: float  # root right
    both: float  # root and quality right
    commonest: float  # share of the commonest chord of all songs
    commonest_in_song: float  # of the commonest chord of each song


def true_chords(midi: PrettyMIDI, count: int) -> np.ndarray:
    """Chord classes [count] of a tune's chord track, its last one, whose chords are in root position."""
    half_bar, classes = 120 / midi.get_tempo_changes()[1][0], np.zeros(count, int)  # seconds
    chords: dict[tuple[float, float], list[int]] = {}
    for note in midi.instruments[-1].notes:
        chords.setdefault((note.start, note.end), []).append(note.pitch)
    for (start, end), pitches in chords.items():
        root, *others = sorted(pitches)
        triad = (0, *(pitch - root for pitch in others[:2]))
        first, last = np.ceil(np.array((start, end)) / half_bar - 1e-6).astype(int)
        known = triad in TRIAD_TONES
        classes[first:last] = 1 + TRIAD_TONES.index(triad) * len(ROOTS) + root % len(ROOTS) if known else 0
    return classes


def compared(tune: PrettyMIDI, midi: PrettyMIDI) -> Chords:
    """The chords of a tune, and those estimated from a song whose first track is its melody."""
    clip = read_clip(midi, CONVERTER, track=0, start_bar=0)
    estimated = chords_of_clip(midi, clip, CONVERTER)[::CHORD_STEPS]
    return Chords(true_chords(tune, len(estimated)), estimated)


def songs_of(folder: Path, kind: str) -> Iterator[Chords]:
    """The chords of each song of a kind of KINDS; songs in another metre than 4/4 throughout are left out."""
    for path in sorted((folder / ("mma_nottingham" if kind == "mma" else "nottingham")).glob("*.mid")):
        tune = folder / "nottingham" / f"{path.stem.split('__')[0]}.mid"
        if not tune.is_file():
            continue
        tune, midi = load_midi(tune), load_midi(path)
        if {(one.numerator, one.denominator) for one in tune.time_signature_changes} != {(4, 4)}:
            continue
        if kind == "melody":
            midi = copy(midi)
            midi.instruments = midi.instruments[:1]
        yield compared(tune, midi)


def accuracy(songs: list[Chords]) -> Accuracy:
    """The accuracy over the half bars of all songs that have a chord."""
    songs = [Chords(true[true > 0], estimated[true > 0]) for true, estimated in songs]
    true, estimated = map(np.concatenate, zip(*songs, strict=True))
    roots = (true - 1) % len(ROOTS) == (estimated - 1) % len(ROOTS)
    most = [int(np.bincount(song.true).max()) for song in songs if len(song.true)]
    shares = (roots & (estimated > 0)).mean(), (true == estimated).mean(), np.bincount(true).max() / len(true)
    return Accuracy(len(songs), len(true), *map(float, shares), sum(most) / len(true))


def table(folder: Path) -> str:
    """The accuracies of all kinds as Markdown."""
    header = ["estimated from", "songs", "half bars", "root", "root and quality", "commonest chord", "of each song"]
    rows = []
    for kind, name in KINDS.items():
        found = accuracy(list(songs_of(folder, kind)))
        rows.append([name, f"{found.songs:,}", f"{found.half_bars:,}", *(number(share) for share in found[2:])])
    return markdown(header, rows)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command: prints the table."""
    parser = argparse.ArgumentParser(description="Measure estimated chords on the Nottingham tunes.")
    parser.add_argument("--data", required=True, help="folder with nottingham/ and mma_nottingham/")
    options = parser.parse_args(arguments)
    with errors_in_a_line(ValueError):
        for name in ("nottingham", "mma_nottingham"):
            if not any(Path(options.data, name).glob("*.mid")):
                raise ValueError(f"{Path(options.data, name)}: there is no MIDI file; see docs/corpus.md")
        say(table(Path(options.data)))


if __name__ == "__main__":
    main()
