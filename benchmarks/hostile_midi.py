"""Reads MIDI files that are made to take long or much memory, for a table of docs/reliability.md.

    python benchmarks/hostile_midi.py           prints the table; about two minutes
    python benchmarks/hostile_midi.py --docs    also writes it into docs/reliability.md

Each file is read in a process of its own, with limits that are no obstacle. A file of B bytes may take 0.2 s + 2 s per
MB, and 300 MB + 130 bytes per byte.
"""

import argparse
import json
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sections import write_section
from music.midi_bytes import Limits, MidiError
from music.midi_file import parse_midi

NO_LIMITS = Limits(bytes=2**40, events=2**40, tracks=2**16, ticks_per_second=1e12)
SIZE, LARGE_SIZE = 1_000_000, 30_000_000  # bytes, about
LARGE = ("note-ons under running status", "notes under running status")  # the kinds of both sizes
SECTION = ("MIDI files", "hostile_midi.py")
HEADER = (
    "| file of events or chunks that repeat | MB | seconds | memory, MB | memory allowed, MB |\n|---|---|---|---|---|\n"
)
LAST_EVENT = b"\x00\xff\x2f\x00"


# ---- Files ----


def repeated(first: bytes, events: bytes) -> Callable[[int], bytes]:
    """What makes a file of about a number of bytes: one track of `first` and of these events, repeated."""
    return lambda size: header(1) + chunk(first + size // len(events) * events + LAST_EVENT)


def chunks(data: bytes, declared: int | None = None) -> Callable[[int], bytes]:
    """What makes a file of about a number of bytes: tracks of this data, whose headers say `declared` bytes."""
    return lambda size: header(0xFFFF) + size // (8 + len(data)) * chunk(data, declared)


def header(tracks: int) -> bytes:
    return b"MThd" + struct.pack(">LHHH", 6, 1, tracks, 480)


def chunk(data: bytes, declared: int | None = None) -> bytes:
    return b"MTrk" + struct.pack(">L", len(data) if declared is None else declared) + data


def claiming_the_rest(size: int) -> bytes:
    """Tracks each of which says that it reaches to the end of the file."""
    return header(0xFFFF) + b"".join(chunk(LAST_EVENT, size - 8 - 12 * k) for k in range(size // 12))


MAKERS = {
    "note-ons under running status": repeated(b"\x00\x90\x3c\x40", b"\x01\x3c\x40"),
    "notes under running status": repeated(b"\x00\x90\x3c\x40", b"\x01\x3c\x00\x00\x3c\x40"),
    "notes of no length": repeated(b"", b"\x01\x90\x3c\x40\x00\x3c\x00"),
    "notes that pile up": repeated(b"\x00\x90\x3c\x40", b"\x01\x3c\x40\x00\x3d\x00"),
    "controls": repeated(b"\x00\xb0\x40\x01", b"\x01\x40\x02"),
    "programs": repeated(b"\x00\xc0\x01", b"\x01\x02"),
    "pressure": repeated(b"\x00\xd0\x01", b"\x01\x02"),
    "empty texts": repeated(b"", b"\x01\xff\x01\x00"),
    "tempo changes": repeated(b"", b"\x01\xff\x51\x03\x01\x00\x00\x01\xff\x51\x03\x02\x00\x00"),
    "tempo changes in two tracks": lambda size: (
        header(2)
        + chunk(size // 14 * b"\x02\xff\x51\x03\x01\x00\x00" + LAST_EVENT)
        + chunk(size // 14 * b"\x03\xff\x51\x03\x02\x00\x00" + LAST_EVENT)
    ),
    "data bytes over 127": repeated(b"\x00\xb0\x40\x01", b"\x01\x40\xff"),
    "undefined events": repeated(b"", b"\x00\xf4"),
    "negative delta times": repeated(b"\x00\x90\x3c\x40", b"\x8f\xff\xff\xff\x7f\x3c\x40"),
    "continuation bytes": repeated(b"", b"\xff"),
    "long silences": repeated(b"", b"\xff\xff\xff\x7f\xc0\x01"),
    "a late tempo": lambda size: header(1) + chunk(b"\x84\xe2\xac\x76\xff\x51\x03\x01\x00\x00" + LAST_EVENT),
    "empty tracks": chunks(b""),
    "tracks of one program": chunks(b"\x00\xc0\x01" + LAST_EVENT),
    "tracks that claim the rest": claiming_the_rest,
    "tracks that claim too much": chunks(b"\x00\x90\x3c\x40" + LAST_EVENT, 2**31),
    "tracks that claim too little": chunks(b"\x00\x90\x3c\x40" + LAST_EVENT, 1),
    "tracks without an end": lambda size: chunks(b"\x00\xc0\x01", size // 2)(size),
    "other chunks": lambda size: header(0xFFFF) + size // 8 * b"XFIH\0\0\0\0",
    "no chunks": lambda size: header(0xFFFF) + size // 8 * b"-FIH\0\0\0\0",
}


# ---- Measuring ----


def measure(kind: str, size: int) -> tuple[int, float, float]:
    """The bytes of a file, the seconds of reading it, and the bytes of memory that this took besides them."""
    data = MAKERS[kind](size)
    before, started = peak_memory(), time.perf_counter()
    with suppress(MidiError):
        parse_midi(data, NO_LIMITS)
    return len(data), time.perf_counter() - started, peak_memory() - before


def peak_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rows() -> list[str]:
    """The table's rows; a figure beyond what is allowed is set in bold."""
    lines = []
    for size, kinds in ((SIZE, MAKERS), (LARGE_SIZE, LARGE)):
        for kind in kinds:
            command = [sys.executable, __file__, "--only", kind, "--size", str(size)]
            found = subprocess.run(command, capture_output=True, text=True, check=True)
            count, seconds, memory = json.loads(found.stdout)
            allowed = 300 + 130 * count / 1e6
            cells = [
                bold(f"{seconds:.1f}", seconds > 0.2 + 2e-6 * count),
                bold(f"{memory / 1e6:.0f}", memory / 1e6 > allowed),
            ]
            lines.append(f"| {kind} | {count / 1e6:.1f} | {cells[0]} | {cells[1]} | {allowed:.0f} |")
            print(lines[-1], flush=True)
    return lines


def bold(text: str, condition: bool) -> str:
    return f"**{text}**" if condition else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    parser.add_argument("--only", choices=MAKERS, help="measure one kind, as JSON: bytes, seconds, bytes of memory")
    parser.add_argument("--size", type=int, default=SIZE, help="bytes of that file, about")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.size)))
        return
    table = "\n".join(rows())
    if options.docs:
        write_section(*SECTION, HEADER + table)


if __name__ == "__main__":
    main()
