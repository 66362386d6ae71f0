"""Reading TensorFlow's files, and refusing damaged ones and those of another preset; the numbers: test_parity.py."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import magenta_checkpoint
from configs import CONFIGS
from helpers import OWN_SIZES
from magenta_checkpoint import load_magenta_checkpoint, load_magenta_training_state, read_variables
from model import MusicVAE

PARITY = Path(__file__).parent / "fixtures" / "parity"
FIXTURE = PARITY / "cat-mel_2bar_small"
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
    for _ in range(1000):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(whole))] = random.integers(256)
        (copy.parent / INDEX).write_bytes(damaged)
        try:
            read_variables(copy)
        except ValueError:
            refused += 1
    assert refused > 500


@pytest.mark.parametrize("folder", [".", "", "./"])
def test_an_archive_of_the_folder_itself_loads(tmp_path, folder):
    """As `tar -C run -cf model.tar .` packs it."""
    with tarfile.open(tmp_path / "model.tar", "w") as tar:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name in (INDEX, DATA):
            tar.add(FIXTURE / name, f"./{name}")
    assert load_magenta_checkpoint(tmp_path / "model.tar", "cat-mel_2bar_small").config.z_size == 16


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere\.index"):
        load_magenta_checkpoint(tmp_path / "nowhere", "cat-mel_2bar_small")


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
def test_a_checkpoint_of_another_preset(other, message):
    if message is None:
        assert load_magenta_checkpoint(FIXTURE / "model.ckpt", other).config.z_size == 16
    else:
        with pytest.raises(ValueError, match=f"not a checkpoint of {other}: .*{message}"):
            load_magenta_checkpoint(FIXTURE / "model.ckpt", other)


def test_the_state_dict_is_complete_and_finite():
    model = load_magenta_checkpoint(FIXTURE / "model.ckpt", "cat-mel_2bar_small")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def archive(tmp_path):
    """Makes an archive of the fixture's checkpoint, with members added by a test."""

    def make(mode="w", *members, name="model.tar"):
        with tarfile.open(tmp_path / name, mode) as tar:
            for file in (DATA, INDEX):
                tar.add(FIXTURE / file, f"cat-mel_2bar_small/{file}")
            for member in members:
                tar.addfile(member, io.BytesIO(bytes(member.size)))
        return tmp_path / name

    return make


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_read_where_it_lies(archive, tmp_path, mode):
    model = load_magenta_checkpoint(archive(mode))
    assert same_weights(model, load_magenta_checkpoint(FIXTURE / "model.ckpt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.tar"]


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../../outside"), "'../../outside', a path that leaves"),
        (member("/etc/outside"), "'/etc/outside', a path that leaves"),
        (member("a\\..\\..\\outside"), "a path that leaves"),
        (member("C:/outside"), "'C:/outside', a path that leaves"),
        (member("link.index", tarfile.SYMTYPE, "/etc/passwd"), "'link.index', which is neither a plain file"),
        (member("link.index", tarfile.LNKTYPE, "../x"), "'link.index', which is neither a plain file"),
        (member("pipe", tarfile.FIFOTYPE), "'pipe', which is neither a plain file"),
    ],
)
def test_an_archive_that_could_leave_its_place_is_refused(archive, bad, message):
    with pytest.raises(ValueError, match=message):
        load_magenta_checkpoint(archive("w", bad))


@pytest.mark.parametrize("size", [100, 5_000, 390_000])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_is_refused(archive, mode, size):
    path = archive(mode)
    with path.open("r+b") as file:
        file.truncate(min(size, path.stat().st_size - 100))
    with pytest.raises(ValueError, match=r"model\.tar is no tar archive, .* or it is truncated|needs \d+ bytes"):
        load_magenta_checkpoint(path)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match="no tar archive, nor a checkpoint"):
        load_magenta_checkpoint(tmp_path / "model.ckpt")


def run_folder(tmp_path, *steps):
    """A folder with a checkpoint of each step, whose mu's bias holds the step."""
    for step in steps:
        for name in (DATA, INDEX):
            content = bytearray((FIXTURE / name).read_bytes())
            if name == DATA:
                at = content.index(read_variables(FIXTURE / "model.ckpt")["encoder/mu/bias"].tobytes())
                content[at : at + 4] = np.float32(step).tobytes()
            (tmp_path / name.replace("ckpt", f"ckpt-{step}")).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        (None, 10_000),
        ('model_checkpoint_path: "/elsewhere/model.ckpt-900"\nall_model_checkpoint_paths: "model.ckpt-10000"', 900),
        ('model_checkpoint_path: "model.ckpt-77"', 10_000),
        ('model_checkpoint_path: "../outside/model.ckpt-900"', 900),
    ],
)
def test_the_latest_checkpoint_of_a_run(tmp_path, state, taken):
    """The one that the file `checkpoint` names, if it is there; else the one of the highest step."""
    folder = run_folder(tmp_path, 900, 10_000, 2000)
    if state:
        (folder / "checkpoint").write_text(state)
    assert load_magenta_checkpoint(folder).encoder.mu.bias[0] == taken


