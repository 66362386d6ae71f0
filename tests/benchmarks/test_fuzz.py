"""Damaged and random MIDI files through all converters: a few in every run, a minute of them among the slow proofs."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.fuzz import CHECKS, CONVERTERS, examine, input_of
from made_midi import song, track
from midi_utils import MelodyConverter

FUZZ_SECONDS = 60
NOTES = st.lists(st.tuples(st.integers(0, 127), st.integers(1, 32), st.integers(0, 127)), min_size=1, max_size=40)
TRACKS = st.lists(st.tuples(NOTES, st.integers(0, 127), st.booleans()), min_size=1, max_size=4)


def findings_of(number):
    """What does not hold for an input, with the call that repeats it."""
    return [f"examine(input_of({number}), {number}): {finding}" for finding in examine(input_of(number), number)[1]]


@pytest.mark.parametrize("number", range(24))
def test_what_holds_for_every_file_holds_for_damaged_ones(number):
    assert findings_of(number) == []


@pytest.mark.slow
def test_a_minute_of_damaged_files_has_no_finding():
    end, number, found = time.monotonic() + FUZZ_SECONDS, 24, []
    while time.monotonic() < end:
        found += findings_of(number)
        number += 1
    assert found == []


@pytest.mark.slow
@seed(0)
@settings(max_examples=300, deadline=None, database=None)
@given(TRACKS)
def test_what_holds_for_every_file_holds_for_songs_of_any_notes(tracks):
    midi = song(*(track([(a, a + n, p) for a, n, p in notes], program, drum) for notes, program, drum in tracks))
    for converter in CONVERTERS:
        windows = converter.to_arrays(midi)
        for check in CHECKS.values():
            check(converter, windows, np.random.default_rng(0))


def test_an_input_depends_on_its_number_alone():
    assert [input_of(number) for number in (7, 8)] == [input_of(number) for number in (7, 8)]
    assert input_of(7) != input_of(8)


def out_of_range(converter, midi, to_arrays=MelodyConverter.to_arrays):
    """The labels of a song, each 100 too large."""
    windows = to_arrays(converter, midi)
    return windows._replace(labels=windows.labels + 100)


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ({"to_arrays": lambda self, midi: 1 / 0}, "reading: ZeroDivisionError"),
        ({"transpose": lambda self, labels, semitones: labels * 0}, "transposed and back: AssertionError"),
        ({"from_tensors": lambda self, outputs: outputs.argmax(-1) * 0}, "from frames: AssertionError"),
        ({"to_arrays": out_of_range}, "in range: AssertionError"),
    ],
)
def test_a_converter_that_breaks_a_promise_is_found(broken, what, monkeypatch):
    for name, function in broken.items():
        monkeypatch.setattr(MelodyConverter, name, function)
    midi = (fuzz.ROOT / "tests/fixtures/converters/midi/01_mono_melody.mid").read_bytes()
    (finding,) = examine(midi, 1)[1]
    assert what in finding.what
    assert "MelodyConverter" in finding.converter


@pytest.mark.slow
def test_a_guided_search_goes_through_the_checks():
    pytest.importorskip("atheris", reason="needs atheris: pip install atheris")
    command = [sys.executable, "benchmarks/guided_fuzz.py", "0.1"]
    done = subprocess.run(command, cwd=fuzz.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert "guided by coverage" in done.stdout
