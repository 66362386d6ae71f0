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
