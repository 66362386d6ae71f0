"""Measurements of models of grooves, by the command and by hand, on the built-in songs."""

import json

import numpy as np
import pytest

from corpus import load_corpus
from generate import TrainedModel
from helpers import shrink
from midi_utils import Windows
from music.labels import DRUM_CLASSES
from paper import grooves
from paper.grooves import baseline_grooves, fit_baseline, grooves_of, measure_errors
from paper.json_results import to_json
from train import train

HUMANIZE, TAP = "groovae_2bar_humanize_mini", "groovae_2bar_tap_fixed_velocity_mini"


@pytest.fixture(scope="module")
def measured(corpus_arguments, tmp_path_factory):
    """The folders of two runs of five steps, and what the command wrote about them."""
    folder, runs = tmp_path_factory.mktemp("runs"), []
    for preset in (HUMANIZE, TAP):
        config = shrink(preset)
        songs = load_corpus(corpus_arguments[1], "train", config.converter, corpus_arguments[3], progress=False)
        train(config, songs, out_dir=folder / preset, steps=5, progress=False, device="cpu")
        runs.append(folder / preset)
    grooves.main([*map(str, runs), *corpus_arguments, "--out", str(folder / "grooves.json")])
    return runs, json.loads((folder / "grooves.json").read_text())


def test_grooves_are_measured_as_the_tools_play_them(corpus_arguments, measured):
    _, folder, _, manifest = corpus_arguments
    for run, found in zip(*measured, strict=True):
        trained = TrainedModel.load(run)
        songs = load_corpus(folder, "test", trained.config.converter, manifest, progress=False)
        windows = songs.windows(np.arange(len(songs)))
        errors = measure_errors(grooves_of(trained, windows), windows.labels, songs.song[:])
        assert found["model"] == json.loads(to_json(errors))
        assert (found["split"], found["steps"], found["windows"]) == ("test", 5, len(songs))


def test_drummers_are_read_with_the_drum_map_of_the_preset(corpus_arguments, measured, monkeypatch):
    """A model's own converter reads General MIDI, and a drummer's recordings have Roland's pitches."""
    asked = []
    monkeypatch.setattr(grooves, "load_splits", lambda options, converter, *rest: asked.append(converter) or [])
    monkeypatch.setattr(grooves, "evaluate_groove", lambda *arguments, **facts: None)
    grooves.measure_checkpoint(measured[0][0], grooves.parse_arguments(["x", *corpus_arguments, "--out", "y"]))
    assert [converter.kit for converter in asked] == ["roland"]


def test_humanizing_keeps_the_hits_and_knows_no_velocity(corpus_arguments, measured):
    assert measured[1][0]["model"]["hits"]["mean"] == 1
    _, folder, _, manifest = corpus_arguments
    trained = TrainedModel.load(measured[0][0])
    songs = load_corpus(folder, "test", trained.config.converter, manifest, progress=False)
    windows, known = songs.windows([0]), np.repeat((1, 0, 0), DRUM_CLASSES)
    stiff = windows._replace(labels=windows.labels * known.astype(np.float32))
    assert np.array_equal(grooves_of(trained, windows), grooves_of(trained, stiff))


def test_the_baseline_has_the_averages_of_each_class():
    labels = np.zeros((2, 16, 3, DRUM_CLASSES), np.float32)
    labels[:, 0, :, 0] = [[1, 0.5, 0.2], [1, 0.7, 0.4]]
    labels[1, 4, :, 1] = [1, 0.3, -0.2]
    labels[1, 0, :, 2] = [1, 0.9, 0.0]
    baseline = fit_baseline(labels.reshape(2, 16, -1))
    assert baseline.feel[:, :3] == pytest.approx(np.array([[0.6, 0.3, 0.9], [0.3, -0.2, 0.0]]))
    assert np.flatnonzero(baseline.hits[0]).tolist() == [0, 2]  # each in at least half of the played steps
    taps = Windows(labels.reshape(2, 16, -1)[:1], np.array([16]), None)
    played = baseline_grooves(baseline, taps, humanize=False).reshape(16, 3, -1)
    assert played[0, 0].nonzero()[0].tolist() == [0, 2]
    assert not played[1:].any()
    assert played[0, 1, 2] == pytest.approx(0.9)


def test_errors_are_of_the_hits_that_both_have():
    wanted, found = np.zeros((2, 2, 4, 3, DRUM_CLASSES), np.float32)
    wanted[:, 0, :, 0] = [1, 1.0, 0.0]
    found[0, 0, :, 0] = [1, 0.5, 0.4]
    found[1, 1, :, 0] = [1, 0.5, 0.0]
    flat = (labels.reshape(2, 4, -1) for labels in (found, wanted))
    hits, velocity, offset = measure_errors(*flat, np.arange(2))
    assert hits.mean == 0.5
    assert velocity.mean == pytest.approx(63.5)
    assert offset.mean == pytest.approx(20)


def test_a_model_of_other_music_is_refused(tiny, tmp_path, corpus_arguments):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, progress=False, device="cpu")
    with pytest.raises(SystemExit, match="cat-mel_2bar_tiny neither humanizes drums nor plays to taps"):
        grooves.main([str(tmp_path), *corpus_arguments, "--out", str(tmp_path / "out.json")])