def test_the_folder_above_the_one_of_training_serves_too(tmp_path):
    (tmp_path / "train").mkdir()
    run_folder(tmp_path / "train", 5)
    assert load_magenta_checkpoint(tmp_path).encoder.mu.bias[0] == 5


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint: no file there ends in .index"):
        load_magenta_checkpoint(tmp_path)


FITTING = {
    "cat-mel_2bar_small": "cat-mel_2bar_small",
    "cat-drums_2bar_small": "cat-drums_2bar_small",
    "nade-drums_2bar_reduced": "nade-drums_2bar_reduced",
    "flat-trio_16bar": "flat-trio_16bar",
    "hierdec-mel_16bar": "hierdec-mel_16bar",
    "hierdec-trio_16bar": "hierdec-trio_16bar",
    "hier-mel_16bar": "hier-mel_16bar",
    "groovae_2bar_hits_control_tfds": "groovae_2bar_hits_control_tfds",
    "hier-multiperf_vel_1bar_med": None,  # the big one differs in sizes alone, and here they are neither's
}


@pytest.mark.parametrize("name", FITTING)
def test_the_preset_is_found_where_the_variables_leave_one(name):
    if FITTING[name]:
        unnamed, named = (load_magenta_checkpoint(PARITY / name / "model.ckpt", *it) for it in ((), (FITTING[name],)))
        assert unnamed.config == named.config
    else:
        with pytest.raises(ValueError, match="those of hier-multiperf_vel_1bar_med, hier-multiperf_vel_1bar_big: "):
            load_magenta_checkpoint(PARITY / name / "model.ckpt")
    assert same_weights(*(load_magenta_checkpoint(PARITY / name / "model.ckpt", name) for _ in "ab"))


def of_published_size(name):
    """The shapes of a checkpoint of a preset at its own size, without values of their own."""
    shapes = magenta_checkpoint._shapes(CONFIGS[name].model)
    return {variable: np.broadcast_to(np.float32(0), shape) for variable, shape in shapes.items()}


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.endswith(OWN_SIZES)])
def test_published_sizes_tell_presets_apart(name):
    """All but the groove models that differ in what is left out of their inputs, or in length."""
    weights = of_published_size(name)
    if name.startswith("groovae") and "hits_control" not in name:
        with pytest.raises(ValueError, match=r"groovae_4bar, groovae_2bar_humanize, .*add_closed_hh: name the preset"):
            magenta_checkpoint._preset("x", None, weights)
    else:
        assert magenta_checkpoint._preset("x", None, weights) is CONFIGS[name]


def test_variables_of_no_preset_are_refused():
    weights = of_published_size("cat-mel_2bar_small") | {"decoder/extra": np.zeros((2, 3), np.float32)}
    with pytest.raises(ValueError, match="none of the presets'"):
        magenta_checkpoint._preset("x", None, weights)
    with pytest.raises(ValueError, match=r"unexpected decoder/extra \[2, 3\]"):
        magenta_checkpoint._check("x", "cat-mel_2bar_small", CONFIGS["cat-mel_2bar_small"].model, weights)


def test_a_faulty_checkpoint_changes_nothing_and_names_its_variables():
    weights = of_published_size("hier-mel_16bar")
    del weights["encoder/mu/bias"], weights["decoder/hierarchical_level_0/cell_1/lstm_cell/bias"]
    weights["encoder/sigma/kernel"] = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"missing encoder/mu/bias .*missing .*cell_1.*should be \[2048, 512\], but"):
        magenta_checkpoint._check("x", "hier-mel_16bar", CONFIGS["hier-mel_16bar"].model, weights)


def test_a_loaded_model_is_ready_for_use():
    """In evaluation mode, with every parameter its own and where it belongs, and no gradient for the second biases."""
    model = load_magenta_checkpoint(PARITY / "groovae_2bar_hits_control_tfds" / "model.ckpt")
    assert not model.training
    fresh = MusicVAE(model.config)
    for (name, ours), (_, theirs) in zip(model.named_parameters(), fresh.named_parameters(), strict=True):
        assert (ours.device.type, ours.dtype, ours.requires_grad) == ("cpu", torch.float32, theirs.requires_grad), name
        assert ours.is_contiguous()


def test_a_training_state_has_adams_means_of_every_parameter():
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
    assert torch.equal(state.m["cores.0.layers.0.bias_ih_l0"][40:80], bias[80:120])  # no forget bias in a mean


def test_after_so_many_updates_that_the_powers_vanish_the_step_counts():
    state = load_magenta_training_state(FIXTURE / "train_ckpt")._replace(step=200_000, beta_powers=(0.0, 0.0))
    assert state.updates == 200_000


def test_a_checkpoint_for_use_is_no_training_state():
    with pytest.raises(ValueError, match="holds no training state: it has no beta1_power, beta2_power"):
        load_magenta_training_state(FIXTURE / "model.ckpt")
