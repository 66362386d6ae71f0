"""Looks for MIDI files that break a converter, guided by the code that each input reaches (atheris on libFuzzer).

    pip install atheris
    python benchmarks/guided_fuzz.py 60            minutes of processor time; prints a table
    python benchmarks/guided_fuzz.py 60 --docs     also writes the table of docs/reliability.md

Inputs begin with the seeds of fuzz.py and go through its checks. Each input with a finding is kept in a file.
"""

import argparse
import json
import math
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

with atheris.instrument_imports(include=["music"]) if atheris else nullcontext():
    import midi_utils  # noqa: F401

import torch

from benchmarks.fuzz import Finding, examine, rows, seed_files
from benchmarks.sections import table_of, write_section

LONGEST_BYTES = 4096  # of an input
ROUND_MINUTES = 5  # most per process: atheris keeps about 0.4 MB per input
FOUND = Path("generated/fuzz")  # inputs with a finding
RESULT = FOUND / "round.json"  # the counts and findings of a round


def write_seeds(folder: Path):
    """Writes the seeds as a corpus for libFuzzer."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seed_files()):
        (folder / f"seed_{number:03}").write_bytes(data)


class Search:
    """Examines inputs until its processor time is over, then writes what it found and ends the process."""

    def __init__(self, minutes: float, round_number: int):
        self.end, self.round = time.process_time() + 60 * minutes, round_number
        self.counts, self.found = Counter(), {}

    def __call__(self, data: bytes):
        checked, findings = examine(data, self.counts["inputs"])
        self.counts.update(checked)
        if findings:
            path = FOUND / f"{self.round}_{self.counts['inputs']}.mid"
            path.write_bytes(data)
            self.found[str(path)] = findings[0]
        if time.process_time() > self.end:
            RESULT.write_text(json.dumps([self.counts, self.found]))
            os._exit(0)  # libFuzzer does not return


def search(minutes: float, round_number: int) -> tuple[Counter, dict[str, Finding]]:
    """Searches in a process of its own, which goes on from the corpus of the rounds before."""
    if os.fork() == 0:
        seeds, limits = str(FOUND / "seeds"), [f"-max_len={LONGEST_BYTES}", "-timeout=0", "-rss_limit_mb=0"]
        atheris.Setup([sys.argv[0], seeds, f"-seed={round_number + 1}", *limits], Search(minutes, round_number))
        atheris.Fuzz()
    os.wait()
    counts, found = json.loads(RESULT.read_text())
    return Counter(counts), {path: Finding(*finding) for path, finding in found.items()}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description="Look for MIDI files that break a converter, guided by coverage.")
    parser.add_argument("minutes", type=float, help="of processor time")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    if not atheris:
        raise SystemExit("error: atheris is not installed: pip install atheris")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    write_seeds(FOUND / "seeds")
    counts, found = Counter(), {}
    rounds = math.ceil(options.minutes / ROUND_MINUTES)
    for number in range(rounds):
        for total, part in zip((counts, found), search(options.minutes / rounds, number)):
            total.update(part)
    first, *others = rows(counts, found)
    text = table_of([("MIDI file, guided by coverage", *first[1:]), *others])
    print(text, *(f"{path}: {finding.what} ({finding.converter})" for path, finding in found.items()), sep="\n")
    if options.docs:
        write_section("guided fuzz", "guided_fuzz.py", text)


if __name__ == "__main__":
    main()
