"""`engine.adam` against TensorFlow's formula and torch.optim.Adam."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.adam import BETA1, EPSILON, Adam


@pytest.mark.parametrize("beta2", [0.999, 0.98])
def test_updates_follow_tensorflows_formula(beta2):
    """lr_t * m / (sqrt(v) + 1e-8), with gradients so small that epsilon matters."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    optimizer, value, m, v = Adam(model, beta2), 0.0, 0.0, 0.0
    for n, gradient in enumerate([1e-8, -3e-8, 2e-8], start=1):
        model.weight.grad = torch.full((1, 1), gradient).double()
        optimizer.step(1e-3)
        m, v = 0.9 * m + 0.1 * gradient, beta2 * v + (1 - beta2) * gradient**2
        value -= 1e-3 * math.sqrt(1 - beta2**n) / (1 - 0.9**n) * m / (math.sqrt(v) + 1e-8)
        assert model.weight.item() == pytest.approx(value, rel=1e-6)


def two_equal_models():
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    return one, other


@pytest.mark.parametrize("beta2", [0.999, 0.98])
def test_updates_equal_torch_optim_adam_with_epsilon_per_step_and_its_state_loads(beta2):
    """Ours starts from the state of torch.optim.Adam after ten updates; after ten more, both are equal bit for bit."""
    (one, other), batches = two_equal_models(), torch.randn(20, 7, 5)
    theirs, ours = torch.optim.Adam(one.parameters(), betas=(BETA1, beta2), fused=True), Adam(other, beta2)
    for k, batch in enumerate(batches):
        if k == 10:
            ours = Adam(other, beta2)
            ours.load_state_dict(theirs.state_dict())
        theirs.param_groups[0].update(lr=0.1 / (k + 1), eps=EPSILON / math.sqrt(1 - beta2 ** (k + 1)))
        for model, optimizer in ((one, theirs), (other, ours)):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
        theirs.step()
        ours.step(0.1 / (k + 1))
    assert ours.updates == 20
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(theirs.state_dict()["state"].values(), ours.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b)


def test_parameters_without_gradient_are_not_updated():
    one, other = two_equal_models()
    one[0].requires_grad_(False)
    optimizer = Adam(one)
    one(torch.randn(7, 5)).sum().backward()
    optimizer.step(0.1)
    assert torch.equal(one[0].weight, other[0].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


FIRST_STEP = """
import sys
import torch
from engine.adam import Adam
from training.batches import batch_tensors
from configs import CONFIGS
from engine.rng import seeded
from midi_utils import Windows
from model import MusicVAE
from training.updates import update

config = CONFIGS["cat-mel_2bar_tiny"]
model = MusicVAE(config.model).train()
labels = Windows(torch.zeros(4, 32, dtype=torch.uint8), None)
update(model, Adam(model), batch_tensors(labels, config.converter), config.training, 0, seeded("cpu", 0))
print("torch._dynamo" in sys.modules)
"""


def test_the_first_training_step_does_not_import_the_compiler():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", FIRST_STEP], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
