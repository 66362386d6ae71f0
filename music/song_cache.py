"""A cache on disk of the windows that converters cut from MIDI files, so that each file is read once.

A cache file holds up to CACHE_FILE_SONGS songs: an index in JSON, then the columns of their windows one after the
other, which are memory-mapped. One file per song would take longer to open than the MIDI file to hash. One file for the
whole set would be lost by an interruption and rewritten for one changed song.

A cache file is written under another name, renamed when it is whole, and never changed, so that processes can share a
folder without waiting for each other. A damaged file fails its checksum. It is deleted, and its songs are read again.
"""

import hashlib
import json
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike

from music.grid import Windows

CACHE_FILE_SONGS = 1024  # per cache file, at most
CACHE_FILE_BYTES = 2**27  # of labels and controls per cache file, about
# Files of this folder that labels do not depend on
NOT_READERS = (
    "attributes.py",
    "clip_chords.py",
    "clips.py",
    "keys.py",
    "options.py",
    "piano_measures.py",
    "song_report.py",
    "soundfont.py",
)
READER_ELSEWHERE = Path(__file__).parents[1] / "engine" / "bit_lists.py"  # labels of pianos depend on it
READER_PACKAGES = ("pretty_midi", "mido")
SUFFIX = ".songs"
HEADER = struct.Struct("<8sQI")  # magic, bytes of the index, checksum of the index
MAGIC = b"songs\0\0\1"
ALIGNMENT = 64  # bytes; the labels start at a multiple, which is faster to read


class Song(NamedTuple):
    """What became of one MIDI file, apart from its windows."""

    digest: str | None  # of its content; None if the next reading may have another result
    windows: int = 0
    fault: str | None = None  # why it was refused
    mended: str = ""
    off_grid: float = 0.0  # share of the onsets that lie off the grid
    reason: str | None = None  # why it gave no window
    lost_bars: int = 0  # at the ends of lines that are too long
    drums: str | None = None  # what differs from General MIDI's drums
    lost_notes: str = ""  # left out or cut short, in words


class Columns(NamedTuple):
    """Windows as columns with one row per window, song after song."""

    labels: np.ndarray  # labels to start_bar are as in music.grid.Windows
    lengths: np.ndarray
    controls: np.ndarray  # [n, 0] without controls
    track: np.ndarray
    start_bar: np.ndarray
    keys: np.ndarray  # [n] uint64 hashes of labels and controls; one set of 1e9 windows in 40 has a collision


class ReadSong(NamedTuple):
    """One MIDI file as it was read."""

    song: Song
    columns: Columns | None = None  # None if the file was refused


class CacheFile(NamedTuple):
    """Some songs and their windows, in memory or mapped from a cache file."""

    songs: Sequence[Song]
    columns: Columns


class Rows:
    """Selected rows of several arrays taken as one; reads them, usually from a mapped file, when it is indexed.

    Indexing returns a `numpy.ndarray`. `select` returns a selection of these rows and reads nothing.
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
        """The rows at these indices of the selection."""
        return Rows(self.arrays, self.rows[index])


# ---- Windows as columns ----


def columns_of(windows: Windows) -> Columns:
    """The windows of a song as columns, with a key for each."""
    controls = np.zeros((len(windows.labels), 0), np.int8) if windows.controls is None else windows.controls
    rows = (labels.tobytes() + chords.tobytes() for labels, chords in zip(windows.labels, controls, strict=True))
    keys = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    place = windows.track, windows.start_bar
    return Columns(windows.labels, windows.lengths, controls, *place, np.frombuffer(keys, np.uint64))


def group_songs(read: Iterable[ReadSong], nothing: Columns) -> Iterator[CacheFile]:
    """Groups songs, as they are read, into files' worth; `nothing`, of 0 windows, gives the shapes and types."""
    songs, parts, size = [], [nothing], 0
    for song, columns in read:
        songs.append(song)
        if song.windows:
            parts.append(columns)
            size += columns.labels.nbytes + columns.controls.nbytes
        if len(songs) == CACHE_FILE_SONGS or size >= CACHE_FILE_BYTES:
            yield CacheFile(songs, _joined(parts))
            songs, parts, size = [], [nothing], 0
    if songs:
        yield CacheFile(songs, _joined(parts))


def _joined(parts: Sequence[Columns]) -> Columns:
    return Columns(*map(np.concatenate, zip(*parts, strict=True)))


# ---- Keys ----


def content_digest(data: bytes) -> str:
    """A hash of a file's content."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str | None:
    """The hash of a file's content; None if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return content_digest(file.read())
    except OSError:
        return None


