"""Reads folders of songs as pianos: windows, notes per step, notes that are lost, windows that read back, and speed.

    python benchmarks/piano.py FOLDER ...             one line per folder
    python benchmarks/piano.py --every 8 FOLDER ...   of every eighth song
    python benchmarks/piano.py --speed FOLDER ...     files per second of processor time beside other converters

Windows are of 2 bars and follow the tempo. Every window is written as MIDI and read again.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pretty_midi import PrettyMIDI

from midi_utils import Converter, MelodyConverter, MultitrackConverter, PianoConverter, load_midi, midi_files
from music.grid import lost_notes
from music.labels import NO_NOTE

CONVERTERS = {
    "together": PianoConverter(follow_tempo=True),
    "each": PianoConverter(tracks="each", follow_tempo=True),
    "together, without the pedal": PianoConverter(pedal=False, follow_tempo=True),
}
PEERS = (MelodyConverter(), MultitrackConverter(), PianoConverter())
HEADER = (
    "songs",
    "tracks",
    "files",
    "with windows",
    "windows",
    "notes per step",
    "most",
    "silent",
    "not read back",
    "lost notes",
)


class Facts(NamedTuple):
    """What a converter makes of songs."""

    songs: int  # that give windows
    windows: int  # that differ
    notes: float  # per step that sounds, mean
    most: int  # notes in a step
    silent: float  # share of steps
    broken: int  # windows that are not read back as they were
    lost: str  # notes, in words


def facts(songs: Iterable[PrettyMIDI], converter: PianoConverter) -> Facts:
    """Cuts songs into windows, and writes and reads each window."""
    count, rows, broken, skipped = 0, [converter.no_labels()], 0, []
    for midi in songs:
        windows = converter.to_arrays(midi)
        skipped += windows.skipped
        count += len(windows.labels) > 0
        broken += sum(not reads_back(labels, converter) for labels in windows.labels)
        rows.append(windows.labels)
    labels = np.unique(np.concatenate(rows), axis=0)
    notes = (labels != NO_NOTE).sum(-1)
    mean, silent = float(notes[notes > 0].mean()), float((notes == 0).mean())
    return Facts(count, len(labels), mean, int(notes.max()), silent, broken, lost_notes(skipped))


def reads_back(labels: np.ndarray, converter: PianoConverter) -> bool:
    """Whether a window [steps, voices] is the only one of the song that is written from it."""
    again = converter.to_arrays(converter.from_arrays(labels)).labels
    return len(again) == 1 and np.array_equal(again[0], labels)


def files_per_second(songs: Sequence[PrettyMIDI], converter: Converter) -> float:
    """How many songs, already read, a converter cuts per second of processor time; the best of three."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for midi in songs:
            converter.to_arrays(midi)
        seconds.append(time.process_time() - start)
    return len(songs) / min(seconds)


def main():
    """The command: prints a table."""
    parser = argparse.ArgumentParser(description="Read folders of songs as pianos.")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=1, help="take one song in so many")
    parser.add_argument("--speed", action="store_true", help="measure the speed in place of the windows")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = {folder: sorted(midi_files(folder))[:: options.every] for folder in options.folders}
    if options.speed:
        start = time.process_time()
        songs = [load_midi(path) for own in paths.values() for path in own]
        print(f"{len(songs)} files, parsed at {len(songs) / (time.process_time() - start):.0f} files/s")
        for converter in PEERS:
            print(f"{type(converter).__name__}: {files_per_second(songs, converter):.0f} files/s")
        return
    rows = []
    for folder, own in paths.items():
        songs = [load_midi(path) for path in own]
        for kind, converter in CONVERTERS.items():
            found = facts(songs, converter)
            shown = found._replace(notes=f"{found.notes:.2f}", silent=f"{found.silent:.1%}")
            rows.append((folder.name, kind, len(own), *shown))
    print(" | ".join(HEADER), *(" | ".join(map(str, row)) for row in rows), sep="\n")


if __name__ == "__main__":
    main()
