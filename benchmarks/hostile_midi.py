"""Reads MIDI files that are made to take long or much memory, for a table of docs/reliability.md.

    python benchmarks/hostile_midi.py           prints the table; about two minutes
    python benchmarks/hostile_midi.py --docs    also writes it into docs/reliability.md

Each file is read in a process of its own, with limits that are no obstacle. From the songs, a converter also cuts
windows. A file of B bytes may take 0.2 s + 2 s per MB, and 300 MB + 130 bytes per byte.
"""

import argparse
import itertools
import multiprocessing
import resource
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sections import write_section
from midi_utils import Converter, DrumsConverter, MelodyConverter, MultitrackConverter, TrioConverter
from music.midi_bytes import Limits, MidiError
from music.midi_file import parse_midi

NO_LIMITS = Limits(bytes=2**40, events=2**40, tracks=2**16, ticks_per_second=1e12)
SIZE, LARGE_SIZE, SONG_SIZE = 1_000_000, 30_000_000, 100_000  # bytes, about
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


def header(tracks: int, ticks_per_quarter: int = 480) -> bytes:
    return b"MThd" + struct.pack(">LHHH", 6, 1, tracks, ticks_per_quarter)


def chunk(data: bytes, declared: int | None = None) -> bytes:
    return b"MTrk" + struct.pack(">L", len(data) if declared is None else declared) + data


def variable_length(number: int) -> bytes:
    """A number as MIDI writes delta times."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


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


# ---- Songs ----


def long_notes(size: int, bars: int, channel: int = 0, program: int = 0, pitch: int = 60) -> bytes:
    """A track of about `size` bytes, of notes of so many bars one after the other."""
    note = variable_length(bars * BAR) + bytes([pitch, 0, 0, pitch, 64])
    start = bytes([0, 0xC0 | channel, program, 0, 0x90 | channel, pitch, 64])
    return chunk(start + max(1, size // len(note) - 4) * note + LAST_EVENT)


def many_trios(size: int) -> bytes:
    """As many melodies, basses and drums as may be combined, which all play together."""
    kinds = itertools.islice(itertools.cycle(((0, 0, 60), (1, 33, 40), (9, 0, 36))), 126)
    return header(126) + b"".join(long_notes(size // 126, 2, *kind) for kind in kinds)


def many_tracks(size: int) -> bytes:
    return header(1000) + b"".join(long_notes(size // 1000, 400, k % 9, 0, 48 + k % 40) for k in range(1000))


def chord_each_half_bar(size: int) -> bytes:
    """As many chords as are guessed in a part, each unlike the one before."""
    triads = itertools.islice(itertools.cycle(itertools.combinations(range(60, 72), 3)), min(size // 20, 995))
    chords = (
        b"".join(bytes([0, 0x90, pitch, 64]) for pitch in triad)
        + variable_length(BAR // 2)
        + b"\x00".join(bytes([pitch, 0]) for pitch in triad)
        for triad in triads
    )
    return header(1) + chunk(b"".join(chords) + LAST_EVENT)


def each_tempo(*events: bytes) -> Callable[[int], bytes]:
    """What makes a file of about a number of bytes: two tempos in turn, with these events after each."""
    return repeated(b"", b"".join(b"\x00\xff\x51\x03" + tempo + b"".join(events) for tempo in TEMPOS))


BAR = 1920  # ticks
TEMPOS = (b"\x07\xa1\x20", b"\x06\x1a\x80")
NOTE = b"\x00\x90\x3c\x40" + variable_length(BAR // 4) + b"\x3c\x00"
TWO_BARS = b"\x00\x90\x3c\x40" + variable_length(2 * BAR) + b"\x3c\x00"
SONGS: dict[str, tuple[Callable[[int], bytes], Converter]] = {
    "126 tracks, for trios": (many_trios, TrioConverter(bars=16)),
    "1,000 tracks of long notes, for melodies": (many_tracks, MelodyConverter(bars=16)),
    "a tempo per note, for melodies": (each_tempo(NOTE), MelodyConverter(bars=2)),
    "a tempo per drum, for drums": (each_tempo(NOTE.replace(b"\x90", b"\x99")), DrumsConverter(bars=2)),
    "a tempo, a chord's name and a note in turn, for melodies with chords": (
        each_tempo(b"\x00\xff\x01\x02Dm", NOTE),
        MelodyConverter(bars=2, chords=True),
    ),
    "a tempo, a pedal and a note in turn, for several tracks": (
        each_tempo(b"\x00\xb0\x40\x7f", NOTE, b"\x00\xb0\x40\x00"),
        MultitrackConverter(),
    ),
    "pedals under notes that pile up, for several tracks": (
        repeated(b"", b"\x01\x90\x3c\x40\x01\xb0\x40\x7f\x01\x40\x00"),
        MultitrackConverter(),
    ),
    "a tempo per melody of two bars, for melodies with chords": (
        each_tempo(TWO_BARS),
        MelodyConverter(bars=2, chords=True),
    ),
    "a chord per half bar, for melodies with chords": (chord_each_half_bar, MelodyConverter(bars=2, chords=True)),
}


# ---- Measuring ----


def measure(kind: str, size: int) -> tuple[int, float, float]:
    """The bytes of a file, the seconds of reading it, and the bytes of memory that this took besides them."""
    make, converter = SONGS[kind] if kind in SONGS else (MAKERS[kind], None)
    data = make(size)
    before, started = peak_memory(), time.perf_counter()
    with suppress(MidiError):
        midi, _ = parse_midi(data, NO_LIMITS)
        if converter:
            converter.to_arrays(midi)
    return len(data), time.perf_counter() - started, peak_memory() - before


def peak_memory() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def rows() -> list[str]:
    """The table's rows; a figure beyond what is allowed is set in bold."""
    lines, processes = [], multiprocessing.get_context("fork")
    for size, kinds in ((SIZE, MAKERS), (LARGE_SIZE, LARGE), (SONG_SIZE, SONGS)):
        for kind in kinds:
            with processes.Pool(1) as pool:
                count, seconds, memory = pool.apply(measure, (kind, size))
            allowed = 300 + 130 * count / 1e6
            cells = [
                bold(f"{seconds:.2f}", seconds > 0.2 + 2e-6 * count),
                bold(f"{memory / 1e6:.0f}", memory / 1e6 > allowed),
            ]
            lines.append(f"| {kind} | {count / 1e6:.2f} | {cells[0]} | {cells[1]} | {allowed:.0f} |")
            print(lines[-1], flush=True)
    return lines


def bold(text: str, condition: bool) -> str:
    return f"**{text}**" if condition else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/reliability.md")
    options = parser.parse_args()
    table = "\n".join(rows())
    if options.docs:
        write_section(*SECTION, HEADER + table)


if __name__ == "__main__":
    main()
