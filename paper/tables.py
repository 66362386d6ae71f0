"""The tables of the paper's section 5 (Roberts et al. 2018, arXiv 1803.05428) from measured results, as Markdown.

A result is a file that `python evaluation.py ... --out results/NAME.json` wrote, read with `json.loads`: the fields of
`evaluation.Evaluation` as plain dictionaries and lists. The paper's numbers stand beside ours where the paper has them.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import permutations
from statistics import fmean, stdev

from paper.measured_songs import NEW
from paper.prior_choice import HELD_OUT, STANDARD_NORMAL

# Reconstruction accuracy by preset, without its size, and part: teacher-forced, sampled (the paper's tables 1 and 2,
# quoted from memory). The flat models are the paper's baseline.
PAPER = {
    "cat-mel_2bar": {"all": (0.986, 0.951)},
    "cat-drums_2bar": {"all": (0.979, 0.917)},
    "flat-mel_16bar": {"all": (0.883, 0.620)},
    "hier-mel_16bar": {"all": (0.919, 0.812)},
    "flat-drums_16bar": {"all": (0.884, 0.549)},
    "hier-drums_16bar": {"all": (0.928, 0.879)},
    "flat-trio_16bar": {"melody": (0.796, 0.579), "bass": (0.829, 0.565), "drums": (0.903, 0.641)},
    "hier-trio_16bar": {"melody": (0.848, 0.753), "bass": (0.880, 0.773), "drums": (0.912, 0.863)},
}
SIZE_SUFFIX = re.compile("_(tiny|mini|small|med|big)$")
KINDS = ("teacher_forced", "sampled", "teacher_forced_from_mean", "sampled_from_mean")
MISSING = "–"


def accuracies(found: dict, part: str) -> list[float]:
    """Teacher-forced and sampled, of a part."""
    return [found["reconstruction"][kind]["parts"][part]["mean"] for kind in KINDS[:2]]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with this many decimals; a dash for None and nan."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def with_interval(interval: dict[str, float], digits: int = 3) -> str:
    """A mean and its 95 % interval."""
    mean, low, high = (number(interval[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def label_of(result: dict) -> str:
    """What a result is called in tables and figures: its name if the reader has added one, else its preset."""
    return result.get("name", result["preset"])


def paper_accuracy(preset: str, part: str) -> tuple[float | None, float | None]:
    """The paper's accuracies, teacher-forced and sampled, for a preset of any size; None where the paper has none."""
    family = SIZE_SUFFIX.sub("", preset).replace("hierdec-", "hier-")
    return PAPER.get(family, {}).get(part, (None, None))


def accuracy_table(results: Sequence[dict]) -> str:
    """Reconstruction accuracy from a draw of z, beside the paper's, and from the posterior's mean."""
    header = ("model", "part", "majority label", "teacher-forced", "the paper's", "sampled", "the paper's")
    header += ("teacher-forced, from the mean", "sampled, from the mean", "KL, bits")
    return markdown(header, (row for result in results for row in _accuracy_rows(result)))


def _accuracy_rows(result: dict) -> Iterable[list[str]]:
    for part, majority in result["majority"].items():
        ours = [with_interval(result["reconstruction"][kind]["parts"][part]) for kind in KINDS]
        forced, drawn = map(number, paper_accuracy(result["preset"], part))
        facts = [label_of(result), part, number(majority)]
        yield [*facts, ours[0], forced, ours[1], drawn, *ours[2:], _kl_bits(result)]


def group_table(results: Sequence[dict]) -> str:
    """Sampled accuracy from a draw of z: over all windows, over the new ones, and per source."""
    sources = sorted({group for result in results for group in result["groups"]} - {NEW})
    rows = (row for result in results for row in _group_rows(result, sources))
    return markdown(("model", "part", "all", "new", *sources, "KL, bits"), rows)


def _group_rows(result: dict, sources: Sequence[str]) -> Iterable[list[str]]:
    found = result["reconstruction"]["sampled"]
    for part in result["majority"]:
        shares = [found["by_group"].get(group, {}).get(part) for group in (NEW, *sources)]
        yield [label_of(result), part, number(found["parts"][part]["mean"]), *map(number, shares), _kl_bits(result)]


def _kl_bits(result: dict) -> str:
    return number(result["elbo"]["kl_bits"]["mean"], 0)


