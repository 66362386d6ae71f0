"""Kinds of output: the table, its one-hot form, and a kind that a test adds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs import CONFIGS
from engine.classes import class_indices, one_hot_frames
from helpers import made_songs, shrink
from loss import accuracy, reconstruction_loss
from midi_utils import PianoConverter
from model import ModelConfig, MusicVAE
from music.labels import KEYS, NO_NOTE, PIANO_DEPTH, TRIO_DEPTHS, VOICES
from outputs import OUTPUTS, NotesWeights, Output
from train import train


class Bits(Output):
    """Independent bits, with a learned bias per bit: the smallest kind that has parameters of its own."""

    def make_weights(self, depth: int, hidden: int) -> nn.Module:
        return nn.ParameterDict({"bias": torch.zeros(depth)})

    def nats(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits + weights["bias"], targets, reduction="none").sum(-1)

    def correct(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        return ((logits + weights["bias"] > 0) == targets.bool()).float().mean(-1, keepdim=True)

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: nn.Module | None = None) -> Tensor:
        threshold = uniforms if temperature else torch.full_like(uniforms, 0.5)
        return (threshold < ((logits + weights["bias"]) / (temperature or 1)).sigmoid()).to(logits.dtype)


@pytest.fixture
def bits(monkeypatch):
    """A preset of drum rolls whose output is a kind that only this test knows."""
    monkeypatch.setitem(OUTPUTS, "bits", Bits())
    config = shrink("nade-drums_2bar_tiny")
    return replace(config, model=replace(config.model, output="bits", nade_num_hidden=0))


def test_a_kind_added_to_the_table_trains(bits, tmp_path):
    """Ten steps with scheduled sampling: the loss falls, and the kind's own parameters move."""
    config = replace(bits, training=replace(bits.training, sampling_schedule="constant", sampling_rate=0.5))
    result = train(config, made_songs(config.converter), out_dir=tmp_path, steps=10, eval_every=1, progress=False)
    losses = [row.train.loss for row in result.history]
    assert losses[-1] < 0.85 * losses[0]
    assert result.model.state_dict()["bits.bias"].all()


def test_a_kind_added_to_the_table_samples(bits):
    torch.manual_seed(0)
    model, z = MusicVAE(bits.model).eval(), torch.randn(3, bits.model.z_size)
    greedy = model.sample(z=z, temperature=0)
    assert greedy.shape == (3, bits.model.steps, bits.model.output_depth)
    own = {"output": "bits", "output_weights": model.output_weights}
    logits = model.decode(z, greedy)
    assert accuracy(logits, greedy, **own).tolist() == [1]
    assert reconstruction_loss(logits, greedy, **own).shape == (3,)
    assert 0.2 < model.sample(z=z).mean() < 0.8


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_kind_has_consistent_shapes_and_draws_its_most_likely_frame(name):
    kind, generator = OUTPUTS[name], torch.Generator().manual_seed(0)
    depth = {"trio": sum(TRIO_DEPTHS), "notes": PIANO_DEPTH, "keys": PIANO_DEPTH}.get(name, 12)
    hidden = 5 if kind.has_hidden_units else 0
    weights = kind.make_weights(depth, hidden)
    logits = torch.randn(7, kind.logit_depth(depth, hidden), generator=generator)
    uniforms = torch.rand(7, kind.draws_per_frame(depth), generator=generator)
    frames = kind.expand(kind.draw(logits, 0, uniforms, weights), depth, torch.float32)
    assert frames.shape == (7, depth)
    assert torch.equal(kind.expand(kind.compact(frames), depth, torch.float32), frames)
    assert kind.nats(logits, frames, weights).shape == (7,)
    assert torch.equal(kind.correct(logits, frames, weights), torch.ones(7, len(kind.parts)))
    assert sum(kind.depths(depth)) == depth


def test_a_trio_has_the_parts_of_its_converter():
    assert OUTPUTS["trio"].depths(sum(TRIO_DEPTHS)) == TRIO_DEPTHS


def test_class_indices_and_frames_convert_both_ways():
    frames = torch.tensor([[0.0, 1, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]])
    indices = class_indices(frames, (3, 2))
    assert indices.tolist() == [[1, 4], [5, 3], [5, 5]]
    assert torch.equal(one_hot_frames(indices, 5, torch.float32), frames)


# ---- Lists of notes ----


@pytest.fixture
def lists():
    """Random lists of up to five notes: [6, 8, VOICES]."""
    random = np.random.default_rng(0)
    codes = np.full((6, 8, VOICES), NO_NOTE)
    for frame in codes.reshape(-1, VOICES):
        keys = np.sort(random.choice(KEYS, random.integers(6), replace=False))
        frame[: len(keys)] = keys + KEYS * random.integers(0, 2, len(keys))
    return torch.from_numpy(codes)


def notes_weights(hidden=8):
    torch.manual_seed(0)
    return NotesWeights(hidden)


def logits_of(name, *shape):
    return torch.randn(*shape, OUTPUTS[name].logit_depth(PIANO_DEPTH, 8))


