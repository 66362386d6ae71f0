"""MIDI files to labels: `load_midi`, `load_songs`, and all converters (Roberts et al. 2018, sections 3 and 4).

`load_midi` reads a file as a `PrettyMIDI`, and a converter's `to_arrays` cuts windows of labels from it. `load_songs`
does both for a folder and reports what became of every file. To add a representation, write its converter in a file in
`music/` and add it to `Converter` below.

Labels equal those of Magenta's converters (music_vae/data.py, data_hierarchical.py) on every song that both read
alike, with these exceptions:

- A change of tempo that nobody hears does not end a window.
- Tracks of one program stay in the file's order within a bar.
- A pedal that is left down does not cut off drums.
- A tempo or time signature that changes after the last note does not cost a groove its windows.
- Of two chords on one step the later one holds; Magenta gives no window there.
- PianoConverter has no counterpart in Magenta.

Songs are read as pretty_midi reads them, with these exceptions:

- Tempo and metre count in every track.
- Notes that end where they begin, or never, are kept.
- A program change applies to every track of its channel that sets no program.
- Ticks are divided if a beat has too many of them.
- Wrong track lengths and negative delta times are mended.
- A type 2 file gives its first song.

docs/reliability.md lists all of them, with the songs that they concern. This module also drops windows that occur twice
in a set, and names the reason if a song gives no window.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor
from tqdm.auto import tqdm

from engine.checks import (
    checked_count,
    checked_number,
    checked_path,
    checked_positive,
    checked_seed,
    checked_type,
    described,
)
from music.converter import BarsConverter, Tensors
from music.drums import DrumsConverter
from music.grid import NAMES_SHOWN, Skipped, Windows, as_windows, counted
from music.groove import GrooveConverter
from music.intake import UNCHANGED, Intake
from music.melody import MelodyConverter
from music.midi_bytes import DEFAULT_LIMITS, Limits, MidiError
from music.midi_file import parse_midi, read_file
from music.multitrack import MultitrackConverter
from music.piano import PianoConverter
from music.song_cache import (
    CacheFile,
    Columns,
    Rows,
    columns_of,
    converter_folder,
    file_digest,
    find_songs,
    group_songs,
    write_cache_file,
)
from music.song_reader import read_songs
from music.song_report import SongReport, remedy, report_on
from music.trio import TrioConverter

__all__ = [
    "Converter",
    "DrumsConverter",
    "GrooveConverter",
    "Intake",
    "Limits",
    "MelodyConverter",
    "MidiError",
    "MultitrackConverter",
    "PianoConverter",
    "Skipped",
    "SongDataset",
    "SongReport",
    "Split",
    "Tensors",
    "TrioConverter",
    "Windows",
    "evenly",
    "load_midi",
    "load_songs",
    "midi_files",
]

Converter = MelodyConverter | DrumsConverter | TrioConverter | GrooveConverter | MultitrackConverter | PianoConverter

BUILT_IN = "built_in"  # subfolder whose songs are used only if there are no others
MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
MEMORY_BYTES = 2**30  # largest labels and controls copied into one array; larger sets stay in pieces or memory-mapped


def load_midi(path: str | os.PathLike, *, limits: Limits = DEFAULT_LIMITS) -> PrettyMIDI:
    """Reads a MIDI file; mends what is broken in it, and warns of what was mended.

    Args:
        limits: the most that the file may hold. Raise them for a larger file that you trust.

    Raises:
        ValueError: `path` is not a path, or `limits` is not a `Limits`.
        MidiError: there is no such file, or it is no MIDI file, cut off, beyond mending, or beyond a limit. The message
            names the file and the fault.
    """
    limits = checked_limits(limits)
    checked_path("path", path)
    try:
        midi, mended = parse_midi(read_file(path, limits), limits)
    except MidiError as error:
        raise MidiError(f"{path}: {error}") from error.__cause__
    if mended:
        warnings.warn(f"{path}: read after mending: {'; '.join(mended)}", stacklevel=2)
    return midi


def checked_limits(limits: Limits) -> Limits:
    """The limits; raises ValueError for anything else, and for limits that are not above 0 or not finite."""
    checked_type("limits", limits, Limits, "Limits, such as Limits(bytes=50_000_000)")
    for name in ("bytes", "events", "tracks"):
        checked_count(f"limits.{name}", getattr(limits, name))
    for name in ("ticks_per_second", "seconds"):
        checked_positive(f"limits.{name}", getattr(limits, name))
    return limits


Midi = PrettyMIDI | str | os.PathLike  # a piece of music, or the path of its MIDI file


def as_midi(song: Midi) -> PrettyMIDI:
    """A song as it is, or read from the path of a MIDI file.

    Raises:
        ValueError: `song` is neither a PrettyMIDI nor a path; a MidiError if the file cannot be read.
    """
    if isinstance(song, str | os.PathLike):
        return load_midi(song)
    return checked_type("a song", song, PrettyMIDI, "a PrettyMIDI or the path of a MIDI file")


# ---- Sets of songs ----


def as_midis(name: str, songs: Iterable[Midi]) -> list[PrettyMIDI]:
    """The songs of a list, as `as_midi` reads each.

    Raises:
        ValueError: no list, an empty one, or a file that cannot be read; `name` is the argument's.
    """
    return [as_midi(song) for song in checked_songs(name, songs)]


def checked_songs(name: str, songs: Iterable[Midi]) -> list[Midi]:
    """A list of at least one song, not read yet; raises ValueError for anything else."""
    if isinstance(songs, Midi) or not isinstance(songs, Iterable):
        raise ValueError(f"{name} must be a list of PrettyMIDI or paths of MIDI files, got {described(songs)}")
    found = list(songs)
    if not found:
        raise ValueError(f"{name} must be at least one song, got none")
    return found


class SongDataset(torch.utils.data.Dataset):
    """Windows of labels from many songs; `converter.to_tensors(dataset.windows(indices))` gives the model's frames.

    Attributes:
        labels, lengths, controls, track, start_bar: as in Windows, for all songs. Labels and controls of more than
            MEMORY_BYTES are `song_cache.Rows`: they return arrays when they are indexed, and with a cache stay on disk.
        song: [n] index in `names` of each window's song.
        names: the songs that have windows, sorted.
        converter: cut the windows.
        report: a SongReport of the whole set.
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
        return f"SongDataset({counted(len(self), 'window')} of {counted(len(self.names), 'song')}, {kind})"

    def windows(self, indices: Sequence[int] | np.ndarray | Tensor | slice) -> Windows:
        """The windows at these indices, or those for which a mask [n] is true."""
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
        """Splits the songs at random, so that no two parts have windows of one song.

        Args:
            valid, test: shares of the songs, 0 to 1; a share above 0 gets at least one song.
            seed: the same seed gives the same split.
            groups: songs of one group stay in one part; the group of each of `names`, or a mapping from name to group.

        Raises:
            ValueError: the shares leave nothing to train on, there are too few songs or groups, or a song has no group.
        """
        seed, group = checked_seed(seed), _group_of_each(self.names, groups)
        kinds = sorted(set(group))
        counts = _part_sizes(len(kinds), valid, test, "song" if groups is None else "group")
        order = np.random.default_rng(seed).permutation(len(kinds))
        part_of_kind = dict(zip((kinds[k] for k in order), np.repeat(range(3), counts).tolist(), strict=True))
        part = np.array([part_of_kind[g] for g in group], np.int64)
        return Split(*(self._songs(np.flatnonzero(part == k)) for k in range(3)))

    def _songs(self, songs: np.ndarray) -> "SongDataset":
        """The windows of the songs with these indices, which rise."""
        kept = np.flatnonzero(np.isin(self.song, songs))
        song = np.searchsorted(songs, self.song[kept]).astype(self.song.dtype)
        names = [self.names[k] for k in songs]
        columns = self.labels, self.lengths, self.controls, self.track, self.start_bar
        windows = Windows(*(c.select(kept) if isinstance(c, Rows) else c if c is None else c[kept] for c in columns))
        return SongDataset(windows, song, names, self.converter, self.report)


