"""Reads TensorFlow checkpoints without TensorFlow, in the formats that Magenta publishes.

A checkpoint is an index, `PREFIX.index`, and raw arrays, `PREFIX.data-SSSSS-of-NNNNN`. The index is an uncompressed
LevelDB table whose values are small protobuf messages. This module reads just those parts of both formats and runs no
code from the files. Values are memory-mapped, so that a model is filled directly from the file.

Every block of the index and every variable has a CRC-32C, which is compared with the bytes before they are used.
"""

import bz2
import gzip
import io
import lzma
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from magenta_formats.crc32c import masked_crc32c
from magenta_formats.variables import Variables

INDEX = ".index"  # suffix
TRAIN_FOLDER = "train"  # subfolder of a run where Magenta's training script writes its checkpoints
TABLE_MAGIC = 0xDB4775248B80FB57  # last eight bytes of a LevelDB table
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5  # compression type and checksum
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64}  # TensorFlow's types.proto
FIXED_BYTES = {1: 8, 5: 4}  # length of a protobuf field by wire type
VARINT_BITS = 64  # of the longest number in a table or a message
DATA_SUFFIX = re.compile(r"\.data-\d{5}-of-\d{5}$")

# Limits far above what a checkpoint of Magenta's needs, so that a small file cannot take much memory or time
MAX_VARIABLES = 10_000  # the largest training run has about 200
RECORD_BYTES = 1_000  # name and description of a variable
MAX_SIZE = 2**31  # of a dimension
STATE_BYTES = 2**16  # read of the file `checkpoint`, whose first line counts
MAX_MEMBERS = 10_000  # files and folders in an archive
UNPACKED_RATIO = 16  # of an archive to its compressed file: weights reach 1.1, those with a fresh optimizer 3.3
UNPACKED_BYTES = 2**20  # that any archive may unpack to, whatever its size

OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"]\0\0": lzma.open}  # by first bytes
UNREADABLE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)  # raised for a damaged archive


class BundleEntry(NamedTuple):
    """Where the values of one variable are (tensor_bundle.proto, BundleEntryProto)."""

    dtype: type
    shape: tuple[int, ...]
    shard: int  # number of the data file
    offset: int  # bytes
    size: int  # bytes
    checksum: int  # masked CRC-32C of the values


class Span(NamedTuple):
    """A file: on its own, or as a part of an archive, or the content of one in a compressed archive."""

    path: Path
    offset: int  # bytes
    size: int  # bytes
    content: np.ndarray | None = None  # uint8, for a compressed archive

    def bytes(self) -> np.ndarray:
        """The bytes of the file [size] uint8, memory-mapped unless it was in a compressed archive."""
        if self.content is not None:
            return self.content
        return np.memmap(self.path, np.uint8, "r", self.offset, self.size) if self.size else np.zeros(0, np.uint8)


def is_checkpoint(path: Path) -> bool:
    """Whether a path is what `read_variables` reads, by names and first bytes alone."""
    if path.is_dir():
        return any(path.glob(f"*{INDEX}")) or any(path.glob(f"{TRAIN_FOLDER}/*{INDEX}"))
    if path.is_file():
        return _prefix_of(path) != path.name or _is_tar(path)
    return path.with_name(path.name + INDEX).is_file()


def _prefix_of(path: Path) -> str:
    """The name of the checkpoint that a file with a checkpoint's suffix belongs to; any other name as it is."""
    return DATA_SUFFIX.sub("", path.name.removesuffix(INDEX))


def _is_tar(path: Path) -> bool:
    """Whether a file starts like an archive. Unlike tarfile's own test, this one unpacks only the first 512 bytes."""
    try:
        with _open_unpacked(path) as file:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), tarfile.ENCODING, "surrogateescape")
    except UNREADABLE:
        return False
    return True


def _open_unpacked(path: Path) -> BinaryIO:
    """A file as a stream of its content, without its compression."""
    with path.open("rb") as file:
        start = file.read(max(map(len, OPENERS)))
    return next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), open)(path, "rb")


def read_variables(path: str | Path) -> Variables:
    """All variables of a TensorFlow checkpoint, by name, as read-only memory maps.

    Args:
        path: one of
            - a prefix without `.index`, as `tf.train.Saver` takes it, or the path of one of its files;
            - the folder of a run, of which the latest checkpoint is read;
            - a `.tar` archive of a checkpoint, which is not unpacked.

    Raises:
        ValueError: a file is missing, truncated, damaged or of another format; a variable is not where the index says;
            or an archive holds a link or a path that leads out of it, or unpacks to far more than its own size.
    """
    prefix, files = _checkpoint_files(Path(path))
    entries, shards = read_index(_file(path, files, prefix + INDEX), f"{path}: {prefix}{INDEX}")
    data = [_file(path, files, f"{prefix}.data-{k:05d}-of-{shards:05d}").bytes() for k in range(shards)]
    raw = {name: _raw_values(path, name, entry, data[entry.shard]) for name, entry in entries.items()}
    if sum(map(len, raw.values())) > sum(map(len, data)):
        raise ValueError(f"{path}: {prefix}{INDEX} gives the same bytes to several variables")
    for name, entry in entries.items():
        if masked_crc32c(raw[name]) != entry.checksum:
            raise ValueError(
                f"{path}: variable {name} is damaged: its values do not match their checksum; copy it again"
            )
    return {name: raw[name].view(entry.dtype).reshape(entry.shape) for name, entry in entries.items()}