def other_sources_table(results: Sequence[dict]) -> str:
    """Each model on whole sources that it was not trained on, on the grid; results may have no such source."""
    header = ("model", "source", "part", "songs", "windows", "majority label", "teacher-forced", "sampled")
    header += ("teacher-forced, from the mean", "sampled, from the mean", "-ELBO, nats per window", "KL, bits")
    return markdown(header, (row for result in results for row in _other_source_rows(result)))


def _other_source_rows(result: dict) -> Iterable[list[str]]:
    for name, found in result.get("other_sources", {}).items():
        counts = [number(found[key], 0) for key in ("songs", "windows")]
        bound = [with_interval(found["elbo"][key], digits) for key, digits in (("nats", 1), ("kl_bits", 0))]
        for part, majority in found["majority"].items():
            ours = [with_interval(found["reconstruction"][kind]["parts"][part]) for kind in KINDS]
            yield [label_of(result), name, part, *counts, number(majority), *ours, *bound]


def hierarchy_table(results: Sequence[dict]) -> str:
    """The accuracy that each hierarchical decoder gains over the flat one of its size, per group of windows.

    Two models are compared if they were measured on the same windows.
    """
    header = ("music", "part", "windows", "teacher-forced, gain", "the paper's", "sampled, gain", "the paper's")
    header += ("KL, bits, hierarchical", "flat")
    pairs = [pair for pair in permutations(results, 2) if _are_twins(*pair)]
    return markdown(header, (row for pair in pairs for row in _gain_rows(*pair)))


def _are_twins(flat: dict, hierarchical: dict) -> bool:
    decoder, _, size = hierarchical["preset"].partition("-")
    return decoder != "flat" and flat["preset"] == f"flat-{size}" and flat["windows"] == hierarchical["windows"]


def _gain_rows(flat: dict, hierarchical: dict) -> Iterable[list[str]]:
    pairs = [[result["reconstruction"][kind] for result in (hierarchical, flat)] for kind in KINDS[:2]]
    for part in flat["majority"]:
        music = [flat["preset"].removeprefix("flat-"), part]
        forced, drawn = (f"{high['parts'][part]['mean'] - low['parts'][part]['mean']:+.3f}" for high, low in pairs)
        theirs = _paper_gains(flat["preset"], hierarchical["preset"], part)
        prices = [_kl_bits(hierarchical), _kl_bits(flat)]
        yield [*music, f"all {flat['windows']:,}", forced, theirs[0], drawn, theirs[1], *prices]
        for group in pairs[0][0]["by_group"]:
            gains = (high["by_group"][group][part] - low["by_group"][group][part] for high, low in pairs)
            forced, drawn = map("{:+.3f}".format, gains)
            yield [*music, f"{group}, {flat['groups'][group]:,}", forced, MISSING, drawn, MISSING, *prices]


def twins_table(pairs: Sequence[dict]) -> str:
    """The gains of models with a conductor over their flat twins, and their mean over the pairs that differ by seed."""
    header = ("pair", "steps", "seed", "windows", "teacher-forced, gain", "sampled, gain", "KL, bits", "-ELBO, nats")
    rows = [_twin_row(pair) for pair in pairs]
    for trained in dict.fromkeys((pair["preset"], pair["steps"]) for pair in pairs):
        own = [pair for pair in pairs if (pair["preset"], pair["steps"]) == trained]
        rows += [_mean_row(own)] if len(own) > 1 else []
    return markdown(header, rows)


GAINS = {"forced": 3, "sampled": 3, "kl_bits": 0, "nats": 0}  # digits of the gains of a pair of twins


def _twin_row(pair: dict) -> list[str]:
    gains = []
    for name, digits in GAINS.items():
        mean, low, high = (f"{pair[name][key]:+.{digits}f}" for key in ("mean", "low", "high"))
        gains.append(f"{mean} ({low} to {high})")
    facts = (number(pair[key], 0) for key in ("steps", "seed", "windows"))
    return [" and ".join(f"`{name}`" for name in pair["names"]), *facts, *gains]


def _mean_row(pairs: Sequence[dict]) -> list[str]:
    """The mean over pairs, with its standard error."""
    gains = []
    for name, digits in GAINS.items():
        means = [pair[name]["mean"] for pair in pairs]
        error = stdev(means) / math.sqrt(len(means))
        gains.append(f"{fmean(means):+.{digits}f} ± {error:.{digits}f}")
    return [f"mean of {len(pairs)} pairs", number(pairs[0]["steps"], 0), MISSING, MISSING, *gains]


