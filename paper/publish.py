"""Makes of finished runs what others start from: weights, their measurements, and a card for each.

    python -m paper.publish --runs runs --data FOLDER [--size small]

For each model of MODELS whose run lies in RUNS/PRESET, the preset of that size: pretrained/NAME.pt (half precision, no
optimizer, a prior fitted to its songs), results/NAME.json (evaluation.py on the test split, of exactly these weights),
pretrained/NAME.md (its card) and, of those that magenta.js knows, pretrained/magenta_js/NAME. Then the README's table
of results, from all there are.
FOLDER holds the songs of corpus.csv, see docs/corpus.md.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from corpus import MANIFEST, load_corpus
from evaluation import NEW, evaluate, summary, to_json
from generate import PRIOR_SCALE, TrainedModel
from magenta_formats.javascript import export_magenta_js
from midi_utils import SongDataset
from paper.figures import KINDS, markdown, number, paper_accuracy

MODELS = {  # name of what is published: preset of the run, without its size
    "mel_2bar": "cat-mel_2bar",
    "drums_2bar": "cat-drums_2bar",
    "mel_16bar": "hier-mel_16bar",
    "mel_16bar_flat": "flat-mel_16bar",
    "drums_16bar": "hier-drums_16bar",
    "drums_16bar_flat": "flat-drums_16bar",
    "trio_16bar": "hier-trio_16bar",
}
ALSO_MEASURED = ("music21_mel_2bar",)  # in the README's table, and not published
FOR_MAGENTA_JS = ("mel_2bar", "drums_2bar", "mel_16bar")  # of those it knows, what 40 MB have room for
KEPT = ("step", "seconds", "seed", "data")  # of what a run says of itself
CARD = """# {name}

`TrainedModel.load("pretrained/{name}.pt")`: {windows_of}, preset `{preset}`, {parameters:,} parameters.

| | |
|---|---|
| trained on | the train split of [corpus.csv](../paper/corpus.csv), chosen on its valid split |
| training | {steps:,} steps, {minutes:.0f} minutes, seed {seed} |
| command | `python train.py --config {preset} --data FOLDER --manifest paper/corpus.csv --out runs/{preset}` |
| measured on | {windows:,} windows of {songs} songs of the test split |
{accuracies}
| -ELBO | {nats:.1f} nats a window ({bits:.3f} bits a step), its KL {kl:.0f} bits |
| dimensions of z | {dimensions}, {active} of them active |
| prior | Gaussians fitted to the training songs' posteriors, {prior_bits:.0f} bits off the standard normal |
| samples | drawn from it at {width} of the Gaussians' deviation |

All measurements: [results/{name}.json](../results/{name}.json). Weights are in half precision; they were measured so.

**Data and licences.** Songs of public sources alone whose terms let weights be published, each credited in
[docs/corpus.md](../docs/corpus.md): the Groove MIDI Dataset (Google LLC, CC BY 4.0), Freedoom (BSD 3-clause), Simutrans
(Artistic License), OpenEWLD (MIT, public-domain scores), Open Hymnal (public domain), the Nottingham tunes (GPL-3.0
repository, traditional tunes), and tunes and examples with accompaniments by MMA (GPL-2.0). The weights are
published under this project's licence, as far as that is ours to say.