def _raw_values(path: str | Path, name: str, entry: BundleEntry, data: np.ndarray) -> np.ndarray:
    """The bytes of a variable: [n] uint8."""
    raw = data[entry.offset : entry.offset + entry.size]
    wanted = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
    if len(raw) != wanted:
        raise ValueError(f"{path}: variable {name} {entry.shape} needs {wanted} bytes, its file holds {len(raw)}")
    return raw


# ---- Files ----


def _checkpoint_files(path: Path) -> tuple[str, dict[str, Span]]:
    """The prefix of the checkpoint at a path, and all files beside it by name."""
    if path.is_dir():
        files = _folder_files(path)
        inner = path / TRAIN_FOLDER
        if inner.is_dir() and not _prefixes(files):
            return _checkpoint_files(inner)
        return _latest(path, files), files
    prefix = _prefix_of(path)
    if path.is_file() and prefix == path.name:
        files = _tar_files(path)
        return _latest(path, files), files
    return prefix, _folder_files(path.parent) if path.parent.is_dir() else {}


def _folder_files(folder: Path) -> dict[str, Span]:
    return {file.name: Span(file, 0, file.stat().st_size) for file in folder.iterdir() if file.is_file()}


def _tar_files(path: Path) -> dict[str, Span]:
    """The files of an archive, which is not unpacked. Links, and paths that lead out of the archive, are refused."""
    try:
        content = _unpack(path)
        with tarfile.open(path, "r:", content) as archive:
            files = {}
            for count, member in enumerate(archive):
                _check_member(path, member, count)
                if member.isfile():
                    files[member.name] = _member_span(path, content, member)
            return files
    except UNREADABLE as fault:
        with path.open("rb") as file:
            if file.read(4) == b"MThd":
                raise ValueError(f"{path} is a MIDI file, not a model") from None
        raise ValueError(f"{path} is no tar archive and no checkpoint's prefix, or it is truncated: {fault}") from None


def _unpack(path: Path) -> io.BytesIO | None:
    """The content of a compressed archive; None for one that is not compressed."""
    most, content = UNPACKED_RATIO * path.stat().st_size + UNPACKED_BYTES, io.BytesIO()
    with _open_unpacked(path) as file:
        if isinstance(file, io.BufferedReader):
            return None
        while chunk := file.read(UNPACKED_BYTES):
            if content.tell() + len(chunk) > most:
                raise ValueError(
                    f"{path} unpacks to more than {UNPACKED_RATIO} times its size, which a model's weights never do; "
                    "to read it all the same, unpack it and give the folder"
                )
            content.write(chunk)
    content.seek(0)
    return content


def _check_member(path: Path, member: tarfile.TarInfo, count: int):
    if count >= MAX_MEMBERS:
        raise ValueError(f"{path} holds more than {MAX_MEMBERS:,} files; give an archive of a single checkpoint")
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
        raise ValueError(f"{path} holds {member.name!r}, a path that leads out of the archive")
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise ValueError(f"{path} holds {member.name!r}, which is neither a plain file nor a folder")


def _member_span(path: Path, content: io.BytesIO | None, member: tarfile.TarInfo) -> Span:
    held = path.stat().st_size if content is None else content.getbuffer().nbytes
    offset, size = member.offset_data, max(min(member.size, held - member.offset_data), 0)
    if content is None:
        return Span(path, offset, size)
    data = np.frombuffer(content.getbuffer(), np.uint8, size, offset) if size else np.zeros(0, np.uint8)
    data.flags.writeable = False
    return Span(path, offset, size, data)


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
    text = file.bytes()[:STATE_BYTES].tobytes().decode(errors="replace")
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
    table = file.bytes().tobytes()
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != TABLE_MAGIC:
        raise ValueError(f"{name} is not the index of a TensorFlow checkpoint, or it is truncated")
    try:
        records = {}
        for key, value in _table_records(table):
            if len(records) >= MAX_VARIABLES or len(key) + len(value) > RECORD_BYTES:
                raise IndexError(
                    f"more than {MAX_VARIABLES:,} variables, or one that takes over {RECORD_BYTES:,} bytes"
                )
            records[key] = value
        shards = _message(records.pop(b"")).get(1, 1)
        return {key.decode(): _entry(value, shards) for key, value in records.items()}, shards
    except (IndexError, KeyError, TypeError, struct.error, UnicodeDecodeError) as fault:
        raise ValueError(f"{name} is damaged: {fault!r}") from fault


def _table_records(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table: its footer points to a block of pointers, each to a block of records."""
    _, _, at = _handle(table, len(table) - FOOTER_BYTES)
    offset, size, _ = _handle(table, at)
    read = 0
    for _, pointer in _block_records(table, offset, size):
        offset, size, _ = _handle(pointer, 0)
        read += size
        if read > len(table):
            raise IndexError("blocks that overlap")
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
    end = offset + size + 1  # the checksum includes the compression type
    if masked_crc32c(np.frombuffer(table[offset:end], np.uint8)) != struct.unpack_from("<I", table, end)[0]:
        raise IndexError("a block does not match its checksum")
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
        if shift >= VARINT_BITS:
            raise IndexError(f"a number of more than {VARINT_BITS} bits")
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
    if not isinstance(fields.get(6), bytes):
        raise IndexError("values without a checksum")
    if fields.get(3, 0) >= shards:
        raise IndexError(f"values in data file {fields[3]} of {shards}")
    if fields[1] not in DTYPES:
        raise KeyError(f"values of TensorFlow's type {fields[1]}")
    shape = tuple(_message(dim).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2)
    if any(size >= MAX_SIZE for size in shape):
        raise IndexError(f"a shape of {shape}")
    places = (fields.get(k, 0) for k in (3, 4, 5))
    return BundleEntry(DTYPES[fields[1]], shape, *places, struct.unpack("<I", fields[6])[0])
