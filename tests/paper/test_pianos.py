"""Measurements of models of pianos, by the command, on the built-in songs."""

import json

import numpy as np
import pytest

from corpus import load_corpus
from generate import TrainedModel
from helpers import BUILT_IN, shrink
from midi_utils import PianoConverter, evenly, load_songs
from music.piano_measures import frame_f1, note_f1
from paper import pianos
from paper.measured_songs import make_generator
from paper.pianos import measure_labels, read_training
from paper.reconstruction import decode_sampled
from train import train


@pytest.fixture(scope="module")
def measured(corpus_arguments, tmp_path_factory):
    """The folder of a run of twenty steps, and what the command wrote about it."""
    run, config = tmp_path_factory.mktemp("runs") / "piano", shrink("piano_2bar_tiny")
    _, folder, _, manifest = corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=run, steps=20, progress=False, device="cpu")
    out = run.parent / "piano.json"
    pianos.main([str(run), *corpus_arguments, "--limit", "16", "--others", folder, "--out", str(out)])
    (found,) = json.loads(out.read_text())
    return run, found


def test_a_piano_is_measured_from_its_posterior_means(corpus_arguments, measured):
    run, found = measured
    trained, (_, folder, _, manifest) = TrainedModel.load(run), corpus_arguments
    songs = load_corpus(folder, "test", trained.converter, manifest, progress=False)
    windows = songs.windows(evenly(len(songs), 16))
    decoded = decode_sampled(trained, trained.encode(windows).mu, make_generator(trained, 0), temperature=0)
    likely = found["reconstruction"]["most_likely"]
    assert likely["notes"]["mean"] == pytest.approx(note_f1(decoded, windows.labels).mean(), abs=1e-6)
    assert likely["frames"]["mean"] == pytest.approx(frame_f1(decoded, windows.labels).mean(), abs=1e-6)
    elbo = found["reconstruction"]["elbo"]
    nats = elbo["reconstruction"]["mean"] + elbo["kl_bits"]["mean"] * np.log(2)
    assert elbo["nats"]["mean"] == pytest.approx(nats, abs=1e-4)
    assert (found["split"], found["output"], found["steps"]) == ("test", "notes", 20)


def test_a_folder_of_other_songs_has_a_row_of_its_own(measured):
    assert measured[1]["others"]["songs"]["windows"] == 16
    assert 0 <= measured[1]["others"]["songs"]["most_likely"]["frames"]["mean"] <= 1


def test_samples_stand_beside_held_out_windows(measured):
    samples = measured[1]["samples"]
    assert samples.keys() == {"standard normal", "held-out music"}
    real = samples["held-out music"]
    assert 0 < real["onsets"] < real["keys"] < 10
    assert samples["standard normal"]["copies"] == 0


def test_training_windows_are_copies_with_common_chords():
    songs = load_songs(BUILT_IN, PianoConverter(), progress=False)
    training = read_training(songs)
    found = measure_labels(songs.labels[:], training)
    assert found.copies == 1
    assert sum(found.together) == pytest.approx(1, abs=1e-4)
    assert found.common >= 0.9  # the kinds make up 95 % of the chords of the windows that share no bar


def test_a_prior_is_chosen_by_the_held_out_songs(corpus_arguments, measured, monkeypatch):
    monkeypatch.setattr("prior.diffusion.UPDATES", 2)
    monkeypatch.setattr(pianos, "SAMPLES", 16)
    trained, (_, folder, _, manifest) = TrainedModel.load(measured[0]), corpus_arguments
    songs = [load_corpus(folder, s, trained.converter, manifest, progress=False) for s in ("train", "valid")]
    pianos.fit_chosen_piano_prior(trained, *songs)
    assert trained.prior_width in (1.0, 0.8, 0.6)
    z = trained.draw_z(4, make_generator(trained, 0))
    assert decode_sampled(trained, z, make_generator(trained, 0)).shape == (4, 32, 10)


def test_a_model_of_other_music_is_refused(corpus_arguments, tmp_path):
    config, (_, folder, _, manifest) = shrink("cat-mel_2bar_tiny"), corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "mel", steps=1, progress=False, device="cpu")
    with pytest.raises(SystemExit, match="cat-mel_2bar_tiny is no model of pianos: evaluation.py measures it"):
        pianos.main([str(tmp_path / "mel"), *corpus_arguments, "--out", str(tmp_path / "out.json")])
