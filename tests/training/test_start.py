"""The start of a run: first weights of every kind, and checkpoints that belong to another run."""

import shutil
from dataclasses import replace

import pytest
import torch

import engine.precision as precision_module
import training.start as start_module
from checkpoint import BEST, CHECKPOINT, load_checkpoint, read_checkpoint
from helpers import MAGENTA, QUIET, equal_weights, made_songs, needs_bfloat16, shrink
from magenta_checkpoint import load_magenta_checkpoint, load_magenta_training_state
from model import MusicVAE
from train import train
from training.start import start_run


def test_a_checkpoint_without_a_newer_recipe_field_continues(tiny, tmp_path):
    config, songs = tiny
    path = train(config, songs, out_dir=tmp_path, steps=2, **QUIET).checkpoint
    content = read_checkpoint(path)
    for recorded in (content["config"], content["run"]["config"]):
        del recorded["training"]["mixed"]
    torch.save(content, path)
    assert train(config, songs, out_dir=tmp_path, steps=4, **QUIET).history[-1].step == 4


@needs_bfloat16
@pytest.mark.parametrize("began", ["float32", "bfloat16"])
def test_a_run_resumes_in_the_precision_that_it_began_with(tiny, tmp_path, monkeypatch, began):
    """Bit for bit, also where the other precision has become the faster one."""
    config, songs = tiny
    arguments = {"eval_every": 2, **QUIET}
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=4, precision=began, **arguments)
    for steps, faster in ((2, began == "bfloat16"), (4, began == "float32")):
        monkeypatch.setattr(precision_module, "bfloat16_is_faster", lambda device, faster=faster: faster)
        cut = train(config, songs, out_dir=tmp_path / "cut", steps=steps, **arguments)
        assert read_checkpoint(cut.checkpoint)["run"]["precision"] == began
    assert equal_weights(whole.model, cut.model)
    assert whole.history == cut.history


@pytest.mark.parametrize("began", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_a_run_of_an_earlier_version_resumes_bit_for_bit(tiny, tmp_path, monkeypatch, began):
    """It stored no precision, and was in bfloat16 wherever that runs, whichever precision is the faster one."""
    config, songs = tiny
    arguments = {"eval_every": 2, **QUIET}
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=4, precision=began, **arguments)
    path = train(config, songs, out_dir=tmp_path / "cut", steps=2, precision=began, **arguments).checkpoint
    content = read_checkpoint(path)
    assert content["run"].pop("precision") == began
    torch.save(content, path)
    for module in (precision_module, start_module):
        monkeypatch.setattr(module, "supports_bfloat16", lambda device: began == "bfloat16")
    monkeypatch.setattr(precision_module, "bfloat16_is_faster", lambda device: began == "float32")
    cut = train(config, songs, out_dir=tmp_path / "cut", steps=4, **arguments)
    assert equal_weights(whole.model, cut.model)
    assert whole.history == cut.history
    assert read_checkpoint(path)["run"]["precision"] == began


@needs_bfloat16
def test_a_run_goes_on_in_a_precision_that_is_asked_for(tiny, tmp_path):
    config, songs = tiny
    for precision in ("float32", "bfloat16"):
        steps = 1 if precision == "float32" else 2
        path = train(config, songs, out_dir=tmp_path, steps=steps, precision=precision, **QUIET).checkpoint
        assert read_checkpoint(path)["run"]["precision"] == precision


