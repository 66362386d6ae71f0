"""What is published of a run: weights in half precision, measurements, a card; and what stands in the repository."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoint import read_checkpoint
from configs import CONFIGS
from corpus import load_corpus
from generate import PRIOR_SCALE, PRIOR_WINDOWS, TrainedModel
from helpers import shrink
from magenta_checkpoint import load_magenta_checkpoint
from magenta_formats.javascript import read_shards
from magenta_formats.variables import tensorflow_variables
from paper import publish
from prior import WINDOWS_PER_GAUSSIAN
from train import train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def published(corpus_arguments, tmp_path):
    """A run of twenty steps, published in a folder of its own."""
    config = shrink("cat-mel_2bar_tiny")
    _, folder, _, manifest = corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "runs" / config.name, steps=20, seed=5, progress=False, device="cpu")
    publish.main([*corpus_arguments, "--runs", str(tmp_path / "runs"), "--to", str(tmp_path), "--size", "tiny"])
    return tmp_path


def test_weights_are_small_and_say_what_made_them(published):
    path = published / "pretrained" / "mel_2bar.pt"
    run = published / "runs" / "cat-mel_2bar_tiny" / "checkpoint.pt"
    assert path.stat().st_size < run.stat().st_size / 5  # neither single precision nor Adam's means
    trained, whole = TrainedModel.load(path), TrainedModel.load(run)
    for ours, theirs in zip(trained.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float())
    assert trained.prior is not None
    facts = read_checkpoint(path)["run"]
    assert (facts["step"], facts["seed"]) == (20, 5)
    assert len(trained.sample(2, generator=0)) == 2


def test_measurements_and_card_agree(published):
    found = json.loads((published / "results" / "mel_2bar.json").read_text())
    card = (published / "pretrained" / "mel_2bar.md").read_text()
    assert (found["preset"], found["steps"], found["split"]) == ("cat-mel_2bar_tiny", 20, "test")
    assert f"{found['reconstruction']['sampled']['parts']['all']['mean']:.3f} sampled" in card
    assert "20 steps" in card
    assert "seed 5" in card
    assert "Groove MIDI Dataset" in card


def test_magenta_js_gets_the_same_weights(published):
    """To half a step of the 255 between a variable's least and greatest value."""
    folder = published / "pretrained" / "magenta_js" / "mel_2bar"
    ours, theirs = TrainedModel.load(published / "pretrained" / "mel_2bar.pt").model, read_shards(folder)
    for name, values in tensorflow_variables(ours).items():
        np.testing.assert_allclose(theirs[name], values, rtol=0, atol=1.001 * np.ptp(values) / 510)
    loaded = load_magenta_checkpoint(folder, "cat-mel_2bar_tiny")
    for a, b in zip(ours.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=float(a.max() - a.min()) / 250)


def test_the_command_says_what_is_missing(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match="error: none of the runs is there: .*cat-mel_2bar_mini"):
        publish.main([*corpus_arguments, "--runs", str(tmp_path / "nowhere"), "--to", str(tmp_path)])
    (tmp_path / "cat-mel_2bar_tiny").mkdir()
    with pytest.raises(SystemExit, match="error: no checkpoint at"):
        publish.main([*corpus_arguments, "--runs", str(tmp_path), "--to", str(tmp_path), "--size", "tiny"])


