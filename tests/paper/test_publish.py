"""Publishing writes weights in half precision, measurements, a card and tables; the committed files agree."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import prior
from checkpoint import BEST, read_checkpoint
from corpus import Entry, file_sha1, load_corpus, read_manifest, source_name, write_manifest
from generate import PRIOR_WINDOWS, TrainedModel
from helpers import BUILT_IN, made_songs, shrink, table_rows
from magenta_checkpoint import load_magenta_checkpoint
from magenta_formats.javascript import read_shards
from magenta_formats.variables import tensorflow_variables
from midi_utils import midi_files
from paper import cards, documents, publish
from paper.prior_choice import STANDARD_NORMAL
from paper.published import LEFT_OUT, PUBLISHED, Published
from paper.recipes import Stage
from prior import WINDOWS_PER_GAUSSIAN, MixturePrior
from train import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def short_trainings_of_priors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior.diffusion, "UPDATES", 2)
        yield


@pytest.fixture(scope="module")
def published(corpus_arguments, tmp_path_factory):
    """The folder that a run of twenty steps was published to."""
    to, config = tmp_path_factory.mktemp("published"), shrink("cat-mel_2bar_tiny")
    _, folder, _, manifest = corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=to / "runs" / "mel_2bar", steps=20, seed=5, progress=False, device="cpu")
    publish.main([*corpus_arguments, "--runs", str(to / "runs"), "--to", str(to)])
    return to


def test_published_weights_are_small_and_record_their_training(published):
    path = published / "pretrained" / "mel_2bar.pt"
    run = published / "runs" / "mel_2bar" / "checkpoint.pt"
    trained, whole = TrainedModel.load(path), TrainedModel.load(run)
    prior_size = sum(tensor.nbytes for tensor in trained.prior)
    assert path.stat().st_size - prior_size < run.stat().st_size / 5  # half precision, without Adam's moments
    for ours, theirs in zip(trained.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float())
    assert trained.prior is not None
    facts = read_checkpoint(path)["run"]
    assert (facts["step"], facts["seed"]) == (20, 5)
    assert len(trained.sample(2, seed=0)) == 2


def test_the_best_weights_of_a_run_are_published_where_asked(corpus_arguments, tmp_path):
    config, (_, folder, _, manifest) = shrink("cat-mel_2bar_tiny", learning_rate=0.3), corpus_arguments
    songs = [load_corpus(folder, split, config.converter, manifest, progress=False) for split in ("train", "valid")]
    run = tmp_path / "runs" / "mel_2bar"
    train(config, *songs, out_dir=run, steps=12, eval_every=1, progress=False, device="cpu")
    best = TrainedModel.load(run / BEST)
    publish.main([*corpus_arguments, "--runs", str(tmp_path / "runs"), "--to", str(tmp_path), "--best"])
    found = TrainedModel.load(tmp_path / "pretrained" / "mel_2bar.pt")
    for ours, theirs in zip(found.model.parameters(), best.model.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float())
    step = read_checkpoint(run / BEST)["run"]["step"]
    assert step < 12
    assert json.loads((tmp_path / "results" / "mel_2bar.json").read_text())["steps"] == step


def test_card_and_measurements_agree(published):
    found = json.loads((published / "results" / "mel_2bar.json").read_text())
    card = (published / "pretrained" / "mel_2bar.md").read_text()
    assert (found["preset"], found["steps"], found["split"]) == ("cat-mel_2bar_tiny", 20, "test")
    assert f"{found['reconstruction']['sampled']['parts']['all']['mean']:.3f} sampled" in card
    assert "20 steps" in card
    assert "seed 5" in card
    assert "Groove MIDI Dataset" in card


def test_cards_have_the_songs_of_sources_that_a_model_was_not_trained_on():
    results = documents.read_results(ROOT / "results", ("mel_2bar", "mel_2bar_first", "piano_2bar", "drums_2bar"))
    first = results["mel_2bar_first"]
    assert [cards.first_left_out(name) for name in results] == ["mel_2bar_first", "mel_2bar_first", None, None]
    card = cards.card("mel_2bar", results["mel_2bar"], first)
    for source, found in first["other_sources"].items():
        sampled = found["reconstruction"]["sampled"]["parts"]["all"]["mean"]
        row = next(line for line in card.splitlines() if f"`mel_2bar_first`, on `{source}`," in line)
        assert f" {sampled:.3f} sampled" in row
    lofi = results["piano_2bar"]["others"]["lofi"]["most_likely"]["frames"]["mean"]
    assert f"of frames {lofi:.3f}" in cards.card("piano_2bar", results["piano_2bar"])
    assert "not trained on" not in cards.card("drums_2bar", results["drums_2bar"])
    longer = results["mel_2bar"] | {"preset": "hier-mel_16bar_mini"}
    assert "had not seen" not in cards.card("mel_2bar", longer, first)


def test_a_card_names_the_sources_that_the_model_was_trained_without(published):
    found = json.loads((published / "results" / "mel_2bar.json").read_text())
    assert found["without_sources"] == []
    card = cards.card("mel_2bar", found)
    assert "`python -m paper.recipes mel_2bar --data FOLDER`" in card
    assert all(credit.split(" (")[0] in " ".join(card.split()) for credit in cards.CREDITS.values())
    card = cards.card("mel_2bar", found | {"without_sources": ["groove", "lieder"]})
    assert "train split of [corpus.csv](../paper/corpus.csv) without `groove` and `lieder`;" in card
    assert "songs of the test split without `groove` and `lieder` |" in card
    assert "Groove MIDI Dataset" not in card
    assert max(map(len, card.split("**Data")[1].splitlines())) <= 120
    del found["without_sources"]
    assert cards.without(found) == ["lieder", "mutopia", "quartets"]


def test_every_source_of_the_corpus_has_a_credit():
    assert {source_name(source) for source in cards.CREDITS} == {entry.source for entry in read_manifest()}


def test_the_command_measures_without_the_sources_that_the_run_was_trained_without(tmp_path, monkeypatch):
    """The songs lie in two folders; the run and the figures are of one of them."""
    config, entries = shrink("cat-mel_2bar_tiny"), []
    for k, song in enumerate(sorted(midi_files(BUILT_IN))[:12]):
        path = tmp_path / "songs" / "ab"[k % 2] / song.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(song.read_bytes())
        split = ("train", "train", "valid", "test")[k // 3]
        entries.append(Entry(f"{'ab'[k % 2]}/{song.name}", file_sha1(path), split, song.name))
    write_manifest(tmp_path / "corpus.csv", entries)
    place = ["--data", str(tmp_path / "songs"), "--manifest", str(tmp_path / "corpus.csv")]
    songs = load_corpus(place[1], "train", config.converter, place[3], progress=False, without=["a"])
    train(config, songs, out_dir=tmp_path / "runs" / "mel_2bar", steps=2, progress=False, device="cpu")
    folders = ["--runs", str(tmp_path / "runs"), "--to", str(tmp_path)]
    monkeypatch.setitem(publish.STAGES, "mel_2bar", Stage("cat-mel_2bar", without_sources=("a",)))
    monkeypatch.setitem(PUBLISHED, "mel_2bar", Published("melodies", composes=True))
    composed = []
    monkeypatch.setattr(TrainedModel, "fit_sequence_prior", lambda trained, paths: composed.extend(paths))
    publish.main([*place, *folders])
    assert len(composed) == 3
    assert {path.parent.name for path in composed} == {"b"}
    found = json.loads((tmp_path / "results" / "mel_2bar.json").read_text())
    assert found["without_sources"] == ["a"]
    assert set(found["groups"]) == {"new", "b"}
    assert "without `a`" in (tmp_path / "pretrained" / "mel_2bar.md").read_text()


def test_magenta_js_gets_the_weights_in_8_bits_with_a_gaussian_folded_in(published, tmp_path):
    """Each weight is within half of the 255 steps between its variable's least and greatest value."""
    songs = made_songs(shrink("cat-mel_2bar_tiny").converter)
    (tmp_path / "mel_2bar_low.pt").write_bytes((published / "pretrained" / "mel_2bar.pt").read_bytes())
    publish.export("mel_2bar_low", tmp_path, songs, songs)
    folder = tmp_path / "magenta_js" / "mel_2bar_low"
    trained = TrainedModel.load(tmp_path / "mel_2bar_low.pt")
    ours = publish.for_magenta_js(trained, songs, songs).model
    for name, values in tensorflow_variables(ours).items():
        np.testing.assert_allclose(read_shards(folder)[name], values, rtol=0, atol=1.001 * np.ptp(values) / 510)
    loaded = load_magenta_checkpoint(folder, "cat-mel_2bar_tiny")
    for a, b in zip(ours.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=float(a.max() - a.min()) / 250)


