"""How clips go on, and the command that measures it."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import untrained
from midi_utils import DrumsConverter, MelodyConverter
from paper import continued

ROOT = Path(__file__).parents[2]
MELODIES, DRUMS = MelodyConverter(bars=2), DrumsConverter(bars=2)
STEPS = 128  # of 8 bars


def scale(first, every=4):
    """8 bars that climb a major scale, a note every so many steps."""
    line = np.zeros(STEPS, np.uint8)
    line[::every] = first + np.resize([0, 2, 4, 5, 7, 9, 11, 12], len(line[::every]))
    return line


def test_a_clip_that_repeats_is_a_copy_of_itself():
    found = continued.measure_pair(scale(40), scale(40), MELODIES)
    assert found == (1.0, 12.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_another_key_register_and_density_are_measured():
    """From C to F sharp, an octave up, at half and at an eighth of the density."""
    half = continued.measure_pair(scale(40, 2), scale(58, 4), MELODIES)
    assert half.in_pitch_classes == pytest.approx(2 / 8)
    assert half.first_interval == 6
    assert half.register == 18
    assert half.density == pytest.approx(np.log(2))
    assert (half.sparse, half.silent_bars, half.copies) == (0, 0, 0)
    few = continued.measure_pair(scale(40, 2), scale(40, 32), MELODIES)
    assert (few.sparse, few.silent_bars) == (1, 0.5)


def test_drums_have_hits_and_no_pitches():
    own, new = np.zeros((2, STEPS), np.uint16)
    own[::4], new[::4] = 0b11, 0b1
    found = continued.measure_pair(own, new, DRUMS)
    assert np.isnan(found[:3]).all()
    assert found.density == pytest.approx(np.log(2))


def test_silence_has_no_pitches():
    found = continued.measure_pair(scale(40), np.zeros(STEPS, np.uint8), MELODIES)
    assert np.isnan(found[:3]).all()
    assert (found.sparse, found.silent_bars) == (1, 1)


def test_the_page_has_the_table_of_the_results():
    found = json.loads((ROOT / "results" / "continued.json").read_text())
    assert [one["name"] for one in found] == ["mel_2bar_low"]
    page = (ROOT / "docs" / "tools.md").read_text()
    assert continued.table(found) in page
    assert {one["songs"] for one in found} == {continued.SONGS}
    assert f"the first {continued.BARS} bars of {continued.SONGS} songs" in page
    for one in found:
        songs, ours, varied = (row for row in one["continued"].values())
        assert ours["copies"] > songs["copies"] > 2 * varied["copies"]
        assert abs(ours["density"] - songs["density"]) < 0.02


def test_the_command_measures_each_model(tmp_path, corpus_arguments, capsys):
    untrained("cat-mel_2bar_tiny").save(tmp_path / "tunes.pt")
    out = tmp_path / "found.json"
    continued.main([str(tmp_path / "tunes.pt"), *corpus_arguments, "--split", "train", "--out", str(out)])
    (found,) = json.loads(out.read_text())
    assert (found["name"], found["split"]) == ("tunes", "train")
    assert list(found["continued"]) == ["as songs do", *continued.KINDS]
    assert "| `tunes` | as songs do |" in capsys.readouterr().out
    untrained("groovae_2bar_humanize").save(tmp_path / "groove.pt")
    with pytest.raises(SystemExit, match="groove.pt is no model of melodies or drums"):
        continued.main([str(tmp_path / "groove.pt"), *corpus_arguments, "--out", str(out)])