@needs_bfloat16
def test_a_run_in_bfloat16_goes_on_in_float32_where_bfloat16_does_not_run(tiny, tmp_path, monkeypatch):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, precision="bfloat16", **QUIET)
    for module in (precision_module, start_module):
        monkeypatch.setattr(module, "supports_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="trained in bfloat16, which cpu does not run: it goes on in float32"):
        path = train(config, songs, out_dir=tmp_path, steps=2, **QUIET).checkpoint
    assert read_checkpoint(path)["run"]["precision"] == "float32"


def test_a_checkpoint_of_another_run_is_refused(tiny, tmp_path):
    config, songs = tiny
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)
    before = (tmp_path / CHECKPOINT).read_bytes()
    other = shrink("cat-drums_2bar_tiny")
    with pytest.raises(ValueError, match="config differs .name cat-mel_2bar_tiny, asked for cat-drums_2bar_tiny"):
        train(other, made_songs(other.converter), out_dir=tmp_path, **QUIET)
    faster = replace(config, training=replace(config.training, learning_rate=0.5))
    with pytest.raises(ValueError, match="config differs .learning_rate .*, asked for 0.5"):
        train(faster, songs, out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="data differs"):
        train(config, made_songs(config.converter, seed=1), out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="set of held-out songs differs"):
        train(config, songs, made_songs(config.converter, seed=1), out_dir=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="seed differs .0, asked for 5"):
        train(config, songs, out_dir=tmp_path, seed=5, **QUIET)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    train(config, songs, out_dir=tmp_path, seed=5, steps=1, resume=False, **QUIET)


def test_a_run_of_an_earlier_version_takes_any_held_out_songs(tiny, tmp_path):
    config, songs = tiny
    path = train(config, songs, out_dir=tmp_path, steps=1, **QUIET).checkpoint
    content = read_checkpoint(path)
    del content["run"]["held_out"]
    torch.save(content, path)
    assert train(config, songs, songs, out_dir=tmp_path, steps=2, **QUIET).history[-1].valid


def test_weights_without_an_optimizer_are_no_run_to_continue(tiny, tmp_path):
    config, songs = tiny
    path = train(config, songs, songs, out_dir=tmp_path, steps=1, **QUIET).checkpoint
    shutil.copy(path.with_name(BEST), path)
    with pytest.raises(ValueError, match="holds weights alone, as best.pt does: start a new run from them with init_"):
        train(config, songs, songs, out_dir=tmp_path, steps=2, **QUIET)


def test_a_run_starts_from_the_weights_it_is_given(tiny, tmp_path):
    """A model, a checkpoint and the folder of a run give the same run; the given model is not changed."""
    config, songs = tiny
    first = train(config, songs, out_dir=tmp_path / "first", steps=3, **QUIET).model
    before = [value.clone() for value in first.state_dict().values()]
    beginnings = (first, tmp_path / "first", str(tmp_path / "first" / CHECKPOINT))
    runs = [train(config, songs, out_dir=tmp_path / str(k), steps=2, init_from=beginning, **QUIET)
            for k, beginning in enumerate(beginnings)]  # fmt: skip
    assert equal_weights(runs[0].model, runs[1].model)
    assert equal_weights(runs[0].model, runs[2].model)
    assert not equal_weights(runs[0].model, first)
    assert all(map(torch.equal, before, first.state_dict().values()))
    anew = train(config, songs, out_dir=tmp_path / "anew", steps=2, **QUIET)
    assert runs[0].history[-1].train.loss < anew.history[-1].train.loss


def test_a_magenta_checkpoint_is_fine_tuned(magenta_melodies, tmp_path):
    """The run takes the checkpoint's sizes, and its loss falls."""
    config, songs = magenta_melodies
    result = train(config, songs, out_dir=tmp_path, steps=8, eval_every=4, init_from=MAGENTA / "model.ckpt", **QUIET)
    assert result.config.model == result.model.config == load_magenta_checkpoint(MAGENTA / "model.ckpt").config
    assert result.history[-1].train.loss < result.history[0].train.loss
    assert load_checkpoint(tmp_path)[1] == result.config
    assert not result.model.training


def test_a_frozen_encoder_keeps_its_weights(magenta_melodies, tmp_path):
    config, songs = magenta_melodies
    start = load_magenta_checkpoint(MAGENTA / "model.ckpt")
    result = train(config, songs, out_dir=tmp_path, steps=2, init_from=start, freeze_encoder=True, **QUIET)
    assert equal_weights(result.model.encoder, start.encoder)
    assert not equal_weights(result.model.cores, start.cores)
    assert any(parameter.requires_grad for parameter in start.encoder.parameters())


