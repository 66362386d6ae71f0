"""Kinds of output: the table, its one-hot form, and a kind that a test adds."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import made_songs, shrink
from loss import accuracy, reconstruction_loss
from model import MusicVAE
from music.trio import TRIO_DEPTHS
from outputs import OUTPUTS, Output, class_indices, one_hot_frames
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
    depth, hidden = sum(TRIO_DEPTHS) if name == "trio" else 12, 5 if kind.has_hidden_units else 0
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
