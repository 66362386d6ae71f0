"""Published models on songs from elsewhere: of folders that no model was trained on.

    python -m paper.elsewhere runs/music21/chorales runs/music21/fiddle --data FOLDER --out results/elsewhere.json

Each model of MODELS is measured on each folder, on the songs that lie on the grid. FOLDER holds the songs of
corpus.csv; results/elsewhere.json also has the accuracy on windows that do not occur in their train split. The folders
of music21 are those of paper/music21_corpus.py.
"""

import argparse
from pathlib import Path

from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_splits
from generate import TrainedModel
from midi_utils import load_songs
from paper.json_results import to_plain, write_json
from paper.measured_songs import read_training_set
from paper.other_sources import OTHER_WINDOWS, measure_other_source
from paper.several import by_name
from paper.tables import other_sources_table

MODELS = ("mel_2bar", "mel_2bar_low", "mel_16bar", "mel_16bar_high")


def measure(name: str, folders: dict[str, Path], options: argparse.Namespace) -> dict:
    """One model on the folders, by their names, with the fields that `other_sources_table` reads."""
    trained = TrainedModel.load(options.pretrained / f"{name}.pt")
    (train_set,) = load_splits(options, trained.converter, ("train",), ())
    training = read_training_set(trained, train_set)
    songs = {of: load_songs(folder, trained.converter, cache=options.cache) for of, folder in folders.items()}
    found = {of: measure_other_source(trained, one, training, options.limit) for of, one in songs.items()}
    return {"name": name, "preset": trained.config.name, "other_sources": found}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure published models on songs that no model was trained on.")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of MIDI files")
    add_corpus_arguments(parser, sources=False)
    parser.add_argument("--pretrained", type=Path, default=Path("pretrained"), help="folder of the models' files")
    limit = f"windows of each folder, evenly spaced (default: {OTHER_WINDOWS})"
    parser.add_argument("--limit", type=int, default=OTHER_WINDOWS, help=limit)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures all models, writes the numbers and prints their table."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        folders = by_name(options.folders)
        found = [measure(name, folders, options) for name in MODELS]
        write_json(options.out, found)
    say(other_sources_table(to_plain(found)))


if __name__ == "__main__":
    main()
