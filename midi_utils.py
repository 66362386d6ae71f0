"""From MIDI files to label arrays: MusicVAE's view of music (Roberts et al. 2018, sections 3 and 4).

A file becomes a `PrettyMIDI` (`load_midi`), a converter cuts windows of labels out of it (`to_arrays`),
and `load_songs` does so for a folder and says what became of every file. The labels equal those of
Magenta's converters (music_vae/data.py, data_hierarchical.py) on every file that both read, but for this: tracks of one
program stand in a bar in their order in the file, a pedal left down cuts off no drums, a change after the last note
costs no groove, and of two chords on one step the later holds, where Magenta gives nothing. Unlike Magenta, this module
mends files that pretty_midi refuses, drops windows that occur twice in a set, and says why a song gives none.
"""

import gc
import hashlib
import io
import itertools
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor
from tqdm.auto import tqdm

from music import grid
from music.converter import Tensors
from music.drums import DrumsConverter
from music.grid import NAMES_SHOWN, Skipped, Windows
from music.groove import GrooveConverter
from music.melody import MelodyConverter
from music.midi_bytes import read_events
from music.midi_repair import MidiError, repair
from music.multitrack import MultitrackConverter
from music.song_cache import (
    Columns,
    Rows,
    Shard,
    Song,
    content_digest,
    converter_folder,
    file_digest,
    find_songs,
    write_shard,
)
from music.trio import TrioConverter

__all__ = [
    "Converter",
    "DrumsConverter",
    "GrooveConverter",
    "MelodyConverter",
    "MidiError",
    "MultitrackConverter",
    "Skipped",
    "SongDataset",
    "SongReport",
    "Split",
    "Tensors",
    "TrioConverter",
    "Windows",
    "load_midi",
    "load_songs",
    "midi_files",
]

Converter = MelodyConverter | DrumsConverter | TrioConverter | GrooveConverter | MultitrackConverter

BUILT_IN = "built_in"  # subfolder whose songs are taken where there are no others
MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
FEW_BYTES = 2**17  # of files; below this, starting worker processes takes longer than they save
CHUNK_FILES = 4  # files a worker reads at a time
MAX_WORKERS = 61  # processes that Windows can wait for
EXECUTOR_WORKERS = 64  # of an executor that is given, unless `workers` says otherwise
QUEUED_CHUNKS = 4  # a worker, read and not yet taken up or still to read
SHARD_FILES = 1024  # songs kept in one file of a cache, at most
SHARD_BYTES = 2**27  # of their windows, about
MEMORY_BYTES = 2**30  # of labels that are put into one array; more stay in the shards they came in
OFF_GRID_STEPS = 0.2  # mean distance of the onsets from the grid above which a song is called off it; chance gives 0.25


# ---- Reading a file ----


def load_midi(path: str | os.PathLike) -> PrettyMIDI:
    """Reads a MIDI file, mending it where pretty_midi refuses it; what was mended is said in a warning.

    Raises:
        MidiError: no such file, no MIDI file, or one that is cut off or beyond mending; names the file and the fault.
    """
    midi, mended = _read(path)
    if mended:
        warnings.warn(f"{path}: read after mending: {'; '.join(mended)}", stacklevel=2)
    return midi


def _read(path: str | os.PathLike) -> tuple[PrettyMIDI, list[str]]:
    """The song, and what had to be mended."""
    return _parsed(path, _file_bytes(path))


def _parsed(path: str | os.PathLike, data: bytes) -> tuple[PrettyMIDI, list[str]]:
    """The song that a file's bytes hold, and what had to be mended."""
    try:
        events = read_events(data)
        midi = PrettyMIDI(mido_object=events) if events else PrettyMIDI(io.BytesIO(data))
        if midi.resolution > 0:
            return midi, []
    except Exception:  # whatever a damaged file leads pretty_midi and mido into
        pass
    try:
        data, mended = repair(data)
        return PrettyMIDI(io.BytesIO(data)), mended
    except MidiError as error:
        raise MidiError(f"{path}: {error}") from None
    except Exception as error:
        raise MidiError(f"{path}: cannot be read even after mending ({type(error).__name__}: {error})") from error


