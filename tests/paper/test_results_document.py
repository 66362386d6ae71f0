"""Every number that docs/results.md and paper.ipynb state in words comes from the results."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs import CONFIGS
from corpus import NEWER_SOURCES, read_manifest, select
from evaluation import HELD_OUT, NEW
from generate import PRIOR_SCALE
from music.attributes import NGram
from paper.publish import MODELS, without
from paper.recipes import STAGES
from paper.tables import number, paper_accuracy
from prior import WINDOWS_PER_GAUSSIAN

ROOT = Path(__file__).parents[2]
TEXT = " ".join((ROOT / "docs" / "results.md").read_text().split())
FOUND = {name: json.loads((ROOT / "results" / f"{name}.json").read_text()) for name in MODELS}
FREE_BITS, LEFT_OUT = (
    json.loads((ROOT / "results" / f"{name}.json").read_text()) for name in ("mel_2bar_free_bits", "mel_2bar_first")
)
STATISTICS = {name: result["samples"]["statistics"] for name, result in FOUND.items()}


def percent(value, digits=0):
    return f"{value:.{digits}%}".replace("%", " %")


def share(name, kind="sampled", group=None, part="all"):
    """Accuracy of a model."""
    accuracy = FOUND[name]["reconstruction"][kind]
    return accuracy["by_group"][group][part] if group else accuracy["parts"][part]["mean"]


def assert_stated(*phrases, text=TEXT):
    for phrase in phrases:
        assert phrase in text


def train_songs(name):
    """The number of songs of the train split that a model may have used."""
    return sum(entry.split == "train" for entry in select(read_manifest(), without=without(FOUND[name])))


def test_the_setup_names_the_number_of_songs_and_the_order_of_the_n_gram():
    melodies = [name for name in MODELS if name.startswith("mel_2bar")]
    assert [FOUND[name]["without_sources"] for name in melodies] == [[], []]
    assert all(without(FOUND[name]) == list(NEWER_SOURCES) for name in MODELS if name not in melodies)
    assert_stated(
        f"the 2-bar melody models {train_songs('mel_2bar'):,} public songs, all others {train_songs('mel_16bar'):,}.",
        f"one run of {STAGES['mel_2bar_first'].changes['steps']:,} steps and {LEFT_OUT['minutes']:.0f} minutes",
        "under a 5-gram model",
    )
    assert LEFT_OUT["steps"] == STAGES["mel_2bar_first"].changes["steps"]
    assert len(NGram.fit(np.zeros((1, 8), int), classes=2).followers) == 5


def older_share(name):
    """Sampled accuracy over the test windows of the older sources, and their share of all."""
    windows = {source: n for source, n in FOUND[name]["groups"].items() if source not in (NEW, *NEWER_SOURCES)}
    right = sum(n * share(name, group=source) for source, n in windows.items())
    return right / sum(windows.values()), sum(windows.values()) / FOUND[name]["windows"]


def bits(found):
    return f"{found['elbo']['kl_bits']['mean']:.0f}"


def test_two_bar_models_reach_the_papers_accuracy_as_the_page_says():
    tunes, drums = (f"{share(name):.3f}" for name in ("mel_2bar", "drums_2bar"))
    older, of_all = older_share("mel_2bar")
    paper = [paper_accuracy(FOUND[name]["preset"], "all")[1] for name in ("mel_2bar", "drums_2bar")]
    new = [percent(FOUND[name]["groups"]["new"] / FOUND[name]["windows"]) for name in ("mel_2bar", "drums_2bar")]
    assert_stated(
        f"Sampled accuracy of 2-bar melodies is {tunes} (the paper's: {paper[0]:.3f}), "
        f"at {bits(FOUND['mel_2bar'])} bits. "
        f"On the songs of the older sources, {percent(of_all)} of the windows, it is {older:.3f}. "
        f"For 2-bar drums it is {drums} (the paper's: {paper[1]:.3f}).",
        f"the accuracies are {share('mel_2bar', group='new'):.2f} and {share('drums_2bar', group='new'):.2f}. "
        f"New are {new[0]} of the melody windows and {new[1]} of the drum windows.",
    )
    assert older > paper[0]
    assert share("drums_2bar") > paper[1]


def test_a_small_weight_on_all_of_the_kl_beats_free_bits_as_the_page_says():
    rows = [
        ("earlier, 384 free bits", FREE_BITS["reconstruction"]["sampled"]["parts"]["all"]["mean"], None, FREE_BITS),
        ("present", older_share("mel_2bar")[0], share("mel_2bar"), FOUND["mel_2bar"]),
    ]
    for name, older, everywhere, found in rows:
        costs = f"{bits(found)} | {found['elbo']['nats']['mean']:.0f}"
        assert_stated(f"| {name} | {older:.3f} | {number(everywhere)} | {costs} |")
    costs = [
        found["priors"]["standard normal"]["cost"] for found in (FOUND["mel_2bar"], FOUND["mel_2bar_low"], FREE_BITS)
    ]
    real = FOUND["mel_2bar"]["priors"][HELD_OUT]["cost"]
    before = FREE_BITS["samples"]["statistics"]["n-gram cost, nats a step"]["data"]
    assert_stated(
        f"pays more for its bits, {bits(FOUND['mel_2bar_low'])} per window",
        f"its sampled accuracy is {share('mel_2bar_low'):.3f}",
        f"{costs[0]:.2f} for `mel_2bar` and {costs[1]:.2f} for `mel_2bar_low`. Held-out music costs {real:.2f}. "
        f"For the earlier weights it was {costs[2]:.2f}, where held-out music cost {before:.2f}.",
    )


def test_sixteen_bar_models_score_what_the_page_says():
    def above(part):
        return share("trio_16bar", part=part) - FOUND["trio_16bar"]["still"][part]

    melodies, (_, paper) = FOUND["mel_16bar"], paper_accuracy("hier-mel_16bar", "all")
    assert_stated(
        f"Sampled accuracy of 16-bar melodies is {share('mel_16bar'):.2f}. The majority label scores "
        f"{melodies['still']['all']:.2f}, and the paper's model {paper:.2f}.",
        f"the bass reaches the paper's accuracy, {share('trio_16bar', part='bass'):.2f}. "
        f"The drums score {above('drums'):.2f} more than the majority label.",
        "The melody scores less than the majority label.",
    )
    assert f"{paper_accuracy('hier-trio_16bar', 'bass')[1]:.2f}" == f"{share('trio_16bar', part='bass'):.2f}"
    assert above("melody") < -0.01


def test_accuracy_depends_on_the_source_as_the_page_says():
    assert_stated(
        f"| 16-bar melodies | Nottingham dance tunes | {share('mel_16bar', group='nottingham'):.2f} |",
        f"| 16-bar melodies | soundtrack of a game (Simutrans) | {share('mel_16bar', group='simutrans'):.2f} |",
        f"| 16-bar melodies | soundtrack of a game (Freedoom) | {share('mel_16bar', group='freedoom'):.2f} |",
        f"| 16-bar drums | parts made by MMA for OpenEWLD | {share('drums_16bar', group='mma_openewld'):.2f} |",
        f"| 16-bar drums | human drumming (Groove MIDI Dataset) | {share('drums_16bar', group='groove'):.2f} |",
        "More than half of the windows of the 16-bar melodies, and a quarter of those of the 2-bar melodies, come from "
        "songs that a program, MMA, accompanied",
    )
    for name, least, most in (("mel_2bar", 0.2, 0.3), ("mel_16bar", 0.5, 1)):
        groups = FOUND[name]["groups"]
        assert least < sum(groups[s] for s in groups if s.startswith("mma_")) / FOUND[name]["windows"] < most


def gain(music, kind="sampled", group=None):
    return share(f"{music}_16bar", kind, group) - share(f"{music}_16bar_flat", kind, group)


@pytest.mark.parametrize("music, words", [("mel", "16-bar melodies"), ("drums", "16-bar drums")])
def test_the_conductor_gains_what_the_page_says(music, words):
    theirs = np.subtract(*(paper_accuracy(f"{kind}-{music}_16bar", "all") for kind in ("hier", "flat")))
    ours = gain(music, "teacher_forced"), gain(music)
    pairs = " | ".join(f"{our:+.3f} | {their:+.3f}" for our, their in zip(ours, theirs, strict=True))
    assert_stated(f"| {words} | {pairs} |")


def test_the_conductor_helps_in_later_bars_and_repeated_tunes_as_the_page_says():
    def bars(name):
        steps = FOUND[name]["reconstruction"]["sampled"]["by_step"]["all"]
        return np.reshape(steps, (16, 16)).mean(1)

    for words, name in (("flat", "mel_16bar_flat"), ("with a conductor", "mel_16bar")):
        assert_stated(f"| {words} | {bars(name)[0]:.2f} | {np.mean(bars(name)[8:]):.2f} |")
    assert_stated(f"{gain('mel', group='mma_nottingham'):+.3f} sampled on `mma_nottingham`")
    sources = [source for source in FOUND["mel_16bar"]["groups"] if source != "new"]
    assert max(sources, key=lambda source: gain("mel", group=source)) == "mma_nottingham"


def test_the_16_bar_models_have_the_recipes_that_the_page_names():
    configs = [CONFIGS[FOUND[name]["preset"]] for name in MODELS if "16bar" in name]
    assert all(config.model.encoder_segments == 16 and config.training.curriculum for config in configs)
    assert {config.training.mixed for config in configs if "drums" in config.name} == {0.5}
    assert_stated("The encoders of all 16-bar models read bar by bar.", "In half of the training windows")


def test_interpolations_and_attribute_vectors_measure_what_the_page_says():
    tunes = FOUND["mel_2bar"]
    names, path = tunes["attributes"]["names"], tunes["interpolation"]
    density, major = names.index("note_density"), names.index("c_diatonic")
    before, added, subtracted = (tunes["attributes"][key] for key in ("before", "added", "subtracted"))
    middle = path["points"].index(0.5)
    assert_stated(
        f"cost {path['cost'][middle]:.2f} nats per step under the n-gram model. "
        f"The paper's baseline, a mix of both melodies' steps, costs {path['mixed_cost'][middle]:.2f}.",
        f"| notes per step | {before[density]:.2f} | {added[density][density]:.2f} | "
        f"{subtracted[density][density]:.2f} |",
        f"| share of notes in C major | {before[major]:.2f} | {added[major][major]:.2f} | "
        f"{subtracted[major][major]:.2f} |",
    )


def test_priors_measure_what_the_page_says():
    melodies, priors = FOUND["mel_16bar"], FOUND["drums_2bar"]["priors"]
    assert_stated(
        f"this gap accounts for {melodies['prior_bits']:.0f} of the {melodies['elbo']['kl_bits']['mean']:.0f} bits "
        "of KL of the 16-bar melodies",
        f"one per {WINDOWS_PER_GAUSSIAN} windows",
        f"with its standard deviation scaled, by {FOUND['mel_2bar']['prior_width']} for the 2-bar melodies and by "
        f"{PRIOR_SCALE} for all others",
        f"| fitted, scale {PRIOR_SCALE} | {priors[f'width {PRIOR_SCALE}']['cost']:.2f} |",
        f"| fitted, scale 1 | {priors['width 1.0']['cost']:.2f} |",
        f"| N(0, I) | {priors['standard normal']['cost']:.2f} |",
    )


@pytest.mark.parametrize(
    "name, measure, words, show",
    [
        ("drums_2bar", "n-gram cost, nats a step", "n-gram cost, nats per step", "{:.2f}".format),
        ("drums_2bar", "repetition at 1 bars", "repetition at 1 bar", percent),
        ("mel_16bar", "notes a step", "notes per step", "{:.2f}".format),
        ("mel_16bar", "repetition at 8 bars", "repetition at 8 bars", percent),
        ("drums_16bar", "repetition at 8 bars", "repetition at 8 bars", percent),
        ("drums_16bar", "n-gram cost, nats a step", "n-gram cost, nats per step", "{:.2f}".format),
    ],
)
def test_samples_and_held_out_music_measure_what_the_page_says(name, measure, words, show):
    samples, data = (show(STATISTICS[name][measure][of]) for of in ("samples", "data"))
    assert_stated(f"| {words} | `{name}` | {samples} | {data} |")


def test_copies_and_nearest_windows_measure_what_the_page_says():
    copies, nearest = FOUND["mel_2bar"]["samples"]["copies"], FOUND["drums_16bar"]["samples"]["nearest"]
    assert_stated(
        f"occur in the training set in some key | `mel_2bar` | {percent(copies['samples'], 1)} | "
        f"{percent(copies['data'])} |",
        f"nearest training window, median | `drums_16bar` | {percent(nearest['samples'])} | "
        f"{percent(nearest['data'])} |",
    )


def test_statements_in_words_follow_from_the_numbers():
    costs = {name: found["n-gram cost, nats a step"] for name, found in STATISTICS.items()}
    melodies, long, short = (costs[name] for name in ("mel_16bar", "drums_16bar", "drums_2bar"))
    assert melodies["samples"] == pytest.approx(melodies["data"], abs=0.05)  # as likely as real ones
    assert long["samples"] < long["data"] - 0.1  # plainer
    assert short["samples"] == pytest.approx(short["data"], abs=0.15)  # as likely
    assert_stated("16-bar drums are plainer than real drums")


def test_paper_ipynb_states_numbers_of_the_results():
    notebook = (ROOT / "paper.ipynb").read_text()
    back, bars = STATISTICS["mel_16bar"]["repetition at 8 bars"], STATISTICS["drums_2bar"]["repetition at 1 bars"]
    assert_stated(
        f"eight bars back in {percent(back['samples'])} of their events",
        f"({percent(bars['samples'])} of the hits, {percent(bars['data'])} in real drums)",
        f"made {max(result['steps'] for result in FOUND.values()):,} small updates",
        text=notebook,
    )
