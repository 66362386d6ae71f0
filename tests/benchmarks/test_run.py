"""The command times the rows it is asked for, and merges their results."""

import sys

import pytest

from benchmarks import floors, rows, run, tables
from benchmarks.rows import Row
from midi_utils import load_songs


def test_an_empty_selection_lists_the_rows():
    with pytest.raises(SystemExit, match="cat-mel_2bar_small train 64"):
        run.main(["--rows", "nothing_of_that_name"])


def test_rows_that_differ_in_precision_only_are_timed_together():
    made = rows.all_rows(("cpu",))
    found = run.groups(made)
    assert sum(map(len, found)) == len(made)
    assert all(len({row._replace(precision="") for row in group}) == 1 for group in found)


def test_a_repeated_row_replaces_the_stored_one(machine, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    first, second = (Row("cpu", "auto", "cat-mel_2bar_small", "train", batch) for batch in (64, 512))
    old = tables.Results(machine, [run.result(row, [measured()], []) for row in (first, second)])
    tables.save_results("some", old)
    assert tables.load_results("some") == old
    again = tables.Results(machine, [run.result(second, [measured(items=512)], [])])
    assert run.merge_results(again, "some").rows == [old.rows[0], again.rows[0]]
    elsewhere = again._replace(machine=again.machine._replace(cores=64))
    assert run.merge_results(elsewhere, "some") == elsewhere
    slower = {key: rate / 2 for key, rate in machine.rates.items()}  # a processor of the same name
    elsewhere = again._replace(machine=machine._replace(rates=slower))
    assert run.merge_results(elsewhere, "some") == elsewhere


def test_a_measured_row_is_plausible():
    row = Row("cpu", "float32", "hierdec-trio_16bar_tiny", "sample", 1)
    found = run.measure_ours(row, 0.01)
    assert 0 < found.seconds < 60
    assert found.first_seconds > found.seconds / 10
    assert 5e7 < found.memory < 4e9
    assert found.flops == floors.forward_flops(floors.decoder_products(rows.config_of(row).model))
    assert 0 < found.bytes_seconds < 1


def test_a_failed_process_raises_with_its_last_line():
    with pytest.raises(run.ProcessFailed, match="no such thing"):
        run.run_process([sys.executable, "-c", "raise ValueError('no such thing')"])
    with pytest.raises(run.ProcessFailed, match="stopped after 0.1 s"):
        run.run_process([sys.executable, "-c", "import time; time.sleep(9)"], seconds=0.1)


def test_magentas_task_has_the_rows_sizes():
    task = run.magenta_task(Row("cpu", "float32", "hierdec-trio_16bar_tiny", "train scheduled", 16), 1.0, None)
    assert task["config"] == "hierdec-trio_16bar"
    assert task["sizes"] == {"z_size": 64, "enc_rnn_size": (128,), "dec_rnn_size": (160,)}
    assert (task["depths"], task["sampling_probability"]) == ((90, 90, 512), 0.5)


def test_magenta_reads_the_same_loops(tmp_path):
    """A file of two bars for each song that has them, of which each gives one window."""
    row = Row("cpu", "float32", "cat-mel_2bar_small", "loops to labels", 1)
    files = run.magenta_task(row, 1.0, tmp_path)["files"]
    songs = load_songs(files, rows.config_of(row).converter, progress=False)
    assert len(files) == len(songs) > 50


def test_a_model_that_magenta_has_not_is_timed_alone(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "measure_ours", lambda row, budget, seconds: measured())
    monkeypatch.setattr(run, "measure_magenta", lambda row, budget, peer: [measured()])
    for model, paired in (("hier-trio_16bar_mini", False), ("hierdec-trio_16bar_tiny", True)):
        (found,) = run.timed_group([Row("cpu", "float32", model, "train", 8)], run.Options(1.0, tmp_path))
        assert bool(found.magenta_seconds) == paired


def test_a_failure_of_magenta_leaves_our_measurement_alone(tmp_path, capsys):
    row = Row("cpu", "float32", "cat-mel_2bar_small", "train", 64)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)  # a Python without Magenta
    assert run.measure_magenta(row, 0.1, tmp_path) == []
    assert "ModuleNotFoundError" in capsys.readouterr().err