def test_the_command_names_missing_runs_and_checkpoints(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match="error: none of these runs exists: .*mel_2bar_low"):
        publish.main([*corpus_arguments, "--runs", str(tmp_path / "nowhere"), "--to", str(tmp_path)])
    (tmp_path / "mel_2bar").mkdir()
    with pytest.raises(SystemExit, match="error: no checkpoint at"):
        publish.main([*corpus_arguments, "--runs", str(tmp_path), "--to", str(tmp_path)])
    with pytest.raises(SystemExit, match="error: publishing needs --data"):
        publish.main(["--runs", str(tmp_path), "--to", str(tmp_path)])


def test_docs_alone_rewrites_cards_and_tables(published):
    card, page = published / "pretrained" / "mel_2bar.md", published / "docs" / "results.md"
    written = card.read_text()
    card.write_text("old")
    page.parent.mkdir()
    page.write_text("a\n{}\nold\n{}\nb".format(*documents.marks("accuracy")))
    publish.main(["--docs", "--to", str(published)])
    assert card.read_text() == written
    assert "| mel_2bar | all |" in page.read_text()
    assert "old" not in page.read_text()


def test_tables_go_between_their_marks(published):
    results = published / "results"
    table = documents.full_accuracy_table(results)
    assert table.splitlines()[2].startswith("| mel_2bar | all |")
    assert "| 0.986 |" in table
    training = documents.training_table(results)
    assert training.splitlines()[2].startswith("| mel_2bar | `cat-mel_2bar_tiny` |")
    first, last = documents.marks("accuracy")
    text = documents.with_tables(f"a\n{first}\nold\n{last}\nb", results)
    assert text == f"a\n{first}\n{table}\n{last}\nb"
    both = "\n".join(mark for name in ("models", "training") for mark in documents.marks(name))
    assert documents.models_table(results) in documents.with_tables(both, results)
    assert training in documents.with_tables(both, results)


