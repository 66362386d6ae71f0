"""The tables of the documents, made from results/ and put between their marks."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from paper.cards import card, first_left_out
from paper.measured_songs import NEW
from paper.published import ALSO_MEASURED, CHORDS, GROOVES, LEFT_OUT, MODELS, PIANOS, PUBLISHED
from paper.tables import (
    MISSING,
    accuracies,
    agreement_table,
    chord_table,
    decoded_on_table,
    directions_table,
    groove_table,
    markdown,
    number,
    other_sources_table,
    paper_accuracy,
    piano_samples_table,
    piano_table,
    rate_distortion_table,
    samples_table,
    temperature_table,
    twins_table,
    upper_layers_table,
)

EARLIER_CHORDS = "mel_2bar_chords_second.json"  # of the stage before, which is not published
PRICE = ("KL, bits", "-ELBO, nats per window")


def read_results(folder: Path, names: tuple[str, ...]) -> dict[str, dict]:
    """The results of these names that exist, in their order, each with its name."""
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(path.read_text()) | {"name": name} for name, path in paths.items() if path.exists()}


def models_table(results: Path) -> str:
    """Use, sampled accuracy beside the paper's, and what it costs, of every published model, Markdown."""
    header = ("file", "use", "sampled accuracy", "the paper's", *PRICE)
    return markdown(header, (_models_row(*item) for item in read_results(results, tuple(PUBLISHED)).items()))


def _models_row(name: str, found: dict) -> tuple[str, ...]:
    model = PUBLISHED[name]
    cells = SCORES.get(model.measure, _accuracy_cells)(found)
    return f"`{name}.pt`", model.use, *cells, *_price(found.get("reconstruction", {}) | found)


def _accuracy_cells(found: dict) -> tuple[str, str]:
    ours = {part: accuracies(found, part)[1] for part in found["majority"]}
    theirs = {part: paper_accuracy(found["preset"], part)[1] for part in ours}
    return _by_part(ours), _by_part(theirs)


def _by_part(shares: dict[str, float | None]) -> str:
    return ", ".join(f"{part} {number(share)}".removeprefix("all ") for part, share in shares.items())


def _piano_cells(found: dict) -> tuple[str, str]:
    likely = found["reconstruction"]["most_likely"]
    return "F1: " + ", ".join(f"{of} {number(likely[of]['mean'])}" for of in ("notes", "frames")), MISSING


def _groove_cells(found: dict) -> tuple[str, str]:
    """The error of the velocities where the hits are given, else the agreement of the hits."""
    hits, velocity = (found["model"][of]["mean"] for of in ("hits", "velocity"))
    return f"velocity error {number(velocity, 1)}" if hits == 1 else f"F1: hits {number(hits)}", MISSING


SCORES = {"piano": _piano_cells, "groove": _groove_cells}  # by what is measured; the others have an accuracy


def _price(found: dict) -> tuple[str, str]:
    """KL and -ELBO, which belong beside every accuracy: it can be raised at the cost of bits."""
    return number(found["elbo"]["kl_bits"]["mean"], 0), number(found["elbo"]["nats"]["mean"], 0)


def full_accuracy_table(results: Path) -> str:
    """Accuracy of every measured model from a draw of z, beside the paper's, Markdown."""
    header = ("model", "part", "majority label", "teacher-forced", "the paper's", "sampled", "the paper's")
    header += ("sampled, new windows", *PRICE)
    found = read_results(results, (*MODELS, *ALSO_MEASURED))
    return markdown(header, (row for item in found.items() for row in _accuracy_rows(*item)))


def _accuracy_rows(name: str, found: dict) -> Iterator[tuple[str, ...]]:
    for part, majority in found["majority"].items():
        ours, theirs = accuracies(found, part), paper_accuracy(found["preset"], part)
        new = found["reconstruction"]["sampled"]["by_group"].get(NEW, {}).get(part)
        shares = (majority, ours[0], theirs[0], ours[1], theirs[1], new)
        yield name, part, *map(number, shares), *_price(found)


