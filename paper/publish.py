"""Publishes trained models: weights, measurements, a card for each, and the tables of the documents.

    python -m paper.publish --runs runs --data FOLDER
    python -m paper.publish --docs

The first form publishes each model of paper/published.py whose run is in RUNS/NAME, as paper/recipes.py leaves it. It
writes pretrained/NAME.pt (half precision, no optimizer, the prior whose samples resemble the valid split's songs most;
a model of chords has a mixture, a groove model has none), results/NAME.json (from evaluation.py,
paper/chord_following.py, paper/pianos.py or paper/grooves.py on the test split, with exactly these weights),
pretrained/NAME.md (the card, from paper/cards.py) and, for magenta.js, pretrained/magenta_js/NAME. FOLDER holds the
songs of corpus.csv, see docs/corpus.md. Pianos are also measured on the songs of --others, folders that no model was
trained on.

Both forms then rewrite all cards, and the tables of the README and docs/ from results/ (paper/documents.py).
"""

import argparse
from pathlib import Path

from checkpoint import BEST, CHECKPOINT, read_checkpoint
from console import errors_in_a_line, say
from corpus import add_corpus_arguments, load_splits, song_paths
from evaluation import evaluate, summary
from generate import TrainedModel
from magenta_formats.javascript import export_magenta_js
from midi_utils import SongDataset
from paper.chord_following import evaluate_chords
from paper.chord_following import summary as chord_summary
from paper.documents import write_documents
from paper.grooves import evaluate_groove
from paper.grooves import summary as groove_summary
from paper.json_results import write_json
from paper.pianos import evaluate_piano, fit_chosen_piano_prior, read_others
from paper.pianos import summary as piano_summary
from paper.prior_choice import fit_chosen_prior
from paper.published import FOR_MAGENTA_JS, PUBLISHED
from paper.recipes import STAGES

RUN_FACTS = ("step", "seconds", "seed", "data")  # what a published file keeps of a run's record
SUMMARIES = {"accuracy": summary, "chords": chord_summary, "piano": piano_summary, "groove": groove_summary}


def publish(name: str, run: Path, trained: TrainedModel, weights: Path) -> None:
    """Writes a run's weights in half precision, with the model's priors and the facts of the run."""
    facts = read_checkpoint(run)["run"]
    trained.model.half()
    trained.save(weights / f"{name}.pt", {key: facts[key] for key in RUN_FACTS})


def for_magenta_js(trained: TrainedModel, train_set: SongDataset, valid_set: SongDataset) -> TrainedModel:
    """A model for clients that draw z from N(0, I): with a Gaussian of the songs folded in, where that helps.

    It helps if samples from the Gaussian, at the best width, resemble the valid split's songs more.
    """
    plain = TrainedModel(trained.model, trained.config)
    fit_chosen_prior(plain, train_set, valid_set, kinds=("gaussian",))
    return trained.folded(train_set, plain.prior_width) if plain.prior else plain


def export(name: str, weights: Path, train_set: SongDataset, valid_set: SongDataset) -> None:
    """Writes published weights for magenta.js."""
    client = for_magenta_js(TrainedModel.load(weights / f"{name}.pt"), train_set, valid_set)
    export_magenta_js(client.model, client.config, weights / "magenta_js" / name, "uint8")


def fit_priors(
    name: str, trained: TrainedModel, train_set: SongDataset, valid_set: SongDataset, options: argparse.Namespace
) -> None:
    """Gives a model the priors that its file holds."""
    model = PUBLISHED[name]
    if model.measure == "piano":
        fit_chosen_piano_prior(trained, train_set, valid_set, model.prior_kinds)
    elif model.measure == "chords":
        trained.fit_prior(train_set)
    elif model.measure == "accuracy":
        fit_chosen_prior(trained, train_set, valid_set, kinds=model.prior_kinds)
    if model.composes:
        paths = song_paths(options.data, "train", options.manifest, without=STAGES[name].without_sources)
        trained.fit_sequence_prior(paths.values())


def measure(name: str, options: argparse.Namespace, train_set: SongDataset, test_set: SongDataset) -> None:
    """Measures published weights on the test split, prints a summary and writes the numbers.

    Pianos are also measured on the folders of --others.
    """
    path = options.to / "pretrained" / f"{name}.pt"
    trained, run = TrainedModel.load(path), read_checkpoint(path)["run"]
    facts, what = {"run": run, "without_sources": STAGES[name].without_sources}, PUBLISHED[name].measure
    if what == "groove":
        found = evaluate_groove(name, trained, train_set, test_set, **facts)
    elif what == "chords":
        found = evaluate_chords(name, trained, test_set, **facts)
    elif what == "piano":
        others = read_others(options, trained.converter)
        found = evaluate_piano(name, trained, train_set, test_set, others=others, run=run)
    else:
        found = evaluate(trained, train_set, test_set, **facts)
    say(SUMMARIES[what](found), flush=True)
    write_json(options.to / "results" / f"{name}.json", found)


def publish_and_measure(name: str, run: Path, options: argparse.Namespace) -> None:
    """Writes a run's weights and measurements."""
    weights, trained, splits = options.to / "pretrained", TrainedModel.load(run), ("train", "valid", "test")
    without = STAGES[name].without_sources
    train_set, valid_set, test_set = load_splits(options, trained.config.converter, splits, without)
    fit_priors(name, trained, train_set, valid_set, options)
    publish(name, run, trained, weights)
    if name in FOR_MAGENTA_JS:
        export(name, weights, train_set, valid_set)
    measure(name, options, train_set, test_set)


# ---- The command ----


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Publish and measure trained models.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder with one run per model (default: runs)")
    add_corpus_arguments(parser, required=False, sources=False)
    here = "folder that gets pretrained/ and results/ (default: the current one)"
    parser.add_argument("--to", type=Path, default=Path(), help=here)
    parser.add_argument("--only", nargs="+", choices=PUBLISHED, help="models (default: those that have a run)")
    others = "folders of songs that no model was trained on, on which pianos are measured, too"
    parser.add_argument("--others", type=Path, nargs="+", default=[], metavar="FOLDER", help=others)
    parser.add_argument("--best", action="store_true", help="the best weights by the held-out songs, not the last")
    parser.add_argument("--docs", action="store_true", help="only rewrite cards and tables from results/")
    return parser.parse_args(arguments)


def find_runs(options: argparse.Namespace) -> dict[str, Path]:
    """The checkpoints of the runs to publish, by name.

    Raises:
        ValueError: no --data, a run of --only that does not exist, or no run at all.
    """
    if not options.data:
        raise ValueError("publishing needs --data FOLDER; --docs alone rewrites cards and tables")
    file = BEST if options.best else CHECKPOINT
    runs = {name: options.runs / name for name in options.only or PUBLISHED}
    found = {name: run / file for name, run in runs.items() if run.is_dir()}
    missing = [str(run) for name, run in runs.items() if name not in found]
    if missing and (options.only or not found):
        raise ValueError(f"none of these runs exists: {', '.join(missing)}")
    return found


def main(arguments: list[str] | None = None):
    """The command: publishes every model whose run exists, then writes the documents."""
    options = parse_arguments(arguments)
    with errors_in_a_line():
        for name, run in {} if options.docs else find_runs(options).items():
            publish_and_measure(name, run, options)
    write_documents(options.to)


if __name__ == "__main__":
    main()