def _file_bytes(path: str | os.PathLike) -> bytes:
    if Path(path).is_dir():
        raise MidiError(f"{path}: is a folder, not a MIDI file; load_songs reads folders")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MidiError(f"{path}: there is no such file") from None
    except OSError as error:
        raise MidiError(f"{path}: cannot be opened ({error.strerror or error})") from error
    if not data:
        raise MidiError(f"{path}: the file is empty")
    return data


# ---- A folder of songs ----


class SongReport(NamedTuple):
    """What became of every file of a set; prints in plain words, the full lists are its fields."""

    source: str  # the folder, or how many paths were given
    converter: Converter
    files: int  # found
    songs: int  # files that gave windows
    windows: int  # kept
    duplicates: int  # windows dropped because an earlier one is equal
    refused: tuple[tuple[str, str], ...]  # (file, fault)
    mended: tuple[tuple[str, str], ...]  # (file, what was mended); these were read
    without_window: tuple[tuple[str, str], ...]  # (file, reason)
    off_grid: tuple[tuple[str, str], ...]  # (file, how far its onsets lie from the grid)

    def __str__(self) -> str:
        read = self.files - len(self.refused)
        lines = [
            f"{self.source}: {grid.counted(self.files, 'MIDI file')}, {read} read, {len(self.refused)} refused",
            f"{grid.counted(self.windows, 'window')} of {grid.counted(self.converter.bars, 'bar')} kept from "
            f"{grid.counted(self.songs, 'song')}, {grid.counted(self.duplicates, 'duplicate')} dropped",
        ]
        lines += _listing("Refused", self.refused, shown=len(self.refused))
        lines += _listing("Read after mending", self.mended)
        lines += _listing("Songs without a usable window", self.without_window)
        lines += _listing("Off the sixteenths of their own tempo (swing, free playing, a wrong tempo)", self.off_grid)
        return "\n".join(lines)

    __repr__ = __str__


def _listing(title: str, entries: Sequence[tuple[str, str]], shown: int = NAMES_SHOWN) -> list[str]:
    """(name, reason) pairs grouped by reason, the most frequent first; what follows a semicolon stays with the name."""
    groups = defaultdict(list)
    for name, reason in entries:
        reason, _, detail = reason.partition("; ")
        groups[reason].append(f"{name} ({detail})" if detail else name)
    lines = [f"{title}: {len(entries)}"] if entries else []
    for reason, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        more = f" and {len(names) - shown} more, all in the report's fields" if len(names) > shown else ""
        lines.append(f"  {reason}: {grid.counted(len(names), 'song')}: {', '.join(names[:shown])}{more}")
    return lines


