"""Updates: gradient clipping, dropout, and agreement with Magenta's optimizer."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from configs import CONFIGS
from engine.adam import Adam
from helpers import MAGENTA, QUIET
from magenta_checkpoint import load_magenta_checkpoint, load_magenta_training_state
from model import MusicVAE
from train import read_beginning, train
from training.batches import Batch, labels_on
from training.start import load_beginning
from training.updates import VALID_WINDOWS, clip_gradients, update, valid_batches, validate


@pytest.mark.parametrize(
    ("gradient", "wanted"),
    [([3.0, 4.0], [0.6, 0.8]), ([0.3, 0.4], [0.3, 0.4]), ([6000.0, 8000.0], [0, 0]), ([math.nan, 1.0], [0, 0])],
)
def test_gradients_are_clipped_to_norm_1_and_zeroed_if_huge_or_nan(gradient, wanted):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in gradient]
    for parameter, value in zip(parameters, gradient):
        parameter.grad = torch.tensor([value])
    clip_gradients(parameters, 1.0)
    assert [p.grad.item() for p in parameters] == pytest.approx(wanted)


def test_magentas_training_run_continues_with_the_same_updates(magenta_melodies, monkeypatch):
    """Three of our updates from Magenta's weights give its Adam moments; the next update from its state is the same."""
    config, _ = magenta_melodies
    with np.load(MAGENTA / "fixture.npz") as file:
        numbers = {key: torch.from_numpy(file[key]) for key in ("inputs", "outputs", "lengths", "eps")}
    recipe = replace(CONFIGS[config.name].training, sampling_schedule="constant", sampling_rate=0.0)
    batch = Batch(numbers["inputs"].float(), numbers["outputs"].float(), numbers["lengths"].long(), None)
    monkeypatch.setattr(torch, "randn", lambda *shape, **kind: numbers["eps"])
    start, model = (load_magenta_checkpoint(MAGENTA / "model.ckpt") for _ in range(2))
    optimizer = Adam(model)
    for step in range(1000, 1003):
        update(model, optimizer, batch, recipe, step, None)
    state = load_magenta_training_state(MAGENTA / "train_ckpt")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            k = next(k for k, own in enumerate(optimizer.parameters) if own is parameter)
            moments = (optimizer.first_moments[k], optimizer.second_moments[k])
            for ours, theirs in zip(moments, (state.m[name], state.v[name]), strict=True):
                assert (ours - theirs).norm() <= 1e-4 * theirs.norm(), name
            theirs = state.model.get_parameter(name)
            assert (parameter - theirs).norm() <= 1e-3 * (theirs - start.get_parameter(name)).norm(), name
    continued = MusicVAE(state.model.config)
    continued_optimizer = Adam(continued)
    load_beginning(continued, continued_optimizer, read_beginning(state, config))
    for each, its in ((model, optimizer), (continued, continued_optimizer)):
        update(each, its, batch, recipe, 1003, None)
    for (name, a), b in zip(model.named_parameters(), continued.parameters(), strict=True):
        assert (a - b).norm() <= 1e-3 * (a - start.get_parameter(name)).norm(), name
    assert continued_optimizer.updates == 4


def test_the_learning_rate_rises_over_the_warm_up(tiny, tmp_path):
    """Adam's first update moves a weight with a gradient by the learning rate, here that of the first of ten steps."""
    config, songs = tiny
    config = replace(config, training=replace(config.training, learning_rate=1e-2, warm_up=10))
    model = MusicVAE(config.model)
    trained = train(config, songs, out_dir=tmp_path, steps=1, init_from=model, **QUIET).model
    moved = [(after - old).abs().max() for after, old in zip(trained.parameters(), model.parameters(), strict=True)]
    assert max(moved).item() == pytest.approx(1e-3, rel=0.01)


def test_dropout_is_active_in_training_only(tiny, tmp_path):
    """Held-out songs are measured without it; the model stays in training mode."""
    config, songs = tiny
    dry = replace(config, model=replace(config.model, dropout_keep_prob=0.2))
    model = MusicVAE(dry.model)
    runs = [train(c, songs, songs, out_dir=tmp_path / str(k), steps=1, init_from=model, **QUIET)
            for k, c in enumerate((config, dry))]  # fmt: skip
    assert runs[0].history[0].train != runs[1].history[0].train
    data = labels_on(torch.device("cpu"), songs)
    model.train()
    wet = [validate(model, data, c.converter, c.training, 0) for c in (config, dry)]
    assert wet[0] == wet[1]
    assert model.training


def test_held_out_windows_are_indices_of_the_set_also_where_float32_has_no_such_number():
    n = 2**24 + 4
    indices = torch.cat(valid_batches(n, 100))
    assert (len(indices), indices[0], indices[-1]) == (VALID_WINDOWS, 0, n - 1)
    assert indices.dtype == torch.int64
