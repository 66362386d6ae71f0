"""Publishes trained models: weights, measurements, a card for each, and the tables of the documents.

    python -m paper.publish --runs runs --data FOLDER
    python -m paper.publish --docs

The first form publishes each model of MODELS, CHORDS, PIANOS and GROOVES whose run is in RUNS/NAME, as paper/recipes.py
leaves it. It writes pretrained/NAME.pt (half precision, no optimizer, the prior whose samples resemble the valid
split's songs most; a model of chords has a mixture, a groove model has none), results/NAME.json (from evaluation.py,
paper/chord_following.py, paper/pianos.py or paper/grooves.py on the test split, with exactly these weights),
pretrained/NAME.md (the card) and, for FOR_MAGENTA_JS, pretrained/magenta_js/NAME. FOLDER holds the songs of corpus.csv,
see docs/corpus.md. Pianos are also measured on the songs of --others, folders that no model was trained on.

Both forms then rewrite all cards, the tables of docs/results.md and the README's table of models from results/.
"""

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from checkpoint import BEST, CHECKPOINT, read_checkpoint
from console import errors_in_a_line, say
from corpus import NEWER_SOURCES, add_corpus_arguments, load_splits, song_paths, source_name
from evaluation import evaluate, summary
from generate import TrainedModel
from magenta_formats.javascript import export_magenta_js
from midi_utils import SongDataset
from paper.chord_following import evaluate_chords
from paper.chord_following import summary as chord_summary
from paper.grooves import evaluate_groove
from paper.grooves import summary as groove_summary
from paper.json_results import write_json
from paper.measured_songs import NEW
from paper.pianos import evaluate_piano, fit_chosen_piano_prior, read_others
from paper.pianos import summary as piano_summary
from paper.prior_choice import fit_chosen_prior
from paper.recipes import STAGES
from paper.tables import (
    KINDS,
    MISSING,
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
from prior import FITS

MODELS = (  # stages of paper/recipes.py
    "mel_2bar",
    "mel_2bar_low",
    "drums_2bar",
    "drums_2bar_low",
    "mel_16bar",
    "mel_16bar_high",
    "drums_16bar",
    "trio_16bar",
)
BASELINES = ("mel_16bar_flat", "drums_16bar_flat")  # flat twins of earlier stages: measured, but without a file
PIANOS = ("piano_2bar", "piano_16bar")  # stages, too, of other measurements: see paper/pianos.py
GROOVES = ("groove_humanize", "groove_tap")  # and paper/grooves.py
CHORDS = ("mel_2bar_chords",)  # and paper/chord_following.py
EARLIER_CHORDS = "mel_2bar_chords_second.json"  # of the stage before, which is not published
# Measured on the test split after a stage, and trained on: the decision to do so was not independent of it
TRAINED_ON = (
    "mel_2bar",
    "mel_2bar_low",
    "drums_2bar_low",
    "mel_16bar_high",
    "drums_16bar",
    "trio_16bar",
    "piano_2bar",
)
PUBLISHED = (*MODELS, *CHORDS, *PIANOS, *GROOVES)
USES = {
    "mel_2bar": "melodies: reconstruct, interpolate",
    "mel_2bar_low": "melodies: sample, continue, compose",
    "drums_2bar": "drums: all tasks",
    "drums_2bar_low": "drums in the browser",
    "mel_16bar": "melodies: sample, fine-tune",
    "mel_16bar_high": "melodies: reconstruct",
    "drums_16bar": "drums: all tasks",
    "trio_16bar": "melody, bass and drums",
    "mel_2bar_chords": "melodies under chords",
    "piano_2bar": "chords and piano",
    "piano_16bar": "piano: reconstruct",
    "groove_humanize": "humanize drums",
    "groove_tap": "taps to drums",
}
ALSO_MEASURED = (*BASELINES, "mel_16bar_second", "drums_16bar_first", "music21_mel_2bar")  # not published
PRIOR_KINDS = {"piano_16bar": ("gaussian", "mixture")}  # a diffusion model would make pretrained/ larger than 80 MB
COMPOSERS = ("mel_2bar_low",)  # whose files hold a sequence prior, too
# Measured on sources that they were trained without
LEFT_OUT = ("mel_2bar_first", "mel_2bar_left_out", "mel_2bar_without_lieder", "mel_16bar_without_games")
PRICE = ("KL, bits", "-ELBO, nats per window")
FOR_MAGENTA_JS = ("mel_2bar_low", "drums_2bar_low", "mel_16bar")  # which magenta.js can read
RUN_FACTS = ("step", "seconds", "seed", "data")  # what a published file keeps of a run's record
CARD = """# {name}

`TrainedModel.load("pretrained/{name}.pt")`: {bars} bars of {music}, preset `{preset}`, {parameters:,} parameters.

| | |
|---|---|
| trained on | the train split of [corpus.csv](../paper/corpus.csv){parts}; recipe chosen on its valid split{seen} |
| training | {steps:,} steps, {minutes:.0f} minutes, seed {seed}{start} |
| command | `python -m paper.recipes {name} --data FOLDER` |
| measured on | {windows:,} windows of {songs} songs of the test split{without} |
{accuracies}
{others}| -ELBO | {nats:.1f} nats per window ({bits:.3f} bits per step), of which the KL is {kl:.0f} bits |
| dimensions of z | {dimensions}, of which {active} are active |
{prior}

All measurements: [results/{name}.json](../results/{name}.json). The weights are stored in half precision and were
measured in this form.

{licences}

**Limits.** {limits}
{styles}
"""
PRIOR = """| prior | {prior}, fitted to the posteriors of the training songs{bits} |
| samples | drawn from this prior with its standard deviation scaled by {width} |"""
COMPOSER = "\n| longer pieces | from a sequence prior, fitted to the whole songs of the train split |"
NO_PRIOR = "| prior | N(0, I); the tool decodes the posterior mean of what it is given |"
LICENCES = """**Data and licences.** Every song comes from a public source whose terms allow publishing weights.
All sources are credited in [docs/corpus.md](../docs/corpus.md): {credits}.
The weights are published under this project's licence, as far as we can decide that."""
CREDITS = {  # by source
    "groove": "the Groove MIDI Dataset (Google LLC, CC BY 4.0)",
    "freedoom": "Freedoom (BSD 3-clause)",
    "simutrans": "Simutrans (Artistic License)",
    "openewld": "OpenEWLD (MIT, public-domain scores)",
    "openhymnal": "Open Hymnal (public domain)",
    "nottingham": "the Nottingham tunes (GPL-3.0 repository, traditional tunes)",
    "mma_examples": "tunes and examples with accompaniments by MMA (GPL-2.0)",
    "lieder": "the OpenScore Lieder Corpus (CC0)",
    "quartets": "the OpenScore String Quartets (CC0)",
    "mutopia": "the Mutopia Project (public domain; CC BY for [these pieces](../paper/mutopia_credits.csv))",
}
MUSIC = {
    "mel": "melody",
    "drums": "drums",
    "trio": "melody, bass and drums",
    "piano": "piano",
    "groove": "drums with their timing and velocities",
}  # by the first word of a name
TUNES = """The songs are Western tunes in 4/4 on a grid of sixteenths, without performance timing and dynamics: mostly
{}folk songs, hymns and standards.
The paper's models were trained on 1.5 million files and for far longer;
[docs/results.md](../docs/results.md) compares the numbers."""
DRUMMERS = """The songs are played by ten drummers on an electronic kit, in 4/4.
[docs/results.md](../docs/results.md#grooves) says what the numbers mean."""
LIMITS = {
    "mel": "One voice at a time. Many windows are from songs whose accompaniment a program made.",
    "drums": "Nine drum classes.",
    "piano": "At most ten notes at once, and no dynamics. Many windows are accompaniments that a program made.",
    "groove": "Hits fall on a grid of sixteenths, each at most half a step early or late.",
    "trio": "A melody, a bass and nine drum classes. Most training trios have accompaniments that a program made.",
}


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
    kinds = PRIOR_KINDS.get(name, tuple(FITS))
    if name in PIANOS:
        fit_chosen_piano_prior(trained, train_set, valid_set, kinds)
    elif name in CHORDS:
        trained.fit_prior(train_set)
    elif name not in GROOVES:
        fit_chosen_prior(trained, train_set, valid_set, kinds=kinds)
    if name in COMPOSERS:
        paths = song_paths(options.data, "train", options.manifest, without=STAGES[name].without_sources)
        trained.fit_sequence_prior(paths.values())


def measure(name: str, options: argparse.Namespace, train_set: SongDataset, test_set: SongDataset) -> None:
    """Measures published weights on the test split, prints a summary and writes the numbers.

    Pianos are also measured on the folders of --others.
    """
    path = options.to / "pretrained" / f"{name}.pt"
    trained, run = TrainedModel.load(path), read_checkpoint(path)["run"]
    facts = {"run": run, "without_sources": STAGES[name].without_sources}
    if name in GROOVES:
        found = evaluate_groove(name, trained, train_set, test_set, **facts)
        text = groove_summary(found)
    elif name in CHORDS:
        found = evaluate_chords(name, trained, test_set, **facts)
        text = chord_summary(found)
    elif name in PIANOS:
        others = read_others(options, trained.converter)
        found = evaluate_piano(name, trained, train_set, test_set, others=others, run=run)
        text = piano_summary(found)
    else:
        found = evaluate(trained, train_set, test_set, **facts)
        text = summary(found)
    say(text, flush=True)
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


# --- documents --------------------------------------------------------------------------------------------------------


def card(name: str, found: dict, left_out: dict | None = None) -> str:
    """The card of a model from its measurements, Markdown; `left_out` has those of `first_left_out`."""
    kind = name.split("_")[0]
    if name in PIANOS:
        found = found | found["reconstruction"] | {"without_sources": []}
    elbo, missing, stage = found["elbo"], without(found), STAGES[name]
    what, start = ("weights", stage.start) if stage.start else ("layers", stage.layers)
    parts = f" without {_listed([f'`{source}`' for source in missing])}" if missing else ""
    own = ", `groove` alone" if name in GROOVES else parts
    facts = {key: found[key] for key in ("preset", "parameters", "steps", "minutes", "seed", "windows", "songs")}
    return CARD.format(
        name=name,
        bars=_bars(found),
        music=MUSIC[kind],
        accuracies="\n".join(f"| {label} | {text} |" for label, text in _card_accuracies(found)),
        others="".join(f"| {label} | {text} |\n" for label, text in _card_others(found, left_out)),
        nats=elbo["nats"]["mean"],
        bits=elbo["bits_per_step"],
        kl=elbo["kl_bits"]["mean"],
        active=elbo["active_dimensions"],
        dimensions=elbo["dimensions"],
        start=f"; from the {what} of `{start}`, see [recipes.py](../paper/recipes.py)" if start else "",
        prior=(NO_PRIOR if name in GROOVES else _card_prior(found)) + COMPOSER * (name in COMPOSERS),
        limits=LIMITS[kind],
        styles=DRUMMERS if name in GROOVES else TUNES.format("" if missing else "art songs, "),
        licences=_licences(missing),
        seen=", but an earlier stage was measured on the test split" * (name in TRAINED_ON),
        without=own,
        parts=own + ", in the last stage with songs in 2/4 (two bars as one)" * stage.pair_bars,
        **facts,
    )


def without(found: dict) -> list[str]:
    """The sources of the corpus that a model was trained and measured without; early results do not name them."""
    return found.get("without_sources", list(NEWER_SOURCES))


def _licences(left_out: Sequence[str]) -> str:
    credits = [credit for source, credit in CREDITS.items() if source_name(source) not in left_out]
    return textwrap.fill(LICENCES.format(credits=_listed(credits)), 120, break_on_hyphens=False)


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _card_prior(found: dict) -> str:
    bits = found.get("prior_bits")
    return PRIOR.format(
        prior=found["prior"],
        bits="" if bits is None else f"; KL from N(0, I) {bits:.0f} bits",
        width=found["prior_width"],
    )


def _card_accuracies(found: dict) -> Iterator[tuple[str, str]]:
    for part in found.get("majority", {}):
        yield "accuracy" if part == "all" else f"accuracy, {part}", _accuracy_text(found, part)
    if "baseline" in found:
        yield from _card_errors(found)
    for of in ("notes", "frames") if "most_likely" in found else ():
        likely, drawn = (found[kind][of]["mean"] for kind in ("most_likely", "drawn"))
        yield f"F1 of {of}", f"{likely:.3f} free-running from the posterior mean, {drawn:.3f} drawn at temperature 1"


def _accuracy_text(found: dict, part: str) -> str:
    forced, sampled = _accuracies(found, part)
    return f"{forced:.3f} teacher-forced, {sampled:.3f} sampled (majority label: {found['majority'][part]:.3f})"


def _card_others(found: dict, left_out: dict | None) -> Iterator[tuple[str, str]]:
    """Songs of sources that the model, or the stage of as many bars that it begins with, was not trained on."""
    for source, other in found.get("others", {}).items():
        notes, frames = (other["most_likely"][of]["mean"] for of in ("notes", "frames"))
        bits = other["elbo"]["kl_bits"]["mean"]
        yield f"`{source}`, not trained on", f"F1 of notes {notes:.3f}, of frames {frames:.3f}, KL {bits:.0f} bits"
    if left_out and _bars(left_out) == _bars(found):
        for source, other in left_out["other_sources"].items():
            accuracies, bits = _accuracy_text(other, "all"), other["elbo"]["kl_bits"]["mean"]
            label = f"its first stage, `{left_out['name']}`, on `{source}`, which that stage had not seen"
            yield label, f"{accuracies}, KL {bits:.0f} bits"


def first_left_out(name: str) -> str | None:
    """The stage of LEFT_OUT with whose weights or layers a model begins, or None."""
    stage = STAGES[name]
    before = stage.start or stage.layers
    return name if name in LEFT_OUT else before and first_left_out(before)


def _card_errors(found: dict) -> Iterator[tuple[str, str]]:
    """Without the hits of a model that is given them."""
    rows = {"hits": ("F1 of hits", 3), "velocity": ("velocity error", 1), "offset": ("timing error, % of a step", 1)}
    for of, (label, digits) in rows.items():
        model, averages = (found[which][of] for which in ("model", "baseline"))
        if model and averages["mean"] != 1:
            of_averages = number(averages["mean"], digits)
            yield label, f"{number(model['mean'], digits)} (averages of the training songs: {of_averages})"


def _bars(found: dict) -> str:
    """The number of bars in a preset's name."""
    return re.search(r"(\d+)bar", found["preset"])[1]


def _accuracies(found: dict, part: str) -> list[float]:
    """Teacher-forced and sampled."""
    return [found["reconstruction"][kind]["parts"][part]["mean"] for kind in KINDS[:2]]


def read_results(folder: Path, names: tuple[str, ...]) -> dict[str, dict]:
    """The results of these names that exist, in their order, each with its name."""
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(path.read_text()) | {"name": name} for name, path in paths.items() if path.exists()}


