"""Reads TensorFlow checkpoints without TensorFlow, in the formats that Magenta publishes.

A checkpoint is an index, `PREFIX.index`, and raw arrays, `PREFIX.data-SSSSS-of-NNNNN`. The index is an uncompressed
LevelDB table whose values are small protobuf messages. This module reads just those parts of both formats and runs no
code from the files. Values are memory-mapped, so that a model is filled directly from the file.
"""

import io
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from magenta_formats.variables import Variables

INDEX = ".index"  # suffix
TRAIN_FOLDER = "train"  # subfolder of a run where Magenta's training script writes its checkpoints
TABLE_MAGIC = 0xDB4775248B80FB57  # last eight bytes of a LevelDB table
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # compression type and checksum
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}  # TensorFlow's types.proto
FIXED_BYTES = {1: 8, 5: 4}  # length of a protobuf field by wire type


class BundleEntry(NamedTuple):
    """Where the values of one variable are (tensor_bundle.proto, BundleEntryProto)."""

    dtype: type
    shape: tuple[int, ...]
    shard: int  # number of the data file
    offset: int  # bytes
    size: int  # bytes


class Span(NamedTuple):
    """A file: on its own, or as a part of an archive, or the content of one in a compressed archive."""

    path: Path
    offset: int  # bytes
    size: int  # bytes
    content: np.ndarray | None = None  # uint8, for a compressed archive

    def bytes(self, offset: int, size: int) -> np.ndarray:
        """Bytes of the file [size] uint8, memory-mapped; fewer where the file ends earlier."""
        size = max(min(size, self.size - offset), 0)
        if self.content is not None:
            return self.content[offset : offset + size]
        return np.memmap(self.path, np.uint8, "r", self.offset + offset, size) if size else np.zeros(0, np.uint8)


def is_checkpoint(path: Path) -> bool:
    """Whether a path is what `read_variables` reads, by names and first bytes alone."""
    if path.is_dir():
        return any(path.glob(f"*{INDEX}")) or any(path.glob(f"{TRAIN_FOLDER}/*{INDEX}"))
    if path.is_file():
        return path.suffix == INDEX or _is_tar(path)
    return path.with_name(path.name + INDEX).is_file()


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error):  # a compressed file that ends too early
        return False


def read_variables(path: str | Path) -> Variables:
    """All variables of a TensorFlow checkpoint, by name, as read-only memory maps.

    Args:
        path: one of
            - a prefix without `.index`, as `tf.train.Saver` takes it;
            - the folder of a run, of which the latest checkpoint is read;
            - a `.tar` archive of a checkpoint, which is not unpacked.

    Raises:
        ValueError: a file is missing, truncated or of another format; a variable is not where the index says; or an
            archive holds a link, or a path that leads out of it.
    """
    prefix, files = _checkpoint_files(Path(path))
    entries, shards = read_index(_file(path, files, prefix + INDEX), f"{path}: {prefix}{INDEX}")
    data = [_file(path, files, f"{prefix}.data-{k:05d}-of-{shards:05d}") for k in range(shards)]
    return {name: _values(path, name, entry, data[entry.shard]) for name, entry in entries.items()}


def _values(path: str | Path, name: str, entry: BundleEntry, file: Span) -> np.ndarray:
    raw = file.bytes(entry.offset, entry.size)
    wanted = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
    if len(raw) != wanted:
        raise ValueError(f"{path}: variable {name} {entry.shape} needs {wanted} bytes, its file holds {len(raw)}")
    return raw.view(entry.dtype).reshape(entry.shape)


# ---- Files ----


def _checkpoint_files(path: Path) -> tuple[str, dict[str, Span]]:
    """The prefix of the checkpoint at a path, and all files beside it by name."""
    if path.is_dir():
        files = _folder_files(path)
        inner = path / TRAIN_FOLDER
        if inner.is_dir() and not _prefixes(files):
            return _checkpoint_files(inner)
        return _latest(path, files), files
    if path.is_file() and path.suffix != INDEX:
        files = _tar_files(path)
        return _latest(path, files), files
    return path.name.removesuffix(INDEX), _folder_files(path.parent) if path.parent.is_dir() else {}


def _folder_files(folder: Path) -> dict[str, Span]:
    return {file.name: Span(file, 0, file.stat().st_size) for file in folder.iterdir() if file.is_file()}