def upper_layers_table(found: list[dict]) -> str:
    """LSTMs and dense layers between the segments and the z of long models, a row per model and kind."""
    header = ("model", "layers", "parameters", "error, nats per window", "KL, bits", "loss, nats per window", "seconds")
    return markdown(header, (row for one in found for row in _upper_rows(one)))


def _upper_rows(one: dict) -> Iterable[list[str]]:
    name, unread = f"`{one['name']}`", number(one["unread"], 0)
    yield [name, "none: *z* taken as 0", MISSING, unread, "0", unread, MISSING]
    for kind, upper in one["kinds"].items():
        loss = upper["error"] + one["beta"] * upper["kl_bits"] * math.log(2)
        shown = (upper["parameters"], upper["error"], upper["kl_bits"], loss, upper["seconds"])
        yield [name, kind, *(number(value, 0) for value in shown)]


def decoded_on_table(pair: dict) -> str:
    """The form of pieces that twins decode on, in the bars that they were trained on and beyond, and of songs."""
    *_, last = pair["form"]["songs"].values()
    header = ("pieces of", "bars", *(f"bars {bars} apart" for bars in last["similarity"]), "notes per step", "rests")
    rows = (
        [{"conductor": pair["names"][0], "flat": pair["names"][1]}.get(kind, "real songs"), part]
        + [number(found["similarity"].get(bars), 2) for bars in last["similarity"]]
        + [number(found[share], 2) for share in ("notes", "rests")]
        for kind, parts in pair["form"].items()
        for part, found in parts.items()
    )
    return markdown(header, rows)


def _paper_gains(flat: str, hierarchical: str, part: str) -> list[str]:
    """The paper's gains, teacher-forced and sampled."""
    pairs = zip(paper_accuracy(hierarchical, part), paper_accuracy(flat, part), strict=True)
    return [MISSING if None in pair else f"{pair[0] - pair[1]:+.3f}" for pair in pairs]


def facts_table(results: Sequence[dict]) -> str:
    """How each model was trained, and what it was measured on."""
    header = ("model", "parameters", "steps", "minutes", "seed", "measured on", "songs", "windows")
    return markdown(header, map(_facts_row, results))


def _facts_row(result: dict) -> list[str]:
    training = (number(result[key], int(key == "minutes")) for key in ("parameters", "steps", "minutes", "seed"))
    return [label_of(result), *training, result["split"], *(number(result[key], 0) for key in ("songs", "windows"))]


def bound_table(results: Sequence[dict]) -> str:
    """The ELBO on held-out music: rate and distortion of each model at its own beta and free bits."""
    header = ("model", "-ELBO, nats per window", "bits per step", "reconstruction, nats", "KL, bits")
    header += ("gap to N(0, I), bits", "active dimensions")
    return markdown(header, map(_bound_row, results))


def _bound_row(result: dict) -> list[str]:
    elbo = result["elbo"]
    nats, reconstruction, rate = (with_interval(elbo[key], 1) for key in ("nats", "reconstruction", "kl_bits"))
    active = f"{elbo['active_dimensions']} of {elbo['dimensions']}"
    gap = number(result["prior_bits"], 1)
    return [label_of(result), nats, number(elbo["bits_per_step"]), reconstruction, rate, gap, active]


def novelty_table(results: Sequence[dict]) -> str:
    """Copies of training windows, distance to the nearest, and n-gram cost: of samples and of held-out music."""
    header = ["model"]
    for name in ("copies of training windows", "distance to the nearest", "n-gram cost, nats per step"):
        header += [f"{name}: samples", "held-out music"]
    return markdown(header, (_novelty_row(label_of(result), result["samples"]) for result in results))


def _novelty_row(name: str, samples: dict) -> list[str]:
    cost = samples["statistics"]["n-gram cost, nats per step"]
    comparisons = (samples["copies"], samples["nearest"], cost)
    return [name, *(number(comparison[of]) for comparison in comparisons for of in ("samples", "data"))]


def prior_table(results: Sequence[dict]) -> str:
    """Samples per prior that z is drawn from: n-gram cost, repetition of the bar before, and copies in each cell."""
    priors = list(dict.fromkeys(prior for result in results for prior in result["priors"] if prior != HELD_OUT))
    header = ("model", *(prior.replace("width", "scale") for prior in priors), HELD_OUT)
    return markdown(header, (_prior_row(result, priors) for result in results))


