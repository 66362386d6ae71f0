"""Comparisons of the hand-written parts with PyTorch's functions, and the reasons that docs/speed.md gives for them."""

import statistics

import pytest
import torch
from torch import nn

from benchmarks import handmade, page
from benchmarks.handmade import Comparison, TorchAdam
from engine.adam import Adam


def comparison(ours, theirs):
    return Comparison("part.py", "work", "float32", "replacement", ours, theirs)


def test_the_ratio_is_the_median_over_the_pairs():
    assert handmade.ratio(comparison([1.0, 10.0, 2.0], [2.0, 30.0, 2.0])) == 2.0


def test_calls_alternate_after_a_warm_up():
    calls = []
    ours, theirs = handmade.in_turn(lambda: calls.append("ours"), lambda: calls.append("theirs"), rounds=2)
    assert calls == ["ours", "theirs"] * 3
    assert len(ours) == len(theirs) == 2


def test_a_row_has_both_medians_in_milliseconds_and_the_ratio():
    content = {"processor": "a processor", "cores": 2, "torch": "2.13"}
    text = handmade.handmade_text(content | {"comparisons": [comparison([0.002, 0.004, 0.003], [0.006, 0.006, 0.006])]})
    assert text.startswith("a processor, 2 cores; torch 2.13.\n")
    assert "| `part.py` | work | float32   |        3 | replacement |  6 |     2 |" in text


def test_the_replacement_of_adam_makes_the_same_updates():
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    for model, optimizer in ((one, Adam(one)), (other, TorchAdam(other, fused=True))):
        for scale in (1.0, 2.0):
            optimizer.zero_grad()
            (scale * model(torch.ones(1, 3))).square().sum().backward()
            optimizer.step(0.1)
    assert torch.equal(one.weight, other.weight)


@pytest.fixture(scope="module")
def ratios():
    """The ratios of the committed results, by part and by the work and its precision."""
    found = {}
    for one in handmade.load_handmade()["comparisons"]:
        key = " ".join((one.work, one.precision, one.replacement))
        found.setdefault(one.part, {})[key] = handmade.ratio(one)
    return found


def test_every_hand_written_part_has_a_row(ratios):
    assert set(ratios) == {"engine/adam.py", "engine/lstm.cpp", "engine/cuda_graph.py"}


def test_torch_optim_adam_updates_as_fast_but_starts_later(ratios):
    found = ratios["engine/adam.py"]
    assert found["update  torch.optim.Adam, fused"] == pytest.approx(1, abs=0.15)
    assert found["imports and first step, 64 float32 torch.optim.Adam, fused"] > 1.25


def test_the_kernels_sample_faster_and_train_faster_in_bfloat16(ratios):
    found = {key.partition(" PyTorch")[0]: ratio for key, ratio in ratios["engine/lstm.cpp"].items()}
    assert found["train, 64 float32"] == pytest.approx(1, abs=0.15)
    assert min(found[key] for key in ("train, 64 bfloat16", "sample, 1 float32", "sample, 1 bfloat16")) > 1.25


def test_compiling_a_loop_takes_longer_the_more_steps_it_has(ratios):
    found = [one for one in handmade.load_handmade()["comparisons"] if one.part == "engine/cuda_graph.py"]
    seconds = [statistics.median(one.theirs) for one in found]
    assert len(seconds) == len(handmade.COMPILED_STEPS)
    assert seconds == sorted(seconds)
    assert min(ratios["engine/cuda_graph.py"].values()) > 100


def test_the_page_has_the_table():
    assert handmade.handmade_text(handmade.load_handmade()) in page.PAGE.read_text()
