"""Times `load_songs` on the sources of the corpus: files per second, and the memory of its processes.

    python benchmarks/folders.py FOLDER         # about three minutes; writes benchmarks/results/folders.json

FOLDER has a subfolder per source, see docs/corpus.md. The first row has all of them but corpus.NEWER_SOURCES, the
second has all. A reading takes a process of its own with two workers, without a cache. After one of all sources, which
fills the disk cache, both rows are read in turn; the table has the medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.measure import peak_memory, processor_name
from benchmarks.tables import markdown, results_path
from configs import CONFIGS
from corpus import NEWER_SOURCES
from midi_utils import load_songs

PRESET = "cat-mel_2bar_small"
WORKERS = 2
ROUNDS = 3


class Reading(NamedTuple):
    """What reading some sources took."""

    sources: int
    files: int
    windows: int
    seconds: float
    memory: int  # peak resident bytes of the process that calls load_songs, without its workers


def read_sources(folders: list[Path]) -> Reading:
    """Reads these folders in this process and its workers."""
    start = time.perf_counter()
    report = load_songs(folders, CONFIGS[PRESET].converter, workers=WORKERS, progress=False).report
    seconds = time.perf_counter() - start
    return Reading(len(folders), report.files, report.windows, seconds, peak_memory(torch.device("cpu")))


def read_in_a_process(folders: list[Path]) -> Reading:
    """Reads these folders in a new process, whose memory is its own; a spawned one would spawn its workers, too."""
    command = [sys.executable, __file__, *map(str, folders), "--once"]
    return Reading(*json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def medians(readings: list[Reading]) -> Reading:
    """Several readings of the same sources as one."""
    return Reading(*map(statistics.median, zip(*readings, strict=True)))


def folders_text(content: dict) -> str:
    """The machine and a table of the readings."""
    header = ("sources", "files", "windows", "s", "files per second", "MB")
    rows = [
        (str(r.sources), f"{r.files:,}", f"{r.windows:,}", f"{r.seconds:.1f}", f"{r.files / r.seconds:.0f}",
         f"{r.memory / 1e6:.0f}")
        for r in content["readings"]
    ]  # fmt: skip
    return f"{content['processor']}, {content['cores']} cores.\n\n{markdown(header, rows)}"


def load_folders() -> dict:
    """The content of results/folders.json."""
    content = json.loads(results_path("folders").read_text())
    return content | {"readings": [Reading(**one) for one in content["readings"]]}


def main(arguments: list[str] | None = None):
    """The command."""
    parser = argparse.ArgumentParser(description="Time load_songs on the sources of the corpus.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="has a subfolder per source")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)  # in the process of a row
    options = parser.parse_args(arguments)
    if options.once:
        print(json.dumps(read_sources(options.folders)))
        return
    sources = sorted(path for folder in options.folders for path in folder.iterdir() if path.is_dir())
    older = [path for path in sources if path.name not in NEWER_SOURCES]
    read_in_a_process(sources)
    rounds = [[read_in_a_process(chosen) for chosen in (older, sources)] for _ in range(ROUNDS)]
    readings = [medians(list(row))._asdict() for row in zip(*rounds, strict=True)]
    content = {"processor": processor_name(), "cores": os.cpu_count(), "readings": readings}
    results_path("folders").write_text(json.dumps(content, indent=1) + "\n")
    print(folders_text(load_folders()))


if __name__ == "__main__":
    main()