def evenly(total: int, count: int) -> np.ndarray:
    """Indices of `count` evenly spaced items out of `total`; all indices if `total` is not larger."""
    total, count = checked_count("total", total, least=0), checked_count("count", count)
    return np.linspace(0, total - 1, min(total, count)).round().astype(int)


class Split(NamedTuple):
    """Three parts of a dataset; a part with a share of 0 is empty."""

    train: SongDataset
    valid: SongDataset
    test: SongDataset


def _group_of_each(names: Sequence[str], groups: Sequence[str] | Mapping[str, str] | None) -> list[str]:
    """The group of each song."""
    if groups is None:
        return list(names)
    if not isinstance(groups, Mapping):
        is_list = isinstance(groups, Sequence | np.ndarray) and not isinstance(groups, str)
        if not is_list:
            raise ValueError(f"groups must be a list or a mapping from name to group, got {described(groups)}")
        if len(groups) != len(names):
            raise ValueError(f"groups has {len(groups)} entries; the dataset has {len(names)} songs (see its names)")
        return [str(group) for group in groups]
    if missing := [name for name in names if name not in groups]:
        raise ValueError(f"groups has no entry for {', '.join(missing[:NAMES_SHOWN])}: {len(missing)} songs in all")
    return [str(groups[name]) for name in names]


