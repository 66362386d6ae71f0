"""Looks for MIDI files that break a converter, guided by the code that each input reaches (atheris on libFuzzer).

    pip install atheris
    python benchmarks/guided_fuzz.py 60            minutes of processor time; prints a table
    python benchmarks/guided_fuzz.py 60 --docs     also writes the table of docs/reliability.md

Inputs begin with the seeds of fuzz.py and go through its checks. Each input with a finding is kept in a file.
"""

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["music", "midi_utils"]) if atheris else nullcontext():
    import midi_utils  # noqa: F401

import torch

from benchmarks.fuzz import examine, rows, seed_files
from benchmarks.reliability import table_of, write_section

LONGEST_BYTES = 4096  # of an input
FOUND = Path("generated/fuzz")  # inputs with a finding


def write_seeds(folder: Path):
    """Writes the seeds as a corpus for libFuzzer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seed_files()):
        (folder / f"seed_{number:03}").write_bytes(data)


class Search:
    """Examines inputs until its time is over, then shows what was found and ends the process."""

    def __init__(self, minutes: float, docs: bool):
        self.end, self.docs = time.process_time() + 60 * minutes, docs
        self.counts, self.found = Counter(), {}

    def __call__(self, data: bytes):
        number = self.counts["inputs"]
        checked, findings = examine(data, number)
        self.counts.update(checked)
        if findings:
            self.found[number] = findings[0]
            (FOUND / f"input_{number}.mid").write_bytes(data)
            print(f"{FOUND}/input_{number}.mid: {findings[0].what} ({findings[0].converter})", flush=True)
        if time.process_time() > self.end:
            self.finish()

    def finish(self):
        """Shows the table, writes it if asked, and ends the process, since libFuzzer does not return."""
        first, *others = rows(self.counts, self.found)
        text = table_of([("MIDI file, guided by coverage", *first[1:]), *others])
        print(text, flush=True)
        if self.docs:
            write_section("guided fuzz", "guided_fuzz.py", text)
        os._exit(bool(self.found))


def main():
    """The command."""
    parser = argparse.ArgumentParser(description="Look for MIDI files that break a converter, guided by coverage.")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    if not atheris:
        raise SystemExit("error: atheris is not installed: pip install atheris")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    write_seeds(FOUND / "seeds")
    arguments = [sys.argv[0], str(FOUND / "seeds"), f"-max_len={LONGEST_BYTES}", "-timeout=0", "-rss_limit_mb=0"]
    atheris.Setup(arguments, Search(options.minutes, options.docs))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
