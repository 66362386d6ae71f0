"""The best weights by the held-out songs are kept, also after a stop, and a run can end when none follow."""

import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

import train as train_module
from checkpoint import BEST, CHECKPOINT, load_checkpoint, read_checkpoint
from configs import TrainingConfig
from generate import TrainedModel
from helpers import QUIET, equal_weights, made_songs, shrink
from train import train
from training.batches import labels_on
from training.best import best_row, final_loss, is_best, out_of_patience
from training.history import HistoryRow, Metrics
from training.updates import validate

RECIPE = TrainingConfig(batch_size=8, steps=100, max_beta=0.5)


def row(step, loss, reconstruction=None, kl_bits=0.0):
    """A row whose held-out songs have these numbers; those of training do not matter."""
    reconstruction = loss if reconstruction is None else reconstruction
    return HistoryRow(step, Metrics(0.0, 0.0, 0.0, 0.0), Metrics(loss, reconstruction, kl_bits, 0.5))


def rows(*losses, every=10):
    return [row(every * k, loss) for k, loss in enumerate(losses, 1)]


def test_losses_are_compared_at_the_final_beta():
    """At step 1 beta is 0.05, at step 2 0.095; the KL of 2 nats counts half of itself in both."""
    rising = replace(RECIPE, beta_rate=0.9)
    for step, beta in ((1, 0.05), (2, 0.095)):
        found = final_loss(row(step, 10 + 2 * beta, 10.0, 2 / math.log(2)), rising)
        assert found == pytest.approx(10 + 2 * 0.5)
    assert final_loss(row(1, 10.1, 10.0, 2 / math.log(2)), replace(RECIPE, max_beta=0.0)) == 10.0


@pytest.mark.parametrize("free_bits", [0.0, 2.0])
def test_the_loss_of_a_row_is_what_its_weights_have_once_beta_has_risen(tiny, free_bits):
    """Free bits count per window, so the loss of a row follows from what was measured and not from the mean KL."""
    config, songs = tiny
    model = TrainedModel(train_module.MusicVAE(config.model), config).model
    rising = replace(config.training, free_bits=free_bits, max_beta=0.5, beta_rate=0.9)
    valid = labels_on(next(model.parameters()).device, songs)
    early, late = (HistoryRow(step, None, validate(model, valid, config.converter, rising, step)) for step in (2, 900))
    assert early.valid.loss < late.valid.loss
    assert final_loss(early, rising) == pytest.approx(late.valid.loss, rel=1e-5)


def test_the_best_row_is_the_first_of_the_lowest_loss():
    history = rows(5, 3, math.nan, 3, math.inf, 4)
    assert best_row(history, RECIPE) is history[1]
    assert [is_best(history[:k], RECIPE) for k in range(7)] == [False, True, True, False, False, False, False]
    assert best_row(rows(math.nan), RECIPE) is None
    assert best_row([HistoryRow(10, Metrics(1, 1, 1, 1), None)], RECIPE) is None


def test_patience_counts_rows_after_the_best_and_after_the_curriculum():
    history = rows(5, 3, 4, 4)
    assert [out_of_patience(history, RECIPE, patience) for patience in (1, 2, 3, None)] == [True, True, False, False]
    assert not out_of_patience(rows(5, 3, 4, 2), RECIPE, 1)
    assert out_of_patience(rows(math.nan, math.nan), RECIPE, 2)
    growing = replace(RECIPE, curriculum=30)
    assert [out_of_patience(history, growing, patience) for patience in (1, 2)] == [True, False]


def losses_of(config, history):
    return [final_loss(row, config.training) for row in history]


