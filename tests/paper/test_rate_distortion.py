"""The command measures the runs of a front and keeps the points of other runs."""

import json

import numpy as np
import pytest

import prior
from corpus import load_corpus
from generate import TrainedModel
from helpers import shrink
from midi_utils import evenly
from paper import rate_distortion
from paper.measured_songs import make_generator
from paper.rate_distortion import FRONTS
from paper.recipes import STAGES
from paper.reconstruction import decode_sampled, decode_teacher_forced
from train import train


@pytest.fixture
def run(corpus_arguments, tmp_path, monkeypatch):
    """The folder of the runs, of which one exists."""
    monkeypatch.setattr(prior.diffusion, "UPDATES", 2)
    config, (_, folder, _, manifest) = shrink("cat-mel_2bar_tiny", max_beta=0.3), corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "mel_2bar_low", steps=20, progress=False, device="cpu")
    return tmp_path / "mel_2bar_low"


def test_a_point_has_the_rate_the_distortion_and_the_accuracies_of_its_run(corpus_arguments, run):
    out = run.parent / "points.json"
    earlier = {"name": "mel_2bar", "kl_bits": 139.0, "nats": 99.0}
    out.write_text(json.dumps([{"name": "of no front"}, earlier]))
    arguments = ["--runs", str(run.parent), "--out", str(out), "--limit", "16"]
    rate_distortion.main([*corpus_arguments, *arguments])
    kept, point = json.loads(out.read_text())
    assert kept == earlier
    assert (point["name"], point["family"], point["beta"]) == ("mel_2bar_low", "mel_2bar", 0.3)
    assert point["nats"] == pytest.approx(point["reconstruction"] + point["kl_bits"] * np.log(2), abs=1e-4)
    trained, (_, folder, _, manifest) = TrainedModel.load(run), corpus_arguments
    songs = load_corpus(folder, "valid", trained.converter, manifest, progress=False)
    windows, generator = songs.windows(evenly(len(songs), 16)), make_generator(trained, 0)
    z = trained.encode(windows, generator).z
    labels, nats = decode_teacher_forced(trained, windows, z)
    assert point["reconstruction"] == pytest.approx(nats.mean(), abs=1e-4)
    assert point["teacher_forced"]["all"] == pytest.approx((labels == windows.labels).mean(), abs=1e-6)
    drawn = decode_sampled(trained, z, generator)
    assert point["sampled"]["all"] == pytest.approx((drawn == windows.labels).mean(), abs=1e-6)
    assert point["prior"].split(" width ")[0] in (*prior.FITS, "standard normal")
    assert min(point[f"cost_{name}"] for name in ("standard_normal", "prior", "held_out")) > 0


def test_the_command_names_the_runs_that_it_looks_for(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match=f"{tmp_path} holds no run of mel_2bar, mel_2bar_second"):
        rate_distortion.main([*corpus_arguments, "--runs", str(tmp_path), "--out", str(tmp_path / "points.json")])


def test_a_file_of_something_else_is_not_replaced(corpus_arguments, run):
    out = run.parent / "points.json"
    out.write_text('[{"preset": "cat-mel_2bar_tiny"}]')
    with pytest.raises(SystemExit, match=f"{out} holds no points of this command"):
        rate_distortion.main([*corpus_arguments, "--runs", str(run.parent), "--out", str(out)])
    assert out.read_text() == '[{"preset": "cat-mel_2bar_tiny"}]'


@pytest.mark.parametrize("family", FRONTS)
def test_the_stages_of_a_front_have_one_preset_and_all_songs(family):
    stages = [STAGES[name] for name in FRONTS[family]]
    assert len({stage.preset for stage in stages}) == 1
    assert not any(stage.without_sources for stage in stages)
