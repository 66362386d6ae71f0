"""The comparison of LSTMs and dense layers above segments, and its command."""

import json
from dataclasses import replace

import pytest
import torch

from helpers import shrink
from model import parameter_count
from paper import upper_layers as command
from paper.tables import upper_layers_table
from paper.upper_layers import KINDS, measure
from training.start import new_model
from training.two_levels import Segments, upper_layers

CONFIG = shrink("hier-drums_16bar_mini", bars=4)


def made_segments(n, seed):
    """Segments whose outputs tell their z, as those of a trained encoder do."""
    source = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 4, 8, generator=source)
    width = 2 * CONFIG.model.enc_rnn_size[-1]
    return Segments(z.tanh().repeat(1, 1, width // 8 + 1)[..., :width], z, torch.full_like(z, 20.0))


def test_both_kinds_learn_and_an_error_costs_the_same_for_both():
    known, held_out = made_segments(256, 0), made_segments(64, 1)
    before, after = ({kind: measure(kind, CONFIG, known, held_out, n) for kind in KINDS} for n in (1, 120))
    unread = (held_out.weights * held_out.z**2).sum((1, 2)).mean().item() / 2
    assert before["lstm"].error == pytest.approx(unread, rel=0.05)  # whose first embeddings are near 0
    assert after["lstm"].error < before["lstm"].error
    assert after["dense"].error < 0.8 * before["dense"].error


@pytest.mark.parametrize("name", ["hier-drums_16bar_mini", "hier-piano_16bar_tiny"])
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_between_the_segments_and_z_are_those_that_steps_do_not_need(name, kind):
    """A flat model of the same widths has all others; its z has the size of an embedding."""
    config = shrink(name, bars=4, curriculum=0).model
    width = config.dec_rnn_size[-1]
    model, flat = (
        new_model(replace(config, **changes), seed=0)
        for changes in ({"upper": kind}, {"segments": 1, "encoder_segments": 1, "z_size": width})
    )
    posterior = sum(p.numel() for p in (*flat.encoder.mu.parameters(), *flat.encoder.sigma.parameters()))
    assert parameter_count(upper_layers(model)) == parameter_count(model) - (parameter_count(flat) - posterior)


def test_the_command_compares_both_kinds(tmp_path, corpus_arguments, capsys):
    few = ["--windows", "64", "--held-out", "64", "--updates", "2"]
    command.main(["drums_16bar_third", *corpus_arguments, *few, "--out", str(tmp_path / "found.json")])
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert (found["name"], found["windows"], found["held_out"], found["updates"]) == ("drums_16bar_third", 64, 64, 2)
    assert found["kinds"].keys() == {"lstm", "dense"}
    assert upper_layers_table([found]) in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--updates must be a whole number of at least 1, got 0"):
        command.main(["drums_16bar_third", *corpus_arguments, "--updates", "0", "--out", str(tmp_path / "found.json")])


def test_the_table_shows_what_both_pay():
    kinds = {"dense": {"parameters": 1234, "seconds": 9.6, "error": 30.0, "kl_bits": 100.0}}
    table = upper_layers_table([{"name": "a", "beta": 0.5, "unread": 80.2, "kinds": kinds}])
    assert table.splitlines()[2:] == [
        "| `a` | none: *z* taken as 0 | – | 80 | 0 | 80 | – |",
        "| `a` | dense | 1,234 | 30 | 100 | 65 | 10 |",
    ]
