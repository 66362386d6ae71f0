"""TensorFlow checkpoints as files: read from prefixes, folders and archives; damaged ones are refused."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from helpers import PARITY
from magenta_formats.tensorflow import is_checkpoint, read_variables

FIXTURE = PARITY[0] / "cat-mel_2bar_small"
DATA, INDEX = "model.ckpt.data-00000-of-00001", "model.ckpt.index"


@pytest.fixture
def copy(tmp_path):
    """The prefix of a checkpoint whose files a test may damage."""
    for name in (DATA, INDEX):
        shutil.copyfile(FIXTURE / name, tmp_path / name)
    return tmp_path / "model.ckpt"


def equal(a, b):
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_variables_have_names_shapes_and_values():
    variables = read_variables(FIXTURE / "model.ckpt")
    assert len(variables) == 17
    assert variables["global_step"] == 1000
    assert variables["decoder/multi_rnn_cell/cell_0/lstm_cell/kernel"].shape == (146, 160)
    assert all(np.isfinite(value).all() and value.std() > 0.05 for name, value in variables.items() if "/" in name)


# ---- Damaged files ----


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


def test_random_damage_to_the_index_gives_a_value_error_or_variables(copy):
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


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*nowhere\.index"):
        read_variables(tmp_path / "nowhere")


# ---- Archives ----


@pytest.fixture
def archive(tmp_path):
    """A function that packs the fixture's checkpoint into an archive, with further members."""

    def make(mode="w", *members, name="model.tar"):
        with tarfile.open(tmp_path / name, mode) as tar:
            for file in (DATA, INDEX):
                tar.add(FIXTURE / file, f"cat-mel_2bar_small/{file}")
            for member in members:
                tar.addfile(member, io.BytesIO(bytes(member.size)))
        return tmp_path / name

    return make


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_read_without_unpacking(archive, tmp_path, mode):
    assert equal(read_variables(archive(mode)), read_variables(FIXTURE / "model.ckpt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.tar"]


@pytest.mark.parametrize("folder", [".", "", "./"])
def test_an_archive_that_holds_its_own_folder_is_read(tmp_path, folder):
    """As `tar -C run -cf model.tar .` packs it."""
    with tarfile.open(tmp_path / "model.tar", "w") as tar:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
        for name in (INDEX, DATA):
            tar.add(FIXTURE / name, f"./{name}")
    assert equal(read_variables(tmp_path / "model.tar"), read_variables(FIXTURE / "model.ckpt"))


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../../outside"), "'../../outside', a path that leads out"),
        (member("/etc/outside"), "'/etc/outside', a path that leads out"),
        (member("a\\..\\..\\outside"), "a path that leads out"),
        (member("C:/outside"), "'C:/outside', a path that leads out"),
        (member("link.index", tarfile.SYMTYPE, "/etc/passwd"), "'link.index', which is neither a plain file"),
        (member("link.index", tarfile.LNKTYPE, "../x"), "'link.index', which is neither a plain file"),
        (member("pipe", tarfile.FIFOTYPE), "'pipe', which is neither a plain file"),
    ],
)
def test_an_archive_with_a_link_or_a_path_out_of_it_is_refused(archive, bad, message):
    with pytest.raises(ValueError, match=message):
        read_variables(archive("w", bad))


@pytest.mark.parametrize("size", [100, 5_000, 390_000])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_archive_is_refused(archive, mode, size):
    path = archive(mode)
    with path.open("r+b") as file:
        file.truncate(min(size, path.stat().st_size - 100))
    with pytest.raises(ValueError, match=r"model\.tar is no tar archive .* or it is truncated|needs \d+ bytes"):
        read_variables(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match="no tar archive and no checkpoint's prefix"):
        read_variables(tmp_path / "model.ckpt")


# ---- Folders of training runs ----


def run_folder(folder, *steps):
    """A folder with one checkpoint per step; the first value of mu's bias is the step."""
    bias = read_variables(FIXTURE / "model.ckpt")["encoder/mu/bias"].tobytes()
    for step in steps:
        for name in (DATA, INDEX):
            content = bytearray((FIXTURE / name).read_bytes())
            if name == DATA:
                at = content.index(bias)
                content[at : at + 4] = np.float32(step).tobytes()
            (folder / name.replace("ckpt", f"ckpt-{step}")).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        (None, 10_000),
        ('model_checkpoint_path: "/elsewhere/model.ckpt-900"\nall_model_checkpoint_paths: "model.ckpt-10000"', 900),
        ('model_checkpoint_path: "model.ckpt-77"', 10_000),
        ('model_checkpoint_path: "../outside/model.ckpt-900"', 900),
    ],
)
def test_the_latest_checkpoint_of_a_run_is_read(tmp_path, state, taken):
    """The one that the file `checkpoint` names, if it is there; otherwise the one of the highest step."""
    folder = run_folder(tmp_path, 900, 10_000, 2000)
    if state:
        (folder / "checkpoint").write_text(state)
    assert read_variables(folder)["encoder/mu/bias"][0] == taken


def test_the_parent_of_the_training_folder_is_read_too(tmp_path):
    (tmp_path / "train").mkdir()
    run_folder(tmp_path / "train", 5)
    assert read_variables(tmp_path)["encoder/mu/bias"][0] == 5


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint: no file there ends in .index"):
        read_variables(tmp_path)


# ---- Which paths are checkpoints ----


def test_prefixes_folders_and_archives_are_recognised(archive, tmp_path):
    assert all(map(is_checkpoint, (FIXTURE / "model.ckpt", FIXTURE / INDEX, FIXTURE, archive("w"), archive("w:gz"))))
    (tmp_path / "run" / "train").mkdir(parents=True)
    assert not is_checkpoint(tmp_path / "run")
    run_folder(tmp_path / "run" / "train", 5)
    assert is_checkpoint(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00", b"PK\x03\x04" + bytes(100), b"text"])
def test_other_paths_are_not_recognised(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    assert not any(map(is_checkpoint, (tmp_path / "model.pt", tmp_path, tmp_path / "nowhere")))
