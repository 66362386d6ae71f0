"""Sampling as a CUDA graph: its results are the loop's, and the loop does nothing that a graph cannot capture."""

import pytest
import torch

from configs import CONFIGS
from model import MusicVAE

PRESETS = (
    "cat-mel_2bar_tiny", "cat-mel_2bar_chords_tiny", "cat-drums_2bar_tiny", "nade-drums_2bar_tiny",
    "groovae_2bar_humanize_tiny", "flat-trio_16bar_tiny", "hierdec-trio_16bar_tiny", "hier-mel_16bar_tiny",
    "trio_2bar_tiny",
)  # fmt: skip


@pytest.mark.parametrize("name", ["cat-mel_2bar_chords_tiny", "nade-drums_2bar_tiny", "groovae_2bar_humanize_tiny"])
def test_sampling_reads_no_values_of_tensors(name):
    """It runs on the meta device, whose tensors have no values."""
    config = CONFIGS[name]
    model, n = MusicVAE(config.model).to("meta").eval(), 3
    controls = torch.zeros(n, config.model.steps, config.model.control_depth, device="meta")
    z = torch.zeros(n, config.model.z_size, device="meta")
    targets = torch.zeros(n, config.model.steps, config.model.output_depth, device="meta")
    assert model.sample(z=z, controls=controls).shape == targets.shape
    with torch.no_grad():
        logits = model.decode(z, targets, None, controls, sampling_probability=0.5)
    assert logits.shape[:2] == targets.shape[:2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", PRESETS)
def test_a_graph_samples_as_the_loop_does_also_after_the_weights_change(monkeypatch, name):
    config = CONFIGS[name]
    model, z = MusicVAE(config.model).cuda().eval(), torch.randn(3, config.model.z_size, device="cuda")
    controls = torch.zeros(3, config.model.steps, config.model.control_depth, device="cuda")
    replayed = []
    for _ in range(2):
        replayed.append(model.sample(z=z, controls=controls, temperature=0))
        for parameter in model.parameters():
            parameter.data.mul_(2)

    def run_as_loop(model, function, tensors, *constants):
        return function(*tensors, *constants)

    monkeypatch.setattr("model.run_as_graph", run_as_loop)
    for samples in reversed(replayed):
        for parameter in model.parameters():
            parameter.data.div_(2)
        torch.testing.assert_close(model.sample(z=z, controls=controls, temperature=0), samples)
