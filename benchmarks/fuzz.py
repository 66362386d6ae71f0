"""Feeds damaged and random MIDI files to all converters and checks what comes out.

    python benchmarks/fuzz.py N           examines inputs 0 to N - 1 and prints a table; about 60 inputs per second
    python benchmarks/fuzz.py N --docs    also writes benchmarks/results/fuzz.json and the table of docs/reliability.md

An input depends on its number alone: `examine(input_of(number), number)` repeats a finding.

What must hold for every input: it is read, or a MidiError says why not; labels, lengths and chords are in range; frames
turn back into their labels; a window that is moved by some semitones and back is unchanged; a window that its
converter's `from_arrays` promises to read back is read back, alone and among other songs.
"""

import argparse
import itertools
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from pretty_midi import Note, PrettyMIDI

from benchmarks.hostile_midi import chunk, header, variable_length
from benchmarks.sections import table_of, write_section
from benchmarks.tables import ROOT
from midi_utils import (
    Converter,
    DrumsConverter,
    GrooveConverter,
    MelodyConverter,
    MidiError,
    MultitrackConverter,
    PianoConverter,
    TrioConverter,
    Windows,
)
from music.chords import CHORD_DEPTH
from music.drums import DRUM_CLASSES, DRUMS_DEPTH
from music.groove import MAX_OFFSET_STEPS
from music.labels import NO_NOTE
from music.melody import MELODY_DEPTH, NOTE_OFF
from music.midi_file import parse_midi
from music.performance import DEPTH, END, EVENTS, PADDING
from music.song_reader import OutOfTimeError, time_limit

LONGEST = 10  # seconds per input; far more than any takes
MAX_SEED_BYTES = 4000  # per seed file: small ones are mutated, so that inputs are many
MAX_WINDOWS = 4  # per input and converter that are written and read back
MAX_CHANGES = 4  # per mutated input
SEMITONES = 12  # the farthest transposition
GAP_BARS = 8  # of rest between concatenated songs; a multiple of every converter's need
INTERESTING = (0, 1, 0x2F, 0x40, 0x51, 0x58, 0x7F, 0x80, 0x90, 0x99, 0xB0, 0xC0, 0xF0, 0xF7, 0xFF)
SEED_FOLDERS = ("tests/fixtures/malformed", "tests/fixtures/converters/midi", "tests/cases", "midi_songs/built_in")
CONVERTERS: tuple[Converter, ...] = (
    MelodyConverter(bars=2),
    MelodyConverter(bars=16, programs=None),
    MelodyConverter(bars=2, time_signature=(3, 4), programs=None),
    DrumsConverter(bars=2),
    DrumsConverter(bars=2, classes=61, output="roll"),
    TrioConverter(bars=16),
    GrooveConverter(bars=2),
    MultitrackConverter(),
    PianoConverter(bars=2),
    PianoConverter(bars=2, tracks="each", voices=3, pedal=False, loop=True),
)
WITH_CHORDS: tuple[Converter, ...] = (MelodyConverter(bars=2, programs=None, chords=True), MultitrackConverter(True))
MAX_OFFSET = 2 * MAX_OFFSET_STEPS  # half steps; a hit that was played farther off is written nearer
CHORDS_EVERY = 16  # inputs; guessing chords takes longer than all else


class Finding(NamedTuple):
    """What did not hold."""

    converter: str  # its repr; empty if the file could not even be read
    what: str


# ---- Inputs ----


@cache
def seed_files() -> list[bytes]:
    """Small files that inputs are mutated from; longer built-in songs are cut off."""
    paths = [path for folder in SEED_FOLDERS for path in sorted((ROOT / folder).glob("*.*i*"))]
    return [path.read_bytes()[:MAX_SEED_BYTES] for path in paths if path.suffix != ".md"]


def input_of(number: int) -> bytes:
    """The input of this number: one in four is made of random events, the others are mutated seeds."""
    rng = np.random.default_rng(number)
    return made_file(rng) if number % 4 == 0 else mutated(seed_files(), rng)


