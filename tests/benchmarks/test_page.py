"""docs/speed.md states the numbers of benchmarks/results."""

import json
import statistics
from pathlib import Path
from statistics import median

import pytest

from benchmarks import page, run, tables
from benchmarks.rows import Row

ROOT = Path(__file__).parents[2]
TEXT = " ".join(page.PAGE.read_text().split())


@pytest.fixture(scope="module")
def ratios():
    """Magenta's time over ours per precision and work; `auto` is bfloat16."""
    found = {}
    for row in tables.load_results("2_cores").rows:
        if row.magenta_seconds:
            ratio = statistics.median(row.magenta_seconds) / statistics.median(row.seconds)
            work = "single" if (row.work, row.batch) == ("sample", 1) else row.work
            found.setdefault((row.precision, work), []).append(ratio)
    return found


def times(ratios):
    """The range of some ratios in words."""
    low, high = min(ratios), max(ratios)
    return f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"


def test_tables_are_made_from_the_results(machine, measured, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    row = Row("cpu", "auto", "cat-mel_2bar_small", "train", 64)
    tables.save_results("some", tables.Results(machine, [run.result(row, [measured(items=64)], [])]))
    text = "before\n<!-- table: some speed -->\nold\n<!-- end -->\nbetween\n<!-- table: some start -->\n<!-- end -->\n"
    made = page.with_tables(text)
    assert "old" not in made
    assert made.startswith("before\n")
    assert "\nbetween\n" in made
    assert "| train, 64 | bfloat16  | 200 |" in made
    assert page.with_tables(made) == made


def test_the_pages_tables_are_those_of_the_results():
    text = page.PAGE.read_text()
    assert len(page.TABLE.findall(text)) == 10
    assert page.with_tables(text) == text


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_page_states_the_losses_of_each_precision(precision):
    found = json.loads((ROOT / "benchmarks" / "results" / "precision.json").read_text())
    cells = "| {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} |"
    assert cells.format(precision, *found["losses"][precision], found["means"][precision]) in TEXT
    assert "| precision | seed 0 | seed 1 | seed 2 | mean |" in TEXT
    assert f"{found['steps']:,} steps of {found['batch']} windows" in TEXT


def faster(row, digits=1):
    """Magenta's time over ours."""
    return f"{median(row.magenta_seconds) / median(row.seconds):.{digits}f}"


def test_the_page_states_how_fast_a_single_sample_and_a_large_batch_are():
    found = tables.load_results("2_cores")
    rows = {(row.model, row.work, row.batch): row for row in found.rows if row.precision == "float32"}
    trio = rows["hierdec-trio_16bar_tiny", "sample", 1]
    assert f"one sample of `hierdec-trio_16bar_tiny` is {faster(trio)} times as fast as Magenta's" in TEXT
    melody = rows["hierdec-mel_16bar reduced", "sample", 1]
    floor = max(melody.flops / found.machine.rates["cpu float32"], melody.bytes_seconds)
    assert f"`hierdec-mel_16bar reduced` takes {median(melody.seconds) / floor:.1f} times its floor" in TEXT
    batch = rows["cat-mel_2bar_small", "train", 512]
    assert f"With 512 windows per batch, a float32 step is {faster(batch)} times as fast as Magenta's" in TEXT
    songs, loops = (rows["cat-mel_2bar_small", work, 1] for work in ("MIDI to labels", "loops to labels"))
    assert f"are read {faster(loops)} times as fast as by Magenta, songs {faster(songs)} times" in TEXT


def test_the_processor_without_bfloat16_is_compared_with_the_other_and_with_magenta():
    results = [tables.load_results(f"2_cores{which}") for which in ("", "_without_bfloat16")]
    rates = [found.machine.rates["cpu float32"] for found in results]
    assert f"multiplies at {rates[1] / rates[0]:.1f} times the rate of the one above in float32" in TEXT
    (row,) = [
        row for row in results[1].rows if (row.model, row.work, row.batch) == ("cat-mel_2bar_small", "train", 512)
    ]
    share = row.flops / rates[1] / median(row.seconds)
    assert (
        f"its step is {faster(row)} times as fast as Magenta's, at {share:.0%} of the matrix rate".replace("%", " %")
        in TEXT
    )


def test_the_pages_summary_states_the_ratios_to_magenta(ratios):
    works = {"train": "training", "sample": "sampling a batch", "single": "sampling a single piece"}
    for work, words in (works | {"encode": "encoding"}).items():
        float32, bfloat16 = (times(ratios[precision, work]) for precision in ("float32", "auto"))
        assert f"| {words} | {float32} | {bfloat16} |" in TEXT
    assert f"| reading songs | {times(ratios['float32', 'MIDI to labels'])} | |" in TEXT
    assert f"| reading files of two bars | {times(ratios['float32', 'loops to labels'])} | |" in TEXT
