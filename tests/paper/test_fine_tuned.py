"""Fine-tuning the piano on a folder, by the command, on the built-in songs."""

import json

import pytest

from helpers import BUILT_IN, untrained
from paper import fine_tuned


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
