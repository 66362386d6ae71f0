"""What runs on a CUDA device, rehearsed on the processor: a training in a small form always, the rest when asked."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import accelerator
from checkpoint import load_checkpoint
from helpers import BUILT_IN


def test_a_training_leaves_its_weights_and_history(tmp_path):
    (tmp_path / "songs").mkdir()
    for path in sorted(BUILT_IN.glob("*.mid"))[:8]:
        (tmp_path / "songs" / path.name).write_bytes(path.read_bytes())
    options = SimpleNamespace(data=tmp_path / "songs", manifest=None, cache=None, device="cpu")
    accelerator.train_preset(tmp_path, options, "cat-mel_2bar_tiny", minutes=0.01)
    _, config = load_checkpoint(tmp_path / "cat-mel_2bar_tiny.pt")
    assert (config.training.max_beta, config.training.free_bits) == (accelerator.KL_WEIGHT, 0)
    assert json.loads((tmp_path / "cat-mel_2bar_tiny.json").read_text())[0][0] >= 1
    assert not (tmp_path / "cat-mel_2bar_tiny").exists()


def test_tests_that_take_too_long_are_stopped_and_said_to_have_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "TEST_SECONDS", 0.01)
    assert accelerator.run_tests(tmp_path, "cpu") == 1
    assert "stopped after 0.01 s" in (tmp_path / "tests.txt").read_text()


def test_rows_that_take_too_long_are_left_out_and_those_of_small_presets_come_first(tmp_path, monkeypatch, capsys):
    tried = []

    def timed(group, options):
        tried.append(group[0].model)
        assert options.seconds <= 60
        raise accelerator.ProcessFailed("stopped after 1 s")

    monkeypatch.setattr(accelerator, "timed_group", timed)
    accelerator.time_rows(tmp_path, "cpu", ["float32", "encode"], minutes=1)
    assert tried[0] == "hierdec-trio_16bar_tiny"
    assert sorted(tried, key=lambda name: not name.endswith("_tiny")) == tried
    assert "stopped after 1 s" in capsys.readouterr().out
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == []


@pytest.mark.slow
def test_a_rehearsal_on_the_processor_tests_times_and_trains(tmp_path):
    asked = ["--device", "cpu", "--minutes", "2", "--rows", "float32", "tiny", "encode"]
    with pytest.raises(SystemExit) as ended:
        accelerator.main([str(tmp_path), *asked, "--presets", "cat-mel_2bar_tiny"])
    assert ended.value.code == 0
    assert "test_cudnn_runs_layers_in_the_chosen_precision" in (tmp_path / "tests.txt").read_text()
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["work"] == "encode"
    assert (tmp_path / "cat-mel_2bar_tiny.pt").is_file()
