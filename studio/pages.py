"""The pages of a model, written by python generate.py page: a gallery, a space to walk through and a blind test."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pretty_midi import PrettyMIDI

from checkpoint import model_name
from console import tell
from corpus import load_corpus
from midi_utils import BUILT_IN, SongDataset, load_songs
from studio.clip_tools import ClipTools
from studio.write import first_window, write_blind, write_gallery, write_space

SONGS = Path(__file__).parents[1] / "midi_songs" / BUILT_IN
PAGES = ("space", "gallery", "blind")  # in the order in which they are written: the space may refuse its clips
SAMPLES = 8  # of the gallery
GUESSES = 5  # real and sampled pieces each of the blind page


def page_files(trained: ClipTools, options: argparse.Namespace) -> Iterator[Path]:
    """Reads the songs that the options name, then writes the pages one by one.

    Returns:
        The files, each as soon as it is written.
    """
    converter = trained.converter
    songs = load_songs(options.songs, converter)
    if options.songs != SONGS:
        tell(str(songs.report))
    compared = load_corpus(options.corpus, "train", converter) if options.corpus else songs
    chosen = {name: getattr(options, name) for name in ("clips", "count", "temperature", "seed")}
    name = model_name(options.path)
    return write_pages(Path(options.out), trained, name, songs, compared, **chosen, qpm=tempo_of(trained, options))


def tempo_of(trained: ClipTools, options: argparse.Namespace) -> float:
    """The tempo of the pages in quarters per minute: as given, or that of the first corner, or 120."""
    if options.tempo is None and options.clips is not None and trained.converter.held_parts is not None:
        return first_window(trained, options.clips[0]).qpm
    return 120.0 if options.tempo is None else options.tempo


def write_pages(
    folder: Path,
    trained: ClipTools,
    name: str,
    songs: SongDataset,
    compared: SongDataset,
    *,
    clips: Sequence[Path] | None,
    count: int,
    temperature: float,
    seed: int,
    qpm: float,
) -> Iterator[Path]:
    """Writes the pages of a model into a folder, and yields the file of each.

    Args:
        trained: a `generate.TrainedModel`.
        name: of the model, for the headings.
        songs: where the real pieces of the blind page come from.
        compared: songs among which the nearest one of each sample is named.
        clips: the corners of the space, see `write_space`.
        count: samples in the gallery.
        temperature, seed, qpm: of sampling, as in `TrainedModel.sample`.
    """
    bars, (space, gallery, blind) = trained.converter.bars, [folder / f"{page}.html" for page in PAGES]
    names = None if clips is None else [path.stem for path in clips]
    write_space(space, trained, clips, names=names, seed=seed, qpm=qpm, title=f"The space of {name}")
    yield space
    real, sources = real_pieces(songs, GUESSES, seed, qpm)
    sampled = trained.sample(count + GUESSES, temperature=temperature, seed=seed, qpm=qpm)
    write_gallery(
        gallery,
        sampled[:count],
        [f"{name} {k + 1}" for k in range(count)],
        songs=compared,
        compared=f"the {len(compared):,} windows of {len(compared.names):,} songs",
        bars=bars,
        title=f"Samples of {name}",
        lead=f"{count} pieces of {bars} bars, sampled at temperature {temperature:g} with seed {seed}.",
    )
    yield gallery
    write_blind(blind, real, sampled[count:], sources, bars=bars)
    yield blind


def real_pieces(songs: SongDataset, count: int, seed: int, qpm: float) -> tuple[list[PrettyMIDI], list[str]]:
    """Windows of as many songs, drawn at random, and the names of these songs."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(songs.names), min(count, len(songs.names)), replace=False)
    windows = [int(rng.choice(np.flatnonzero(songs.song == song))) for song in chosen]
    midis = [songs.converter.from_arrays(songs.labels[k], qpm) for k in windows]
    return midis, [songs.names[song] for song in chosen]


def add_page_arguments(parser: argparse.ArgumentParser, temperature: float):
    """Adds the options of the pages; temperature: of the samples where none is given."""
    text = "songs for the blind page, among which the nearest are found too (default: the built-in songs)"
    parser.add_argument("--songs", type=Path, default=SONGS, metavar="FOLDER", help=text)
    text = "find the nearest songs in the train split of paper/corpus.csv, whose songs this folder holds"
    parser.add_argument("--corpus", metavar="FOLDER", help=text)
    text = "corners of the space: MIDI files, read from their first note on (default: four samples)"
    parser.add_argument("--clips", type=Path, nargs=4, metavar="FILE", help=text)
    parser.add_argument("--count", type=int, default=SAMPLES, help=f"samples in the gallery (default: {SAMPLES})")
    parser.add_argument("--temperature", type=float, default=temperature, help=f"of them (default: {temperature})")
    text = "quarters per minute; default: that of the first of --clips, or 120"
    parser.add_argument("--tempo", type=float, help=text)
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
