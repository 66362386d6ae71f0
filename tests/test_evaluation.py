"""The measurements give values worked out by hand, and a whole evaluation of small models is consistent."""

import json
import math

import numpy as np
import pytest
import torch

from checkpoint import save_checkpoint
from configs import with_converter
from corpus import Entry, file_sha1, load_corpus, write_manifest
from evaluation import evaluate, main
from generate import TrainedModel
from helpers import BUILT_IN, made_songs, shrink
from midi_utils import (
    GrooveConverter,
    MelodyConverter,
    SongDataset,
    SongReport,
    midi_files,
)
from model import MusicVAE
from paper import interpolation
from paper.interpolation import pairs_of_songs
from paper.json_results import to_json, to_plain
from paper.measured_songs import read_training_set, windows_on_grid
from paper.other_sources import measure_other_source
from train import fingerprint, train


def test_a_whole_evaluation_is_reproducible_and_consistent(trained):
    songs, held_out = (made_songs(trained.converter, 16, seed=k) for k in range(2))
    found = evaluate(trained, songs, held_out)
    assert to_json(found) == to_json(evaluate(trained, songs, held_out))
    assert json.loads(to_json(found)) == to_plain(found)
    assert found.reconstruction != evaluate(trained, songs, held_out, seed=1).reconstruction
    assert found.windows == 16
    assert found.ngram == f"5-grams of the disjoint ones of 16 windows, {fingerprint(songs)[:12]}"
    assert found.ngram != evaluate(trained, held_out, held_out).ngram
    assert found.elbo.nats.mean == pytest.approx(
        found.elbo.reconstruction.mean + found.elbo.kl_bits.mean * math.log(2), rel=1e-5
    )
    for part, interval in found.reconstruction.sampled.parts.items():
        assert 0 <= interval.low <= interval.mean <= interval.high <= 1
        assert np.mean(found.reconstruction.sampled.by_step[part]) == pytest.approx(interval.mean, abs=1e-4)
    ends = found.interpolation
    assert ends.mixed_to_start[0] == ends.mixed_to_end[-1] == 0
    assert np.diff(ends.mixed_to_start).min() >= 0
    assert (found.attributes is None) == ("drums_" in found.preset)


def test_the_bars_of_a_waltz_are_compared_with_each_other():
    config = with_converter(shrink("cat-mel_2bar_tiny"), time_signature=(3, 4))
    trained = TrainedModel(MusicVAE(config.model), config)
    songs = made_songs(trained.converter, 16)
    songs.labels[:, 12:] = songs.labels[:, :12]
    found = evaluate(trained, songs, songs)
    assert found.samples.statistics["repetition at 1 bars"].data == 1
    assert found.priors["held-out music"].repetition == 1


def with_off_grid(songs, *names):
    """A set whose report names these songs as off the grid."""
    report = SongReport("made", songs.converter, 6, 6, len(songs), 0, (), (), (), (), (), ())
    songs.report = report._replace(off_grid=tuple((name, "31 %") for name in names))
    return songs


def test_songs_off_the_grid_are_left_out():
    songs = with_off_grid(made_songs(MelodyConverter(), 24, songs=6), "song_1.mid", "song_4.mid", "song_9.mid")
    assert windows_on_grid(songs).tolist() == [k for k in range(24) if k % 6 not in (1, 4)]


def test_another_source_is_measured_as_a_test_set_of_its_songs_on_the_grid_is(trained):
    songs, held_out = (made_songs(trained.converter, 16, seed=k) for k in range(2))
    other = with_off_grid(made_songs(trained.converter, 18, seed=2), "song_0.mid", "song_3.mid")
    kept = np.flatnonzero(other.song % 3 != 0)
    on_grid = SongDataset(other.windows(kept), other.song[kept], other.names, other.converter, None)
    sources = {"other_sources": {"game": other}, "without_sources": ["tunes", "game"]}
    found, alone = evaluate(trained, songs, held_out, **sources), evaluate(trained, songs, on_grid)
    row = found.other_sources["game"]
    assert (row.songs, row.off_grid, row.windows) == (alone.songs, 2, alone.windows) == (4, 2, 12)
    assert row.reconstruction == alone.reconstruction
    assert row.elbo == alone.elbo
    assert row.majority == alone.majority
    assert found.without_sources == ["game", "tunes"]
    assert json.loads(to_json(found))["other_sources"]["game"]["majority"] == pytest.approx(row.majority, abs=1e-6)
    plain = evaluate(trained, songs, held_out)
    assert (plain.other_sources, plain.without_sources) == ({}, [])
    assert to_json(found._replace(other_sources={}, without_sources=[])) == to_json(plain)
    limited = measure_other_source(trained, other, read_training_set(trained, songs), limit=8)
    assert limited.windows == 8
    with pytest.raises(ValueError, match="all songs with windows lie off the grid"):
        evaluate(trained, songs, held_out, other_sources={"game": with_off_grid(other, *other.names)})
    wrong = made_songs(GrooveConverter(), 4)
    with pytest.raises(ValueError, match="other_sources.*must be windows of"):
        evaluate(trained, songs, held_out, other_sources={"game": wrong})


