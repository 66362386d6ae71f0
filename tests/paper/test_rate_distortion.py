"""The command trains one model per recipe and writes its rate and distortion."""

import json

from helpers import shrink
from paper import rate_distortion


def test_rate_and_distortion_are_written_per_recipe(corpus_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_distortion, "RECIPES", ((0.0, 1.0), (48.0, 0.0)))
    monkeypatch.setitem(rate_distortion.CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    out = tmp_path / "points.json"
    rate_distortion.main(
        [*corpus_arguments, "--steps", "40", "--device", "cpu", "--runs", str(tmp_path / "runs"), "--out", str(out)]
    )
    costly, free = json.loads(out.read_text())
    assert (costly["beta"], free["free_bits"]) == (1.0, 48.0)
    assert costly["kl_bits"] < free["kl_bits"]