def check_shares(valid: float, test: float = 0.0):
    """Raises ValueError for shares of the songs that are no numbers from 0 to 1, or that leave nothing to train on."""
    valid, test = checked_number("valid", valid), checked_number("test", test)
    if not (0 <= valid <= 1 and 0 <= test <= 1 and valid + test < 1):
        raise ValueError(f"valid is {valid} and test is {test}; shares lie from 0 to 1 and leave some to train on")


def _part_sizes(count: int, valid: float, test: float, noun: str) -> tuple[int, int, int]:
    """The numbers of songs or groups for train, valid and test."""
    check_shares(valid, test)
    held_out = [max(1, round(share * count)) if share else 0 for share in (valid, test)]
    train = count - sum(held_out)
    if train < 1:
        parts = f"{1 + sum(share > 0 for share in (valid, test))} parts with valid={valid} and test={test}"
        raise ValueError(
            f"{counted(count, noun)} cannot be split into {parts}; add songs, or hold none out: valid=0, or --valid 0"
        )
    return train, *held_out


def load_songs(
    folder_or_paths: str | os.PathLike | Iterable[str | os.PathLike] | Mapping[str, str | os.PathLike],
    converter: Converter,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    intake: Intake = UNCHANGED,
) -> SongDataset:
    """Reads all MIDI files of a folder and its subfolders, or all given paths, into one dataset.

    Songs are sorted by name, whatever the number of workers. Of windows that are equal anywhere in the set the first is
    kept. A subfolder `built_in` of the folder is used only if the folder has no other songs.

    Args:
        folder_or_paths: a folder, paths of files and folders, or the path of each file by the name that it gets.
        workers: number of processes; 1 reads in this process, None uses all cores if the set is large enough. With an
            executor, the number of its workers, which need be given only above 64.
        executor: a `concurrent.futures.Executor` that reads the files in place of own processes.
        cache: folder that keeps what is read, for each file content, converter and version of the code. A second call
            takes the songs from there, and leaves labels of more than a gigabyte on disk.
        progress: show a progress bar.
        limits: the most that a file may hold, and the seconds that it may take; a file beyond a limit is refused.
            The seconds are not counted on Windows, and not in the threads of an executor.
        intake: what is changed in each song before it is cut: drum tracks, a drum map, straight off-beats, pairs of
            bars.

    Raises:
        ValueError: there is no such folder, no MIDI file in it, or no window in any file; the message has the report.
    """
    checked_type("converter", converter, BarsConverter, "a converter, such as CONFIGS[name].converter")
    limits = checked_limits(limits)
    workers = None if workers is None else checked_count("workers", workers)
    checked_type("executor", executor, Executor | None, "a concurrent.futures.Executor or None")
    source, names, paths = _find_files(folder_or_paths)
    checked_type("intake", intake, Intake, "an Intake, such as Intake(straighten=True)")
    folder = None if cache is None else converter_folder(checked_path("cache", cache), converter, intake)
    read = partial(read_songs, converter=converter, workers=workers, executor=executor, limits=limits, intake=intake)
    files, places = _read_files(paths, folder, converter, read, progress)
    return _dataset(source, names, places, files, converter)


def _read_files(
    paths: list[Path], folder: Path | None, converter: Converter, read: Callable[[list[Path]], Iterable], progress: bool
) -> tuple[list[CacheFile], list[int]]:
    """The songs of all paths, from a converter's folder of a cache or read now, and the index of each path's song."""
    # Equal contents share a key, so that they are read once; without a cache or a digest the index is the key
    keys = [(folder and file_digest(path)) or k for k, path in enumerate(paths)]
    files, places = find_songs(folder, keys) if folder else ([], {})
    missing = {key: path for key, path in zip(keys, paths, strict=True) if key not in places}
    known = len(paths) - len(missing)
    shown = {"initial": known, "unit": "file", "disable": not progress}
    songs = tqdm(read(list(missing.values())), "Reading MIDI", len(paths), **shown)
    first = sum(len(file.songs) for file in files)  # songs that are read now come after those of the cache
    places |= {key: first + k for k, key in enumerate(missing)}
    for file in group_songs(songs, columns_of(as_windows((), converter.no_windows(), ()))):
        is_kept = folder and any(song.digest for song in file.songs)
        files.append(write_cache_file(folder, file) if is_kept else file)
        del file  # what is written need not stay in memory while the next songs are read
    return files, [places[key] for key in keys]