@pytest.fixture
def overfitting(tmp_path):
    """A run that gets worse on its held-out songs in the end, its arguments, and its result."""
    config = shrink("cat-mel_2bar_tiny", learning_rate=5e-3, transpose_range=(0, 0))
    songs = made_songs(config.converter, windows=8), made_songs(config.converter, seed=1)
    arguments = {"eval_every": 6, **QUIET}
    result = train(config, *songs, out_dir=tmp_path / "whole", steps=36, **arguments)
    losses = losses_of(config, result.history)
    assert 0 < losses.index(min(losses)) < len(losses) - 3
    return SimpleNamespace(config=config, songs=songs, arguments=arguments, result=result, folder=tmp_path)


def stored(folder):
    """The step and the weights of the best row that a folder holds."""
    return read_checkpoint(folder / BEST)["run"]["step"], load_checkpoint(folder / BEST)[0]


def test_the_weights_of_the_best_row_are_kept_beside_the_checkpoint(overfitting):
    run, whole = overfitting, overfitting.folder / "whole"
    best = best_row(run.result.history, run.config.training)
    short = train(run.config, *run.songs, out_dir=run.folder / "short", steps=best.step, **run.arguments)
    step, model = stored(whole)
    assert step == best.step
    assert equal_weights(model, short.model)
    assert equal_weights(TrainedModel.load(whole).model, run.result.model)
    assert equal_weights(TrainedModel.load(whole / BEST).model, short.model)
    content = read_checkpoint(whole / BEST)
    assert "optimizer" not in content
    facts = read_checkpoint(whole)["run"]
    assert {key: content["run"][key] for key in ("seed", "data")} == {key: facts[key] for key in ("seed", "data")}
    assert 0 < content["run"]["seconds"] < facts["seconds"]
    assert sorted(file.name for file in whole.iterdir()) == sorted((BEST, CHECKPOINT))


def test_a_resumed_run_does_not_replace_better_weights_and_ends_with_the_same(overfitting):
    run, cut = overfitting, overfitting.folder / "cut"
    best = best_row(run.result.history, run.config.training)
    for steps in (best.step - 2, best.step, best.step + 6):
        train(run.config, *run.songs, out_dir=cut, steps=steps, **run.arguments)
    before = (cut / BEST).read_bytes()
    train(run.config, *run.songs, out_dir=cut, steps=36, **run.arguments)
    assert (cut / BEST).read_bytes() == before
    assert equal_weights(stored(cut)[1], stored(run.folder / "whole")[1])


