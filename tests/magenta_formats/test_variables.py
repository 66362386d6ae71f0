"""Magenta's variables against our parameters: layout, sizes and the preset that they belong to."""

import numpy as np
import pytest
import torch

from configs import CONFIGS
from helpers import OWN_SIZES, PARITY
from magenta_checkpoint import load_magenta_checkpoint
from magenta_formats.tensorflow import read_variables
from magenta_formats.variables import (
    FORGET_BIAS,
    LSTM_PARTS,
    check_variables,
    fill_lstm,
    lstm_variables,
    preset_from_variables,
    variable_shapes,
)
from model import LstmLayer

FIXTURE = PARITY[0] / "cat-mel_2bar_small"


def test_an_lstm_layer_gets_its_gates_in_pytorchs_order_and_the_forget_bias():
    """TensorFlow's columns are i, j, f, o, PyTorch's rows i, f, g, o; the forget gate's bias is one higher."""
    variables = read_variables(FIXTURE / "model.ckpt")
    model = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small")
    kernel = variables["decoder/multi_rnn_cell/cell_1/lstm_cell/kernel"]
    bias = variables["decoder/multi_rnn_cell/cell_1/lstm_cell/bias"]
    layer = model.cores[0].layers[1]
    i, g, f, o = np.split(kernel, 4, 1)
    assert np.array_equal(layer.weight_hh_l0.detach(), np.concatenate([i, f, g, o], 1)[40:].T)
    assert np.array_equal(layer.bias_ih_l0.detach()[40:80], bias[80:120] + 1)
    assert not layer.bias_hh_l0.any()


def test_an_lstm_layer_survives_the_round_trip_exactly():
    """From our state to TensorFlow's layout and back, with forget biases in the range where that is exact."""
    torch.manual_seed(0)
    layer = LstmLayer(7, 5)
    with torch.no_grad():
        layer.bias_ih_l0 += torch.rand(20) / 2
    state = [getattr(layer, f"{part}_l0").detach() for part in LSTM_PARTS]
    kernel, bias = lstm_variables(*state)
    assert kernel.shape == (12, 20)
    assert torch.equal(bias[10:15], state[2][5:10] - 1)
    back = [torch.full_like(value, torch.nan).numpy() for value in state]
    fill_lstm(back, kernel.numpy(), bias.numpy(), FORGET_BIAS)
    assert all(np.array_equal(*pair) for pair in zip(back, state, strict=True))


def of_published_size(name):
    """Variables of a preset at its published size, all zero."""
    shapes = variable_shapes(CONFIGS[name].model)
    return {variable: np.broadcast_to(np.float32(0), shape) for variable, shape in shapes.items()}


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.endswith(OWN_SIZES)])
def test_the_published_sizes_identify_the_preset(name):
    """Except for groove models that differ only in their length or in what their inputs leave out."""
    variables = of_published_size(name)
    if name.startswith("groovae") and "hits_control" not in name:
        message = r"fit several presets: groovae_4bar, groovae_2bar_humanize, .*add_closed_hh; choose one with config"
        with pytest.raises(ValueError, match=message):
            preset_from_variables("x", None, variables)
    else:
        assert preset_from_variables("x", None, variables) is CONFIGS[name]


def test_variables_of_no_preset_are_refused():
    variables = of_published_size("cat-mel_2bar_small") | {"decoder/extra": np.zeros((2, 3), np.float32)}
    with pytest.raises(ValueError, match="no preset has the variables of x; give config_name"):
        preset_from_variables("x", None, variables)
    with pytest.raises(ValueError, match=r"unexpected decoder/extra \[2, 3\]"):
        check_variables("x", "cat-mel_2bar_small", CONFIGS["cat-mel_2bar_small"].model, variables)


def test_all_faults_of_a_checkpoint_are_listed():
    variables = of_published_size("hier-mel_16bar")
    del variables["encoder/mu/bias"], variables["decoder/hierarchical_level_0/cell_1/lstm_cell/bias"]
    variables["encoder/sigma/kernel"] = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"missing encoder/mu/bias .*missing .*cell_1.*should be \[2048, 512\], but"):
        check_variables("x", "hier-mel_16bar", CONFIGS["hier-mel_16bar"].model, variables)
