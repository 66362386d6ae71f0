"""What the exported models play, by the command, on the built-in songs."""

import json
from pathlib import Path

from helpers import untrained
from magenta_checkpoint import export_magenta_js
from paper import browser
from paper.prior_choice import HELD_OUT, STANDARD_NORMAL
from paper.tables import samples_table

ROOT = Path(__file__).parents[2]


def test_the_page_says_how_much_samples_cost_with_a_gaussian_folded_in_and_without():
    def ratio(result):
        return result["priors"][STANDARD_NORMAL]["cost"] / result["priors"][HELD_OUT]["cost"]

    folded = {result["name"]: ratio(result) for result in json.loads((ROOT / "results" / "browser.json").read_text())}
    names = ("mel_2bar_low", "drums_2bar_low")
    plain = [ratio(json.loads((ROOT / "results" / f"{name}.json").read_text())) for name in names]
    page = (ROOT / "docs" / "magenta.md").read_text()
    assert (
        f"cost {folded[names[0]]:.1f} times as much as held-out melodies and {folded[names[1]]:.1f} times as much as "
        f"held-out drums; without it, those of the files in `pretrained/` cost {plain[0]:.1f} and {plain[1]:.1f} times"
    ) in page


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