def test_a_kill_between_the_two_writes_harms_nothing(overfitting, monkeypatch):
    """The best weights are written first; the run then continues from the checkpoint before."""
    run, cut = overfitting, overfitting.folder / "cut"
    best = best_row(run.result.history, run.config.training)
    save = train_module.save_checkpoint

    def killed(path, model, config, state, optimizer):
        if path.name == CHECKPOINT and state["step"] == best.step:
            raise KeyboardInterrupt
        save(path, model, config, state, optimizer)

    monkeypatch.setattr(train_module, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(run.config, *run.songs, out_dir=cut, steps=36, **run.arguments)
    monkeypatch.undo()
    assert stored(cut)[0] == best.step > read_checkpoint(cut)["run"]["step"]
    train(run.config, *run.songs, out_dir=cut, steps=36, **run.arguments)
    assert stored(cut)[0] == best.step
    assert equal_weights(stored(cut)[1], stored(run.folder / "whole")[1])
    assert equal_weights(load_checkpoint(cut)[0], run.result.model)


def test_a_run_that_starts_over_leaves_no_weights_of_the_one_before(tiny, tmp_path):
    config, songs = tiny
    train(config, songs, songs, out_dir=tmp_path, steps=2, **QUIET)
    first = (tmp_path / BEST).read_bytes()
    train(config, songs, songs, out_dir=tmp_path, steps=2, seed=1, resume=False, **QUIET)
    assert (tmp_path / BEST).read_bytes() != first
    train(config, songs, out_dir=tmp_path, steps=2, seed=1, resume=False, **QUIET)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def test_patience_ends_a_run_which_is_then_finished(overfitting, capsys):
    run, folder = overfitting, overfitting.folder / "patient"
    best = best_row(run.result.history, run.config.training)
    patient = run.arguments | {"out_dir": folder, "steps": 36, "patience": 2}
    found = train(run.config, *run.songs, **patient)
    assert (found.stopped_by, found.history[-1].step) == ("patience", best.step + 12)
    assert found.history == run.result.history[: len(found.history)]
    line = f"Out of patience: the held-out loss has not fallen below that of step {best.step} in 2 evaluations. "
    line += f"Saved at step {best.step + 12} of 36 in {folder / CHECKPOINT}; the best weights are in {folder / BEST}."
    assert capsys.readouterr().out.splitlines()[-1] == line
    written = (folder / CHECKPOINT).read_bytes()
    again = train(run.config, *run.songs, **patient)
    assert (again.stopped_by, again.history) == ("patience", found.history)
    assert "is finished: the held-out loss has not fallen below" in capsys.readouterr().out
    assert (folder / CHECKPOINT).read_bytes() == written
    whole = train(run.config, *run.songs, **patient | {"patience": None})
    assert whole.history == run.result.history
    assert equal_weights(whole.model, run.result.model)
    assert whole.stopped_by is None


def test_a_run_whose_patience_ends_with_its_steps_has_all_its_steps(overfitting):
    run = overfitting
    best = best_row(run.result.history, run.config.training)
    arguments = run.arguments | {"out_dir": run.folder / "patient", "steps": best.step + 6, "patience": 1}
    assert [train(run.config, *run.songs, **arguments).stopped_by for _ in range(2)] == [None, None]


@pytest.mark.parametrize("patience", [0, -1, 1.5, True, "3"])
def test_a_patience_that_is_no_number_of_rows_is_refused(tiny, tmp_path, patience):
    config, songs = tiny
    with pytest.raises(ValueError, match="patience must be a whole number of at least 1, got "):
        train(config, songs, songs, out_dir=tmp_path / "run", patience=patience, **QUIET)
    with pytest.raises(ValueError, match="patience compares held-out songs"):
        train(config, songs, out_dir=tmp_path / "run", patience=3, **QUIET)
    with pytest.raises(ValueError, match="patience compares held-out songs"):
        train(config, songs, songs.split(valid=0).valid, out_dir=tmp_path / "run", patience=3, **QUIET)
    assert not (tmp_path / "run").exists()


def test_room_is_needed_for_both_files(tiny, tmp_path, monkeypatch):
    """A checkpoint takes the weights and both moments of each, the best weights as much again as the weights."""
    config, songs = tiny
    size = 4 * sum(p.numel() for p in train_module.MusicVAE(config.model).parameters())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3.5 * size))
    with pytest.raises(ValueError, match=f"the disk of {tmp_path} has .* MB free, and a checkpoint takes .* make room"):
        train(config, songs, songs, out_dir=tmp_path, steps=1, **QUIET)
    train(config, songs, out_dir=tmp_path, steps=1, **QUIET)


def test_the_command_says_why_it_stopped_and_that_it_is_finished(corpus_arguments, tmp_path, monkeypatch, capsys):
    config = shrink("cat-mel_2bar_tiny", learning_rate=0.3)
    monkeypatch.setitem(train_module.CONFIGS, "cat-mel_2bar_tiny", config)
    command = ["--config", "cat-mel_2bar_tiny", *corpus_arguments, "--out", str(tmp_path), "--device", "cpu"]
    command += ["--steps", "60", "--eval-every", "1", "--patience", "2"]
    train_module.main(command)
    step = read_checkpoint(tmp_path)["run"]["step"]
    assert step < 60
    assert f"after {step} steps, out of patience:" in capsys.readouterr().out.splitlines()[-1]
    train_module.main(command)
    assert "is finished: the held-out loss has not fallen below" in capsys.readouterr().out