def test_a_piano_is_published_with_its_agreement(corpus_arguments, tmp_path):
    config, (_, folder, _, manifest) = shrink("piano_2bar_tiny"), corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "runs" / "piano_2bar", steps=5, progress=False, device="cpu")
    (tmp_path / "README.md").write_text("\n".join(documents.marks("models")))
    folders = ["--runs", str(tmp_path / "runs"), "--to", str(tmp_path), "--only", "piano_2bar", "--others", folder]
    publish.main([*corpus_arguments, *folders])
    found = json.loads((tmp_path / "results" / "piano_2bar.json").read_text())
    trained = TrainedModel.load(tmp_path / "pretrained" / "piano_2bar.pt")
    assert found["prior"] == str(trained.prior or "standard normal")
    frames = found["reconstruction"]["most_likely"]["frames"]["mean"]
    card = (tmp_path / "pretrained" / "piano_2bar.md").read_text()
    assert f"| F1 of frames | {frames:.3f} free-running from the posterior mean" in card
    assert f"frames {frames:.3f} | – |" in (tmp_path / "README.md").read_text()
    assert [row[1] for row in table_rows(documents.TABLES["pianos"](tmp_path / "results"))] == ["test split", "songs"]
    samples = documents.TABLES["samples of pianos"](tmp_path / "results")
    assert [row[1] for row in table_rows(samples)] == list(found["samples"])


def test_a_groove_model_is_published_with_its_errors(corpus_arguments, tmp_path, monkeypatch):
    config, (_, folder, _, manifest) = shrink("groovae_2bar_tap_fixed_velocity_mini"), corpus_arguments
    monkeypatch.setitem(publish.STAGES, "groove_tap", Stage("groovae_2bar_tap_fixed_velocity"))
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "runs" / "groove_tap", steps=5, progress=False, device="cpu")
    (tmp_path / "README.md").write_text("\n".join(documents.marks("models")))
    publish.main([*corpus_arguments, "--runs", str(tmp_path / "runs"), "--to", str(tmp_path), "--only", "groove_tap"])
    found = json.loads((tmp_path / "results" / "groove_tap.json").read_text())
    card = (tmp_path / "pretrained" / "groove_tap.md").read_text()
    f1, of_averages = (found[which]["hits"]["mean"] for which in ("model", "baseline"))
    assert f"| F1 of hits | {f1:.3f} (averages of the training songs: {of_averages:.3f}) |" in card
    assert "Groove MIDI Dataset" in card
    assert f"F1: hits {f1:.3f} | – |" in (tmp_path / "README.md").read_text()
    rows = table_rows(documents.TABLES["grooves"](tmp_path / "results"))
    assert [row[1] for row in rows] == ["model", "averages", "drummers"]