def training_table(results: Path) -> str:
    """Preset, size and training of every measured model, Markdown."""
    header = ("model", "preset", "parameters", "steps", "minutes", "seed")
    found = read_results(results, (*MODELS, *ALSO_MEASURED))
    return markdown(header, (_training_row(*item) for item in found.items()))


def _training_row(name: str, found: dict) -> tuple[str, ...]:
    facts = (number(found[key], 0) for key in ("parameters", "steps", "minutes", "seed"))
    return name, f"`{found['preset']}`", *facts


def of_models(table: Callable[[Iterable[dict]], str], names: tuple[str, ...]) -> Callable[[Path], str]:
    """A function of the folder of the results: the table of these models, Markdown."""
    return lambda results: table(read_results(results, names).values())


def of_file(table: Callable[[list[dict]], str], name: str) -> Callable[[Path], str]:
    """A function of the folder of the results: the table of the file NAME.json, Markdown."""
    return lambda results: table(json.loads((results / f"{name}.json").read_text()))


def piano_outputs(results: Path) -> str:
    """The outputs for pianos that were compared on the valid split, Markdown: agreement, then samples."""
    found = json.loads((results / "piano_outputs.json").read_text())
    return f"{piano_table(found)}\n\n{piano_samples_table(found)}"


def chords_table(results: Path) -> str:
    """How melodies follow the chords that they are given, Markdown; the stage before stands below."""
    before = results / EARLIER_CHORDS
    earlier = json.loads(before.read_text()) if before.is_file() else []
    return chord_table([*read_results(results, CHORDS).values(), *earlier])


def twins(results: Path) -> str:
    """Models with a conductor beside their flat twins, Markdown: gains, then the form of pieces that are decoded on."""
    found = json.loads((results / "twins.json").read_text())
    return f"{twins_table(found)}\n\n{decoded_on_table(found[0])}"


def directions(results: Path) -> str:
    """What directions do to attributes, and how many windows they need, Markdown."""
    found = json.loads((results / "directions.json").read_text())
    return f"{directions_table(found)}\n\n{agreement_table(found)}"


TABLES = {  # by the name in their marks
    "models": models_table,
    "accuracy": full_accuracy_table,
    "training": training_table,
    "left out": of_models(other_sources_table, LEFT_OUT),
    "elsewhere": of_file(other_sources_table, "elsewhere"),
    "rate and distortion": of_file(rate_distortion_table, "rate_distortion"),
    "samples": of_models(samples_table, MODELS),
    "browser": of_file(samples_table, "browser"),
    "temperatures": of_file(temperature_table, "temperatures"),
    "twins": twins,
    "upper layers": of_file(upper_layers_table, "upper_layers"),
    "directions": directions,
    "pianos": of_models(piano_table, PIANOS),
    "samples of pianos": of_models(piano_samples_table, PIANOS),
    "outputs of pianos": piano_outputs,
    "grooves": of_models(groove_table, GROOVES),
    "chords": chords_table,
}
DOCUMENTS = ("README.md", "docs/results.md", "docs/magenta.md")


def marks(name: str) -> tuple[str, str]:
    """The two lines of a document between which the table of this name stands."""
    return f"<!-- {name}, by paper/publish.py -->", f"<!-- end of {name} -->"


def with_tables(text: str, results: Path) -> str:
    """A document with each of its tables made anew."""
    for name, table in TABLES.items():
        first, last = marks(name)
        if first in text:
            before, after = text.split(first)[0], text.split(last)[1]
            text = f"{before}{first}\n{table(results)}\n{last}{after}"
    return text


def write_documents(folder: Path) -> None:
    """Rewrites the cards and the documents' tables from the results in a folder."""
    left_out = read_results(folder / "results", LEFT_OUT)
    for name, found in read_results(folder / "results", PUBLISHED).items():
        text = card(name, found, left_out.get(first_left_out(name)))
        (folder / "pretrained" / f"{name}.md").write_text(text)
    for path in (folder / document for document in DOCUMENTS):
        if path.exists():
            path.write_text(with_tables(path.read_text(), folder / "results"))
