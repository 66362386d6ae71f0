"""Updates with a NaN or infinite loss or gradient: they are skipped and counted, and three in a row stop the run."""

import math

import pytest
import torch

import train as train_module
from checkpoint import CHECKPOINT, read_checkpoint
from configs import CONFIGS
from engine.adam import Adam
from helpers import QUIET, equal_weights, make_loss_nan, shrink
from model import MusicVAE
from train import TrainingDiverged, train
from training import updates
from training.batches import labels_on, step_batch
from training.skipped import SkippedUpdates


@pytest.fixture
def nan_at(monkeypatch):
    """Makes the loss NaN in the updates that start at these steps."""

    def at(*steps):
        make_loss_nan(monkeypatch, steps)

    return at


def state(optimizer):
    return [tensor.clone() for tensor in (*optimizer.parameters, *optimizer.first_moments, *optimizer.second_moments)]


@pytest.mark.parametrize("fault", ["nan loss", "infinite gradient", "nan gradient"])
def test_such_an_update_leaves_weights_and_moments_and_the_next_one_moves_them(tiny, nan_at, fault):
    config, songs = tiny
    model = MusicVAE(config.model)
    optimizer, data = Adam(model), labels_on(torch.device("cpu"), songs)

    def make_update(step):
        updates.update(model, optimizer, step_batch(data, config, step, 0, None), config.training, step, None)

    make_update(0)
    before = state(optimizer)
    if fault == "nan loss":
        nan_at(1)
    else:
        factor = math.inf if fault == "infinite gradient" else math.nan
        hook = optimizer.parameters[0].register_hook(lambda gradient: gradient * factor)
    make_update(1)
    assert optimizer.skipped == 1
    assert all(map(torch.equal, before, state(optimizer)))
    if fault != "nan loss":
        hook.remove()
    make_update(2)
    assert optimizer.skipped == 0
    assert not any(map(torch.equal, before, state(optimizer)))


def test_a_gradient_of_norm_10000_is_not_skipped_but_zeroed_as_in_magenta(tiny):
    config, songs = tiny
    model = MusicVAE(config.model)
    optimizer, data = Adam(model), labels_on(torch.device("cpu"), songs)
    for parameter in optimizer.parameters:
        parameter.register_hook(lambda gradient: torch.full_like(gradient, 1e6))
    updates.update(model, optimizer, step_batch(data, config, 0, 0, None), config.training, 0, None)
    assert optimizer.skipped == 0
    assert optimizer.updates == 1
    assert not any(moment.any() for moment in optimizer.first_moments)


@pytest.mark.filterwarnings("ignore:updates skipped")
def test_skipped_updates_are_counted_and_the_run_resumes_bit_for_bit(tiny, tmp_path, nan_at):
    config, songs = tiny
    nan_at(1, 2, 5, 9)
    arguments = {"eval_every": 4, **QUIET}
    with pytest.warns(UserWarning, match="updates skipped up to step 4: 2, because their loss or a gradient was NaN"):
        whole = train(config, songs, out_dir=tmp_path / "whole", steps=12, **arguments)
    assert whole.skipped == read_checkpoint(tmp_path / "whole")["run"]["skipped"] == 4
    assert all(math.isfinite(number) for row in whole.history for number in row.train)
    for steps in (4, 7, 12):
        resumed = train(config, songs, out_dir=tmp_path / "cut", steps=steps, **arguments)
    assert resumed.skipped == 4
    assert equal_weights(whole.model, resumed.model)


@pytest.mark.filterwarnings("ignore:updates skipped")
def test_a_run_stopped_after_a_skipped_update_has_the_rows_of_a_whole_one(tiny, tmp_path, nan_at):
    config, songs = tiny
    nan_at(1)
    whole = train(config, songs, out_dir=tmp_path / "whole", steps=4, **QUIET)
    for _ in range(3):
        cut = train(config, songs, out_dir=tmp_path / "cut", steps=4, minutes=1e-9, **QUIET)
        assert math.isfinite(cut.history[-1].train.loss)
    resumed = train(config, songs, out_dir=tmp_path / "cut", steps=4, **QUIET)
    assert whole.history == resumed.history
    assert (whole.skipped, resumed.skipped) == (1, 1)


def test_three_in_a_row_stop_the_run_and_leave_the_last_good_checkpoint(tiny, tmp_path, nan_at):
    """The second of the three is at a row of the history, which is not saved."""
    config, songs = tiny
    nan_at(6, 7, 8)
    path = tmp_path / CHECKPOINT
    train(config, songs, out_dir=tmp_path, steps=4, eval_every=4, **QUIET)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="up to step 8: 2"), pytest.raises(TrainingDiverged) as stopped:
        train(config, songs, out_dir=tmp_path, steps=30, eval_every=4, **QUIET)
    text = str(stopped.value)
    assert "3 updates in a row, up to step 9, where the learning rate was 0.008" in text
    assert f"The checkpoint of step 4 in {path} is whole: start from it with --init-from" in text
    assert "with a lower learning rate: --learning-rate" in text
    assert path.read_bytes() == before


def test_three_in_a_row_before_the_first_checkpoint_leave_none(tiny, tmp_path, nan_at):
    config, songs = tiny
    nan_at(0, 1, 2)
    with pytest.raises(TrainingDiverged, match="No checkpoint was written: start again, in another folder"):
        train(config, songs, out_dir=tmp_path, steps=4, **QUIET)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_command_says_that_training_diverged(tmp_path, monkeypatch, nan_at, corpus_arguments):
    nan_at(1, 2, 3)
    monkeypatch.setitem(CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    command = ["--config", "cat-mel_2bar_tiny", *corpus_arguments, "--out", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(SystemExit, match="^error: the loss or a gradient was NaN or infinite in 3 updates in a row"):
        train_module.main([*command, "--steps", "8"])


@pytest.mark.parametrize(
    ("flags", "counts", "diverged_at"),
    [
        ([[1, 0], [1, 1], [0, 1]], [1, 2, 1], None),
        ([[0, 1], [1], [1, 0]], [1, 1, 1], 14),  # three in a row over three readings
        ([[1, 1, 1, 1, 0, 1, 1, 1]], [7], 13),
        ([[], [0]], [0, 0], None),
    ],
)
def test_skipped_updates_in_a_row_are_found_over_several_readings(flags, counts, diverged_at):
    skipped, found = SkippedUpdates(10), []
    for some in flags:
        for flag in some:
            skipped.add(torch.tensor(float(flag)))
        found.append(skipped.read())
    assert found == counts
    assert skipped.diverged_at == diverged_at
