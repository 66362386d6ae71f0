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
    with pytest.raises(SystemExit, match="missing"):
        elsewhere.main([str(tmp_path / "missing"), *command])
