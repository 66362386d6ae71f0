"""Fine-tuning the piano on a folder, by the command, on the built-in songs."""

import json
from pathlib import Path

import pytest

from helpers import BUILT_IN, untrained
from paper import fine_tuned

ROOT = Path(__file__).parents[2]


def test_the_page_says_what_fine_tuning_gave():
    found = json.loads((ROOT / "results" / "piano_2bar_tuned.json").read_text())
    (notes, frames), (old_notes, old_frames) = (
        [found[when]["most_likely"][of]["mean"] for of in ("notes", "frames")] for when in ("after", "before")
    )
    bits, old_bits = (found[when]["elbo"]["kl_bits"]["mean"] for when in ("after", "before"))
    nats, old_nats = (found[when]["elbo"]["nats"]["mean"] for when in ("after", "before"))
    assert (found["name"], found["threads"]) == ("piano_2bar", 2)
    page = (ROOT / "docs" / "results.md").read_text()
    for phrase in (
        f"fine-tuned on {found['tuned_on']} of the loops for {found['minutes']:g} minutes on two cores",
        f"measured on the other {found['before']['songs']}.",
        f"| before | {old_frames:.2f} | {old_notes:.2f} | {old_bits:.0f} | {old_nats:.0f} |",
        f"| fine-tuned | {frames:.2f} | {notes:.2f} | {bits:.0f} | {nats:.0f} |",
    ):
        assert phrase in page


def test_the_recipe_is_that_of_the_notebook():
    cells = json.loads((ROOT / "main.ipynb").read_text())["cells"]
    recipe = ", ".join(f"{name}={value}" for name, value in fine_tuned.RECIPE.items()).replace("0.001", "1e-3")
    assert sum(f"replace(piano.config.training, {recipe})" in "".join(cell["source"]) for cell in cells) == 1


def test_the_command_measures_held_out_songs_before_and_after(tmp_path, capsys):
    untrained("piano_2bar_tiny").save(tmp_path / "piano.pt")
    (tmp_path / "songs").mkdir()
    for path in sorted(BUILT_IN.glob("*.mid"))[:5]:
        (tmp_path / "songs" / path.name).write_bytes(path.read_bytes())
    out, command = tmp_path / "tuned.json", [str(tmp_path / "songs"), "--checkpoint", str(tmp_path / "piano.pt")]
    fine_tuned.main([*command, "--minutes", "0.02", "--out", str(out)])
    found = json.loads(out.read_text())
    assert (found["name"], found["tuned_on"], found["before"]["songs"]) == ("piano", 4, 1)
    assert found["steps"] >= 1
    assert found["after"]["elbo"]["nats"]["mean"] < found["before"]["elbo"]["nats"]["mean"]
    frames = found["after"]["most_likely"]["frames"]["mean"]
    assert f"frame F1 {frames:.3f}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="minutes must be"):
        fine_tuned.main([*command, "--minutes", "0", "--out", str(out)])