**Limits.** {limits} Western tunes in 4/4 on a grid of sixteenths, mostly folk songs, hymns and standards; no
performance timing, no dynamics. The paper's models had 1.5 million files and far more training; see the README's table.
"""
MARKS = ("<!-- results, by publish.py -->", "<!-- end of results -->")  # around the README's table
LIMITS = {
    "mel": "One voice at a time; most of the windows are of songs whose accompaniment a program made.",
    "drums": "Nine drum classes.",
    "trio": "A melody, a bass and nine drum classes; most training trios have accompaniments made by a program.",
}


def publish(name: str, run: Path, trained: TrainedModel, weights: Path) -> None:
    """Writes a run's weights in half precision, with its model's prior and what it says of itself."""
    model, config, facts = trained.model.half(), trained.config, read_checkpoint(run)["run"]
    save_checkpoint(weights / f"{name}.pt", model, config, {key: facts[key] for key in KEPT}, prior=trained.prior)
    if name in FOR_MAGENTA_JS:
        export_magenta_js(load_checkpoint(weights / f"{name}.pt")[0], config, weights / "magenta_js" / name, "uint8")


def measure(name: str, weights: Path, results: Path, train_set: SongDataset, test_set: SongDataset) -> dict:
    """Measures published weights on the test split; writes and returns the numbers."""
    path = weights / f"{name}.pt"
    found = evaluate(TrainedModel.load(path), train_set, test_set, run=read_checkpoint(path)["run"])
    print(summary(found), flush=True)
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.json").write_text(to_json(found) + "\n")
    return json.loads(to_json(found))


def card(name: str, found: dict) -> str:
    """The card of a model from its measurements, Markdown."""
    kind, bars, *_ = name.split("_")
    elbo, rows = found["elbo"], []
    for part, still in found["still"].items():
        forced, drawn = (found["reconstruction"][how]["parts"][part]["mean"] for how in ("teacher_forced", "sampled"))
        share = f"{forced:.3f} teacher-forced, {drawn:.3f} sampled ({still:.3f} by always saying what is commonest)"
        rows.append(f"| accuracy{'' if part == 'all' else ', ' + part} | {share} |")
    facts = {key: found[key] for key in ("preset", "parameters", "steps", "minutes", "seed", "windows", "songs")}
    return CARD.format(
        name=name,
        windows_of=f"{bars.removesuffix('bar')} bars of {'melody' if kind == 'mel' else kind}",
        accuracies="\n".join(rows),
        nats=elbo["nats"]["mean"],
        bits=elbo["bits_a_step"],
        kl=elbo["kl_bits"]["mean"],
        active=elbo["active_dimensions"],
        dimensions=elbo["dimensions"],
        prior_bits=found["prior_bits"],
        width=PRIOR_SCALE,
        limits=LIMITS[kind],
        **facts,
    )


def results_table(results: Path) -> str:
    """Every measured model's accuracy from a draw of z beside the paper's, and what its training took; Markdown."""
    header = ("model", "part", "preset", "parameters", "steps", "minutes", "seed", "commonest label")
    header += ("teacher-forced", "the paper's", "sampled", "the paper's", "sampled, new windows")
    paths = [results / f"{name}.json" for name in (*MODELS, *ALSO_MEASURED)]
    return markdown(header, (row for path in paths if path.exists() for row in _result_rows(path)))


def _result_rows(path: Path) -> Iterator[tuple[str, ...]]:
    found = json.loads(path.read_text())
    run = (f"`{found['preset']}`", number(found["parameters"], 0), number(found["steps"], 0))
    run += (number(found["minutes"], 0), str(found["seed"]))
    for part, still in found["still"].items():
        ours = (number(found["reconstruction"][how]["parts"][part]["mean"]) for how in KINDS[:2])
        theirs = map(number, paper_accuracy(found["preset"], part))
        new = number(found["reconstruction"]["sampled"]["by_group"].get(NEW, {}).get(part))
        yield path.stem, part, *run, number(still), *itertools.chain(*zip(ours, theirs, strict=True)), new


def put_into(text: str, table: str) -> str:
    """A text with the table between its two marks."""
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Publish and measure the runs of MODELS.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs, each under its preset")
    parser.add_argument("--data", required=True, help="folder of the songs that the manifest names")
    parser.add_argument("--manifest", default=MANIFEST, help="CSV of paths and splits (default corpus.csv)")
    parser.add_argument("--cache", help="folder that keeps what was read, for the next time")
    parser.add_argument(
        "--to", type=Path, default=Path(), help="folder that gets pretrained/ and results/ (default: this)"
    )
    parser.add_argument("--size", default="mini", help="of the presets: mini (default), or small")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    return parser.parse_args(arguments)


def publish_and_measure(name: str, run: Path, options: argparse.Namespace) -> None:
    """A run's weights, measurements and card."""
    weights, how = options.to / "pretrained", {"manifest": options.manifest, "cache": options.cache}
    trained = TrainedModel.load(run)
    parts = [load_corpus(options.data, part, trained.converter, **how) for part in ("train", "test")]
    trained.fit_prior(parts[0])
    publish(name, run, trained, weights)
    found = measure(name, weights, options.to / "results", *parts)
    (weights / f"{name}.md").write_text(card(name, found))


def main(arguments: list[str] | None = None):
    """The command: every model whose run is there."""
    options = parse_arguments(arguments)
    runs = {name: options.runs / f"{MODELS[name]}_{options.size}" for name in options.only}
    there = {name: run for name, run in runs.items() if run.is_dir()}
    if not there:
        raise SystemExit(f"error: none of the runs is there: {', '.join(map(str, runs.values()))}")
    try:
        for name, run in there.items():
            publish_and_measure(name, run, options)
    except ValueError as fault:
        raise SystemExit(f"error: {fault}") from None
    readme = options.to / "README.md"
    if readme.exists():
        readme.write_text(put_into(readme.read_text(), results_table(options.to / "results")))


if __name__ == "__main__":
    main()
