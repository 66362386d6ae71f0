"""Samples at several temperatures."""

import json

import torch

from helpers import untrained
from paper import temperatures
from paper.prior_choice import HELD_OUT
from paper.tables import temperature_table


def test_the_command_measures_samples_at_each_temperature_beside_held_out_music(
    corpus_arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(temperatures, "SAMPLED", ("melodies",))
    drawn, decode = [], temperatures.decode_sampled
    monkeypatch.setattr(
        temperatures, "decode_sampled", lambda trained, z, *more: drawn.append(z) or decode(trained, z, *more)
    )
    untrained("cat-mel_2bar_tiny").save(tmp_path / "melodies.pt")
    out = tmp_path / "temperatures.json"
    temperatures.main([*corpus_arguments, "--folder", str(tmp_path), "--limit", "8", "--out", str(out)])
    (found,) = json.loads(out.read_text())
    assert list(found["samples"]) == [HELD_OUT, "0.3", "0.5", "0.7", "1.0"]
    notes = [samples["parts"]["all"]["notes"] for samples in found["samples"].values()]
    assert len(set(notes)) == 5
    assert len(drawn) == 4
    assert all(torch.equal(z, drawn[0]) for z in drawn)
    rows = temperature_table([found]).splitlines()
    assert rows[0] == f"| model | part | measure | {HELD_OUT} | 0.3 | 0.5 | 0.7 | 1.0 |"
    assert rows[3] == f"| melodies | all | notes per step | {' | '.join(f'{value:.2f}' for value in notes)} |"
    assert "\n".join(rows) in capsys.readouterr().out
