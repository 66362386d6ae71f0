"""python generate.py page: the pages of a model."""

import json
import re
import shutil
from functools import partial

import pytest
import torch
from pretty_midi import TimeSignature

from corpus import load_corpus
from generate import TrainedModel, main
from helpers import BUILT_IN, shrink
from midi_utils import midi_files
from model import MusicVAE
from studio.command import parse_arguments
from studio.pages import GUESSES
from studio.tools import PAGE

NAMES = ["blind.html", "gallery.html", "space.html"]


def save(folder):
    """The path of a model of random weights."""
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


def write(model, folder, *words):
    main(["page", "--model", model, "--out", str(folder), *words])


def data(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)[1])


def test_the_command_writes_three_pages_of_a_model(tmp_path, few_songs, capsys):
    folder = tmp_path / "new" / "pages"
    write(save(tmp_path), folder, "--count", "3", *few_songs)
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert sorted(capsys.readouterr().out.splitlines()) == [str(folder / name) for name in NAMES]
    gallery, blind = data(folder / "gallery.html"), data(folder / "blind.html")
    assert [piece["name"] for piece in gallery["pieces"]] == ["tunes 1", "tunes 2", "tunes 3"]
    assert all(piece["nearest"]["name"].endswith(".mid") for piece in gallery["pieces"])
    assert {len(piece["bars"]) for piece in gallery["pieces"] + blind["pieces"]} == {2}
    assert sum(not piece["real"] for piece in blind["pieces"]) == GUESSES
    assert sum(piece["real"] for piece in blind["pieces"]) == 3  # one of each song


def test_one_seed_gives_one_gallery(tmp_path, few_songs):
    model = save(tmp_path)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2"), ("d", str(2**63 - 1))):
        write(model, tmp_path / name, "--count", "1", "--seed", seed, *few_songs)
    a, b, c, d = (data(tmp_path / name / "gallery.html")["pieces"][0]["midi"] for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_the_nearest_songs_of_a_corpus_are_training_songs(tmp_path, few_songs, corpus_arguments, monkeypatch):
    monkeypatch.setattr("studio.pages.load_corpus", partial(load_corpus, manifest=corpus_arguments[3]))
    write(save(tmp_path), tmp_path, "--count", "2", "--corpus", corpus_arguments[1], *few_songs)
    names = {piece["nearest"]["name"] for piece in data(tmp_path / "gallery.html")["pieces"]}
    assert names <= {song.name for song in sorted(midi_files(BUILT_IN))[:6]}
    assert "of 6 songs" in data(tmp_path / "gallery.html")["compared"]


def test_the_options_of_a_model_are_those_of_every_tool(tmp_path, few_songs, monkeypatch):
    monkeypatch.setattr("studio.command.PRETRAINED", tmp_path)
    save(tmp_path)
    write("tunes", tmp_path / "pages", "--config", "cat-mel_2bar_tiny", "--tempo", "60", "--count", "1", *few_songs)
    assert data(tmp_path / "pages" / "gallery.html")["pieces"][0]["ms"] == 8000  # two bars
    with pytest.raises(SystemExit, match="error: .*is a model of cat-mel_2bar_tiny, not of cat-drums_2bar_tiny"):
        write("tunes", tmp_path / "pages", "--config", "cat-drums_2bar_tiny", *few_songs)


def test_the_clips_are_the_corners_of_the_space(tmp_path, few_songs):
    model = save(tmp_path)
    for name, midi in zip("abcd", TrainedModel.load(model).sample(8, temperature=0.5, seed=1)[::2], strict=True):
        midi.write(str(tmp_path / f"{name}.mid"))
    clips = [str(tmp_path / f"{name}.mid") for name in "abcd"]
    write(model, tmp_path / "pages", "--count", "1", "--clips", *clips, *few_songs)
    assert data(tmp_path / "pages" / "space.html")["corners"] == list("abcd")


def test_the_corners_of_the_space_have_any_length_and_the_tempo_of_the_first(tmp_path, few_songs, capsys):
    model, loop = save(tmp_path), tmp_path / "loop.mid"
    midi = TrainedModel.load(model).sample_clips(1, 5, temperature=0.5, seed=1, qpm=60)[0]
    midi.write(str(loop))
    midi.time_signature_changes.append(TimeSignature(3, 4, 16.0))  # after the bars that are taken
    midi.write(str(loop))
    write(model, tmp_path / "pages", "--count", "1", "--clips", *[str(loop)] * 4, *few_songs)
    assert data(tmp_path / "pages" / "gallery.html")["pieces"][0]["ms"] == 8000  # two bars
    (tmp_path / "none.mid").write_bytes(b"")
    with pytest.raises(SystemExit, match="none.mid: the file is empty"):
        write(model, tmp_path / "other", "--count", "1", "--clips", *[str(loop)] * 3, str(tmp_path / "none.mid"))
    assert not list((tmp_path / "other").glob("*.html"))


def test_songs_that_give_no_page_are_reported(tmp_path, few_songs, capsys):
    (tmp_path / "songs" / "none.mid").write_bytes(b"")
    write(save(tmp_path), tmp_path / "pages", "--count", "1", *few_songs)
    assert "the file is empty: 1 song: none.mid" in capsys.readouterr().err


def test_help_shows_the_example_of_the_page(capsys):
    for words in (["--help"], ["page", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        assert f"python generate.py page {PAGE.example}" in " ".join(capsys.readouterr().out.split())
    assert parse_arguments(["page", *PAGE.example.split()]).out == "generated/pages"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "no.pt"], "no.pt"),
        (["--songs", "none"], "none"),
        (["--count", "0"], "count must be a whole number of at least 1"),
        (["--temperature", "-1"], "temperature must be 0"),
        (["--tempo", "0"], "qpm is"),
        (["--out", "tunes.pt"], "tunes.pt is a file: give a folder"),
        (["--clips", "a.mid", "b.mid", "c.mid", "d.mid"], "a.mid"),
    ],
)
def test_wrong_arguments_end_in_a_line(tmp_path, monkeypatch, few_songs, arguments, words):
    monkeypatch.chdir(tmp_path)
    save(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: .*{words}"):
        write("tunes.pt", "pages", *few_songs, *arguments)
