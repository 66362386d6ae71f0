"""The measurements of longer pieces, and their command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import prior
from checkpoint import read_checkpoint, save_checkpoint
from helpers import shrink
from model import MusicVAE
from paper import longer

ROOT = Path(__file__).parents[2]
SECTION = 256  # steps


def scale(first, steps=SECTION):
    """A melody that climbs an octave in C or another key, a note per quarter."""
    line = np.zeros(steps, np.uint8)
    line[::4] = first + np.resize([0, 2, 4, 5, 7, 9, 11, 12], len(line[::4]))
    return line


def test_the_share_of_repeated_windows_counts_those_after_the_first():
    line = np.concatenate([scale(40, 32), scale(40, 32), scale(42, 32), scale(40, 32), scale(40, 32)])
    assert longer.window_repeats(line, 32) == 0.5


def test_a_melody_in_one_key_does_not_drift():
    line = np.concatenate([scale(40)] * 4)
    assert longer.key_drift(line) == longer.register_drift(line) == 0


def test_a_change_of_key_and_register_is_drift():
    """From C to F sharp, six semitones up: two of the eight pitch classes are in both keys."""
    line = np.concatenate([scale(40), scale(40), scale(46), scale(46)])
    assert longer.register_drift(line) == 6
    between = longer.key_drift(line) * 6 / 4  # four of the six pairs of quarters are in two keys
    assert 0.5 < between < 1


def test_a_quarter_without_notes_does_not_count():
    line = np.concatenate([scale(40), np.zeros(3 * SECTION, np.uint8)])
    assert np.isnan(longer.key_drift(line))
    assert longer.register_drift(line) == 0


def test_a_spread_leaves_out_what_is_undefined():
    assert longer.spread([1.0, 5.0, np.nan]) == (3.0, 2.0, (2.0, 3.0, 4.0))


def test_distances_inside_the_quartiles_are_named():
    real = longer.measure_form([np.tile(scale(40, 16), 64)] * 2, 32)
    other = longer.measure_form([np.concatenate([scale(20 + k, 16) for k in range(64)])] * 2, 32)
    assert longer.inside(real, real) == ["1", "2", "4", "8", "16"]
    assert longer.inside(other, real) == []


def test_the_command_measures_a_model(tmp_path, corpus_arguments, capsys, monkeypatch):
    monkeypatch.setattr(prior.sequence, "CHOICE_UPDATES", 20)
    config, path, saved = shrink("cat-mel_2bar_tiny"), tmp_path / "a.pt", tmp_path / "b.pt"
    torch.manual_seed(0)
    save_checkpoint(path, MusicVAE(config.model).half(), config, {"step": 7})
    options = ["--pieces", "3", "--bars", "8", "--out", str(tmp_path / "found.json")]
    longer.main([str(path), *corpus_arguments, *options, "--save", str(saved)])
    first = json.loads((tmp_path / "found.json").read_text())
    assert (first["name"], first["bars"], first["composed"]["pieces"]) == ("a", 8, 3)
    assert first["real"]["pieces"] <= 3
    assert "real quartiles: 1: " in capsys.readouterr().out
    content = read_checkpoint(saved)  # in the precision of the first file, with its run
    assert {part.dtype for part in (*content["model"].values(), *content["sequence_prior"].values())} == {torch.half}
    assert content["run"] == {"step": 7}
    longer.main([str(saved), *corpus_arguments, *options])
    again = json.loads((tmp_path / "found.json").read_text())
    assert again["composed"] == first["composed"]


def test_the_page_has_the_committed_table():
    found = json.loads((ROOT / "results" / "longer_pieces.json").read_text())
    page = (ROOT / "docs" / "tools.md").read_text()
    assert f"<!-- longer pieces -->\n{longer.table(found)}<!-- end of longer pieces -->" in page


def test_the_committed_pieces_have_the_form_of_songs():
    found = json.loads((ROOT / "results" / "longer_pieces.json").read_text())
    assert (found["split"], found["bars"], found["composed"]["pieces"]) == ("test", 64, 100)
    assert found["inside"]["composed"] == ["1", "2", "4", "8", "16"]
    assert found["inside"]["independent"] == ["1"]
    assert found["composed"]["repeats"]["mean"] <= 0.25
    low, _, high = found["real"]["key_drift_bits"]["quartiles"]
    assert low <= found["composed"]["key_drift_bits"]["mean"] <= high < found["independent"]["key_drift_bits"]["mean"]


def test_pieces_are_whole_windows(tmp_path, corpus_arguments):
    config, path = shrink("cat-mel_2bar_tiny"), tmp_path / "a.pt"
    save_checkpoint(path, MusicVAE(config.model), config)
    with pytest.raises(SystemExit, match="--bars must be a multiple of 2, the bars of the model's windows, got 15"):
        longer.main([str(path), *corpus_arguments, "--bars", "15", "--out", str(tmp_path / "found.json")])


@pytest.mark.parametrize("preset", ["cat-drums_2bar_tiny", "piano_2bar_tiny"])
def test_a_model_of_anything_but_melodies_is_refused(preset, tmp_path, corpus_arguments):
    config, path = shrink(preset), tmp_path / "a.pt"
    save_checkpoint(path, MusicVAE(config.model), config)
    with pytest.raises(SystemExit, match="is no model of melodies"):
        longer.main([str(path), *corpus_arguments, "--out", str(tmp_path / "found.json")])