def test_a_trained_model_measures_better_than_an_untrained_one(tmp_path):
    """It reconstructs better, its -ELBO is lower, and its samples are closer to the training songs."""
    config = shrink("cat-mel_2bar_tiny", transpose_range=(0, 0))
    songs = made_songs(config.converter, 64)
    result = train(config, songs, out_dir=tmp_path, steps=150, progress=False, device="cpu")
    torch.manual_seed(0)
    found, fresh = (
        evaluate(TrainedModel(model, config), songs, songs) for model in (result.model, MusicVAE(config.model))
    )
    assert found.reconstruction.sampled.parts["all"].mean > fresh.reconstruction.sampled.parts["all"].mean + 0.2
    assert found.elbo.nats.mean < fresh.elbo.nats.mean / 2
    assert found.samples.nearest.samples < fresh.samples.nearest.samples - 0.2
    assert found.samples.copies.data == 1.0
    cost = found.samples.statistics["n-gram cost, nats per step"]
    assert cost.data < cost.samples < fresh.samples.statistics["n-gram cost, nats per step"].samples


def test_a_limit_applies_to_windows_pairs_and_samples(trained, monkeypatch):
    counts = []

    def recorded(function):
        return lambda *arguments, **options: counts.append(arguments[1]) or function(*arguments, **options)

    monkeypatch.setattr(TrainedModel, "draw_z", recorded(TrainedModel.draw_z))
    monkeypatch.setattr(interpolation, "pairs_of_songs", recorded(pairs_of_songs))
    songs = made_songs(trained.converter, 40)
    assert evaluate(trained, songs, songs, limit=12).windows == 12
    assert len(counts) > 1
    assert set(counts) == {12}


@pytest.mark.parametrize(
    "name", ["groovae_2bar_humanize_tiny", "hier-multiperf_vel_1bar_tiny", "cat-mel_2bar_chords_tiny"]
)
def test_models_of_other_music_are_refused(name):
    config = shrink(name)
    songs = made_songs(config.converter)
    with pytest.raises(ValueError, match=f"{name} cannot be measured"):
        evaluate(TrainedModel(MusicVAE(config.model), config), songs, songs)


def test_the_command_writes_the_same_file_twice(corpus_arguments, tmp_path, capsys):
    config = shrink("cat-mel_2bar_tiny")
    save_checkpoint(tmp_path / "x.pt", MusicVAE(config.model), config, {"step": 7, "seconds": 90.0, "seed": 3})
    for name in "ab":
        main(
            [
                "--checkpoint",
                str(tmp_path / "x.pt"),
                *corpus_arguments,
                "--limit",
                "20",
                "--out",
                str(tmp_path / name / "x.json"),
            ]
        )
    texts = [(tmp_path / name / "x.json").read_text() for name in "ab"]
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert (found["steps"], found["minutes"], found["seed"], found["split"]) == (7, 1.5, 3, "test")
    assert "sampled" in capsys.readouterr().out


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A corpus of two sources, and a run that was trained without one of them."""
    folder, config = tmp_path_factory.mktemp("sources"), shrink("cat-mel_2bar_tiny")
    entries = []
    for k, song in enumerate(sorted(midi_files(BUILT_IN))[:16]):
        path = folder / "songs" / ("tunes", "game")[k // 8] / song.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(song.read_bytes())
        name, split = path.relative_to(folder / "songs").as_posix(), ("train", "train", "valid", "test")[k % 4]
        entries.append(Entry(name, file_sha1(path), split, name))
    write_manifest(folder / "corpus.csv", entries)
    place = ["--data", str(folder / "songs"), "--manifest", str(folder / "corpus.csv")]
    songs = load_corpus(place[1], "train", config.converter, place[3], progress=False, without=["game"])
    train(config, songs, out_dir=folder / "run", steps=2, progress=False, device="cpu")
    return ["--checkpoint", str(folder / "run"), *place, "--limit", "20"]


def test_the_command_measures_sources_that_were_left_out(sources, tmp_path, capsys, recwarn):
    main([*sources, "--other-sources", "game", "--out", str(tmp_path / "x.json")])
    found = json.loads((tmp_path / "x.json").read_text())
    game = found["other_sources"]["game"]
    assert found["without_sources"] == ["game"]
    assert set(found["groups"]) == {"new", "tunes"}
    assert set(game["reconstruction"]["sampled"]["by_group"]) == {"new", "game"}
    assert 0 < game["songs"] <= 6  # of its eight, those of the train and valid splits
    assert "game, not trained on: 20 windows of" in capsys.readouterr().out
    assert not [w for w in recwarn if "trained on other windows" in str(w.message)]


def test_the_command_checks_its_limit_before_it_reads_songs(sources):
    with pytest.raises(SystemExit, match="--limit must be a whole number of at least 1, got 0"):
        main([*sources, "--data", "nowhere", "--limit", "0"])


def test_the_command_warns_of_a_model_that_was_trained_on_other_songs(sources):
    with pytest.warns(UserWarning, match="the model was trained on other windows than those of the train split here"):
        main([*sources, "--other-sources", "tunes"])
    with pytest.raises(SystemExit, match="the manifest has no source 'gam'; it has game, tunes"):
        main([*sources, "--other-sources", "gam"])


def test_the_command_names_a_missing_checkpoint(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match="no checkpoint at"):
        main(["--checkpoint", str(tmp_path / "none.pt"), *corpus_arguments])


def test_the_command_names_a_file_that_cannot_be_written_before_it_measures(corpus_arguments, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="cannot be written"):
        main(["--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path / "file" / "x.json"), *corpus_arguments])
