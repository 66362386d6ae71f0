"""Measures how fast a folder of MIDI files becomes a data set, and projects it to a larger collection.

    python benchmarks/data.py FOLDER                   200 of its files, projected to 176,581: the Lakh MIDI Dataset
    python benchmarks/data.py FOLDER --files 1000      1,000 of its files, evenly spaced

The work of the worker processes is shared by the cores; the work of the main process is not. The longer of the two is
the time on a number of cores. Windows and bytes grow in proportion to the files. Duplicates across a larger collection,
which `load_songs` would drop, are not predicted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown
from configs import CONFIGS
from midi_utils import SongDataset, load_songs, midi_files
from music.song_reader import CHUNK_FILES

PRESETS = ("cat-mel_2bar_small", "hierdec-mel_16bar", "hierdec-trio_16bar")
LAKH_FILES = 176_581
CORES = (2, 16, 64)
SECONDS = ((3600, "h"), (60, "min"), (1, "s"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Rates(NamedTuple):
    """Time and size per file, mean over the measured files."""

    preset: str
    files: int  # number of measured files
    windows: float
    label_bytes: float  # chords included
    cache_bytes: float
    core_seconds: float  # processor time with all work in one process
    own_seconds: float  # processor time of the main process when there are workers
    cached_seconds: float  # wall time from the cache


class Projection(NamedTuple):
    """Time and size of a whole collection."""

    windows: int
    label_bytes: float
    cache_bytes: float
    seconds: tuple[float, ...]  # on CORES cores
    cached_seconds: float


def measure(paths: Sequence[Path], preset: str) -> Rates:
    """Reads the files in one process, with two workers, and from a cache."""
    converter, n = CONFIGS[preset].converter, len(paths)
    _, _, core_seconds = timed_load(paths, converter, workers=1)
    songs, _, own_seconds = timed_load(paths, converter, workers=2)
    with tempfile.TemporaryDirectory() as cache:
        timed_load(paths, converter, cache=cache)
        cache_bytes = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
        cached_seconds = min(timed_load(paths, converter, cache=cache)[1] for _ in range(3))
    label_bytes = songs.labels.nbytes + (0 if songs.controls is None else songs.controls.nbytes)
    sums = (len(songs), label_bytes, cache_bytes, core_seconds, own_seconds, cached_seconds)
    return Rates(preset, n, *(value / n for value in sums))


def timed_load(paths: Sequence[Path], converter, **options) -> tuple[SongDataset, float, float]:
    """The data set, the wall time in seconds and this process's processor time in seconds."""
    wall, own = time.perf_counter(), time.process_time()
    songs = load_songs(paths, converter, progress=False, **options)
    return songs, time.perf_counter() - wall, time.process_time() - own


def project(rates: Rates, files: int) -> Projection:
    """Time and size of `files` files of this kind."""
    seconds = tuple(files * max(rates.core_seconds / cores, rates.own_seconds) for cores in CORES)
    sizes = (round(files * rates.windows), files * rates.label_bytes, files * rates.cache_bytes)
    return Projection(*sizes, seconds, files * rates.cached_seconds)


def in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    """A value with at least two digits, in the largest unit that is not greater than the value."""
    size, unit = next((unit for unit in units if value >= unit[0]), units[-1])
    return f"{value / size:.{0 if value >= 10 * size else 1}f} {unit}"


def sample(folder: str | Path, count: int) -> list[Path]:
    """`count` of a folder's MIDI files, evenly spaced in the order of their names; all if there are fewer."""
    found = sorted(midi_files(Path(folder)))
    return [found[k * len(found) // count] for k in range(count)] if len(found) > count else found


def rates_table(measured: Sequence[Rates]) -> str:
    """Speed and size per preset, Markdown."""
    header, rows = ("preset", "files/s per core", "files/s from the cache", "windows per file", "labels per file"), []
    for rates in measured:
        speeds = [f"{1 / s:,.0f}" for s in (rates.core_seconds, rates.cached_seconds)]
        rows.append((f"`{rates.preset}`", *speeds, f"{rates.windows:.1f}", in_units(rates.label_bytes, BYTES)))
    return markdown(header, rows)


def projection_table(measured: Sequence[Rates], files: int) -> str:
    """Time and size of a whole collection per preset, Markdown."""
    header, rows = (f"{files:,} files", *(f"{n} cores" for n in CORES), "second load", "windows", "labels", "cache"), []
    for rates in measured:
        whole = project(rates, files)
        times = [in_units(seconds, SECONDS) for seconds in (*whole.seconds, whole.cached_seconds)]
        sizes = [in_units(size, BYTES) for size in (whole.label_bytes, whole.cache_bytes)]
        rows.append((f"`{rates.preset}`", *times, f"{whole.windows / 1e6:.1f} million", *sizes))
    return markdown(header, rows)


def main():
    """The command: measures every preset of PRESETS and prints two tables."""
    parser = argparse.ArgumentParser(description="Measure and project how fast MIDI files become a data set.")
    parser.add_argument("folder", help="MIDI files that resemble the collection")
    parser.add_argument("--files", type=int, default=200, help="number of files to measure (default: 200)")
    parser.add_argument(
        "--of",
        type=int,
        default=LAKH_FILES,
        help="number of files to project to (default: 176,581, the Lakh MIDI Dataset)",
    )
    options = parser.parse_args()
    paths = sample(options.folder, options.files)
    if len(paths) <= CHUNK_FILES:
        fault = f"{options.folder} has {len(paths)} MIDI files; measuring needs more than one worker reads at a time"
        raise SystemExit(f"error: {fault} ({CHUNK_FILES})")
    mean_bytes = sum(path.stat().st_size for path in paths) / len(paths)
    print(f"{len(paths)} files of {in_units(mean_bytes, BYTES)} on average\n")
    measured = [measure(paths, preset) for preset in PRESETS]
    print(rates_table(measured), projection_table(measured, options.of), sep="\n\n")


if __name__ == "__main__":
    main()
