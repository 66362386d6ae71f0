"""A corpus by its manifest: which songs belong to it, and in which part (train, valid, test) each of them is.

    python corpus.py FOLDER DOWNLOAD ...

copies the songs of the manifest, which it knows by their SHA-1, out of downloads into FOLDER and says how many it has.

A manifest is a table of paths in the corpus's folder. `corpus.csv` is that of the songs which this project's figures
were measured on; docs/corpus.md says where they come from. `music21_corpus.py` writes a smaller one beside its songs.
Songs are split by groups of related pieces, so that no tune, in whatever arrangement, is in two parts. The corpus of
the paper (Roberts et al. 2018, section 5.1), 1.5 million files of the web, was never published.
"""

import argparse
import csv
import hashlib
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from midi_utils import Converter, SongDataset, load_songs, midi_files

MANIFEST = Path(__file__).with_name("paper") / "corpus.csv"


class Entry(NamedTuple):
    """A song of a corpus."""

    path: str  # in the corpus's folder, with forward slashes
    sha1: str  # of the file, in hexadecimal digits
    split: str  # train, valid or test
    group: str  # of pieces that share a tune or a session; all of them are in one split


def read_manifest(path: str | os.PathLike = MANIFEST) -> list[Entry]:
    """Reads a manifest: a csv with the columns path, sha1 and split, and any others; without a group a song is its own.

    Raises:
        ValueError: no such file, or a column is missing.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such manifest")
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if missing := {"path", "sha1", "split"} - set(table.fieldnames or ()):
            raise ValueError(f"{path}: a manifest has columns path, sha1 and split; it has no {sorted(missing)[0]}")
        return [Entry(row["path"], row["sha1"], row["split"], row.get("group") or row["path"]) for row in table]


def write_manifest(path: str | os.PathLike, entries: Iterable[Entry]) -> None:
    """Writes a manifest, sorted by path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([Entry._fields, *sorted(entries)])


def file_sha1(path: str | os.PathLike) -> str:
    """The SHA-1 of a file's content, in hexadecimal digits."""
    return hashlib.sha1(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def load_corpus(
    folder: str | os.PathLike,
    split: str,
    converter: Converter,
    manifest: str | os.PathLike = MANIFEST,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
) -> SongDataset:
    """The windows of the songs of one split, in the order of their paths, which are the dataset's `names`.

    Songs that are missing are left out and songs that differ from the manifest are used; a warning counts both.

    Args:
        folder: what the manifest's paths begin in.
        split: train, valid or test.
        cache, progress: as in `load_songs`.

    Raises:
        ValueError: a faulty manifest, one without this split, none of its songs in the folder, or no window in them.
    """
    entries = read_manifest(manifest)
    songs = [entry for entry in entries if entry.split == split]
    if not songs:
        raise ValueError(f"{manifest} has no split {split!r}; it has {sorted({entry.split for entry in entries})}")
    found = _present(Path(folder), songs, manifest)
    dataset = load_songs([Path(folder, song.path) for song in found], converter, cache=cache, progress=progress)
    source = f"{folder} ({split} of {Path(manifest).name})"
    return _renamed(dataset, source, {Path(folder, song.path).as_posix(): song.path for song in found})


def gather(folder: str | os.PathLike, downloads: Sequence[str | os.PathLike], manifest: str | os.PathLike) -> None:
    """Copies a manifest's songs to their paths in a folder, wherever and under whatever names they lie in others.

    Raises:
        ValueError: a faulty manifest, or one of the others is no folder.
    """
    if strange := [str(download) for download in downloads if not Path(download).is_dir()]:
        raise ValueError(f"{strange[0]}: there is no such folder")
    paths = {entry.sha1: Path(folder, entry.path) for entry in read_manifest(manifest)}
    for file in (file for download in downloads for file in midi_files(Path(download))):
        path = paths.pop(file_sha1(file), None)
        if path and not (path.exists() and path.samefile(file)):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, path)


def _present(folder: Path, songs: list[Entry], manifest: str | os.PathLike) -> list[Entry]:
    """The songs that are in the folder; warns of those that are not, or that have changed."""
    found = [song for song in songs if (folder / song.path).is_file()]
    if not found:
        raise ValueError(
            f"{folder} has none of the {len(songs)} songs that {manifest} names, such as {songs[0].path}; "
            "docs/corpus.md says where they come from"
        )
    changed = [song for song in found if not _same(folder, song)]
    faults = [_tally("are missing", set(songs) - set(found)), _tally("differ from the manifest", changed)]
    if any(faults):
        told = " and ".join(filter(None, faults))
        warnings.warn(f"{folder}: of {len(songs)} songs {told}; figures will differ somewhat", stacklevel=3)
    return found


def _same(folder: Path, song: Entry) -> bool:
    """Whether the folder holds this very file."""
    return (folder / song.path).is_file() and file_sha1(folder / song.path) == song.sha1


def _renamed(dataset: SongDataset, source: str, names: Mapping[str, str]) -> SongDataset:
    """The same dataset, and in its report the same songs, under other names."""
    lists = {
        field: tuple((names[name], text) for name, text in value)
        for field, value in dataset.report._asdict().items()
        if isinstance(value, tuple)
    }
    dataset.names = tuple(names[name] for name in dataset.names)
    dataset.report = dataset.report._replace(source=source, **lists)
    return dataset


def _count(songs: Iterable[Entry]) -> Counter[str]:
    """How many of the songs are in each of the corpus's folders, sorted."""
    counts = Counter(Path(song.path).parent.as_posix() for song in songs)
    return Counter(dict(sorted(counts.items())))


def _tally(what: str, songs: Iterable[Entry]) -> str:
    """How many songs are so, folder by folder; empty where none is."""
    counts = _count(songs)
    return f"{counts.total()} {what} ({', '.join(f'{name} {count}' for name, count in counts.items())})" * bool(counts)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Lay out the corpus of corpus.csv from what you have downloaded.")
    parser.add_argument("folder", type=Path, help="folder of the corpus; what it holds already is counted")
    parser.add_argument("downloads", nargs="*", help="folders to look through, with their subfolders")
    options = parser.parse_args(arguments)
    try:
        gather(options.folder, options.downloads, MANIFEST)
    except ValueError as fault:
        raise SystemExit(f"error: {fault}") from None
    entries = read_manifest(MANIFEST)
    there = _count(song for song in entries if _same(options.folder, song))
    for name, count in _count(entries).items():
        print(f"{name}: {there[name]} of {count} songs")


if __name__ == "__main__":
    main()