class SongDataset(torch.utils.data.Dataset):
    """Windows of integer labels of many songs; `converter.to_tensors(dataset.windows(indices))` makes frames of them.

    labels, lengths, controls, track, start_bar: as in Windows, over all songs; song [n]: index in `names`, the songs
    that have windows, in order; converter; report: a SongReport on the whole set. Labels and controls beyond a gigabyte
    are `song_cache.Rows`, which give arrays where they are indexed, and with a cache lie on disk.
    """

    def __init__(
        self, windows: Windows, song: np.ndarray, names: Sequence[str], converter: Converter, report: SongReport
    ):
        self.labels, self.lengths, self.controls, self.track, self.start_bar, _ = windows
        self.song, self.names, self.converter, self.report = song, tuple(names), converter, report

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        """The labels of one window."""
        return self.labels[index]

    def __repr__(self) -> str:
        kind = type(self.converter).__name__
        return f"SongDataset({grid.counted(len(self), 'window')} of {grid.counted(len(self.names), 'song')}, {kind})"

    def windows(self, indices: Sequence[int] | np.ndarray | Tensor | slice) -> Windows:
        """The windows at these indices, or where a mask is true."""
        if not isinstance(indices, slice):
            indices = np.atleast_1d(np.asarray(indices))
            indices = indices if indices.size else indices.astype(int)
        controls = None if self.controls is None else self.controls[indices]
        place = self.track[indices], self.start_bar[indices]
        return Windows(self.labels[indices], self.lengths[indices], controls, *place, ())

    def split(
        self,
        valid: float = 0.1,
        test: float = 0.0,
        seed: int = 0,
        groups: Sequence[str] | Mapping[str, str] | None = None,
    ) -> "Split":
        """Parts that share no song.

        Args:
            valid, test: shares of the songs, from 0 to 1; a share above 0 gets at least one song.
            seed: equal seeds give equal parts.
            groups: songs of one group stay together: a group for each of `names`, or a group by name.

        Raises:
            ValueError: shares that leave nothing to train on, too few songs or groups, groups that miss a song.
        """
        group = _group_of_each(self.names, groups)
        kinds = sorted(set(group))
        counts = _part_sizes(len(kinds), valid, test, "song" if groups is None else "group")
        order = np.random.default_rng(seed).permutation(len(kinds))
        part_of_kind = dict(zip((kinds[k] for k in order), np.repeat(range(3), counts).tolist(), strict=True))
        part = np.array([part_of_kind[g] for g in group], np.int64)
        return Split(*(self._songs(np.flatnonzero(part == k)) for k in range(3)))

    def _songs(self, songs: np.ndarray) -> "SongDataset":
        """The windows of some songs."""
        kept = np.flatnonzero(np.isin(self.song, songs))
        song = np.searchsorted(songs, self.song[kept]).astype(self.song.dtype)
        names = [self.names[k] for k in songs]
        columns = self.labels, self.lengths, self.controls, self.track, self.start_bar
        windows = Windows(*(c.select(kept) if isinstance(c, Rows) else c if c is None else c[kept] for c in columns))
        return SongDataset(windows, song, names, self.converter, self.report)


class Split(NamedTuple):
    """Three parts of a dataset; one not asked for is empty."""

    train: SongDataset
    valid: SongDataset
    test: SongDataset


def _group_of_each(names: Sequence[str], groups: Sequence[str] | Mapping[str, str] | None) -> list[str]:
    """The group of each song."""
    if groups is None:
        return list(names)
    if not isinstance(groups, Mapping):
        if len(groups) != len(names):
            raise ValueError(f"groups has {len(groups)} entries; the dataset has {len(names)} songs (see its names)")
        return [str(group) for group in groups]
    if missing := [name for name in names if name not in groups]:
        raise ValueError(f"groups says nothing of {', '.join(missing[:NAMES_SHOWN])}: {len(missing)} songs in all")
    return [str(groups[name]) for name in names]


def _part_sizes(count: int, valid: float, test: float, noun: str) -> tuple[int, int, int]:
    """How many go to train, valid and test."""
    if not (0 <= valid <= 1 and 0 <= test <= 1 and valid + test < 1):
        raise ValueError(f"valid is {valid} and test is {test}; shares lie from 0 to 1 and leave some to train on")
    held_out = [max(1, round(share * count)) if share else 0 for share in (valid, test)]
    train = count - sum(held_out)
    if train < 1:
        parts = f"{1 + sum(share > 0 for share in (valid, test))} parts with valid={valid} and test={test}"
        raise ValueError(f"{grid.counted(count, noun)} cannot be split into {parts}; add songs, or ask for less")
    return train, *held_out


class _Found(NamedTuple):
    """What a worker hands back for one file."""

    song: Song
    columns: Columns | None = None  # None where it was refused