def converter_folder(folder: str | os.PathLike, converter: Hashable, intake: Hashable) -> Path:
    """The folder of a converter's songs in a cache; it depends on its class, its fields, the intake and the code.

    Raises:
        ValueError: the cache is a file.
    """
    if Path(folder).is_file():
        raise ValueError(f"{folder} is a file: give a folder for the cache, as --cache (cache=)")
    kind = type(converter)
    key = content_digest(f"{kind.__module__} {converter!r} {code_digest()} {intake!r}".encode())
    return Path(folder) / f"{kind.__name__}-{key[:16]}"


@cache
def code_digest(folder: Path = Path(__file__).parent) -> str:
    """A hash of what labels depend on: the code that reads and converts, and its libraries' versions."""
    paths = [path for path in sorted(folder.glob("*.py")) if path.name not in NOT_READERS]
    versions = (version(name).encode() for name in READER_PACKAGES)
    return content_digest(b"".join([*(path.read_bytes() for path in (*paths, READER_ELSEWHERE)), *versions]))


# ---- Cache files ----


def write_cache_file(folder: Path, content: CacheFile) -> CacheFile:
    """Writes songs into a converter's folder of a cache; returns them with their columns mapped from the new file.

    If the file cannot be written, warns and returns the songs as they are.
    """
    path = folder / f"{uuid4().hex}{SUFFIX}"
    partial = path.with_suffix(".partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(partial, content)
        partial.replace(path)
        return _mapped(path, _read_index(path))
    except OSError as fault:
        with suppress(OSError):
            partial.unlink()
        warnings.warn(f"{folder} cannot be written ({fault.strerror}): its songs are not cached", stacklevel=4)
        return content


def _write(path: Path, content: CacheFile):
    """Writes a cache file and waits until it is on the disk."""
    columns = [_bytes(column) for column in content.columns]
    with path.open("wb") as file:
        file.write(_index_of(content, columns))
        for column in columns:
            file.write(column)
        file.flush()
        os.fsync(file.fileno())


def _index_of(content: CacheFile, columns: Sequence[np.ndarray]) -> bytes:
    """The header and index of a cache file; columns: the bytes of each."""
    checksum = 0
    for column in columns:
        checksum = zlib.crc32(column, checksum)
    kinds = [(column.dtype.str, column.shape) for column in content.columns]
    index = json.dumps({"songs": content.songs, "columns": kinds, "checksum": checksum}).encode()
    index += b" " * (-(HEADER.size + len(index)) % ALIGNMENT)
    return HEADER.pack(MAGIC, len(index), zlib.crc32(index)) + index


def find_songs(folder: Path, keys: Iterable[Hashable]) -> tuple[list[CacheFile], dict[Hashable, int]]:
    """Looks for songs in a converter's folder of a cache.

    Args:
        keys: digests of the songs' contents; other keys are not found.

    Returns:
        The cache files that hold some of them, mapped, and the index of each song in all these files' songs in order.
    """
    wanted, files, places, songs = set(keys), [], {}, 0
    for path in folder.glob(f"*{SUFFIX}"):
        index = _unless_damaged(_read_index, path)
        held = {song.digest: songs + k for k, song in enumerate(index["songs"])} if index else {}
        if not wanted.isdisjoint(held) and (found := _unless_damaged(_mapped, path, index)):
            places |= held
            wanted -= held.keys()
            songs += len(found.songs)
            files.append(found)
    return files, places


def _unless_damaged(read: Callable, path: Path, *arguments):
    """The result of `read`, or None for a cache file that is gone or damaged; a damaged one is deleted."""
    try:
        return read(path, *arguments)
    except (ValueError, struct.error):
        with suppress(OSError):
            path.unlink()
    except OSError:
        pass
    return None


def _read_index(path: Path) -> dict:
    """A cache file's songs, columns (type and shape of each), checksum of these, and the byte where they start."""
    with path.open("rb") as file:
        magic, size, checksum = HEADER.unpack(file.read(HEADER.size))
        text = file.read(size)
    if magic != MAGIC or zlib.crc32(text) != checksum:
        raise ValueError(f"{path} is no whole cache file")
    index = json.loads(text)
    songs = [Song(*song) for song in index["songs"]]
    return {**index, "songs": songs, "start": HEADER.size + size}


def _mapped(path: Path, index: dict) -> CacheFile:
    """A cache file whose columns are read from disk when they are indexed."""
    data = np.asarray(np.memmap(path, np.uint8, "r"))[index["start"] :]
    if zlib.crc32(data) != index["checksum"]:
        raise ValueError(f"{path} is damaged")
    columns, start = [], 0
    for kind, shape in index["columns"]:
        end = start + np.dtype(kind).itemsize * int(np.prod(shape))
        columns.append(data[start:end].view(kind).reshape(shape))
        start = end
    return CacheFile(index["songs"], Columns(*columns))


def _bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of an array in order, copied only if they are not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
