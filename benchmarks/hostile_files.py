"""Writes small files that would take much memory if they were trusted, and measures what loading them takes.

    python benchmarks/hostile_files.py FILE ...     loads each file and prints one line of JSON per file

`benchmarks/reliability.py` runs this command on the files of MAKERS and makes the table of docs/reliability.md.
"""

import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from configs import CONFIGS, Config, config_to_dict
from generate import TrainedModel
from magenta_formats.crc32c import masked_crc32c
from magenta_formats.tensorflow import TABLE_MAGIC
from model import blank_model

SIZE = 2**28  # bytes that each file would take in memory, at least
CHUNK = bytes(2**20)
PRESET = CONFIGS["cat-mel_2bar_tiny"]
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}  # TensorFlow's types.proto
STATUS = Path("/proc/self/status")


class Attempt(NamedTuple):
    """What loading a file came to."""

    message: str | None  # of the error; None for a file that was loaded
    memory: int  # bytes, by which the peak of the process grew
    seconds: float


# ---- Files of this project ----


class StoredTensor(NamedTuple):
    """A tensor as a checkpoint's pickle describes it."""

    record: str  # its values are in the record data/RECORD
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __reduce__(self):
        arguments = (Storage(self.record), 0, self.shape, self.strides, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


class Storage(NamedTuple):
    """The values of a tensor."""

    record: str


class CheckpointPickler(pickle.Pickler):
    """Writes tensors as `torch.save` does, whether or not the archive has their values."""

    def __init__(self, file: io.BytesIO, sizes: dict[str, int]):
        super().__init__(file, protocol=2)
        self.sizes = sizes  # float32 values by record

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", torch.FloatStorage, value.record, "cpu", self.sizes[value.record])
        return None


def write_checkpoint(path: Path, config: Config, model: dict, sizes: dict[str, int], records=None, **options) -> Path:
    """A checkpoint of tensors that are described at will.

    Args:
        path: the file.
        config: its preset.
        model: its weights, by name.
        sizes: number of float32 values by record.
        records: names of the records to write, all zero; those of `sizes` when None.
        options: of `zipfile.ZipFile`.
    """
    pickled = io.BytesIO()
    content = {"format": 1, "config": config_to_dict(config), "model": model, "run": None}
    CheckpointPickler(pickled, sizes).dump(content)
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/version", "3\n")
        for record in sizes if records is None else records:
            write_zeros(archive, f"archive/data/{record}", 4 * sizes[record])
    return path


def write_zeros(archive: zipfile.ZipFile, name: str, size: int):
    with archive.open(name, "w") as file:
        for start in range(0, size, len(CHUNK)):
            file.write(CHUNK[: size - start])


def huge_preset() -> Config:
    """A preset whose weights take at least SIZE bytes."""
    width = int((SIZE / 32) ** 0.5)  # two directions of 4 * width * width float32
    return replace(PRESET, model=replace(PRESET.model, enc_rnn_size=(width,)))


def deflated_checkpoint(folder: Path) -> Path:
    """A compressed archive of zeros."""
    model = {"encoder.mu.weight": StoredTensor("0", (SIZE // 4,), (1,))}
    path = folder / "deflated.pt"
    return write_checkpoint(path, PRESET, model, {"0": SIZE // 4}, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def overlapping_checkpoint(folder: Path) -> Path:
    """An archive whose records are all in the same 4 MB."""
    sizes = {str(k): 2**20 for k in range(SIZE // 2**22)}
    model = {f"weight.{key}": StoredTensor(key, (2**20,), (1,)) for key in sizes}
    path = write_checkpoint(folder / "overlapping.pt", PRESET, model, sizes, records=["0"])
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("archive/data/0")
        for key in list(sizes)[1:]:
            again = copy(first)
            again.filename = f"archive/data/{key}"
            archive.filelist.append(again)
        archive.comment = b" "  # makes zipfile write the list anew
    return path


def aliased_checkpoint(folder: Path) -> Path:
    """An archive with one record whose name is spelled in many ways: PyTorch ignores the case of letters."""
    count = SIZE // 2**22
    names = [
        "".join(letter.upper() if k >> bit & 1 else letter for bit, letter in enumerate("abcdefghij"))
        for k in range(count)
    ]
    model = {f"weight.{name}": StoredTensor(name, (2**20,), (1,)) for name in names}
    return write_checkpoint(folder / "aliased.pt", PRESET, model, dict.fromkeys(names, 2**20), records=names[:1])


def small_checkpoint_of_a_huge_preset(folder: Path) -> Path:
    """A preset of huge sizes, with weights that are not."""
    model = {f"weight.{k}": StoredTensor("0", (1,), (1,)) for k in range(3)}
    return write_checkpoint(folder / "huge_preset.pt", huge_preset(), model, {"0": 1})


def checkpoint_of_expanded_weights(folder: Path) -> Path:
    """A preset of huge sizes with weights of its shapes, which all repeat a single number."""
    config = huge_preset()
    shapes = {name: tuple(value.shape) for name, value in blank_model(config.model).state_dict().items()}
    model = {name: StoredTensor("0", shape, (0,) * len(shape)) for name, shape in shapes.items()}
    return write_checkpoint(folder / "expanded.pt", config, model, {"0": 1})


def checkpoint_that_calls(folder: Path) -> Path:
    """A pickle that makes an array of SIZE bytes by a call that PyTorch allows."""
    path = folder / "call.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cbuiltins\nbytearray\nJ" + struct.pack("<i", SIZE) + b"\x85R.")
        archive.writestr("archive/version", "3\n")
    return path


# ---- Files of TensorFlow ----


def write_bundle(prefix: Path, variables: dict[str, np.ndarray]) -> Path:
    """A TensorFlow checkpoint with one data file; returns the prefix."""
    data, records = bytearray(), [(0, b"", field(1, 1))]  # one data file
    for name, values in sorted(variables.items()):
        records.append((0, name.encode(), bundle_entry(values, len(data))))
        data += values.tobytes()
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(block(records)))
    return prefix


def bundle_entry(values: np.ndarray, offset: int) -> bytes:
    """The description of a variable whose values begin at a byte of the data file."""
    shape = b"".join(field(2, field(1, size)) for size in values.shape)
    checksum = struct.pack("<BI", 6 << 3 | 5, masked_crc32c(np.frombuffer(values.tobytes(), np.uint8)))
    kind, place = field(1, DTYPES[values.dtype.name]), field(4, offset) + field(5, values.nbytes)
    return kind + field(2, shape) + place + checksum


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    more, value = value >> 7, value & 127
    return bytes([value | 128]) + varint(more) if more else bytes([value])


def block(records) -> bytes:
    """A block of a LevelDB table from its records: bytes of the previous key to keep, rest of the key, value."""
    rows = [varint(shared) + varint(len(key)) + varint(len(value)) + key + value for shared, key, value in records]
    return b"".join(rows) + struct.pack("<II", 0, 1) + b"\0"  # one restart, at 0; then the compression type


def table(*blocks: bytes, repeats: int = 1) -> bytes:
    """A LevelDB table of blocks of records, each listed `repeats` times."""
    content = bytearray()
    handles = [append_block(content, part) for part in blocks] * repeats
    empty = append_block(content, block([]))  # the table's description of itself
    pointers = append_block(content, block((0, bytes([k]), handle) for k, handle in enumerate(handles)))
    return bytes(content) + (empty + pointers).ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC)


def append_block(content: bytearray, part: bytes) -> bytes:
    """Appends a block and its checksum; returns its handle."""
    handle = varint(len(content)) + varint(len(part) - 1)
    content += part + struct.pack("<I", masked_crc32c(np.frombuffer(part, np.uint8)))
    return handle


def archive_of_zeros(folder: Path) -> Path:
    """A compressed archive with a data file of zeros."""
    path = folder / "zeros.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        add_zeros(file, "model.ckpt.data-00000-of-00001", tarfile.REGTYPE)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
    return path


def archive_with_a_long_header(folder: Path) -> Path:
    """A compressed archive whose first header says that the name of a file takes SIZE bytes."""
    path = folder / "header.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        add_zeros(file, "././@LongLink", tarfile.GNUTYPE_LONGNAME)
    return path


def add_zeros(file: gzip.GzipFile, name: str, kind: bytes):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, SIZE
    file.write(info.tobuf(tarfile.GNU_FORMAT))
    for _ in range(SIZE // len(CHUNK)):
        file.write(CHUNK)


def index_of_long_names(folder: Path) -> Path:
    """An index in which every name shares most of its 20 kB with the name before."""
    name = 20_000
    rest = ((name, struct.pack(">H", k), b"") for k in range(SIZE // name))
    prefix = folder / "names.ckpt"
    prefix.with_name("names.ckpt.index").write_bytes(table(block([(0, bytes(name), b""), *rest])))
    return prefix


# ---- Folders of magenta.js ----


def folder_with_a_repeated_shard(folder: Path) -> Path:
    """A manifest that lists one shard of 4 MB many times."""
    inner, count = folder / "repeated", SIZE // 2**22
    inner.mkdir()
    (inner / "shard").write_bytes(bytes(2**22))
    weight = {"name": "encoder/mu/kernel", "shape": [SIZE // 4], "dtype": "float32"}
    (inner / "weights_manifest.json").write_text(json.dumps([{"paths": ["shard"] * count, "weights": [weight]}]))
    return inner


MAKERS: dict[str, Callable[[Path], Path]] = {
    "compressed `.pt` of 1.2 MB": deflated_checkpoint,
    "`.pt` of 4.2 MB with overlapping records": overlapping_checkpoint,
    "`.pt` of 4.2 MB with one record under many names": aliased_checkpoint,
    "`.pt` of 2 kB with a huge preset": small_checkpoint_of_a_huge_preset,
    "`.pt` of 3 kB with huge weights that repeat one number": checkpoint_of_expanded_weights,
    "`.pt` of 0.3 kB with a call that allocates": checkpoint_that_calls,
    "`.tar.gz` of 1.2 MB of zeros": archive_of_zeros,
    "`.tar.gz` of 1.2 MB with a long header": archive_with_a_long_header,
    "TensorFlow index of 0.1 MB with long names": index_of_long_names,
    "magenta.js folder of 4.2 MB that lists one shard many times": folder_with_a_repeated_shard,
}


# ---- Measuring ----


def measure(paths: Sequence[Path]) -> list[Attempt]:
    """Loads files one after the other in a new process."""
    done = subprocess.run([sys.executable, __file__, *paths], capture_output=True, text=True, check=True)
    return [Attempt(*json.loads(line)) for line in done.stdout.splitlines()]


def attempt(path: str) -> Attempt:
    """Loads a file in this process."""
    before, start = peak_memory(), time.perf_counter()
    try:
        TrainedModel.load(path, config_name=None)
        message = None
    except ValueError as fault:
        message = str(fault)
    return Attempt(message, peak_memory() - before, time.perf_counter() - start)


def peak_memory() -> int:
    """Largest number of bytes that this process has had in memory; Linux only."""
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def main():
    """The command: prints one line per file."""
    torch.set_num_threads(1)
    for path in sys.argv[1:]:
        print(json.dumps(attempt(path)))


if __name__ == "__main__":
    main()