def test_a_model_of_chords_is_published_with_how_it_follows(corpus_arguments, tmp_path):
    config, (_, folder, _, manifest) = shrink("cat-mel_2bar_chords_tiny"), corpus_arguments
    songs = load_corpus(folder, "train", config.converter, manifest, progress=False)
    train(config, songs, out_dir=tmp_path / "runs" / "mel_2bar_chords", steps=5, progress=False, device="cpu")
    (tmp_path / "README.md").write_text("\n".join(documents.marks("models")))
    folders = ["--runs", str(tmp_path / "runs"), "--to", str(tmp_path), "--only", "mel_2bar_chords"]
    publish.main([*corpus_arguments, *folders])
    found = json.loads((tmp_path / "results" / "mel_2bar_chords.json").read_text())
    sampled = found["reconstruction"]["sampled"]["parts"]["all"]["mean"]
    assert f"{sampled:.3f} sampled" in (tmp_path / "pretrained" / "mel_2bar_chords.md").read_text()
    assert "| `mel_2bar_chords.pt` | melodies under chords |" in (tmp_path / "README.md").read_text()
    assert [row[1] for row in table_rows(documents.chords_table(tmp_path / "results"))] == list(found["following"])
    assert isinstance(TrainedModel.load(tmp_path / "pretrained" / "mel_2bar_chords.pt").prior, MixturePrior)


# --- the committed files ----------------------------------------------------------------------------------------------


MODELS = sorted((ROOT / "pretrained").glob("*.pt"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_published_model_loads_and_plays_and_has_a_card_and_measurements(path):
    trained = TrainedModel.load(path)
    if isinstance(trained.prior, MixturePrior):  # the training sets have more windows than a prior uses
        assert len(trained.prior.means) == PRIOR_WINDOWS // WINDOWS_PER_GAUSSIAN
    assert trained.config.name == f"{publish.STAGES[path.stem].preset}_mini"
    chords = {"controls": ["C"]} if trained.converter.chords else {}
    notes = [note for part in trained.sample(1, seed=0, **chords)[0].instruments for note in part.notes]
    assert (trained.sequence_prior is not None) == (PUBLISHED[path.stem].composes)
    assert len(notes) > 3
    found = json.loads((ROOT / "results" / f"{path.stem}.json").read_text())
    prior = str(trained.prior or STANDARD_NORMAL)
    assert (found.get("prior", prior), found.get("prior_width", trained.prior_width)) == (prior, trained.prior_width)
    left_out = documents.read_results(ROOT / "results", LEFT_OUT).get(cards.first_left_out(path.stem))
    assert path.with_suffix(".md").read_text() == cards.card(path.stem, found, left_out)


def test_published_files_stay_below_their_size_limits():
    sizes = [path.stat().st_size for path in (ROOT / "pretrained").rglob("*") if path.is_file()]
    assert max(sizes, default=0) <= 16e6
    assert sum(sizes) <= 80e6


@pytest.mark.parametrize(
    "document, tables",
    [
        ("README.md", ["models"]),
        ("docs/magenta.md", ["browser"]),
        ("docs/results.md", [name for name in documents.TABLES if name not in ("models", "browser")]),
    ],
)
def test_the_documents_tables_are_made_from_the_results(document, tables):
    """The command's own functions give the same text, so nothing in the tables was written by hand."""
    text = (ROOT / document).read_text()
    assert [name for name in documents.TABLES if all(mark in text for mark in documents.marks(name))] == tables
    assert documents.with_tables(text, ROOT / "results") == text


def test_the_table_of_models_has_one_row_per_published_file():
    rows = table_rows(documents.models_table(ROOT / "results"))
    assert [row[0] for row in rows] == [f"`{name}.pt`" for name in PUBLISHED]
    assert {f"`{path.name}`" for path in MODELS} == {row[0] for row in rows}
    cells = [row[2] for row in rows[-6:]]
    beginnings = ("melody 0.", "0.", *["F1: notes 0."] * 2, "velocity error ", "F1: hits 0.")
    assert all(cell.startswith(beginning) for cell, beginning in zip(cells, beginnings, strict=True))
