"""The tables show ratios, floors and rates of the results."""

from benchmarks import run, tables
from benchmarks.rows import Row


def test_a_row_shows_medians_ratio_and_floor(machine, measured):
    row = Row("cpu", "auto", "cat-mel_2bar_small", "train", 64)
    ours = [measured(items=64, flops=10**10)._replace(seconds=s) for s in (0.4, 0.2, 0.1)]
    theirs = [measured()._replace(seconds=s, memory=6 * 10**8) for s in (0.5, 0.8, 0.6)]
    line = tables.speed_cells(run.result(row, ours, theirs), machine)
    assert line == ("train, 64", "bfloat16", "200", "320", "600", "3.00", "100", "50.0%", "300", "600")


def test_each_rate_is_stated_once(machine):
    rates = {"cpu float32": 1.22e11, "cpu auto": 1.27e11}
    for auto, stated in (("float32", "122 GFLOP/s."), ("bfloat16", "122 GFLOP/s, cpu bfloat16 127 GFLOP/s.")):
        text = tables.machine_text(tables.Results(machine._replace(precisions={"cpu": auto}, rates=rates), []))
        assert text.endswith(f"Matrix rates: cpu float32 {stated}")


def test_the_longer_floor_counts_and_magenta_may_be_missing(machine, measured):
    row = Row("cpu", "auto", "cat-mel_2bar_small", "sample", 1)
    result = run.result(row, [measured(flops=10**9, bytes_seconds=0.05)], [])
    assert tables.floor_seconds(result, machine) == 0.05
    cells = tables.speed_cells(result, machine)
    assert cells == ("sample, 1", "bfloat16", "200", "5", "", "", "50", "25.0%", "300", "")
