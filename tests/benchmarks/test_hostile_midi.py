"""The table of files that are made to take long or much memory."""

from benchmarks.hostile_midi import LARGE, MAKERS, SECTION, SONGS, measure
from benchmarks.sections import split_page
from helpers import table_rows


def test_the_page_has_every_file_and_sets_what_is_out_of_bounds_in_bold():
    rows = table_rows(split_page(*SECTION)[1])
    assert [row[0] for row in rows] == [*MAKERS, *LARGE, *SONGS]
    for _, megabytes, seconds, memory, allowed in rows:
        assert (float(seconds.strip("*")) > 0.25 + 2 * float(megabytes)) <= seconds.startswith("**")
        assert (float(memory.strip("*")) > float(allowed)) == memory.startswith("**")


def test_a_file_is_measured():
    size, seconds, memory = measure("controls", 3000)
    assert 2900 < size < 3100
    assert seconds > 0
    assert memory >= 0


def test_a_song_is_measured_with_the_windows_that_a_converter_cuts_from_it():
    size, seconds, _ = measure("a tempo per melody of two bars, for melodies with chords", 500)
    assert 400 < size <= 530
    assert seconds > 0
