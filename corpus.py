"""Reads a corpus by its manifest, which lists its songs and the split (train, valid or test) of each.

    python corpus.py FOLDER DOWNLOAD ...

finds the songs of `paper/corpus.csv` in the DOWNLOAD folders by their SHA-1, copies them into FOLDER and prints how
many songs FOLDER has.

`paper/corpus.csv` is the manifest behind this project's figures; docs/corpus.md says where its songs come from.
`paper/music21_corpus.py` writes a smaller corpus with its manifest. Songs are split by groups of related pieces, so
that no tune or arrangement of it is in two splits. A source, the first folder of a song's path, can be left out as a
whole (`without`), so that a model can be judged by other music than it was trained on. The paper's own corpus (Roberts
et al. 2018, section 5.1), 1.5 million files from the web, was never published.
"""

import argparse
import csv
import hashlib
import io
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from console import errors_in_a_line, say
from midi_utils import Converter, Intake, SongDataset, load_songs, midi_files
from music.intake import UNCHANGED

MANIFEST = Path(__file__).with_name("paper") / "corpus.csv"
NEWER_SOURCES = ("lieder", "mutopia", "quartets")  # joined MANIFEST last, after the results that name no sources
ACCOMPANIED = "mma_"  # starts the name of the source that holds the tunes of another with accompaniments


class Entry(NamedTuple):
    """One song of a corpus, a row of its manifest."""

    path: str  # within the corpus's folder, with forward slashes
    sha1: str  # of the file's content, in hexadecimal digits
    split: str  # 'train', 'valid' or 'test'
    group: str  # songs that share a tune or a recording session; a group lies in one split

    @property
    def source(self) -> str:
        """The first folder of its path, '' without one; accompanied tunes count as their own source's."""
        return source_name(self.path.rpartition("/")[0])


def source_name(folder: str) -> str:
    """The source that a folder belongs to: 'openewld' for 'openewld', 'mma_openewld' and the folders in them."""
    return folder.partition("/")[0].removeprefix(ACCOMPANIED)


def read_manifest(path: str | os.PathLike = MANIFEST) -> list[Entry]:
    """Reads a manifest: a CSV file with the columns path, sha1, split and, optionally, group.

    Other columns are ignored. A song without a group forms its own.

    Raises:
        ValueError: no such file, a missing column, or a file that is not UTF-8.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such manifest")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # spreadsheets put a mark before the first column
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: save it as 'CSV UTF-8'") from None
    with io.StringIO(text, newline="") as file:
        table = csv.DictReader(file)
        if missing := {"path", "sha1", "split"} - set(table.fieldnames or ()):
            raise ValueError(f"{path}: a manifest needs columns path, sha1, split; it has no {sorted(missing)[0]}")
        return [Entry(row["path"], row["sha1"], row["split"], row.get("group") or row["path"]) for row in table]


def write_manifest(path: str | os.PathLike, entries: Iterable[Entry]) -> None:
    """Writes a manifest, sorted by path, which `read_manifest` reads."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([Entry._fields, *sorted(entries)])


def select(entries: Iterable[Entry], only: Iterable[str] = (), without: Iterable[str] = ()) -> list[Entry]:
    """The songs of some sources.

    Args:
        entries: a whole manifest, since groups count across splits.
        only: sources to take; all when empty. The name of a source or of its accompanied tunes means both.
        without: sources to leave out, with every song of another source that shares a group with one of theirs.

    Raises:
        ValueError: a source that has no song.
    """
    entries = list(entries)
    wanted, unwanted = ({source_name(name) for name in _known(names, entries)} for names in (only, without))
    left_out = {entry.group for entry in entries if entry.source in unwanted}
    return [entry for entry in entries if entry.group not in left_out and (not wanted or entry.source in wanted)]


def _known(names: Iterable[str], entries: Sequence[Entry]) -> list[str]:
    """The names, all of which must be sources of the manifest."""
    names, sources = list(names), {entry.source for entry in entries}
    if unknown := [name for name in names if source_name(name) not in sources]:
        folders = sorted({Path(entry.path).parts[0] for entry in entries if entry.source})
        raise ValueError(f"the manifest has no source {unknown[0]!r}; it has {', '.join(folders) or 'none'}")
    return names


