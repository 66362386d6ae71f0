"""Reading TensorFlow's files, and refusing damaged ones and those of another preset; the numbers: test_parity.py."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from magenta_checkpoint import load_magenta_checkpoint, read_variables

FIXTURE = Path(__file__).parent / "fixtures" / "parity" / "cat-mel_2bar_small"
DATA, INDEX = "model.ckpt.data-00000-of-00001", "model.ckpt.index"


@pytest.fixture
def copy(tmp_path):
    """A checkpoint's prefix whose files a test may damage."""
    for name in (DATA, INDEX):
        shutil.copyfile(FIXTURE / name, tmp_path / name)
    return tmp_path / "model.ckpt"


def test_variables_have_names_shapes_and_values():
    variables = read_variables(FIXTURE / "model.ckpt")
    assert len(variables) == 17
    assert variables["global_step"] == 1000
    assert variables["decoder/multi_rnn_cell/cell_0/lstm_cell/kernel"].shape == (146, 160)
    assert all(np.isfinite(value).all() and value.std() > 0.05 for name, value in variables.items() if "/" in name)


def test_gate_order_and_forget_bias():
    """TensorFlow's columns are i, j, f, o, PyTorch's rows i, f, g, o; one is added to the forget gate."""
    variables = read_variables(FIXTURE / "model.ckpt")
    model = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small")
    kernel = variables["decoder/multi_rnn_cell/cell_1/lstm_cell/kernel"]
    bias = variables["decoder/multi_rnn_cell/cell_1/lstm_cell/bias"]
    layer = model.cores[0].layers[1]
    i, g, f, o = np.split(kernel, 4, 1)
    assert np.array_equal(layer.weight_hh_l0.detach(), np.concatenate([i, f, g, o], 1)[40:].T)
    assert np.array_equal(layer.bias_ih_l0.detach()[40:80], bias[80:120] + 1)
    assert not layer.bias_hh_l0.any()


def test_sizes_come_from_the_checkpoint():
    config = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small").config
    assert (config.z_size, config.enc_rnn_size, config.dec_rnn_size) == (16, (48,), (40, 40))


@pytest.mark.parametrize("size", [0, 30, 600])
def test_a_truncated_index_is_refused(copy, size):
    with (copy.parent / INDEX).open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ValueError, match=r"model\.ckpt\.index is not the index .* or it is truncated"):
        read_variables(copy)


def test_a_truncated_data_file_names_the_variable(copy):
    with (copy.parent / DATA).open("r+b") as file:
        file.truncate(390_000)
    with pytest.raises(ValueError, match=r"variable encoder/.* needs \d+ bytes, its file holds \d+"):
        read_variables(copy)


def test_a_scrambled_index_is_refused_and_nothing_else_happens(copy):
    """Whatever bytes are damaged, the answer is a ValueError or the variables, never another fault."""
    whole = (copy.parent / INDEX).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        (copy.parent / INDEX).write_bytes(damaged)
        try:
            read_variables(copy)
        except ValueError:
            refused += 1
    assert refused > 50


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere\.index"):
        load_magenta_checkpoint(tmp_path / "nowhere", "cat-mel_2bar_small")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("flat-mel_16bar", None),  # the same variables: the length is not in them
        ("hierdec-mel_16bar", r"missing \['core_decoder/decoder/"),
        (
            "cat-drums_2bar_small",
            r"lstm_cell should become encoder\.layers\.0\.weight_ih_l0 \[192, 10\], but has \[192, 90\]",
        ),
        ("cat-mel_2bar_big", None),
    ],
)
def test_a_checkpoint_of_another_preset(other, message):
    if message is None:
        assert load_magenta_checkpoint(FIXTURE / "model.ckpt", other).config.z_size == 16
    else:
        with pytest.raises(ValueError, match=f"not a checkpoint of {other}: .*{message}"):
            load_magenta_checkpoint(FIXTURE / "model.ckpt", other)


def test_the_state_dict_is_complete_and_finite():
    model = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