def _prior_row(result: dict, priors: Sequence[str]) -> list[str]:
    samples = result["samples"]
    names = ("n-gram cost, nats per step", "repetition at 1 bars")
    real = [samples["statistics"][name]["data"] for name in names] + [samples["copies"]["data"]]
    found = [_prior_numbers(result["priors"][prior]) if prior in result["priors"] else () for prior in priors]
    return [label_of(result), *(_prior_cell(*values) if values else MISSING for values in (*found, real))]


def _prior_numbers(samples: dict) -> tuple[float, float, float]:
    return samples["cost"], samples["repetition"], samples["copies"]


def _prior_cell(cost: float, back: float, copies: float) -> str:
    return f"{cost:.2f} nats, {100 * back:.0f} % repeated, {100 * copies:.1f} % copies"


def samples_table(results: Sequence[dict]) -> str:
    """Samples from N(0, I) and from the fitted prior beside held-out windows, each part by itself."""
    header = ("model", "part", "music", "n-gram cost, nats per step", "notes per step", "range, semitones")
    header += ("repetition at 1 bar", "at 8 bars", "copies")
    return markdown(header, (row for result in results for row in _sample_rows(result)))


def _sample_rows(result: dict) -> Iterable[list[str]]:
    """Repetition and copies are those of all parts together, in the row of the first."""
    kinds = {"held-out music": HELD_OUT, "from N(0, I)": STANDARD_NORMAL}
    kinds["from the prior"] = f"width {result.get('prior_width')}"
    measured = {words: result["priors"][name] for words, name in kinds.items() if name in result["priors"]}
    for k, part in enumerate(measured["held-out music"]["parts"]):
        for words, samples in measured.items():
            found, of_all = samples["parts"][part], [samples[key] for key in ("repetition", "repetition_8", "copies")]
            cells = [number(found[key], digits) for key, digits in (("cost", 2), ("notes", 2), ("range", 1))]
            yield [label_of(result), part, words, *cells, *(MISSING if k else percent(value) for value in of_all)]


def temperature_table(results: Sequence[dict]) -> str:
    """What `paper.temperatures` found: each part's cost and notes, and the repetition of all parts together."""
    header = ("model", "part", "measure", *results[0]["samples"])
    return markdown(header, (row for result in results for row in _temperature_rows(result)))


def _temperature_rows(result: dict) -> Iterable[list[str]]:
    measured = result["samples"].values()
    for part in result["samples"][HELD_OUT]["parts"]:
        for words, key in (("n-gram cost, nats per step", "cost"), ("notes per step", "notes")):
            yield [label_of(result), part, words, *(number(found["parts"][part][key], 2) for found in measured)]
    is_short = result["samples"][HELD_OUT]["repetition_8"] is None
    words, key = ("repetition at 1 bar", "repetition") if is_short else ("repetition at 8 bars", "repetition_8")
    yield [label_of(result), "all", words, *(percent(found[key]) for found in measured)]


