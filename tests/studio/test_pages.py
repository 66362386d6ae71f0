"""The command that writes the pages of a model."""

import json
import re
import shutil
from functools import partial

import pytest
import torch

from corpus import load_corpus
from generate import TrainedModel
from helpers import BUILT_IN, shrink
from midi_utils import midi_files
from model import MusicVAE
from studio.pages import GUESSES, main

NAMES = ["blind.html", "gallery.html", "space.html"]


def save(folder):
    """A model of random weights as a file."""
    torch.manual_seed(0)
    config = shrink("cat-mel_2bar_tiny")
    TrainedModel(MusicVAE(config.model), config).save(folder / "tunes.pt")
    return str(folder / "tunes.pt")


@pytest.fixture
def few_songs(tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for song in sorted(midi_files(BUILT_IN))[:3]:
        shutil.copy(song, folder)
    return ["--songs", str(folder)]


def data(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)[1])


def test_the_command_writes_three_pages_of_a_model(tmp_path, few_songs, capsys):
    main([save(tmp_path), "--to", str(tmp_path / "new" / "pages"), "--count", "3", *few_songs])
    folder = tmp_path / "new" / "pages"
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    printed = capsys.readouterr().out
    assert [name for name in NAMES if name not in printed] == []
    gallery, blind = data(folder / "gallery.html"), data(folder / "blind.html")
    assert [piece["name"] for piece in gallery["pieces"]] == ["tunes 1", "tunes 2", "tunes 3"]
    assert all(piece["nearest"]["name"].endswith(".mid") for piece in gallery["pieces"])
    assert {len(piece["bars"]) for piece in gallery["pieces"] + blind["pieces"]} == {2}
    assert sum(not piece["real"] for piece in blind["pieces"]) == GUESSES
    assert sum(piece["real"] for piece in blind["pieces"]) == 3  # one of each song


def test_one_seed_gives_one_gallery(tmp_path, few_songs):
    model = save(tmp_path)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main([model, "--to", str(tmp_path / name), "--count", "1", "--seed", seed, *few_songs])
    a, b, c = (data(tmp_path / name / "gallery.html")["pieces"][0]["midi"] for name in "abc")
    assert a == b
    assert a != c


def test_the_nearest_songs_of_a_corpus_are_training_songs(tmp_path, few_songs, corpus_arguments, monkeypatch):
    monkeypatch.setattr("studio.pages.load_corpus", partial(load_corpus, manifest=corpus_arguments[3]))
    arguments = ["--to", str(tmp_path), "--count", "2", "--corpus", corpus_arguments[1], *few_songs]
    main([save(tmp_path), *arguments])
    names = {piece["nearest"]["name"] for piece in data(tmp_path / "gallery.html")["pieces"]}
    assert names <= {song.name for song in sorted(midi_files(BUILT_IN))[:6]}
    assert "of 6 songs" in data(tmp_path / "gallery.html")["compared"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.pt", "--to", "pages"], "no.pt"),
        (["MODEL", "--to", "pages", "--songs", "none"], "none"),
        (["MODEL", "--to", "pages", "--count", "0"], "count must be a whole number of at least 1"),
        (["MODEL", "--to", "pages", "--temperature", "-1"], "temperature must be 0"),
        (["MODEL", "--to", "pages", "--qpm", "0"], "qpm is"),
        (["MODEL", "--to", "MODEL"], "cannot be written"),
        (["MODEL", "--to", "pages", "--clips", "a.mid", "b.mid", "c.mid", "d.mid"], "a.mid"),
    ],
)
def test_wrong_arguments_end_in_a_line(tmp_path, monkeypatch, few_songs, arguments, words):
    monkeypatch.chdir(tmp_path)
    model = save(tmp_path)
    given = [model if argument == "MODEL" else argument for argument in arguments]
    with pytest.raises(SystemExit, match=f"^error: .*{words}"):
        main([*given, *(few_songs if "--songs" not in given else [])])