def load_songs(
    folder_or_paths: str | os.PathLike | Iterable[str | os.PathLike],
    converter: Converter,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
) -> SongDataset:
    """Reads every MIDI file of a folder and its subfolders, or every path given, into one dataset.

    Songs are sorted by name, however many workers read them; of windows equal anywhere in the set the first is kept.
    A folder's subfolder `built_in` counts only where the folder holds no other song.

    Args:
        workers: processes; 1 reads in this one, None takes every core where the set is large enough. With an
            executor, how many workers it has, if more than 64.
        executor: a `concurrent.futures.Executor` to read with in place of one's own processes.
        cache: folder that keeps what was read, by the files' contents, the converter and this code; a second reading
            takes it from there, and labels beyond a gigabyte stay there.
        progress: show a progress bar.

    Raises:
        ValueError: no such folder, no MIDI file in it, or no window in any of them; the message carries the report.
    """
    source, names, paths = _find_files(folder_or_paths)
    folder = None if cache is None else converter_folder(cache, converter)
    keys = [(folder and file_digest(path)) or k for k, path in enumerate(paths)]  # equal where contents are
    shards, places = find_songs(folder, keys) if folder else ([], {})
    missing = {key: path for key, path in zip(keys, paths, strict=True) if key not in places}
    read = _read_all(list(missing.values()), converter, workers, executor)
    known = len(paths) - len(missing)
    read = tqdm(read, "Reading MIDI", len(paths), initial=known, unit="file", disable=not progress)
    songs, unplaced = sum(len(shard.songs) for shard in shards), iter(missing)
    for shard in _shards(read, converter):
        places |= zip(itertools.islice(unplaced, len(shard.songs)), itertools.count(songs))
        songs += len(shard.songs)
        stays = folder and any(song.digest for song in shard.songs)
        shards.append(write_shard(folder, shard) if stays else shard)
    return _dataset(source, names, [places[key] for key in keys], shards, converter)


def _find_files(folder_or_paths) -> tuple[str, list[str], list[Path]]:
    """What to call the set, and the name and path of each file, sorted; names in a folder are relative to it."""
    if not isinstance(folder_or_paths, str | os.PathLike):
        given = [Path(path) for path in folder_or_paths]
        paths = [file for path in given for file in (midi_files(path) if path.is_dir() else [path])]
        source, names = grid.counted(len(paths), "path"), {path.as_posix(): path for path in paths}
    elif (folder := Path(folder_or_paths)).is_dir():
        source, names = str(folder), {path.relative_to(folder).as_posix(): path for path in midi_files(folder)}
        if names and all(name.startswith(f"{BUILT_IN}/") for name in names):
            source += " (its built-in songs: put files of your own beside them, and yours are taken instead)"
    elif folder.exists():
        source, names = str(folder), {folder.name: folder}
    else:
        raise ValueError(f"{folder}: there is no such folder; give one that holds MIDI files, or a list of paths")
    if not names:
        raise ValueError(f"{source}: there is no MIDI file; add files that end in {', '.join(MIDI_SUFFIXES)}")
    return source, sorted(names), [names[name] for name in sorted(names)]


def midi_files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and its subfolders, by their endings; built-in songs where there are no others."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
    files = [path for path in found if not path.name.startswith(".")]
    return [path for path in files if path.relative_to(folder).parts[0] != BUILT_IN] or files


def _read_songs(paths: Sequence[Path], converter: Converter) -> list[_Found]:
    """Runs in a worker: whatever a file does, the others are read."""
    with warnings.catch_warnings(), _no_garbage():
        warnings.simplefilter("ignore")  # pretty_midi warns of tempos on later tracks; nothing here to act on
        return [_read_song(path, converter) for path in paths]


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Looks for no cycles meanwhile, which a parser's many small objects set off and do not form."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_song(path: Path, converter: Converter) -> _Found:
    digest = None
    try:
        data = _file_bytes(path)
        digest = content_digest(data)
        midi, mended = _parsed(path, data)
        off_grid = _distance_from_grid(midi) if converter.needs_grid else 0.0
        columns = _columns(windows := converter.to_arrays(midi))
    except MidiError as error:
        return _Found(Song(digest, fault=str(error).removeprefix(f"{path}: ")))
    except Exception as error:  # one file must not end the reading of a folder
        return _Found(Song(None, fault=f"{type(error).__name__}: {error}"))
    reason = None if len(windows.labels) else windows.skipped[0].reason
    mended = ", ".join(mended).replace("; ", ", ")
    return _Found(Song(digest, len(windows.labels), None, mended, off_grid, reason), columns)


