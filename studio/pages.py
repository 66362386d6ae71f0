"""Pages of a trained model, to open from the disk:

    python -m studio.pages pretrained/mel_2bar_low.pt --to generated/pages

writes gallery.html (samples), space.html (a grid and a plane to walk through) and blind.html (real or sampled?).
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pretty_midi import PrettyMIDI

from console import errors_in_a_line, say
from corpus import load_corpus
from engine.checks import checked_count
from generate import TrainedModel
from midi_utils import BUILT_IN, SongDataset, load_songs
from studio.write import write_blind, write_gallery, write_space

SONGS = Path(__file__).parents[1] / "midi_songs" / BUILT_IN
SAMPLES = 8  # of the gallery
GUESSES = 5  # real and sampled pieces each of the blind page
TEMPERATURE = 0.5


def write_pages(
    folder: Path,
    trained: TrainedModel,
    name: str,
    songs: SongDataset,
    compared: SongDataset,
    *,
    clips: Iterable[Path] | None = None,
    count: int = SAMPLES,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    qpm: float = 120.0,
) -> list[Path]:
    """Writes the pages of a model into a folder.

    Args:
        name: of the model, for the headings.
        songs: where the real pieces of the blind page come from.
        compared: songs among which the nearest one of each sample is named.
        clips: the corners of the space, see `write_space`.
        count: samples in the gallery.
        temperature, seed, qpm: of sampling, as in `TrainedModel.sample`.

    Returns:
        The files.
    """
    bars, files = trained.converter.bars, [folder / f"{page}.html" for page in ("gallery", "space", "blind")]
    real, sources = real_pieces(songs, GUESSES, seed, qpm)
    sampled = trained.sample(count + GUESSES, temperature=temperature, seed=seed, qpm=qpm)
    write_gallery(
        files[0],
        sampled[:count],
        [f"{name} {k + 1}" for k in range(count)],
        songs=compared,
        compared=f"the {len(compared):,} windows of {len(compared.names):,} songs",
        bars=bars,
        title=f"Samples of {name}",
        lead=f"{count} pieces of {bars} bars, sampled at temperature {temperature:g} with seed {seed}.",
    )
    names = None if clips is None else [path.stem for path in clips]
    write_space(files[1], trained, clips, names=names, seed=seed, qpm=qpm, title=f"The space of {name}")
    write_blind(files[2], real, sampled[count:], sources, bars=bars)
    return files


def real_pieces(songs: SongDataset, count: int, seed: int, qpm: float) -> tuple[list[PrettyMIDI], list[str]]:
    """Windows of as many songs, drawn at random, and the names of these songs."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(songs.names), min(count, len(songs.names)), replace=False)
    windows = [int(rng.choice(np.flatnonzero(songs.song == song))) for song in chosen]
    midis = [songs.converter.from_arrays(songs.labels[k], qpm) for k in windows]
    return midis, [songs.names[song] for song in chosen]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(description="Write a gallery, a space and a blind test of a model as HTML files.")
    parser.add_argument("model", help="what TrainedModel.load takes, such as pretrained/mel_2bar_low.pt")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the pages are written")
    text = "songs for the blind page, among which the nearest are found too (default: the built-in songs)"
    parser.add_argument("--songs", type=Path, default=SONGS, metavar="FOLDER", help=text)
    text = "find the nearest songs in the train split of paper/corpus.csv, whose songs this folder holds"
    parser.add_argument("--corpus", metavar="FOLDER", help=text)
    text = "the corners of the space, MIDI files of one window each (default: four samples)"
    parser.add_argument("--clips", type=Path, nargs=4, metavar="FILE", help=text)
    parser.add_argument("--count", type=int, default=SAMPLES, help=f"samples in the gallery (default: {SAMPLES})")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help=f"of them (default: {TEMPERATURE})")
    parser.add_argument("--qpm", type=float, default=120.0, help="tempo in quarter notes per minute (default: 120)")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: 0)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        checked_count("count", options.count)
        trained = TrainedModel.load(options.model)
        converter = trained.config.converter
        songs = load_songs(options.songs, converter)
        compared = load_corpus(options.corpus, "train", converter) if options.corpus else songs
        chosen = {name: getattr(options, name) for name in ("clips", "count", "temperature", "seed", "qpm")}
        files = write_pages(options.to, trained, Path(options.model).stem, songs, compared, **chosen)
    say(*(f"{path} ({path.stat().st_size / 1000:.0f} kB)" for path in files), sep="\n")


if __name__ == "__main__":
    main()
