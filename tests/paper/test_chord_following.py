"""Shares of notes that follow chords are counted as by hand, and a model is measured under its own and other chords."""

import json

import numpy as np
import pytest

from checkpoint import save_checkpoint
from helpers import made_songs, shrink, untrained
from midi_utils import MelodyConverter, Windows
from model import MusicVAE
from music.chords import chord_class
from paper import chord_following
from paper.chord_following import (
    chord_tones,
    evaluate_chords,
    main,
    measure_all,
    measure_following,
    share_that_follows,
)

PRESET = "cat-mel_2bar_chords_tiny"
C4, E4, F4, A4 = (2 + pitch - 21 for pitch in (60, 64, 65, 69))  # labels


def under(*symbols):
    """Chord classes of a window of four steps."""
    return np.array([chord_class(symbol) for symbol in symbols])


def test_the_tones_of_a_chord_are_its_triad():
    tones = chord_tones()
    assert tones.sum(1).tolist() == [0, *[3] * 48]
    for symbol, wanted in (("C", [0, 4, 7]), ("Am", [0, 4, 9]), ("Eaug", [0, 4, 8]), ("Bdim", [2, 5, 11])):
        assert np.flatnonzero(tones[chord_class(symbol)]).tolist() == wanted


def test_only_notes_that_begin_under_a_chord_count():
    """C and F under C, held notes and rests; A under no chord. The second window has no note under a chord."""
    labels = np.array([[C4, 0, F4, A4], [1, 0, 0, C4]])
    chords = np.stack([under("C", "C", "C", "N.C."), under("C", "C", "C", "N.C.")])
    assert share_that_follows(labels, chords, np.array([0, 1])).mean == 0.5
    one = share_that_follows(np.array([[C4, E4, 1, 0], [F4, A4, C4, 1]]), np.stack([under(*"CCCC")] * 2), np.arange(2))
    assert one.mean == pytest.approx((1 + 1 / 3) / 2)  # windows count alike
    assert share_that_follows(np.zeros((2, 4), int), chords, np.arange(2)) == (0.0, 0.0, 0.0)


def test_following_compares_both_chords_and_the_rhythm():
    labels, window = np.array([[F4, 0, A4, 0]]), np.array([[C4, 0, 0, 1]])
    found = measure_following(labels, under(*"FFFF")[None], under(*"CCCC")[None], np.zeros(1, int), window)
    assert (found.given.mean, found.others.mean) == (1.0, 0.0)
    assert found.rhythm.mean == pytest.approx(2 / 3)
    assert found.old is None
    assert measure_following(labels, under(*"FFFF")[None], under(*"CCCC")[None], np.zeros(1, int)).rhythm is None


def test_each_melody_is_measured_under_the_chords_that_it_was_given(monkeypatch):
    trained = untrained(PRESET)
    songs = made_songs(trained.converter, 8)
    windows = songs.windows(slice(None))
    chords = np.repeat(1 + np.arange(8)[:, None] // 2, 32, 1)  # two windows each of C, C#, D and Eb
    windows = Windows(windows.labels, windows.lengths, chords.astype(np.int8))

    def roots(trained, z, windows, temperature=1.0):
        return np.where(windows.controls > 0, windows.controls - 1 + 12 - 9 + 2, 0)  # label 2 is A

    monkeypatch.setattr(chord_following, "decode_under", roots)
    found = measure_all(trained, windows, songs.song, trained.encode(windows).mu)
    for kind in list(found)[1:]:
        assert found[kind].given.mean == 1.0
        assert found[kind].others.mean == 0.0
    moved = found["songs decoded under other chords"]
    assert moved.old.mean == 0.0
    assert moved.rhythm.mean < 1


def test_notes_that_ignore_new_chords_follow_the_old_ones_and_not_by_chance(monkeypatch):
    """A decoder that plays the root of the chord that a window was encoded with, whatever it is given."""
    trained = untrained(PRESET)
    songs = made_songs(trained.converter, 8)
    windows = songs.windows(slice(None))
    chords = np.repeat(1 + np.arange(8)[:, None] // 2, 32, 1).astype(np.int8)
    windows = Windows(windows.labels, windows.lengths, chords)
    monkeypatch.setattr(chord_following, "decode_under", lambda *_, **__: chords - 1 + 12 - 9 + 2)
    moved = measure_all(trained, windows, songs.song, trained.encode(windows).mu)["songs decoded under other chords"]
    assert (moved.given.mean, moved.others.mean, moved.old.mean) == (0.0, 0.0, 1.0)


def test_a_model_is_measured_and_the_command_writes_it(corpus_arguments, tmp_path, capsys):
    config = shrink(PRESET)
    save_checkpoint(tmp_path / "x.pt", MusicVAE(config.model), config, {"step": 7, "seconds": 90.0, "seed": 3})
    main([str(tmp_path / "x.pt"), *corpus_arguments, "--limit", "12", "--out", str(tmp_path / "x.json")])
    (found,) = json.loads((tmp_path / "x.json").read_text())
    assert (found["name"], found["steps"], found["windows"]) == ("x", 7, 12)
    assert (
        found["following"]["held-out songs"]["given"]["mean"] > found["following"]["held-out songs"]["others"]["mean"]
    )
    assert set(found["reconstruction"]) == {"teacher_forced", "sampled"}
    assert "of the notes follow" in capsys.readouterr().out


def test_other_models_are_refused():
    trained = untrained("cat-mel_2bar_tiny")
    with pytest.raises(ValueError, match="cat-mel_2bar_tiny is no model of melodies that follow chords"):
        evaluate_chords("x", trained, made_songs(MelodyConverter(), 4))
