"""The card of a published model, Markdown, from its measurements in results/."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from corpus import NEWER_SOURCES, source_name
from paper.published import LEFT_OUT, PUBLISHED
from paper.recipes import STAGES
from paper.tables import accuracies, number

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


def card(name: str, found: dict, left_out: dict | None = None) -> str:
    """The card of a model from its measurements, Markdown; `left_out` has those of `first_left_out`."""
    kind, model = name.split("_")[0], PUBLISHED[name]
    if model.measure == "piano":
        found = found | found["reconstruction"] | {"without_sources": []}
    elbo, missing, stage, is_groove = found["elbo"], without(found), STAGES[name], model.measure == "groove"
    what, start = ("weights", stage.start) if stage.start else ("layers", stage.layers)
    parts = f" without {_listed([f'`{source}`' for source in missing])}" if missing else ""
    own = ", `groove` alone" if is_groove else parts
    facts = {key: found[key] for key in ("preset", "parameters", "steps", "minutes", "seed", "windows", "songs")}
    return CARD.format(
        name=name,
        bars=bars_of(found),
        music=MUSIC[kind],
        accuracies="\n".join(f"| {label} | {text} |" for label, text in _card_accuracies(found)),
        others="".join(f"| {label} | {text} |\n" for label, text in _card_others(found, left_out)),
        nats=elbo["nats"]["mean"],
        bits=elbo["bits_per_step"],
        kl=elbo["kl_bits"]["mean"],
        active=elbo["active_dimensions"],
        dimensions=elbo["dimensions"],
        start=f"; from the {what} of `{start}`, see [recipes.py](../paper/recipes.py)" if start else "",
        prior=(NO_PRIOR if is_groove else _card_prior(found)) + COMPOSER * model.composes,
        limits=LIMITS[kind],
        styles=DRUMMERS if is_groove else TUNES.format("" if missing else "art songs, "),
        licences=_licences(missing),
        seen=", but an earlier stage was measured on the test split" * model.trained_on,
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
    forced, sampled = accuracies(found, part)
    return f"{forced:.3f} teacher-forced, {sampled:.3f} sampled (majority label: {found['majority'][part]:.3f})"


def _card_others(found: dict, left_out: dict | None) -> Iterator[tuple[str, str]]:
    """Songs of sources that the model, or the stage of as many bars that it begins with, was not trained on."""
    for source, other in found.get("others", {}).items():
        notes, frames = (other["most_likely"][of]["mean"] for of in ("notes", "frames"))
        bits = other["elbo"]["kl_bits"]["mean"]
        yield f"`{source}`, not trained on", f"F1 of notes {notes:.3f}, of frames {frames:.3f}, KL {bits:.0f} bits"
    if left_out and bars_of(left_out) == bars_of(found):
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


def bars_of(found: dict) -> str:
    """The number of bars in a preset's name."""
    return re.search(r"(\d+)bar", found["preset"])[1]