def mutated(seeds: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One of the seeds after a few changes: bytes set, removed, repeated or taken from another seed."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, MAX_CHANGES + 1)):
        at = int(rng.integers(len(data) + 1))
        until = at + int(rng.integers(1, 9))
        other = seeds[rng.integers(len(seeds))]
        start = int(rng.integers(len(other) + 1))
        put = (
            bytes([rng.choice(INTERESTING)]),
            rng.bytes(until - at),
            data[at:until] * 2,
            b"",
            other[start : start + int(rng.integers(1, 400))],
        )[rng.integers(5)]
        data[at : at + 1 if len(put) == 1 else until] = put
    return bytes(data)


def made_file(rng: np.random.Generator) -> bytes:
    """A file of one to four tracks of random events that are well formed, most of them notes on a grid."""
    count, ticks = int(rng.integers(1, 5)), int(rng.choice((24, 96, 480)))
    tracks = [b"".join(events(rng, ticks, int(rng.choice((0, 1, 9))))) for _ in range(count)]
    return header(count, ticks) + b"".join(map(chunk, tracks))


def events(rng: np.random.Generator, ticks: int, channel: int) -> Iterator[bytes]:
    """The events of a track: a program, now and then a tempo or a time signature, and notes."""
    yield bytes([0, 0xC0 | channel, rng.choice((0, 5, 25, 33, 38, 60, 127))])
    for _ in range(rng.integers(1, 60)):
        if rng.random() < 0.02:
            yield b"\x00\xff\x51\x03" + int(rng.integers(1, 1 << 21)).to_bytes(3, "big")
        if rng.random() < 0.02:
            yield b"\x00\xff\x58\x04" + bytes([rng.integers(1, 8), rng.integers(1, 4), 24, 8])
        pitch, velocity = int(rng.integers(20, 110)), int(rng.integers(1, 128))
        yield variable_length(int(rng.integers(0, 5)) * ticks // 4) + bytes([0x90 | channel, pitch, velocity])
        yield variable_length(int(rng.integers(0, 9)) * ticks // 4) + bytes([0x80 | channel, pitch, 0])
    yield b"\x00\xff\x2f\x00"


# ---- Checks ----


def examine(data: bytes, number: int = 0) -> tuple[Counter, list[Finding]]:
    """Reads one input with all converters; the counts of what was checked, and what did not hold."""
    counts, findings = Counter(inputs=1), []
    converters = CONVERTERS if number % CHORDS_EVERY else CONVERTERS + WITH_CHORDS
    rng, step, current = np.random.default_rng(number), "reading", ""
    try:
        with time_limit(LONGEST):
            midi, mended = parse_midi(data)
            counts["read"] += 1
            counts["mended"] += bool(mended)
            for converter in converters:
                current = repr(converter)
                windows = converter.to_arrays(midi)
                for step, check in CHECKS.items():
                    counts[step] += check(converter, windows, rng)
    except MidiError:
        counts["refused"] += 1
    except (Exception, OutOfTimeError) as fault:
        findings.append(Finding(current, f"{step}: {type(fault).__name__}: {fault}"))
    return counts, findings


def check_range(converter: Converter, windows: Windows, rng: np.random.Generator) -> int:
    """Labels, lengths and chords have the converter's shapes and ranges; returns the number of windows."""
    labels, count = windows.labels, len(windows.labels)
    wanted = converter.no_labels()
    expect(labels.dtype == wanted.dtype and labels.shape[1:] == wanted.shape[1:], f"{labels.dtype} {labels.shape}")
    low, high = label_bounds(converter)
    expect(bool(np.isfinite(labels).all() and (labels >= low).all() and (labels <= high).all()), "labels out of range")
    most = converter.segment_steps if isinstance(converter, MultitrackConverter) else converter.steps
    expect(len(windows.lengths) == count and bool((windows.lengths >= 0).all()), "lengths below 0")
    expect(bool((windows.lengths <= most).all()), "lengths above a window's")
    expect(bool(count) != any(one.what == "song" for one in windows.skipped), "a reason beside windows, or none")
    if converter.chords:
        expect(windows.controls.shape == labels.shape, "chords of another shape")
        expect(bool(((windows.controls >= -1) & (windows.controls < CHORD_DEPTH)).all()), "chords out of range")
    return count


def label_bounds(converter: Converter) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest label of a converter, per part where there are several."""
    if isinstance(converter, MelodyConverter):
        return np.array(0), np.array(MELODY_DEPTH - 1)
    if isinstance(converter, DrumsConverter):
        return np.array(0), np.array(2**converter.classes - 1)
    if isinstance(converter, TrioConverter):
        return np.zeros(3), np.array([MELODY_DEPTH, MELODY_DEPTH, DRUMS_DEPTH]) - 1
    if isinstance(converter, MultitrackConverter):
        return np.array(PADDING), np.array(DEPTH - 1)
    if isinstance(converter, PianoConverter):
        return np.array(0), np.array(NO_NOTE)
    return np.repeat([0.0, 0.0, -1.0], 9), np.ones(27)


def check_frames(converter: Converter, windows: Windows, rng: np.random.Generator) -> int:
    """Frames turn back into their labels."""
    some = first_windows(windows)
    if len(some.labels):
        back = converter.from_tensors(converter.to_tensors(some).targets).numpy()
        expect(np.array_equal(back, some.labels), "frames give other labels")
    return len(some.labels)


def check_transposition(converter: Converter, windows: Windows, rng: np.random.Generator) -> int:
    """Windows that are moved stay in range, and are as before once they are moved back; returns how many moved."""
    some = first_windows(windows)
    labels = torch.as_tensor(some.labels.astype(np.int64 if some.labels.dtype.kind in "iu" else np.float32))
    semitones = torch.as_tensor(rng.integers(-SEMITONES, SEMITONES + 1, len(labels)))
    there = converter.transpose(labels, semitones)
    moved = (there != labels).flatten(1).any(1)
    back = converter.transpose(there, -semitones)
    expect(torch.equal(back[moved], labels[moved]), "moved there and back is not as before")
    low, high = label_bounds(converter)
    expect(bool((there.numpy() >= low).all() and (there.numpy() <= high).all()), "moved out of range")
    return int(moved.sum())


def check_round_trip(converter: Converter, windows: Windows, rng: np.random.Generator) -> int:
    """Written windows can be read, and give the same labels where the converter promises it; returns how many."""
    promised = 0
    for labels in first_windows(windows).labels:
        midi = converter.from_arrays(labels)
        again = converter.to_arrays(midi)
        check_range(converter, again, rng)
        if reads_back(converter, labels, midi):
            expect(len(again.labels) == 1 and same(converter, again.labels[0], labels), "is not read back")
            promised += 1
    return promised


def check_concatenation(converter: Converter, windows: Windows, rng: np.random.Generator) -> int:
    """Windows are found again in a song of several; returns the number of songs joined."""
    written = [(labels, converter.from_arrays(labels)) for labels in first_windows(windows).labels]
    songs = [song for song in written if reads_back(converter, *song) and is_whole(converter, song[1])]
    if len(songs) < 2:
        return 0
    seconds = bar_seconds(converter) * (converter.bars + GAP_BARS)
    whole = joined([midi for _, midi in songs], seconds, merged=not isinstance(converter, MultitrackConverter))
    read = converter.to_arrays(whole)
    check_range(converter, read, rng)
    for labels, _ in songs:
        expect(any(same(converter, found, labels) for found in read.labels), "is lost among other songs")
    return len(songs)


CHECKS: dict[str, Callable[[Converter, Windows, np.random.Generator], int]] = {
    "windows in range": check_range,
    "windows from frames": check_frames,
    "windows transposed and back": check_transposition,
    "windows read back": check_round_trip,
    "windows concatenated": check_concatenation,
}


def expect(holds: bool, otherwise: str) -> None:
    """Raises AssertionError if something does not hold; an assert statement would vanish under -O."""
    if not holds:
        raise AssertionError(otherwise)


def first_windows(windows: Windows) -> Windows:
    """The first few windows."""
    controls = None if windows.controls is None else windows.controls[:MAX_WINDOWS]
    return Windows(windows.labels[:MAX_WINDOWS], windows.lengths[:MAX_WINDOWS], controls)


# ---- What is promised ----


def bar_seconds(converter: Converter) -> float:
    """Seconds per bar of a written song, at 120 quarters per minute."""
    return converter.time_signature[0] * 4 / converter.time_signature[1] / 2


def spans(midi: PrettyMIDI, bar: float) -> list[np.ndarray]:
    """Per track with notes, starts and ends [notes, 2] in bars, sorted."""
    tracks = [[(note.start / bar, note.end / bar) for note in track.notes] for track in midi.instruments if track.notes]
    return [np.array(sorted(track)) for track in tracks]


def longest_rest(span: np.ndarray) -> float:
    """The longest rest in bars between notes [notes, 2]."""
    return float((span[1:, 0] - np.maximum.accumulate(span[:-1, 1])).max(initial=0.0))


def reads_back(converter: Converter, labels: np.ndarray, midi: PrettyMIDI) -> bool:
    """Whether `from_arrays` promises that this song of one window is read back as it was."""
    tracks = spans(midi, bar_seconds(converter))
    if isinstance(converter, MultitrackConverter):
        begun = (labels.reshape(-1, EVENTS)[:, 0] != END).sum()  # a track may have a rest alone, and is not written
        return len(tracks) == begun >= 2 and not any(overlaps(track.notes) for track in midi.instruments)
    if isinstance(converter, PianoConverter):
        return True  # every window that is cut from a song
    if not tracks:
        return False
    first, last = min(span[0, 0] for span in tracks), max(span[:, 1].max() for span in tracks)
    reaches = last > converter.bars - 1
    if isinstance(converter, GrooveConverter):
        early = (labels[0, 2 * DRUM_CLASSES :] > 0).any()  # a hit before the start is moved there
        return bool(labels[-converter.steps_per_bar :, :DRUM_CLASSES].any() and not early)
    if isinstance(converter, TrioConverter):
        begun = all(line[np.flatnonzero(line)[0]] != NOTE_OFF for line in labels[:, :2].T if line.any())
        near = all(longest_rest(span) < 5 for span in tracks) and ends_are_near(tracks)
        return begun and len(tracks) == 3 and first < 4 and reaches and near
    return first < 1 and reaches and longest_rest(tracks[0]) < 1


def ends_are_near(tracks: Iterable[np.ndarray], most: float = 5.0, bars: int = 16) -> bool:
    """Whether no track rests for long before its first note or after its last."""
    return all(span[0, 0] < most and span[:, 1].max() > bars - most for span in tracks)


def overlaps(notes: Sequence[Note]) -> bool:
    """Whether a pitch is struck while it still sounds."""
    by_pitch = sorted((note.pitch, note.start, note.end) for note in notes)
    return any(a[0] == b[0] and b[1] < a[2] for a, b in itertools.pairwise(by_pitch))


def is_whole(converter: Converter, midi: PrettyMIDI) -> bool:
    """Whether a window lies whole in its song also if others come before and after: a trio plays in all its bars."""
    tracks = spans(midi, bar_seconds(converter))
    return not isinstance(converter, TrioConverter) or ends_are_near(tracks, 1, converter.bars)


def joined(songs: Sequence[PrettyMIDI], seconds: float, merged: bool) -> PrettyMIDI:
    """One song of several of one tempo, which begin so many seconds apart; merged: on the tracks of the first song."""
    whole = deepcopy(songs[0])
    for k, song in enumerate(songs[1:], 1):
        for place, track in enumerate(deepcopy(song.instruments)):
            for note in track.notes:
                note.start, note.end = note.start + k * seconds, note.end + k * seconds
            if merged:
                whole.instruments[place].notes += track.notes
            else:
                whole.instruments.append(track)
    return whole


def same(converter: Converter, ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether labels are equal; of grooves, velocities to one 127th, and offsets to one 600th up to MAX_OFFSET."""
    if not isinstance(converter, GrooveConverter):
        return np.array_equal(ours, theirs)
    most = np.repeat([1, 1, MAX_OFFSET], DRUM_CLASSES)
    apart = np.abs(ours.clip(-most, most) - theirs.clip(-most, most))
    return bool((apart <= np.repeat([0, 1 / 127, 1 / 600], DRUM_CLASSES)).all())


# ---- All ----


def fuzz(numbers: Iterable[int]) -> tuple[Counter, dict[int, Finding]]:
    """Examines the inputs of these numbers; the counts, and the findings by number."""
    counts, found = Counter(), {}
    for number in numbers:
        checked, findings = examine(input_of(number), number)
        counts.update(checked)
        if findings:
            found[number] = findings[0]
    return counts, found


def rows(counts: Counter, found: dict[int, Finding]) -> Iterator[tuple[str, int, str]]:
    """What was tried, how many times, and what happened."""
    read = f"read {counts['read']:,}, {counts['mended']:,} of them after mending; refused {counts['refused']:,}"
    yield "MIDI file, mutated or random", counts["inputs"], f"{read}; findings: {len(found)}"
    for name in CHECKS:
        broken = sum(finding.what.startswith(name) for finding in found.values())
        yield name, counts[name], f"**{broken} did not hold**" if broken else "all held"


def main():
    """The command: examines inputs, prints the table and each finding, and writes both if asked."""
    parser = argparse.ArgumentParser(description="Feed damaged and random MIDI files to all converters.")
    parser.add_argument("inputs", type=int, help="how many")
    parser.add_argument("--docs", action="store_true", help="write benchmarks/results/fuzz.json and the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.process_time()
    counts, found = fuzz(range(options.inputs))
    seconds = round(time.process_time() - start)
    text = table_of(rows(counts, found))
    print(
        text, *(f"input {number}: {finding.what} ({finding.converter})" for number, finding in found.items()), sep="\n"
    )
    if options.docs:
        plain = {"counts": counts, "seconds": seconds, "findings": {k: v._asdict() for k, v in found.items()}}
        (ROOT / "benchmarks" / "results" / "fuzz.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        write_section("fuzz", "fuzz.py", text)


if __name__ == "__main__":
    main()
