"""Published models on songs from elsewhere, by the command, on the built-in songs; the page has what it found."""

import json
from pathlib import Path

import pytest

from helpers import untrained
from paper import elsewhere
from paper.tables import other_sources_table

ROOT = Path(__file__).parents[2]


def test_the_command_measures_each_model_on_each_folder(corpus_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(elsewhere, "MODELS", ("tiny",))
    untrained("cat-mel_2bar_tiny").save(tmp_path / "tiny.pt")
    data, out = Path(corpus_arguments[corpus_arguments.index("--data") + 1]), tmp_path / "elsewhere.json"
    command = [*corpus_arguments, "--pretrained", str(tmp_path), "--limit", "8", "--out", str(out)]
    elsewhere.main([str(data), *command])
    ((tiny,),) = [json.loads(out.read_text())]
    assert tiny["name"] == "tiny"
    assert tiny["other_sources"][data.name]["windows"] == 8
    assert other_sources_table([tiny]) in capsys.readouterr().out
    with pytest.raises(SystemExit, match="two folders have one name"):
        elsewhere.main([str(data), str(tmp_path / data.name), *command])
    with pytest.raises(SystemExit, match="missing"):
        elsewhere.main([str(tmp_path / "missing"), *command])


def test_the_page_compares_sixteen_bars_with_the_majority_label():
    def gains(found):
        return [one["reconstruction"]["sampled"]["parts"]["all"]["mean"] - one["majority"]["all"] for one in found]

    found = {one["name"]: one["other_sources"] for one in json.loads((ROOT / "results" / "elsewhere.json").read_text())}
    assert list(found) == list(elsewhere.MODELS)
    (chorales, fiddle), (low_chorales, low_fiddle) = (
        gains(found[name][source] for source in ("chorales", "fiddle")) for name in ("mel_16bar_high", "mel_16bar")
    )
    page = " ".join((ROOT / "docs" / "results.md").read_text().split())
    assert f"more than the majority label on both, by {chorales:.2f} and {fiddle:.2f}." in page
    low = f"{low_fiddle:.2f} more on fiddle tunes, and {-low_chorales:.2f} less on chorales"
    assert f"`mel_16bar` scores {low}." in page