def percent(share: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def rate_distortion_table(points: Sequence[dict]) -> str:
    """Rate, distortion, accuracy and the cost of samples of the points of `paper.rate_distortion`."""
    header = ("model", "β", "steps", "KL, bits", "reconstruction, nats", "-ELBO, nats per window", "part")
    header += ("teacher-forced", "sampled", "cost from N(0, I)", "from the fitted prior", "of the windows")
    return markdown(header, (row for point in points for row in _point_rows(point)))


def _point_rows(point: dict) -> Iterable[list[str]]:
    facts = [point["name"], f"{point['beta']:g}", number(point["steps"], 0), number(point["kl_bits"], 0)]
    nats = [number(point[key], 1) for key in ("reconstruction", "nats")]
    costs = [number(point[f"cost_{key}"], 2) for key in ("standard_normal", "prior", "held_out")]
    for part, forced in point["teacher_forced"].items():
        yield [*facts, *nats, part, number(forced), number(point["sampled"][part]), *costs]
        costs = [MISSING] * len(costs)  # they are those of the first part alone


def piano_table(results: Sequence[dict]) -> str:
    """Agreement and the ELBO of models of pianos, on each set of songs."""
    header = ("model", "songs of", "songs", "windows", "note F1", "frame F1", "note F1, drawn", "frame F1, drawn")
    return markdown((*header, "KL, bits", "reconstruction, nats", "-ELBO, nats per window"), _piano_rows(results))


def _piano_rows(results: Sequence[dict]) -> Iterable[list[str]]:
    for result in results:
        sets = {f"{result['split']} split": result["reconstruction"]} | result["others"]
        for name, found in sets.items():
            f1 = [with_interval(found[kind][of]) for kind in ("most_likely", "drawn") for of in ("notes", "frames")]
            elbo = [number(found["elbo"][key]["mean"], 1) for key in ("kl_bits", "reconstruction", "nats")]
            counts = [number(found[key], 0) for key in ("songs", "windows")]
            yield [label_of(result), name, *counts, *f1, *elbo]


def piano_samples_table(results: Sequence[dict]) -> str:
    """Samples of models of pianos beside held-out music."""
    header = ("model", "windows of", "cost of the highest voice", "of the lowest", "onsets per step", "keys per step")
    header += ("range, semitones", "common chords", "copies", "2", "3", "4", "5", "6 notes together", "more")
    return markdown(header, (row for result in results for row in _piano_sample_rows(result)))


def _piano_sample_rows(result: dict) -> Iterable[list[str]]:
    for name, found in result["samples"].items():
        voices = [number(found[f"cost_{voice}"], 2) for voice in ("highest", "lowest")]
        counts = [number(found[key], 2) for key in ("onsets", "keys")] + [number(found["range"], 1)]
        together = [*found["together"][2:7], sum(found["together"][7:])]
        shares = [f"{share:.1%}".replace("%", " %") for share in (found["common"], found["copies"], *together)]
        yield [label_of(result), name, *voices, *counts, *shares]


def groove_table(results: Sequence[dict]) -> str:
    """What models of grooves play to held-out drums, and what averages play, beside the drummers."""
    header = ("model", "grooves of", "F1 of hits", "velocity error", "timing error, % of a step", "hits per step")
    header += ("deviation of velocities", "of the timing, % of a step", "KL, bits", "-ELBO, nats per window")
    return markdown(header, (row for result in results for row in _groove_rows(result)))


def _groove_rows(result: dict) -> Iterable[list[str]]:
    costs = [number(result["elbo"][key]["mean"], 1) for key in ("kl_bits", "nats")]
    for of, spread in result["spread"].items():
        errors = result.get(of) or {}
        digits = {"hits": 3, "velocity": 1, "offset": 1}
        found = [with_interval(errors[kind], n) if errors.get(kind) else MISSING for kind, n in digits.items()]
        shown = {"baseline": "averages"}.get(of, of)
        spreads = [number(spread["hits"], 2), number(spread["velocity"], 1), number(spread["offset"], 1)]
        yield [label_of(result), shown, *found, *spreads, *(costs if of == "model" else [MISSING] * 2)]


def chord_table(results: Sequence[dict]) -> str:
    """How melodies follow the chords that they were given, beside chance, and what is left of rhythm and intervals."""
    header = ("model", "melodies", "notes that follow", "on first steps", "by chance", "the old chords", "F1 of onsets")
    header += ("intervals, semitones",)
    return markdown(header, (row for result in results for row in _chord_rows(result)))


def _chord_rows(result: dict) -> Iterable[list[str]]:
    for kind, found in result["following"].items():
        measured = (found[name] for name in ("given", "first", "others", "old", "rhythm", "interval"))
        yield [label_of(result), kind, *(with_interval(one) if one else MISSING for one in measured)]


def directions_table(result: dict) -> str:
    """What each direction does to all attributes: their means unmoved, and the changes of these (paper, section 5)."""
    table = result["attributes"]
    rows = [["none", "0", *map(number, table["before"])]]
    for k, name in enumerate(table["names"]):
        for strength, moved in (("+1", table["added"][k]), ("-1", table["subtracted"][k])):
            changes = (after - before for after, before in zip(moved, table["before"], strict=True))
            rows.append([name, strength, *map("{:+.3f}".format, changes)])
    return markdown(("direction", "strength", *table["names"]), rows)


def agreement_table(result: dict) -> str:
    """How directions of few windows agree with those of many others: cosines."""
    rows = ([number(found["windows"], 0), *map(number, found["cosines"])] for found in result["agreement"])
    return markdown(("windows", *result["attributes"]["names"]), rows)