def _columns(windows: Windows) -> Columns:
    """The columns of a song's windows, and a key for each."""
    controls = np.zeros((len(windows.labels), 0), np.int8) if windows.controls is None else windows.controls
    rows = (labels.tobytes() + chords.tobytes() for labels, chords in zip(windows.labels, controls, strict=True))
    keys = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return Columns(windows.labels, windows.lengths, controls, *windows[3:5], np.frombuffer(keys, np.uint64))


def _distance_from_grid(midi: PrettyMIDI) -> float:
    """Mean distance, in steps, of a song's onsets from the sixteenths."""
    offsets = np.concatenate([part.offset for part in grid.song_parts(midi)])
    return float(np.abs(offsets).mean()) if len(offsets) else 0.0


def _read_all(
    paths: list[Path], converter: Converter, workers: int | None, executor: Executor | None
) -> Iterator[_Found]:
    """What each path gives, in order; a few chunks a worker are read ahead."""
    chunks = [paths[k : k + CHUNK_FILES] for k in range(0, len(paths), CHUNK_FILES)]
    workers = workers or EXECUTOR_WORKERS if executor else min(workers or _workers(paths), len(chunks), MAX_WORKERS)
    own = _start_pool(workers) if executor is None and workers > 1 else _Here()
    waiting = deque()
    try:
        for chunk in chunks:
            future = _submit(executor or own, chunk, converter)
            if future is None and executor is None:
                own = _start_pool(workers)
                future = _submit(own, chunk, converter)
            waiting.append((chunk, future))
            while waiting and (len(waiting) == QUEUED_CHUNKS * workers or not future or waiting[0][1].done()):
                yield from _taken(*waiting.popleft(), converter)
        while waiting:
            yield from _taken(*waiting.popleft(), converter)
    finally:
        own.shutdown(cancel_futures=True)


class _Here(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, task, /, *arguments) -> Future:
        future = Future()
        future.set_result(task(*arguments))
        return future


def _submit(pool: Executor, chunk: list[Path], converter: Converter) -> Future | None:
    """None where the pool takes no more, as when one of its workers died."""
    with suppress(RuntimeError):
        return pool.submit(_read_songs, chunk, converter)


def _taken(chunk: list[Path], future: Future | None, converter: Converter) -> list[_Found]:
    """What a chunk gives; where its worker died, its files are tried again, each in a process of its own."""
    try:
        return future.result() if future else [_read_alone(path, converter) for path in chunk]
    except Exception:  # whatever the executor says when a worker dies
        return [_read_alone(path, converter) for path in chunk]


def _workers(paths: list[Path]) -> int:
    """Every core, or this process alone for a small set."""
    return _cores() if sum(path.stat().st_size for path in paths if path.is_file()) >= FEW_BYTES else 1


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_pool(workers: int) -> Executor:
    """A pool that works; this process where no other can be started (a script without a main guard, a sandbox)."""
    try:
        pool = ProcessPoolExecutor(workers)
    except (OSError, NotImplementedError):
        return _Here()
    return pool if _works(pool) else _Here()


def _works(pool: Executor) -> bool:
    try:
        pool.submit(int).result()
        return True
    except (OSError, BrokenExecutor):  # no RuntimeError: a worker that runs an unguarded script must die of its own
        return False


