"""Readings of the sources of a corpus, and what docs/speed.md says of them."""

import json

from benchmarks import folders
from benchmarks.growth import write_songs
from benchmarks.page import PAGE

TEXT = " ".join(PAGE.read_text().split())


def test_the_sources_are_read_without_the_newer_ones_and_then_all(tmp_path, monkeypatch, capsys):
    stored = tmp_path / "folders.json"
    monkeypatch.setattr(folders, "results_path", lambda name: stored)
    monkeypatch.setattr(folders, "ROUNDS", 1)
    for source, songs in (("one", 5), ("two", 12), ("lieder", 20)):
        (tmp_path / "data" / source).mkdir(parents=True)
        write_songs(tmp_path / "data" / source, songs)
    folders.main([str(tmp_path / "data")])
    older, every = json.loads(stored.read_text())["readings"]
    assert (older["sources"], older["files"], older["windows"]) == (2, 17, 12)  # songs of equal names are equal
    assert (every["sources"], every["files"], every["windows"]) == (3, 37, 20)
    assert min(every["seconds"], older["seconds"]) > 0
    assert "| 3       |    37 |      20 |" in capsys.readouterr().out


def test_a_row_has_the_median_of_each_column():
    readings = [folders.Reading(2, 3, 4, seconds, memory) for seconds, memory in ((5.0, 1), (1.0, 9), (2.0, 7))]
    assert folders.medians(readings) == folders.Reading(2, 3, 4, 2.0, 7)


def test_the_page_compares_both_readings():
    older, every = folders.load_folders()["readings"]
    assert (older.files, every.files) == (4_373, 7_112)
    change = every.seconds / every.files / (older.seconds / older.files)
    assert f"On average, a file of all sources takes {change:.2f} times as long as one of the older sources" in TEXT
