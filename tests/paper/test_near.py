"""Measurements near a song, by the command, on the built-in songs; docs/tools.md has what it found."""

import json
from pathlib import Path

import numpy as np
import pytest

import prior
from helpers import untrained
from music.attributes import NGram
from paper import near as measurements
from paper.near import AMOUNTS, DIALS, near_song, note_distance, tables

ROOT = Path(__file__).parents[2]


def test_the_distance_of_notes_is_computed_by_hand():
    a, b = np.array([40, 0, 50, 1]), np.array([40, 0, 51, 50])
    assert note_distance(a, a) == 0
    assert note_distance(a, b) == pytest.approx(1 - 2 * 1 / (2 + 3))
    assert note_distance(np.zeros(4, int), np.zeros(4, int)) == 0
    assert note_distance(a, np.zeros(4, int)) == 1


def test_a_window_of_the_song_is_a_copy():
    windows = np.array([[40, 0, 42, 1], [44, 0, 0, 45]])
    labels = np.array([[40, 0, 42, 1], [40, 0, 42, 42], [44, 0, 0, 45], [50, 51, 52, 53]])
    found = near_song(labels, NGram.fit(windows, 90), windows)
    assert found.copies == 0.5
    assert found.nearest == pytest.approx((0 + 1 / 4 + 0 + 1) / 4)
    assert near_song(windows, NGram.fit(windows, 90), windows).cost < found.cost


def test_the_command_measures_every_amount_and_dial(corpus_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 2)
    monkeypatch.setattr(measurements, "SAMPLES", 4)
    untrained("cat-mel_2bar_tiny").save(tmp_path / "tiny.pt")
    out = tmp_path / "near.json"
    measurements.main([str(tmp_path / "tiny.pt"), *corpus_arguments, "--songs", "2", "--out", str(out)])
    found = json.loads(out.read_text())
    assert (found["model"], len(found["songs"]), len(found["seconds"])) == ("tiny", 2, 2)
    assert list(found["vary"]) == [str(amount) for amount in AMOUNTS]
    assert list(found["personalize"]) == [str(dial) for dial in DIALS]
    assert found["own"]["copies"] == 1
    assert tables(found)[1] in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has . test songs of 16 bars, of 9: add songs"):
        measurements.main([str(tmp_path / "tiny.pt"), *corpus_arguments, "--songs", "9", "--out", str(out)])


def test_the_page_has_what_the_command_found():
    found = json.loads((ROOT / "results" / "near.json").read_text())
    page = (ROOT / "docs" / "tools.md").read_text()
    assert [table for table in tables(found) if table not in page] == []
    assert len(found["songs"]) == measurements.SONGS


def test_the_distance_grows_and_the_cost_falls():
    found = json.loads((ROOT / "results" / "near.json").read_text())
    for part in ("steps", "notes"):
        distances = [row[part] for row in found["vary"].values()]
        assert distances == sorted(distances)
    costs = [row["cost"] for row in found["personalize"].values()]
    assert costs == sorted(costs)
    assert costs[0] < found["prior"]["cost"]
    assert max(row["copies"] for row in found["personalize"].values()) < 0.2
    assert max(found["seconds"]) < 20