def _tar_files(path: Path) -> dict[str, Span]:
    """The files of an archive, which is not unpacked. Links, and paths that lead out of the archive, are refused."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for member in members:
                _check_member(path, member)
            return {member.name: _member_span(path, archive, member) for member in members if member.isfile()}
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as fault:
        raise ValueError(f"{path} is no tar archive and no checkpoint's prefix, or it is truncated: {fault}") from None


def _check_member(path: Path, member: tarfile.TarInfo):
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
        raise ValueError(f"{path} holds {member.name!r}, a path that leads out of the archive")
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise ValueError(f"{path} holds {member.name!r}, which is neither a plain file nor a folder")


def _member_span(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Span:
    if isinstance(archive.fileobj, io.BufferedReader):  # not compressed
        return Span(path, member.offset_data, min(member.size, path.stat().st_size - member.offset_data))
    return Span(path, 0, member.size, np.frombuffer(archive.extractfile(member).read(), np.uint8))


def _prefixes(files: dict[str, Span]) -> list[str]:
    return [name.removesuffix(INDEX) for name in files if name.endswith(INDEX)]


def _latest(path: Path, files: dict[str, Span]) -> str:
    """The prefix that the file `checkpoint` names, otherwise the prefix with the highest step."""
    prefixes = _prefixes(files)
    if not prefixes:
        raise ValueError(f"{path} holds no checkpoint: no file there ends in {INDEX}")
    for name, file in files.items():
        if PurePosixPath(name).name == "checkpoint":
            latest = _named_prefix(file)
            matching = [prefix for prefix in prefixes if PurePosixPath(prefix).name == latest]
            if matching:
                return matching[0]
    return max(prefixes, key=lambda prefix: (int(re.search(r"(?:-(\d+))?$", prefix)[1] or -1), prefix))


def _named_prefix(file: Span) -> str | None:
    """The prefix that a file `checkpoint` names, without its folder."""
    text = file.bytes(0, file.size).tobytes().decode(errors="replace")
    named = re.search(r'^model_checkpoint_path: "(?:.*/)?([^/"]+)"', text, re.MULTILINE)
    return named[1] if named else None


def _file(path: str | Path, files: dict[str, Span], name: str) -> Span:
    if name not in files:
        place = Path(path) if Path(path).exists() else Path(path).parent
        raise ValueError(f"no file {place / name}; give the checkpoint's path without {INDEX} or .data-...")
    return files[name]


# ---- The index: a LevelDB table of protobuf messages ----


def read_index(file: Span, name: str) -> tuple[dict[str, BundleEntry], int]:
    """The entries of a checkpoint's index by variable, and the number of data files. `name` is for errors."""
    table = file.bytes(0, file.size).tobytes()
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != TABLE_MAGIC:
        raise ValueError(f"{name} is not the index of a TensorFlow checkpoint, or it is truncated")
    try:
        records = dict(_table_records(table))
        shards = _message(records.pop(b"")).get(1, 1)
        return {key.decode(): _entry(value, shards) for key, value in records.items()}, shards
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as fault:
        raise ValueError(f"{name} is damaged: {fault!r}") from fault


def _table_records(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table: its footer points to a block of pointers, each to a block of records."""
    _, _, at = _handle(table, len(table) - FOOTER_BYTES)
    offset, size, _ = _handle(table, at)
    for _, pointer in _block_records(table, offset, size):
        offset, size, _ = _handle(pointer, 0)
        yield from _block_records(table, offset, size)


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and the position of the next handle."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _block_records(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. A key omits the prefix that it shares with the previous key."""
    if offset + size + BLOCK_TRAILER_BYTES > len(table) or table[offset + size] != 0:
        raise IndexError("a block is compressed, or lies outside the file")
    block = table[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < size - 4 - 4 * restarts:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared + length
        yield key, block[at - length : at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A little-endian base-128 number, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(data: bytes) -> dict[int, int | bytes]:
    """The fields of a protobuf message by number; of a repeated field, the last."""
    return dict(_fields(data))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if tag & 7 == 2 else (FIXED_BYTES[tag & 7], at)
            value, at = data[at : at + size], at + size
        yield tag >> 3, value


def _entry(data: bytes, shards: int) -> BundleEntry:
    fields = _message(data)
    if not all(isinstance(fields.get(k, 0), int) for k in (1, 3, 4, 5)) or not isinstance(fields.get(2, b""), bytes):
        raise IndexError("a field of another type")
    if fields.get(3, 0) >= shards:
        raise IndexError(f"values in data file {fields[3]} of {shards}")
    if fields[1] not in DTYPES:
        raise KeyError(f"values of TensorFlow's type {fields[1]}")
    shape = tuple(_message(dim).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2)
    return BundleEntry(DTYPES[fields[1]], shape, fields.get(3, 0), fields.get(4, 0), fields.get(5, 0))
