"""Loading Magenta's models: presets, sizes and refusals; test_parity.py compares the numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import magenta_checkpoint
from configs import CONFIGS
from helpers import PARITY
from magenta_checkpoint import (
    Format,
    export_magenta_js,
    is_magenta_checkpoint,
    load_magenta_checkpoint,
    load_magenta_model,
    load_magenta_training_state,
)
from magenta_formats.tensorflow import read_variables
from magenta_formats.variables import tensorflow_variables
from model import MusicVAE

PLACE = PARITY[0]
FIXTURE = PLACE / "cat-mel_2bar_small"


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_sizes_come_from_the_checkpoint():
    config = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small").config
    assert (config.z_size, config.enc_rnn_size, config.dec_rnn_size) == (16, (48,), (40, 40))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("flat-mel_16bar", None),  # the same variables: the length is not in them
        ("hierdec-mel_16bar", r"missing core_decoder/decoder/"),
        ("cat-drums_2bar_small", r"lstm_cell/kernel should be \[58, 192\], but is \[138, 192\]"),
        ("hier-mel_16bar", r"missing encoder/hierarchical_level_0/.*unexpected encoder/cell_0/"),
        ("nade-drums_2bar_full", r"missing decoder/nade/w_enc \[61, 1, 128\]"),
        ("cat-mel_2bar_big", None),
    ],
)
def test_a_checkpoint_with_the_variables_of_another_preset_is_refused(other, message):
    if message is None:
        assert load_magenta_checkpoint(FIXTURE / "model.ckpt", other).config.z_size == 16
    else:
        with pytest.raises(ValueError, match=f"not a checkpoint of {other}: .*{message}"):
            load_magenta_checkpoint(FIXTURE / "model.ckpt", other)


def test_a_path_that_no_format_recognises_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere\.index"):
        load_magenta_checkpoint(tmp_path / "nowhere", "cat-mel_2bar_small")


def test_the_state_dict_is_complete_and_finite():
    model = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    "name",
    [
        "cat-mel_2bar_small",
        "cat-drums_2bar_small",
        "nade-drums_2bar_reduced",
        "flat-trio_16bar",
        "hierdec-mel_16bar",
        "hierdec-trio_16bar",
        "hier-mel_16bar",
        "groovae_2bar_hits_control_tfds",
    ],
)
def test_the_preset_may_be_omitted_where_only_one_fits(name):
    unnamed, preset = load_magenta_model(PLACE / name / "model.ckpt")
    named = load_magenta_checkpoint(PLACE / name / "model.ckpt", name)
    assert unnamed.config == named.config == preset.model
    assert preset == replace(CONFIGS[name], model=named.config)
    assert same_weights(unnamed, named)


def test_presets_that_fit_equally_are_listed():
    """The big multitrack preset differs from the medium one only in sizes, and the fixture has neither's."""
    name = "hier-multiperf_vel_1bar_med"
    with pytest.raises(ValueError, match="several presets: hier-multiperf_vel_1bar_med, hier-multiperf_vel_1bar_big; "):
        load_magenta_checkpoint(PLACE / name / "model.ckpt")
    assert same_weights(*(load_magenta_checkpoint(PLACE / name / "model.ckpt", name) for _ in "ab"))


def test_a_loaded_model_is_ready_for_use():
    """It is in evaluation mode, its parameters are as in a new model, and the second biases have no gradient."""
    model = load_magenta_checkpoint(PLACE / "groovae_2bar_hits_control_tfds" / "model.ckpt")
    assert not model.training
    fresh = MusicVAE(model.config)
    for (name, ours), (_, theirs) in zip(model.named_parameters(), fresh.named_parameters(), strict=True):
        assert (ours.device.type, ours.dtype, ours.requires_grad) == ("cpu", torch.float32, theirs.requires_grad), name
        assert ours.is_contiguous()


def test_a_magenta_js_folder_gives_the_model_and_the_preset_at_its_length(tmp_path):
    preset = CONFIGS["cat-drums_2bar_small"]
    converter = replace(preset.converter, bars=4)
    sizes = {"steps": 64, "z_size": 16, "enc_rnn_size": (24,), "dec_rnn_size": (20, 20)}
    config = replace(preset, converter=converter, model=replace(preset.model, **sizes))
    model = MusicVAE(config.model)
    export_magenta_js(model, config, tmp_path / "model")
    loaded, found = load_magenta_model(tmp_path / "model")
    assert found == config
    written, read = (tensorflow_variables(one) for one in (model, loaded))
    assert all(np.array_equal(written[name], read[name]) for name in written)


def test_magentas_checkpoints_are_recognised(tmp_path):
    assert is_magenta_checkpoint(str(FIXTURE / "model.ckpt"))
    assert not is_magenta_checkpoint(tmp_path)
    (tmp_path / "weights_manifest.json").write_text("[]")
    assert is_magenta_checkpoint(tmp_path)


def test_a_new_format_is_one_more_line_in_the_table(tmp_path, monkeypatch):
    """NumPy's archives, as a toy."""
    config = replace(CONFIGS["cat-mel_2bar_small"], model=load_magenta_checkpoint(FIXTURE / "model.ckpt").config)
    model = MusicVAE(config.model)
    np.savez(tmp_path / "model.npz", **tensorflow_variables(model))
    toy = Format(lambda path: path.suffix == ".npz", lambda path: dict(np.load(path)), lambda *_: config)
    monkeypatch.setattr(magenta_checkpoint, "FORMATS", (toy, *magenta_checkpoint.FORMATS))
    assert is_magenta_checkpoint(tmp_path / "model.npz")
    assert load_magenta_model(tmp_path / "model.npz")[1] == config


# ---- Training runs ----


def test_a_training_state_has_adams_averages_of_every_parameter():
    state = load_magenta_training_state(FIXTURE / "train_ckpt")
    variables = read_variables(FIXTURE / "train_ckpt")
    assert (state.step, state.updates) == (1003, 3)
    assert state.beta_powers == pytest.approx((0.9**4, 0.999**4))
    trained = {name for name, value in state.model.named_parameters() if value.requires_grad}
    assert set(state.m) == set(state.v) == trained
    assert all(value.shape == state.model.get_parameter(name).shape for name, value in state.m.items())
    assert all((value >= 0).all() for value in state.v.values())
    assert torch.equal(state.v["encoder.mu.weight"].T, torch.tensor(variables["encoder/mu/kernel/Adam_1"]))
    bias = torch.tensor(variables["decoder/multi_rnn_cell/cell_0/lstm_cell/bias/Adam"])
    assert torch.equal(state.m["cores.0.layers.0.bias_ih_l0"][40:80], bias[80:120])  # no forget bias is added


def test_updates_are_the_global_step_once_adams_powers_are_zero():
    state = load_magenta_training_state(FIXTURE / "train_ckpt")._replace(step=200_000, beta_powers=(0.0, 0.0))
    assert state.updates == 200_000


def test_a_checkpoint_without_the_optimizer_is_no_training_state():
    with pytest.raises(ValueError, match="holds no training state: it has no beta1_power, beta2_power"):
        load_magenta_training_state(FIXTURE / "model.ckpt")
