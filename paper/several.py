"""What the commands that measure models share, above all those that write a list of the results of several."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from checkpoint import check_file, read_checkpoint
from console import errors_in_a_line, say
from corpus import add_corpus_arguments
from generate import TrainedModel
from model import parameter_count
from paper.json_results import to_plain, write_json
from paper.prior_choice import SAMPLES, STANDARD_NORMAL


def add_arguments(parser: argparse.ArgumentParser, sources: bool = True, limit: int | None = None):
    """Adds the checkpoints, and the options of `add_corpus_arguments`, of the split, of the windows and of the file.

    `limit` is the number of windows by default; None means all.
    """
    parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoint files, or folders of runs")
    add_corpus_arguments(parser, sources=sources)
    parser.add_argument("--split", default="test", help="split to measure on (default: test)")
    what = f"maximum number of windows (default: {'all' if limit is None else limit})"
    parser.add_argument("--limit", type=int, default=limit, help=what)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")


def by_name(folders: list[Path], what: str = "folders") -> dict[str, Path]:
    """Folders by their names, which name their results; raises ValueError if two have one."""
    found = {folder.name: folder for folder in folders}
    if len(found) < len(folders):
        raise ValueError(f"two {what} have one name, which would name both results: rename one")
    return found


def facts_of(path: Path, options: argparse.Namespace) -> dict:
    """What the options and a checkpoint's record say: arguments of the functions that measure."""
    return {"split": options.split, "limit": options.limit, "run": read_checkpoint(path)["run"] or {}}


def describe(trained: TrainedModel, run: dict) -> dict:
    """The fields of a result that describe the model and its training."""
    return {
        "preset": trained.config.name,
        "parameters": parameter_count(trained.model),
        "steps": run.get("step"),
        "minutes": run.get("seconds") and round(run["seconds"] / 60, 1),
        "seed": run.get("seed"),
        "prior": str(trained.prior or STANDARD_NORMAL),
        "prior_width": trained.prior_width,
    }


def write_each(found: Iterable[NamedTuple], summary: Callable[[NamedTuple], str], path: Path):
    """Prints a summary of each result, and writes a list of all to a file, as soon as each is measured."""
    with errors_in_a_line():
        check_file(path)
        results = []
        for result in found:
            results.append(result)
            say(summary(result), flush=True)
            write_json(path, results)
    say(f"wrote {path}")


def measure_checkpoints(
    options: argparse.Namespace,
    measure: Callable[[Path, argparse.Namespace], NamedTuple],
    summary: Callable[[NamedTuple], str],
):
    """Measures checkpoints one after the other, see `write_each`."""
    write_each((measure(path, options) for path in options.checkpoints), summary, options.out)


def measure_samples_by_name(
    arguments: list[str] | None,
    description: str,
    folder: str,
    names: Sequence[str],
    measure: Callable[[str, argparse.Namespace], dict],
    table: Callable[[Sequence[dict]], str],
):
    """The command that measures samples of models by name, writes the numbers and prints their table.

    Args:
        folder: of the models, where none is given.
        measure: takes a name, and options with the songs, `folder` and `limit`.
    """
    parser = argparse.ArgumentParser(description=description)
    add_corpus_arguments(parser, sources=False)
    parser.add_argument("--folder", type=Path, default=Path(folder), help="folder of the models")
    parser.add_argument("--limit", type=int, default=SAMPLES, help=f"samples of each (default: {SAMPLES})")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    with errors_in_a_line():
        found = [measure(name, options) for name in names]
        write_json(options.out, found)
    say(table(to_plain(found)))