MODELS = sorted((ROOT / "pretrained").glob("*.pt"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_published_model_loads_plays_and_has_its_card_and_measurements(path):
    trained = TrainedModel.load(path)
    windows = {"drums_2bar": 21_056}.get(path.stem, PRIOR_WINDOWS)  # the others' sets have more than are taken
    assert len(trained.prior.means) == windows // WINDOWS_PER_GAUSSIAN
    assert trained.config == CONFIGS[trained.config.name]
    assert trained.config.name.startswith(publish.MODELS[path.stem])
    notes = [note for part in trained.sample(1, generator=0)[0].instruments for note in part.notes]
    assert len(notes) > 3
    found = json.loads((ROOT / "results" / f"{path.stem}.json").read_text())
    assert path.with_suffix(".md").read_text() == publish.card(path.stem, found)


def test_the_published_files_are_within_their_limits():
    sizes = [path.stat().st_size for path in (ROOT / "pretrained").rglob("*") if path.is_file()]
    assert max(sizes, default=0) <= 16e6
    assert sum(sizes) <= 40e6


def test_the_readmes_table_is_the_results():
    """Once more through the command's own functions: nothing in it was written by hand."""
    readme = (ROOT / "README.md").read_text()
    assert publish.put_into(readme, publish.results_table(ROOT / "results")) == readme


def test_a_table_goes_between_its_marks(published):
    table = publish.results_table(published / "results")
    assert table.splitlines()[2].startswith("| mel_2bar | all | `cat-mel_2bar_tiny` |")
    assert "| 0.986 |" in table
    text = publish.put_into("a\n{}\nold\n{}\nb".format(*publish.MARKS), table)
    assert text == f"a\n{publish.MARKS[0]}\n{table}\n{publish.MARKS[1]}\nb"


def percent(value, digits=0):
    return f"{value:.{digits}%}".replace("%", " %")


def test_what_the_readme_says_of_the_results():
    """Each number of its text, from the files."""
    text = " ".join((ROOT / "README.md").read_text().split())
    found = {name: json.loads((ROOT / "results" / f"{name}.json").read_text()) for name in publish.MODELS}

    def share(name, kind="sampled", group=None):
        accuracy = found[name]["reconstruction"][kind]
        return accuracy["by_group"][group]["all"] if group else accuracy["parts"]["all"]["mean"]

    def above(part, trio=found["trio_16bar"]):
        return trio["reconstruction"]["sampled"]["parts"][part]["mean"] - trio["still"][part]

    def bars(name):
        steps = found[name]["reconstruction"]["sampled"]["by_step"]["all"]
        return np.reshape(steps, (16, 16)).mean(1)

    def gain(music, kind="sampled", group=None):
        return share(f"{music}_16bar", kind, group) - share(f"{music}_16bar_flat", kind, group)

    def new(name):
        return percent(found[name]["groups"]["new"] / found[name]["windows"])

    tunes, melodies = found["mel_2bar"], found["mel_16bar"]
    names, path, copies = tunes["attributes"]["names"], tunes["interpolation"], tunes["samples"]["copies"]
    density, major = names.index("note_density"), names.index("c_diatonic")
    before, added, subtracted = (tunes["attributes"][key] for key in ("before", "added", "subtracted"))
    notes, back = (melodies["samples"]["statistics"][what] for what in ("notes a step", "repetition at 8 bars"))
    beats = found["drums_16bar"]["samples"]["statistics"]["repetition at 8 bars"]
    long, short = (found[f"drums_{k}bar"]["samples"]["statistics"]["n-gram cost, nats a step"] for k in (16, 2))
    short_bars = found["drums_2bar"]["samples"]["statistics"]["repetition at 1 bars"]
    ways, nearest = found["drums_2bar"]["priors"], found["drums_16bar"]["samples"]["nearest"]
    for words in (
        f"come back as in the paper**: of melodies {share('mel_2bar'):.3f} of the steps, sampled, 0.951 in the paper; "
        f"of beats {share('drums_2bar'):.3f}, 0.917 in the paper",
        f"({new('mel_2bar')} of the melodies, {new('drums_2bar')} of the beats), "
        f"{share('mel_2bar', group='new'):.2f} and {share('drums_2bar', group='new'):.2f}.",
        f"melodies come back to {share('mel_16bar'):.2f}, where always saying the commonest label gets "
        f"{melodies['still']['all']:.2f} and the paper has 0.81",
        f"the bass comes back as in the paper, {found['trio_16bar']['still']['bass'] + above('bass'):.2f}",
        f"the drums are above the commonest label by {above('drums'):.2f}",
        f"{share('mel_16bar', group='nottingham'):.2f} in Nottingham's dance tunes",
        f"and {share('mel_16bar', group='simutrans'):.2f} and {share('mel_16bar', group='freedoom'):.2f} "
        "in music for two games",
        f"of 16-bar drums {share('drums_16bar', group='mma_openewld'):.2f} where a program (MMA) made them",
        f"and {share('drums_16bar', group='groove'):.2f} where drummers played",
        f"by {gain('mel'):.3f} sampled and {gain('mel', 'teacher_forced'):.3f} teacher-forced; in the paper",
        f"in the first bar it has {bars('mel_16bar_flat')[0]:.2f} of the steps, with a conductor "
        f"{bars('mel_16bar')[0]:.2f}; in the last eight {np.mean(bars('mel_16bar_flat')[8:]):.2f}, "
        f"and {np.mean(bars('mel_16bar')[8:]):.2f}.",
        f"(`mma_nottingham`, by {gain('mel', group='mma_nottingham'):.3f} sampled)",
        f"by {-gain('drums'):.3f} sampled and {-gain('drums', 'teacher_forced'):.3f} teacher-forced.",
        f"Of the {melodies['elbo']['kl_bits']['mean']:.0f} bits of the 16-bar melodies' KL "
        f"{melodies['prior_bits']:.0f} only say",
        f"have {notes['samples']:.2f} notes a step where real ones have {notes['data']:.2f}",
        f"back in {percent(back['samples'])} of its events, a real one in {percent(back['data'])}",
        f"Beats of sixteen bars do in {percent(beats['samples'])}, real ones in {percent(beats['data'])}",
        f"are plainer, {long['samples']:.2f} nats a step and {long['data']:.2f}",
        f"no more than {percent(nearest['samples'])} of the steps, of real ones in {percent(nearest['data'])}.",
        f"as likely as real ones, {short['samples']:.2f} nats a step and {short['data']:.2f}",
        f"repeats the first in {percent(short_bars['samples'])} of its hits, "
        f"a real one in {percent(short_bars['data'])}",
        f"a step of two-bar beats then costs {ways[f'width {PRIOR_SCALE}']['cost']:.2f} nats, from the whole Gaussians "
        f"{ways['width 1.0']['cost']:.2f}, from the standard normal {ways['standard normal']['cost']:.2f}.",
        f"at {PRIOR_SCALE} of their deviation",
        f"to cost {path['cost'][5]:.2f} nats, one of a mix of both {path['mixed_cost'][5]:.2f}",
        f"from {before[density]:.2f} to {added[density][density]:.2f} notes a step, "
        f"subtracted to {subtracted[density][density]:.2f}",
        f"from {before[major]:.2f} to {added[major][major]:.2f} and to {subtracted[major][major]:.2f}",
        f"{percent(copies['samples'], 1)} of them stand in the training set in some key",
        f"held out, {percent(copies['data'])})",
    ):
        assert words in text
    notebook = (ROOT / "paper.ipynb").read_text()
    for words in (
        f"eight bars back in {percent(back['samples'])} of their events",
        f"({percent(short_bars['samples'])} of the hits, {percent(short_bars['data'])})",
        f"made {max(result['steps'] for result in found.values()):,} small updates",
    ):
        assert words in notebook
    cost = melodies["samples"]["statistics"]["n-gram cost, nats a step"]  # as likely as real ones
    assert cost["samples"] == pytest.approx(cost["data"], abs=0.05)
    for name in ("mel_2bar", "mel_16bar"):
        groups = found[name]["groups"]
        assert sum(groups[source] for source in groups if source.startswith("mma_")) > found[name]["windows"] / 2
    sources = [source for source in melodies["groups"] if source != "new"]
    assert max(sources, key=lambda source: gain("mel", group=source)) == "mma_nottingham"
    assert above("melody") < -0.01
    assert long["samples"] < long["data"] - 0.1  # plainer
    assert short["samples"] == pytest.approx(short["data"], abs=0.15)  # as likely