def models_table(results: Path) -> str:
    """Use, sampled accuracy beside the paper's, and what it costs, of every published model, Markdown."""
    header = ("file", "use", "sampled accuracy", "the paper's", *PRICE)
    rows = [_models_row(*item) for item in read_results(results, (*MODELS, *CHORDS)).items()]
    rows += [_piano_row(*item) for item in read_results(results, PIANOS).items()]
    return markdown(header, rows + [_groove_row(*item) for item in read_results(results, GROOVES).items()])


def _piano_row(name: str, found: dict) -> tuple[str, ...]:
    rebuilt = found["reconstruction"]
    f1 = ", ".join(f"{of} {number(rebuilt['most_likely'][of]['mean'])}" for of in ("notes", "frames"))
    return f"`{name}.pt`", USES[name], f"F1: {f1}", MISSING, *_price(rebuilt)


def _groove_row(name: str, found: dict) -> tuple[str, ...]:
    errors = found["model"]
    hits, velocity = number(errors["hits"]["mean"]), number(errors["velocity"]["mean"], 1)
    text = f"velocity error {velocity}" if hits == "1.000" else f"F1: hits {hits}"
    return f"`{name}.pt`", USES[name], text, MISSING, *_price(found)


def _models_row(name: str, found: dict) -> tuple[str, ...]:
    ours = {part: _accuracies(found, part)[1] for part in found["majority"]}
    theirs = {part: paper_accuracy(found["preset"], part)[1] for part in ours}
    cells = (
        ", ".join(f"{part} {number(share)}".removeprefix("all ") for part, share in row.items())
        for row in (ours, theirs)
    )
    return f"`{name}.pt`", USES[name], *cells, *_price(found)


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
        ours, theirs = _accuracies(found, part), paper_accuracy(found["preset"], part)
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


# --- the command ------------------------------------------------------------------------------------------------------


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
