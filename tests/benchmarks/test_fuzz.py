"""Damaged and random MIDI files through all converters: a few in every run, a minute of them among the slow proofs."""

import time

import pytest

from benchmarks.fuzz import examine, input_of

FUZZ_SECONDS = 60


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
