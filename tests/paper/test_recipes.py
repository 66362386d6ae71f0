"""Stages are trained in their order, once, and the published weights are those of the stages."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from checkpoint import load_checkpoint, read_checkpoint
from configs import CONFIGS
from helpers import made_songs
from music.intake import UNCHANGED
from paper import recipes
from paper.published import PUBLISHED
from paper.recipes import STAGES, Stage, stage_config
from train import read_beginning
from training.start import describe_beginning
from training.two_levels import long_from_short

STOPPED = SimpleNamespace(stopped_by="interrupt")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_its_presets_and_begins_with_a_model_of_the_same_preset(name):
    stage = STAGES[name]
    sizes = [size for size in ("mini", "small") if f"{stage.preset}_{size}" in CONFIGS]
    assert "mini" in sizes
    for size in sizes:
        config = stage_config(stage, size)
        assert config.name == f"{stage.preset}_{size}"
        assert {key: getattr(config.training, key) for key in stage.changes} == stage.changes
        assert config.training == replace(CONFIGS[config.name].training, **stage.changes)
    if stage.start:
        assert STAGES[stage.start].preset == stage.preset
        assert set(STAGES[stage.start].without_sources) >= set(stage.without_sources)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_of_their_stage(name):
    _, config = load_checkpoint(ROOT / "pretrained" / f"{name}.pt")
    assert config == stage_config(STAGES[name], "mini")


def test_a_stage_begins_with_the_last_weights_of_the_one_before(corpus_arguments, monkeypatch, tmp_path):
    two = {"steps": 2, "batch_size": 4}
    monkeypatch.setitem(STAGES, "first", Stage("cat-mel_2bar", changes=two, seed=3))
    monkeypatch.setitem(STAGES, "second", Stage("cat-mel_2bar", "first", changes=two | {"max_beta": 0.5}))
    beginnings, train = {}, recipes.train
    monkeypatch.setattr(
        recipes,
        "train",
        lambda *sets, out_dir, init_from, **more: (
            beginnings.update({out_dir.name: init_from})
            or train(*sets, out_dir=out_dir, init_from=init_from, progress=False, **more)
        ),
    )
    command = ["second", *corpus_arguments, "--runs", str(tmp_path), "--size", "tiny", "--device", "cpu"]
    recipes.main(command)
    assert beginnings == {"first": None, "second": tmp_path / "first" / "checkpoint.pt"}
    first, second = (tmp_path / name / "checkpoint.pt" for name in ("first", "second"))
    assert load_checkpoint(second)[1].training.max_beta == 0.5
    assert read_checkpoint(second)["run"]["step"] == 2
    assert [read_checkpoint(path)["run"]["seed"] for path in (first, second)] == [3, 0]
    beginning = describe_beginning(read_beginning(first, load_checkpoint(second)[1]), freeze_encoder=False)
    assert read_checkpoint(second)["run"]["beginning"] == beginning
    written = [path.stat().st_mtime_ns for path in (first, second)]
    recipes.main(command)
    assert [path.stat().st_mtime_ns for path in (first, second)] == written  # both are finished


def test_an_interrupted_stage_ends_the_command(corpus_arguments, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(recipes, "load_splits", lambda *place: (None, None))
    monkeypatch.setattr(recipes, "train", lambda *sets, out_dir, **more: begun.append(out_dir.name) or STOPPED)
    with pytest.raises(SystemExit) as stop:
        recipes.main(["mel_2bar", *corpus_arguments, "--runs", str(tmp_path)])
    assert stop.value.code == 130
    assert begun == ["mel_2bar_first"]


def test_a_stage_is_trained_without_the_sources_that_it_leaves_out(corpus_arguments, monkeypatch, tmp_path):
    read = []
    monkeypatch.setattr(recipes, "load_splits", lambda *place: read.append(place[2:4]) or [None])
    monkeypatch.setattr(recipes, "train", lambda *sets, **more: STOPPED)
    with pytest.raises(SystemExit):
        recipes.main(["mel_2bar_first", *corpus_arguments, "--runs", str(tmp_path)])
    assert read == [(("train",), recipes.GAMES), (("valid",), recipes.GAMES)]


def test_a_stage_with_made_trios_reads_melodies_and_drums_too(corpus_arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "load_splits", lambda _, kind, splits, *__: [made_songs(kind, 6) for _ in splits])
    trained = []
    monkeypatch.setattr(recipes, "train", lambda _, *sets, **more: trained.append(sets) or STOPPED)
    monkeypatch.setitem(STAGES, "plain", Stage("hier-trio_16bar"))
    monkeypatch.setitem(STAGES, "made", Stage("hier-trio_16bar", made_trios=True))
    for name in ("plain", "made"):
        with pytest.raises(SystemExit):
            recipes.main([name, *corpus_arguments, "--runs", str(tmp_path)])
    assert [[len(songs) for songs in sets] for sets in trained] == [[6, 6], [12, 6]]


def test_a_stage_can_read_pairs_of_bars_and_melodies_at_twice_the_tempo(corpus_arguments, monkeypatch, tmp_path):
    read, trained = [], []

    def load(_, kind, splits, __, intake=UNCHANGED):
        read.append((kind.bars, splits, intake.pair_bars))
        return [made_songs(kind, 6)]

    monkeypatch.setattr(recipes, "load_splits", load)
    monkeypatch.setattr(recipes, "with_doubled_tempo", lambda *sets: trained.append([s.converter.bars for s in sets]))
    monkeypatch.setattr(recipes, "train", lambda *sets, **more: STOPPED)
    monkeypatch.setitem(STAGES, "more", Stage("cat-mel_2bar", pair_bars=True, doubled=True))
    with pytest.raises(SystemExit):
        recipes.main(["more", *corpus_arguments, "--runs", str(tmp_path)])
    assert read == [(2, ("train",), True), (4, ("train",), True), (2, ("valid",), False)]
    assert trained == [[2, 4]]


def test_a_stage_with_layers_begins_with_a_model_made_from_a_short_one(corpus_arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(recipes, "load_splits", lambda _, kind, splits, *__: [made_songs(kind, 6) for _ in splits])
    few = {"steps": 1, "batch_size": 2, "free_bits": 0.0}
    monkeypatch.setitem(STAGES, "short", Stage("cat-mel_2bar", changes=few))
    monkeypatch.setitem(STAGES, "long", Stage("hier-mel_16bar", layers="short", changes=few | {"curriculum": 0}))
    made = []

    def make(config, short, songs, seed):
        made.append(short)
        return long_from_short(config, short, songs, seed=seed, updates=1, windows=4, progress=False)

    monkeypatch.setattr(recipes, "long_from_short", make)
    for _ in range(2):  # the second call continues
        recipes.main(["long", *corpus_arguments, "--runs", str(tmp_path), "--size", "tiny", "--device", "cpu"])
    assert made == [tmp_path / "short" / "checkpoint.pt"]
    start, trained = (load_checkpoint(tmp_path / "long" / file) for file in (recipes.START, "checkpoint.pt"))
    assert start[1] == trained[1] == stage_config(STAGES["long"], "tiny")
    assert start[1].model.segments == start[1].model.encoder_segments == 8
    beginning = describe_beginning(read_beginning(start[0], start[1]), freeze_encoder=False)
    assert read_checkpoint(tmp_path / "long")["run"]["beginning"] == beginning


def test_an_unknown_stage_and_size_are_named(corpus_arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        recipes.main(["mel_3bar", *corpus_arguments])
    assert "invalid choice: 'mel_3bar'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="no preset 'cat-mel_2bar_tny'; did you mean cat-mel_2bar_tiny"):
        recipes.main(["mel_2bar_first", *corpus_arguments, "--size", "tny", "--runs", str(tmp_path)])