def _read_alone(path: Path, converter: Converter) -> _Found:
    """Reads a file in a process of its own, so that the one that ends its process is found."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_read_song, path, converter).result()
        except Exception as error:  # the process died of this file
            return _Found(Song(None, fault=f"reading it ended its process ({type(error).__name__})"))


def _shards(found: Iterable[_Found], converter: Converter) -> Iterator[Shard]:
    """Puts what was read together, so many songs or bytes at a time."""
    nothing = _columns(grid.as_windows((), converter.no_windows(), ()))
    songs, parts, size = [], [nothing], 0
    for song, columns in found:
        songs.append(song)
        if song.windows:
            parts.append(columns)
            size += columns.labels.nbytes + columns.controls.nbytes
        if len(songs) == SHARD_FILES or size >= SHARD_BYTES:
            yield Shard(songs, Columns(*map(np.concatenate, zip(*parts, strict=True))))
            songs, parts, size = [], [nothing], 0
    if songs:
        yield Shard(songs, Columns(*map(np.concatenate, zip(*parts, strict=True))))


def _dataset(
    source: str, names: list[str], places: Sequence[int], shards: list[Shard], converter: Converter
) -> SongDataset:
    """Drops equal windows, the first kept, and puts the rest and the report together; places: of each name's song."""
    read = [song for shard in shards for song in shard.songs]
    songs = [read[place] for place in places]
    rows, song = _rows_of_songs(np.array([song.windows for song in read]), np.array(places))
    keys = np.concatenate([shard.columns.keys for shard in shards])[rows]
    first = np.sort(np.unique(keys, return_index=True)[1])
    kept, dataset_song = np.unique(song[first], return_inverse=True)
    report = SongReport(
        source=source,
        converter=converter,
        files=len(names),
        songs=len(kept),
        windows=len(first),
        duplicates=len(rows) - len(first),
        refused=_named(names, [song.fault for song in songs]),
        mended=_named(names, [song.mended for song in songs]),
        without_window=_named(names, _why_without(songs, set(kept.tolist()))),
        off_grid=_named(names, [_off_grid(song.off_grid) for song in songs]),
    )
    if not len(kept):
        raise ValueError(f"there is no window to learn from\n{report}\n{_remedy(report)}")
    windows = _windows_at([shard.columns for shard in shards], rows[first])
    return SongDataset(windows, dataset_song.astype(np.int32), [names[k] for k in kept], converter, report)


def _rows_of_songs(windows: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the songs at these places, and which of these each is of; windows: of every song, as rows lie."""
    first, counts = (windows.cumsum() - windows)[places], windows[places]
    song = np.repeat(np.arange(len(places)), counts)
    return (first - counts.cumsum() + counts)[song] + np.arange(len(song)), song


def _windows_at(columns: Sequence[Columns], rows: np.ndarray) -> Windows:
    """The windows at these rows of columns that lie end to end."""
    labels, lengths, controls, track, start_bar, _ = map(list, zip(*columns, strict=True))
    wide = [Rows(labels, rows), Rows(controls, rows)]
    if sum(column.nbytes for column in wide) <= MEMORY_BYTES:
        wide = [column[:] for column in wide]
    lengths, track, start_bar = (np.concatenate(column)[rows] for column in (lengths, track, start_bar))
    return Windows(wide[0], lengths, wide[1] if wide[1].shape[1] else None, track, start_bar, ())


def _why_without(songs: Sequence[Song], kept: set[int]) -> list[str | None]:
    """Why each song that was read has no window in the set, if it has none."""
    twin = "every window is in an earlier song too"
    return [None if song.fault or k in kept else song.reason or twin for k, song in enumerate(songs)]


def _named(names: list[str], entries: Sequence[str | None]) -> tuple[tuple[str, str], ...]:
    """(name, entry) where there is an entry."""
    return tuple((name, entry) for name, entry in zip(names, entries, strict=True) if entry)


def _off_grid(distance: float) -> str | None:
    if distance < OFF_GRID_STEPS:
        return None
    return f"by {OFF_GRID_STEPS} steps or more on average, where chance gives 0.25; {distance:.2f}"


def _remedy(report: SongReport) -> str:
    if len(report.refused) == report.files:
        return "Not one file could be read: add MIDI files that play."
    return (
        "Add songs that fit, or take another preset (drums, a trio, 2 bars in place of 16) or converter (other "
        "programs, another time signature)."
    )
