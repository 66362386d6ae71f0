"""What the converters made of MIDI files, kept on disk, so that a file is read once.

A shard is one file: an index of some hundred songs as JSON, then what their windows hold, column by column, which is
memory-mapped. A file a song would take longer to open than its MIDI file to hash; one file for a whole set would be
lost by an interruption, and written anew for one changed song. Shards are written beside and renamed, never changed: a
reader finds a whole one or none, and processes that share a folder do not wait for each other. What is damaged all the
same fails its check sum, is deleted, and its songs are read anew.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike

CODE = (  # what labels depend on
    "chords.py",
    "converter.py",
    "drums.py",
    "grid.py",
    "groove.py",
    "harmony.py",
    "melody.py",
    "midi_bytes.py",
    "midi_repair.py",
    "multitrack.py",
    "performance.py",
    "song_cache.py",
    "trio.py",
    "../midi_utils.py",
)
READERS = ("pretty_midi", "mido")
SUFFIX = ".shard"
HEADER = struct.Struct("<8sQI")  # magic, bytes of the index, check sum of the index
MAGIC = b"songs\0\0\1"
ALIGNMENT = 64  # bytes; where the labels begin, for the sake of speed


class Song(NamedTuple):
    """What became of one file, beside its windows."""

    digest: str | None  # of its content; None where the next reading may come out otherwise
    windows: int = 0
    fault: str | None = None  # why it was refused
    mended: str = ""
    off_grid: float = 0.0  # mean distance of the onsets from the grid, in steps
    reason: str | None = None  # why it gave no window


class Columns(NamedTuple):
    """A row a window, song after song."""

    labels: np.ndarray  # as in midi_grid.Windows, like the next four
    lengths: np.ndarray
    controls: np.ndarray  # [n, 0] where there are none
    track: np.ndarray
    start_bar: np.ndarray
    keys: np.ndarray  # [n] uint64, equal where labels and controls are; by chance too, in one of 40 sets of a billion


class Shard(NamedTuple):
    """Some songs and their windows."""

    songs: Sequence[Song]
    columns: Columns


class Rows:
    """Chosen rows of arrays that lie end to end, mapped from disk as a rule: an array that is read as it is indexed.

    Indexing gives a `numpy.ndarray`; `select` gives fewer of these rows, and reads nothing.
    """

    def __init__(self, arrays: Sequence[np.ndarray], rows: np.ndarray):
        self.arrays, self.rows = arrays, rows
        self.bounds = np.cumsum([0, *map(len, arrays)])
        self.dtype, self.shape = arrays[0].dtype, (len(rows), *arrays[0].shape[1:])

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> np.ndarray:
        rows = np.asarray(self.rows[index])
        found = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        which = np.searchsorted(self.bounds, rows, side="right") - 1
        for k in np.unique(which):
            found[which == k] = self.arrays[k][rows[which == k] - self.bounds[k]]
        return found

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def select(self, index: np.ndarray) -> "Rows":
        """The rows at these indices."""
        return Rows(self.arrays, self.rows[index])


def content_digest(data: bytes) -> str:
    """What stands for a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str | None:
    """The digest of a file's content; None where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return content_digest(file.read())
    except OSError:
        return None


def converter_folder(folder: str | os.PathLike, converter: Hashable) -> Path:
    """Where in a cache the songs of a converter lie: its class, its fields and the code decide."""
    kind = type(converter)
    key = content_digest(f"{kind.__module__} {converter!r} {_code_digest()}".encode())
    return Path(folder) / f"{kind.__name__}-{key[:16]}"


@cache
def _code_digest() -> str:
    """Of the code that reads and converts, ours and its libraries'."""
    sources = [(Path(__file__).parent / name).read_bytes() for name in CODE]
    return content_digest(b"".join([*sources, *(version(name).encode() for name in READERS)]))


def write_shard(folder: Path, shard: Shard) -> Shard:
    """Writes a shard into a cache's folder; returns it with its columns mapped from there."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [np.ascontiguousarray(column) for column in shard.columns]
    checksum = 0
    for column in columns:
        checksum = zlib.crc32(_bytes(column), checksum)
    kinds = [(column.dtype.str, column.shape) for column in columns]
    index = json.dumps({"songs": shard.songs, "columns": kinds, "checksum": checksum}).encode()
    index += b" " * (-(HEADER.size + len(index)) % ALIGNMENT)
    path = folder / f"{uuid4().hex}{SUFFIX}"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(HEADER.pack(MAGIC, len(index), zlib.crc32(index)) + index)
        for column in columns:
            file.write(_bytes(column))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return _mapped(path, _read_index(path))


def find_songs(folder: Path, keys: Iterable[Hashable]) -> tuple[list[Shard], dict[Hashable, int]]:
    """The shards that hold songs of these digests, mapped, and the place of each song in all of them end to end."""
    wanted, shards, places, songs = set(keys), [], {}, 0
    for path in folder.glob(f"*{SUFFIX}"):
        index = _whole(_read_index, path)
        held = {song.digest: songs + k for k, song in enumerate(index["songs"])} if index else {}
        if not wanted.isdisjoint(held) and (shard := _whole(_mapped, path, index)):
            places |= held
            wanted -= held.keys()
            songs += len(shard.songs)
            shards.append(shard)
    return shards, places


def _whole(read: Callable, path: Path, *arguments):
    """What `read` reads of a shard, or None where the shard is damaged, and then deleted, or gone."""
    try:
        return read(path, *arguments)
    except (ValueError, struct.error):
        with suppress(OSError):
            path.unlink()
    except OSError:
        pass
    return None


def _read_index(path: Path) -> dict:
    with path.open("rb") as file:
        magic, size, checksum = HEADER.unpack(file.read(HEADER.size))
        text = file.read(size)
    if magic != MAGIC or zlib.crc32(text) != checksum:
        raise ValueError(f"{path} is no whole shard")
    index = json.loads(text)
    songs = [Song(*song) for song in index["songs"]]
    return {**index, "songs": songs, "start": HEADER.size + size}


def _mapped(path: Path, index: dict) -> Shard:
    """A shard whose columns are read from disk as they are indexed."""
    data = np.asarray(np.memmap(path, np.uint8, "r"))[index["start"] :]
    if zlib.crc32(data) != index["checksum"]:
        raise ValueError(f"{path} is damaged")
    columns, start = [], 0
    for kind, shape in index["columns"]:
        end = start + np.dtype(kind).itemsize * int(np.prod(shape))
        columns.append(data[start:end].view(kind).reshape(shape))
        start = end
    return Shard(index["songs"], Columns(*columns))


def _bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array, end to end."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
