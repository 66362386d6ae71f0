"""What the exported models play, by the command, on the built-in songs."""

import json

from helpers import untrained
from magenta_checkpoint import export_magenta_js
from paper import browser
from paper.prior_choice import HELD_OUT, STANDARD_NORMAL
from paper.tables import samples_table


def test_the_command_measures_exported_models_beside_held_out_music(corpus_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "FOR_MAGENTA_JS", ("melodies",))
    tiny = untrained("cat-mel_2bar_tiny")
    export_magenta_js(tiny.model, tiny.config, tmp_path / "melodies", "uint8")
    out = tmp_path / "browser.json"
    browser.main([*corpus_arguments, "--folder", str(tmp_path), "--limit", "8", "--out", str(out)])
    ((found,),) = [json.loads(out.read_text())]
    assert (found["name"], set(found["priors"])) == ("melodies", {HELD_OUT, STANDARD_NORMAL})
    assert found["priors"][STANDARD_NORMAL]["cost"] > found["priors"][HELD_OUT]["cost"]
    assert samples_table([found]) in capsys.readouterr().out
