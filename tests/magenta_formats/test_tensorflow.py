"""TensorFlow checkpoints as files: read from prefixes, folders and archives; damaged ones are refused."""

import gzip
import io
import shutil
import tarfile

import numpy as np
import pytest

from benchmarks.hostile_files import block, bundle_entry, field, table, write_bundle
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


def test_the_path_of_any_file_of_a_checkpoint_works_like_its_prefix():
    wanted = read_variables(FIXTURE / "model.ckpt")
    for name in (DATA, INDEX):
        assert is_checkpoint(FIXTURE / name)
        assert equal(read_variables(FIXTURE / name), wanted)


def test_a_written_bundle_is_read_back(tmp_path):
    """By the writer that the tests below use to make checkpoints with faults."""
    wanted = read_variables(FIXTURE / "model.ckpt")
    assert equal(read_variables(write_bundle(tmp_path / "model.ckpt", wanted)), wanted)


def test_a_changed_value_is_found_and_its_variable_named(copy):
    name = "decoder/multi_rnn_cell/cell_1/lstm_cell/bias"
    content = bytearray((copy.parent / DATA).read_bytes())
    content[content.index(read_variables(copy)[name].tobytes()) + 7] ^= 1
    (copy.parent / DATA).write_bytes(content)
    with pytest.raises(ValueError, match=f"variable {name} is damaged: its values do not match their checksum"):
        read_variables(copy)


def test_a_changed_letter_of_a_variables_name_is_found(copy):
    content = bytearray((copy.parent / INDEX).read_bytes())
    content[content.index(b"lstm_cell")] ^= 1
    (copy.parent / INDEX).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.ckpt\.index is damaged: .*a block does not match its checksum"):
        read_variables(copy)


VALUES = np.arange(6, dtype=np.float32)
ENTRY = bundle_entry(VALUES, 0)
HEADER = (0, b"", b"\x08\x01")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([HEADER, (0, b"a", ENTRY), (0, b"b", ENTRY)], "gives the same bytes to several variables"),
        ([HEADER, (0, b"a", ENTRY[:-5])], "values without a checksum"),
        ([HEADER, (0, b"a" * 1000, ENTRY)], "takes over 1,000 bytes"),
        ([HEADER, *((0, b"%d" % k, b"") for k in range(10_000))], "more than 10,000 variables"),
        ([HEADER, (0, b"a", field(1, 1) + field(2, field(2, field(1, 2**63))) + ENTRY[-5:])], r"a shape of \(9223"),
        ([HEADER, (0, b"a", b"\x08" + b"\xff" * 900)], "a number of more than 64 bits"),
        ([HEADER, (0, b"a", field(1, 1) + field(3, 1) + ENTRY[-5:])], "values in data file 1 of 1"),
    ],
)
def test_an_index_with_valid_checksums_that_asks_too_much_is_refused(tmp_path, records, message):
    (tmp_path / DATA).write_bytes(VALUES.tobytes())
    (tmp_path / INDEX).write_bytes(table(block(records)))
    with pytest.raises(ValueError, match=message):
        read_variables(tmp_path / "model.ckpt")


def test_an_index_whose_blocks_overlap_is_refused(tmp_path):
    """It points to one block many times."""
    (tmp_path / INDEX).write_bytes(table(block([HEADER] * 100), repeats=9))
    with pytest.raises(ValueError, match="blocks that overlap"):
        read_variables(tmp_path / "model.ckpt")


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


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(archive, mode):
    zeros = member("zeros")
    zeros.size = 8 * 2**20
    path = archive(mode, zeros)
    assert path.stat().st_size < 500_000
    with pytest.raises(ValueError, match="model.tar unpacks to more than 16 times its size"):
        read_variables(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_an_archive_of_a_fresh_optimizer_is_read(tmp_path, mode):
    """Its moving averages are zeros, two thirds of all values."""
    variables = read_variables(FIXTURE / "model.ckpt")
    slots = {f"{name}{slot}": 0 * value for name, value in variables.items() for slot in ("/Adam", "/Adam_1")}
    write_bundle(tmp_path / "model.ckpt", variables | slots)
    with tarfile.open(tmp_path / "model.tar", mode) as tar:
        for file in (DATA, INDEX):
            tar.add(tmp_path / file, file)
    assert read_variables(tmp_path / "model.tar").keys() == (variables | slots).keys()


def test_an_archive_of_very_many_files_is_refused(archive):
    with pytest.raises(ValueError, match="holds more than 10,000 files"):
        read_variables(archive("w", *(member(str(k)) for k in range(10_000))))


def test_recognising_an_archive_unpacks_only_its_beginning(archive, monkeypatch):
    """A file that is only looked at may be anything."""
    read = []
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(size) or bytes(512))
    assert not is_checkpoint(archive("w:gz"))
    assert read == [512]


def test_a_midi_file_is_called_one(tmp_path):
    (tmp_path / "song.mid").write_bytes(b"MThd" + bytes(1000))
    with pytest.raises(ValueError, match=r"song\.mid is a MIDI file, not a model"):
        read_variables(tmp_path / "song.mid")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match="no tar archive and no checkpoint's prefix"):
        read_variables(tmp_path / "model.ckpt")


# ---- Folders of training runs ----


def run_folder(folder, *steps):
    """A folder with one checkpoint per step; the first value of mu's bias is the step."""
    variables = read_variables(FIXTURE / "model.ckpt")
    for step in steps:
        variables["encoder/mu/bias"] = np.array([step, *variables["encoder/mu/bias"][1:]], np.float32)
        write_bundle(folder / f"model.ckpt-{step}", variables)
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
