"""Small files made after public bug reports, and what is right for each (tests/cases)."""

import json
import warnings
from pathlib import Path

import pytest

from made_midi import notes_of
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter, load_midi
from music.midi_file import parse_midi

CASES = Path(__file__).parents[1] / "cases"
RIGHT = json.loads((CASES / "cases.json").read_text())
SECONDS = 0.05  # tolerance
OF_THE_REPORT = {"reason", "off_grid", "report", "melody_4_4_at_least"}
READ = {  # what a key of cases.json says of the song
    "notes": lambda midi: len(notes_of(midi)),
    "first": lambda midi: pytest.approx(min(start for _, start, _ in notes_of(midi)), abs=SECONDS),
    "end": lambda midi: pytest.approx(max(end for _, _, end in notes_of(midi)), abs=SECONDS),
    "melody_4_4": lambda midi: len(MelodyConverter(bars=2).to_arrays(midi).labels),
    "melody_3_4": lambda midi: len(MelodyConverter(bars=2, time_signature=(3, 4)).to_arrays(midi).labels),
    "drums": lambda midi: len(DrumsConverter(bars=2).to_arrays(midi).labels),
    "trio": lambda midi: len(TrioConverter(bars=16).to_arrays(midi).labels),
}


def read(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_midi(CASES / name)


@pytest.mark.parametrize("name, key", [(n, k) for n, right in RIGHT.items() for k in right if k not in OF_THE_REPORT])
def test_a_song_is_read_as_it_sounds(name, key):
    assert READ[key](read(name)) == RIGHT[name][key]


def test_all_cases_have_a_right_value():
    assert len(RIGHT) == 24
    assert {key for right in RIGHT.values() for key in right} == {*READ, *OF_THE_REPORT}


def test_of_two_independent_songs_the_first_is_read():
    midi, mended = parse_midi((CASES / "two_songs_type2.mid").read_bytes())
    assert len(midi.instruments) == 1
    assert mended == ["2 independent songs (a type 2 file), the first is read"]