@pytest.mark.parametrize("kind", ["weights", "state"])
def test_a_fine_tuned_run_resumes_bit_for_bit(magenta_melodies, tmp_path, kind):
    """With dropout, scheduled sampling and a frozen encoder, from weights and from the state of a Magenta run."""
    config, songs = magenta_melodies
    config = replace(config, model=replace(config.model, dropout_keep_prob=0.5))
    start = MAGENTA / "model.ckpt" if kind == "weights" else load_magenta_training_state(MAGENTA / "train_ckpt")
    steps = (2, 4, 6) if kind == "weights" else (1004, 1006, 1008)
    arguments = {"init_from": start, "freeze_encoder": True, "eval_every": 2, **QUIET}
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=steps[-1], **arguments)
    train(config, songs, out_dir=tmp_path / "cut", steps=steps[0], **arguments)
    torch.rand(5)
    resumed = train(config, songs, out_dir=tmp_path / "cut", steps=steps[-1], **arguments)
    assert equal_weights(whole.model, resumed.model)
    assert [row.step for row in whole.history] == list(steps)
    assert whole.history == resumed.history


def test_a_run_with_other_first_weights_is_refused(tiny, tmp_path):
    config, songs = tiny
    a, b = (MusicVAE(config.model) for _ in range(2))
    train(config, songs, out_dir=tmp_path, steps=1, init_from=a, **QUIET)
    for other in ({"init_from": b}, {}, {"init_from": a, "freeze_encoder": True}):
        with pytest.raises(ValueError, match="a run whose start \\(init_from, freeze_encoder\\) differs"):
            train(config, songs, out_dir=tmp_path, steps=2, **other, **QUIET)
    assert train(config, songs, out_dir=tmp_path, steps=2, init_from=a, **QUIET).history[-1].step == 2


def test_first_weights_end_the_curriculum(tmp_path):
    config = shrink("hier-mel_16bar_tiny", bars=2, steps=4, curriculum=3)
    songs, start = made_songs(config.converter), MusicVAE(config.model)
    result = train(config, songs, out_dir=tmp_path, init_from=start, **QUIET)
    assert result.config.training.curriculum == 0
    again = train(config, songs, out_dir=tmp_path, steps=5, init_from=start, **QUIET)
    assert [row.step for row in again.history] == [4, 5]


def test_a_run_takes_over_the_segments_and_upper_layers_of_its_first_weights(tmp_path):
    config = shrink("hier-drums_16bar_mini", bars=4, steps=2, curriculum=0)
    other = MusicVAE(replace(config.model, segments=2, encoder_segments=2, upper="dense"))
    result = train(config, made_songs(config.converter), out_dir=tmp_path, init_from=other, **QUIET)
    assert result.model.config == other.config
    flat = MusicVAE(replace(config.model, segments=1))
    with pytest.raises(ValueError, match="another kind: segments 1, asked for 4"):
        train(config, made_songs(config.converter), out_dir=tmp_path / "flat", init_from=flat, **QUIET)


def test_adam_takes_beta2_from_the_recipe(tiny, tmp_path):
    config, songs = tiny
    config = replace(config, training=replace(config.training, beta2=0.0))
    train(config, songs, out_dir=tmp_path, steps=2, **QUIET)
    run, _ = start_run(config, songs, None, None, False, tmp_path / CHECKPOINT, True, torch.device("cpu"), 0)
    assert run.optimizer.beta2 == 0.0


def test_weights_of_another_preset_are_refused(tiny, tmp_path):
    config, songs = tiny
    with pytest.raises(ValueError, match="init_from is a model of another kind: steps 256, asked for 32"):
        train(config, songs, out_dir=tmp_path, init_from=MusicVAE(shrink("hierdec-mel_16bar_tiny").model), **QUIET)
    with pytest.raises(ValueError, match="not a checkpoint of cat-mel_2bar_tiny: .*missing"):
        train(config, songs, out_dir=tmp_path, init_from=MAGENTA.parent / "hier-mel_16bar" / "model.ckpt", **QUIET)
    with pytest.raises(ValueError, match="no checkpoint at .*nowhere"):
        train(config, songs, out_dir=tmp_path, init_from=tmp_path / "nowhere", **QUIET)
    with pytest.raises(ValueError, match="init_from must be a path, a MusicVAE or a TrainingState, got int"):
        train(config, songs, out_dir=tmp_path, init_from=3, **QUIET)
    assert not list(tmp_path.iterdir())