def _find_files(folder_or_paths: str | os.PathLike | Iterable) -> tuple[str, list[str], list[Path]]:
    """A name for the set, and the name and path of each file, sorted; names in a folder are relative to it."""
    if not isinstance(folder_or_paths, str | os.PathLike):
        names = _named_paths(folder_or_paths)
        source = counted(len(names), "path")
    elif (folder := checked_path("folder_or_paths", folder_or_paths)).is_dir():
        source, names = str(folder), {path.relative_to(folder).as_posix(): path for path in midi_files(folder)}
        if names and all(name.startswith(f"{BUILT_IN}/") for name in names):
            source += " (the built-in songs; files that you add to the folder replace them)"
    elif folder.exists():
        source, names = str(folder), {folder.name: folder}
    else:
        raise ValueError(f"{folder}: there is no such folder; give one that has MIDI files, or a list of paths")
    if not names:
        raise ValueError(f"{source}: there is no MIDI file; add files that end in {', '.join(MIDI_SUFFIXES)}")
    return source, sorted(names), [names[name] for name in sorted(names)]


def _named_paths(paths: Iterable | Mapping) -> dict[str, Path]:
    """The given files, and those in given folders, by their paths or by the names that a mapping has."""
    checked_type("folder_or_paths", paths, Iterable, "a folder, or a list of paths")
    if isinstance(paths, Mapping):
        return {name: checked_path("each of folder_or_paths", path) for name, path in paths.items()}
    given = [checked_path("each of folder_or_paths", path) for path in paths]
    return {file.as_posix(): file for path in given for file in (midi_files(path) if path.is_dir() else [path])}


def midi_files(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders with a MIDI ending; the built-in songs only if there are no others.

    They include what cannot be read, such as broken links, and folders that cannot be opened.
    """
    unreadable: list[Path] = []
    walk = os.walk(folder, onerror=lambda fault: unreadable.append(Path(fault.filename)))
    found = [Path(place, name) for place, _, names in walk for name in names if not name.startswith(".")]
    files = [path for path in found if path.suffix.lower() in MIDI_SUFFIXES] + unreadable
    return [path for path in files if path.relative_to(folder).parts[:1] != (BUILT_IN,)] or files


def _dataset(
    source: str, names: list[str], places: Sequence[int], files: list[CacheFile], converter: Converter
) -> SongDataset:
    """Drops equal windows and makes the dataset and its report; places: the index of each name's song in `files`."""
    read = [song for file in files for song in file.songs]
    songs = [read[place] for place in places]
    rows, song = _rows_of_songs(np.array([song.windows for song in read]), np.array(places))
    keys = np.concatenate([file.columns.keys for file in files])[rows]
    first = np.sort(np.unique(keys, return_index=True)[1])
    kept, dataset_song = np.unique(song[first], return_inverse=True)
    report = report_on(
        source, converter, names, songs, kept=kept.tolist(), windows=len(first), duplicates=len(rows) - len(first)
    )
    if not len(kept):
        raise ValueError(f"there is no window to learn from\n{report}\n{remedy(report)}")
    windows = _windows_at([file.columns for file in files], rows[first])
    return SongDataset(windows, dataset_song.astype(np.int32), [names[k] for k in kept], converter, report)


def _rows_of_songs(windows: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the songs at these places, and each row's index in `places`; windows: the count of each song."""
    rows = np.split(np.arange(windows.sum()), windows.cumsum()[:-1])  # of each song
    song = np.repeat(np.arange(len(places)), windows[places])
    return np.concatenate([rows[place] for place in places]), song


def _windows_at(columns: Sequence[Columns], rows: np.ndarray) -> Windows:
    """The windows at these rows of several files' columns, taken as one."""
    labels, lengths, controls, track, start_bar, _ = map(list, zip(*columns, strict=True))
    wide = [Rows(labels, rows), Rows(controls, rows)]
    if sum(column.nbytes for column in wide) <= MEMORY_BYTES:
        wide = [column[:] for column in wide]
    lengths, track, start_bar = (np.concatenate(column)[rows] for column in (lengths, track, start_bar))
    return Windows(wide[0], lengths, wide[1] if wide[1].shape[1] else None, track, start_bar, ())