@pytest.mark.parametrize("name", ["notes", "keys"])
def test_lists_and_bits_of_a_piano_cost_the_same(name, lists):
    kind, weights, logits = OUTPUTS[name], notes_weights(), logits_of(name, 6, 8)
    bits = kind.expand(lists, PIANO_DEPTH, torch.float32)
    assert bits.sum() == (lists != NO_NOTE).sum()
    assert torch.equal(kind.compact(bits), lists)
    assert torch.equal(kind.nats(logits, lists, weights), kind.nats(logits, bits, weights))
    assert torch.equal(kind.correct(logits, lists, weights), kind.correct(logits, bits, weights))


@pytest.mark.parametrize("name", ["notes", "keys"])
def test_drawn_lists_rise_without_repeats_and_end_once(name):
    logits = logits_of(name, 500) - 4.0 * (name == "keys")  # few keys
    drawn = OUTPUTS[name].draw(logits, 1.0, uniforms_of(name, 500), notes_weights())
    keys = torch.where(drawn == NO_NOTE, KEYS, drawn % KEYS)
    assert ((keys[:, 1:] > keys[:, :-1]) | (drawn[:, 1:] == NO_NOTE)).all()
    assert 0 < (drawn != NO_NOTE).sum() < drawn.numel()


def uniforms_of(name, count):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, OUTPUTS[name].draws_per_frame(PIANO_DEPTH), generator=generator)


def test_lists_of_notes_are_drawn_as_often_as_they_are_likely():
    """Of four codes of two keys, in 20,000 draws: each list that occurs has the frequency exp(-nats)."""
    kind, weights, logits = OUTPUTS["notes"], notes_weights(), torch.full((1, 8 + PIANO_DEPTH), -40.0)
    logits[:, :8] = torch.randn(8)
    codes = [8 + code for code in (10, 20, KEYS + 10, KEYS + 20)]
    logits[:, codes] = torch.randn(4)
    drawn = kind.draw(logits.expand(20_000, -1), 1.0, uniforms_of("notes", 20_000), weights)
    found, counts = drawn.unique(dim=0, return_counts=True)
    likely = (-kind.nats(logits.expand(len(found), -1), found, weights)).exp().detach()
    assert len(found) == 9  # none, four of one note, four of two
    assert likely.sum() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(counts / 20_000, likely, rtol=0, atol=0.012)


def test_a_frame_with_more_notes_than_a_list_keeps_the_outer_ones():
    bits = torch.zeros(1, PIANO_DEPTH)
    bits[:, KEYS + 20 : KEYS + 35] = 1
    assert (OUTPUTS["notes"].compact(bits) - KEYS).tolist() == [[20, 21, 22, 23, 24, 30, 31, 32, 33, 34]]


def test_notes_need_their_weights():
    with pytest.raises(ValueError, match="output 'notes' needs output_weights"):
        reconstruction_loss(torch.randn(2, 4, 184), torch.zeros(2, 4, PIANO_DEPTH), output="notes")


def test_notes_of_double_precision_are_drawn():
    model = MusicVAE(CONFIGS["piano_2bar_tiny"].model).double()
    assert model.sample(2).dtype == torch.float64


@pytest.mark.parametrize("voices", [3, 10])
def test_pianos_of_few_voices_train(voices, tmp_path):
    config = shrink("piano_2bar_tiny")
    config = replace(config, converter=PianoConverter(voices=voices))
    songs = made_songs(config.converter)
    history = train(config, songs, out_dir=tmp_path, steps=8, eval_every=1, progress=False, device="cpu").history
    assert history[-1].train.loss < history[0].train.loss


@pytest.mark.parametrize(("voices", "output"), [(12, "notes"), (10, "categorical")])
def test_pianos_with_an_output_that_cannot_hold_their_notes_are_refused(voices, output):
    config = CONFIGS["piano_2bar_tiny"]
    model = replace(config.model, output=output, nade_num_hidden=8 * (output == "notes"))
    with pytest.raises(ValueError, match=f"has up to {voices} notes per step: a piano needs an output such as 'notes'"):
        replace(config, converter=PianoConverter(voices=voices), model=model)


def test_the_likeliest_list_is_all_correct():
    kind, weights, logits = OUTPUTS["notes"], notes_weights(), logits_of("notes", 50)
    greedy = kind.draw(logits, 0, uniforms_of("notes", 50), weights)
    assert kind.correct(logits, greedy, weights).tolist() == [[1.0]] * 50
    wrong = greedy.clone()
    wrong[:, 0] = torch.where(greedy[:, 0] == KEYS, KEYS + 1, KEYS)  # another lowest note
    assert (kind.correct(logits, wrong, weights) < 1).all()


def test_notes_have_their_own_depth():
    model = shrink("nade-drums_2bar_tiny").model
    with pytest.raises(ValueError, match="a frame of a piano's keys must have depth 176, got 90"):
        replace(model, output="notes", output_depth=90)


def test_a_model_learns_chords_note_by_note(lists):
    """One window is learned by heart: sampled from its mean, it returns."""
    torch.manual_seed(0)
    model = MusicVAE(ModelConfig(8, PIANO_DEPTH, PIANO_DEPTH, 8, (16,), (48,), output="notes", nade_num_hidden=32))
    window, optimizer = lists[:1], torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        logits = model.decode(model.encode(window).loc, window)
        reconstruction_loss(logits, window, output="notes", output_weights=model.output_weights).sum().backward()
        optimizer.step()
    again = model.sample(z=model.encode(window).loc, temperature=0)
    assert torch.equal(OUTPUTS["notes"].compact(again), window)
