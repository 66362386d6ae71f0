"""Gains are differences on the same windows, and the form of pieces is measured where it belongs."""

import json

import numpy as np
import pytest

from generate import TrainedModel
from helpers import made_songs, shrink, untrained
from model import MusicVAE
from music.attributes import STEPS_PER_BAR
from paper import twins
from paper.twins import BARS, compare, form_by_part, main

CONDUCTED, FLAT = "hierdec-mel_16bar_tiny", "flat-mel_16bar_tiny"


@pytest.fixture(scope="module")
def models():
    return [TrainedModel(MusicVAE(config.model), config) for config in map(shrink, (CONDUCTED, FLAT))]


@pytest.fixture(scope="module")
def whole():
    """Three melodies of 64 bars."""
    return np.random.default_rng(0).integers(2, 90, (3, BARS * STEPS_PER_BAR))


def test_form_is_measured_in_its_own_bars():
    """The first 16 bars are one bar again and again, the next 16 differ from all others; later bars rest."""
    pieces = np.zeros((1, BARS, STEPS_PER_BAR), int)
    pieces[0, :16, 0] = 40
    pieces[0, 16:32, 0] = 41 + np.arange(16)
    found = form_by_part(pieces.reshape(1, -1))
    assert set(found["1 to 16"].similarity.values()) == {1.0}
    assert set(found["17 to 32"].similarity.values()) == {0.0}
    assert list(found["1 to 16"].similarity) == [1, 2, 4, 8]  # no bar is 16 bars after another
    assert [part.notes for part in found.values()] == [1 / 16, 1 / 16, 0.0]


def test_bars_are_compared_with_those_of_the_part_before():
    """Bars 17 to 32 are bars 1 to 16 again, which all differ."""
    pieces = np.zeros((1, BARS, STEPS_PER_BAR), int)
    pieces[0, :32, 0] = np.tile(40 + np.arange(16), 2)
    found = form_by_part(pieces.reshape(1, -1))["17 to 32"].similarity
    assert found == {1: 0.0, 2: 0.0, 4: 0.0, 8: 0.0, 16: 1.0}


def test_rests_last_from_a_note_off_to_the_next_note():
    """A piece that begins with a rest, and a note that goes on."""
    pieces = np.array([[0, 0, 40, 0, 1, 0, 42, 0], [40, 0, 0, 0, 0, 0, 0, 0]])
    silent = twins.rests(pieces)
    assert silent.tolist() == [[True, True, False, False, True, True, False, False], [False] * 8]


def test_a_note_sounds_on_in_the_next_bars():
    pieces = np.zeros((1, BARS * STEPS_PER_BAR), int)
    pieces[0, 8], pieces[0, 32 * STEPS_PER_BAR] = 40, 1
    assert [part.rests for part in form_by_part(pieces).values()] == [8 / 256, 0.0, 1.0]


def test_a_model_gains_nothing_over_itself(models, whole):
    songs = made_songs(models[0].converter, 12)
    found = compare([models[0]] * 2, songs, whole, pieces=2)
    for gain in ("forced", "sampled", "kl_bits", "nats"):
        assert found[gain] == (0.0, 0.0, 0.0)
    assert found["form"]["conductor"] == found["form"]["flat"] != found["form"]["songs"]
    assert (found["sampled_by_bar"], found["windows"]) == ([0.0] * 16, 12)


def test_gains_of_twins_have_opposite_signs_in_the_other_order(models, whole):
    songs = made_songs(models[0].converter, 12)
    found, turned = (compare(pair, songs, whole, limit=8, pieces=2) for pair in (models, models[::-1]))
    assert found["windows"] == 8
    for gain in ("forced", "sampled", "kl_bits", "nats"):
        assert found[gain].mean == pytest.approx(-turned[gain].mean)
        assert found[gain].low == pytest.approx(-turned[gain].high)
    assert np.mean(found["forced_by_bar"]) == pytest.approx(found["forced"].mean)
    assert np.mean(found["sampled_by_bar"]) == pytest.approx(found["sampled"].mean)


def test_the_command_measures_each_pair(models, whole, corpus_arguments, tmp_path, monkeypatch, capsys):
    for name, model in zip("ab", models, strict=True):
        model.save(tmp_path / f"{name}.pt")
    monkeypatch.setattr(twins, "first_bars", lambda clips, bars: list(whole))
    monkeypatch.setattr(twins, "PIECES", 2)
    words = [*corpus_arguments, "--limit", "6", "--out", str(tmp_path / "twins.json")]
    files = [str(tmp_path / f"{name}.pt") for name in "ab"]
    main([*files, *files, *words])
    found = json.loads((tmp_path / "twins.json").read_text())
    assert [pair["names"] for pair in found] == [["a", "b"]] * 2
    assert "teacher-forced" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="checkpoints come in pairs, got 1"):
        main([files[0], *words])


def test_runs_of_different_seeds_are_no_twins(models, tmp_path):
    paths = [tmp_path / f"{seed}.pt" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        models[seed].save(path, {"step": 5, "seed": seed})
    with pytest.raises(ValueError, match="are no twins: one has {'steps': 5, 'seed': 0}, the other {'steps': 5, 's"):
        twins.training_facts(paths)
    assert twins.training_facts([paths[0]] * 2) == {"steps": 5, "seed": 0}


def test_twins_of_other_music_are_refused(whole):
    drums = untrained("hier-drums_16bar_mini")
    with pytest.raises(ValueError, match="drums_16bar_mini cannot be compared: twins of 16-bar melodies can"):
        compare([drums, drums], made_songs(drums.converter), whole)


def test_models_of_other_windows_are_no_twins(models, whole):
    other = untrained("cat-mel_2bar_tiny")
    with pytest.raises(ValueError, match="cat-mel_2bar_tiny are no twins: they read other windows"):
        compare([models[0], other], made_songs(models[0].converter), whole)