def file_sha1(path: str | os.PathLike) -> str:
    """Returns the SHA-1 of a file's content, in hexadecimal digits."""
    return hashlib.sha1(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def load_corpus(
    folder: str | os.PathLike,
    split: str | Sequence[str],
    converter: Converter,
    manifest: str | os.PathLike = MANIFEST,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    intake: Intake = UNCHANGED,
) -> SongDataset:
    """Reads the songs of a split; their paths in the manifest are the `names` of the data set, in this order.

    Missing songs are left out. Songs that differ from the manifest are used. A warning counts both.

    Args:
        folder: the corpus's folder, to which the paths of the manifest are relative.
        split: 'train', 'valid' or 'test', or several of them.
        converter: makes the windows.
        manifest: the manifest's file.
        cache, progress: as in `load_songs`.
        only, without: sources to read alone, and sources to leave out, as in `select`.
        intake: as in `load_songs`.

    Raises:
        ValueError: an unreadable manifest, one without this split or source, or a folder without its songs or without
            windows.
    """
    found = song_paths(folder, split, manifest, only=only, without=without)
    dataset = load_songs(found, converter, intake=intake, cache=cache, progress=progress)
    source = f"{folder} ({_listed(split)} of {Path(manifest).name}{_sources(only, without)})"
    dataset.report = dataset.report._replace(source=source)
    return dataset


def song_paths(
    folder: str | os.PathLike,
    split: str | Sequence[str],
    manifest: str | os.PathLike = MANIFEST,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> dict[str, Path]:
    """The files of a split's songs, by their paths in the manifest; the rest is as in `load_corpus`."""
    entries = select(read_manifest(manifest), only, without)
    songs = [entry for entry in entries if entry.split in ([split] if isinstance(split, str) else split)]
    if not songs:
        there = sorted({entry.split for entry in entries})
        raise ValueError(f"{manifest} has no split {_listed(split)!r}{_sources(only, without)}; it has {there}")
    return {song.path: Path(folder, song.path) for song in _present(Path(folder), songs, manifest)}


def _listed(split: str | Sequence[str]) -> str:
    return split if isinstance(split, str) else " and ".join(split)


def add_corpus_arguments(parser: argparse.ArgumentParser, required: bool = True, sources: bool = True):
    """Adds the options that say where a corpus is and, with `sources`, which of its sources count."""
    parser.add_argument("--data", required=required, help="folder of the songs that the manifest lists")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default: paper/corpus.csv)")
    without = "sources that are left out, since the model was trained without them"
    if sources:
        parser.add_argument("--without-sources", nargs="+", default=[], metavar="SOURCE", help=without)
    parser.add_argument("--cache", help="folder that keeps the songs' labels for the next run")


def load_splits(
    options: argparse.Namespace,
    converter: Converter,
    splits: Sequence[str],
    without: Sequence[str],
    intake: Intake = UNCHANGED,
) -> list[SongDataset]:
    """The splits of the corpus that the options of `add_corpus_arguments` name, without some of its sources."""
    reading = {"manifest": options.manifest, "cache": options.cache, "without": without, "intake": intake}
    return [load_corpus(options.data, split, converter, **reading) for split in splits]


def gather(folder: str | os.PathLike, downloads: Sequence[str | os.PathLike], manifest: str | os.PathLike) -> None:
    """Finds a manifest's songs in the downloads and copies them to their paths in a folder.

    Songs are identified by content, so their names and subfolders in the downloads do not matter.

    Args:
        folder: the corpus's folder.
        downloads: folders to search, with their subfolders.
        manifest: the manifest's file.

    Raises:
        ValueError: an unreadable manifest, or a download that is not a folder.
    """
    if missing := [str(download) for download in downloads if not Path(download).is_dir()]:
        raise ValueError(f"{missing[0]}: no such folder")
    paths = {entry.sha1: Path(folder, entry.path) for entry in read_manifest(manifest)}
    for file in (file for download in downloads for file in midi_files(Path(download)) if file.is_file()):
        path = paths.pop(file_sha1(file), None)
        if path and not (path.exists() and path.samefile(file)):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, path)


def _sources(only: Sequence[str], without: Sequence[str]) -> str:
    """The choice of sources in words; '' for all."""
    taken = f", {', '.join(only)} alone" if only else ""
    return taken + (f", without {', '.join(without)}" if without else "")


def _present(folder: Path, songs: list[Entry], manifest: str | os.PathLike) -> list[Entry]:
    """Returns the songs that the folder has; warns about missing and changed ones."""
    found = [song for song in songs if (folder / song.path).is_file()]
    if not found:
        raise ValueError(
            f"{folder} has none of the {len(songs)} songs in {manifest}, such as {songs[0].path}; "
            "docs/corpus.md says where to get them"
        )
    changed = [song for song in found if not _same(folder, song)]
    faults = [_tally("missing", set(songs) - set(found)), _tally("changed", changed)]
    if any(faults):
        counts = "; ".join(filter(None, faults))
        warnings.warn(f"{folder}: of {len(songs)} songs, {counts}. Figures will differ somewhat.", stacklevel=4)
    return found


def _same(folder: Path, song: Entry) -> bool:
    """Whether the folder has the song, with the manifest's content."""
    return (folder / song.path).is_file() and file_sha1(folder / song.path) == song.sha1


def _count(songs: Iterable[Entry]) -> Counter[str]:
    """Counts the songs of each of the corpus's folders, sorted by folder."""
    counts = Counter(Path(song.path).parent.as_posix() for song in songs)
    return Counter(dict(sorted(counts.items())))


def _tally(fault: str, songs: Iterable[Entry]) -> str:
    """Writes how many songs have a fault, in all and per folder; '' if none has."""
    counts = _count(songs)
    folders = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"{fault}: {counts.total()} ({folders})" if counts else ""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Lay out the corpus of paper/corpus.csv from your downloads.")
    parser.add_argument("folder", type=Path, help="folder of the corpus; songs that are there already count")
    parser.add_argument("downloads", nargs="*", help="folders to search, with their subfolders")
    options = parser.parse_args(arguments)
    with errors_in_a_line():
        gather(options.folder, options.downloads, MANIFEST)
    entries = read_manifest(MANIFEST)
    found = _count(song for song in entries if _same(options.folder, song))
    for name, count in _count(entries).items():
        say(f"{name}: {found[name]} of {count} songs")


if __name__ == "__main__":
    main()
