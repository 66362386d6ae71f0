"""The benchmark counts right, chooses and times the rows it is asked for, and its documents hold its results."""

import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import floors, growth, rows, run, tables
from benchmarks.measure import Measurement
from benchmarks.rows import Row
from configs import CONFIGS
from engine.lstm import supports_bfloat16
from helpers import needs_bfloat16
from model import ModelConfig

FLAT = ModelConfig(steps=4, input_depth=5, output_depth=5, z_size=3, enc_rnn_size=(7,), dec_rnn_size=(11, 13))
CPU = torch.device("cpu")


def test_flops_of_a_flat_model_by_hand():
    encoder = 2 * (3 * 7 * 28) + 14 * 6  # two directions whose first step has no state; mu and sigma
    start = 3 * 2 * (11 + 13) + 3 * 44  # z to the states, and to the gates once
    decoder = start + 4 * (11 * 44 + 11 * 52 + 13 * 52) + 4 * 13 * 5
    assert floors.forward_flops(floors.encoder_products(FLAT)) == 2 * encoder
    assert floors.forward_flops(floors.decoder_products(FLAT)) == 2 * decoder
    assert floors.training_flops(FLAT) == 3 * 2 * (encoder + decoder)
    assert floors.sampling_bytes(FLAT, 4) == 4 * decoder
    assert floors.stepped_bytes(FLAT, 4) == 4 * (11 * 44 + 11 * 52 + 13 * 52 + 13 * 5)


def test_flops_of_a_hierarchy_by_hand():
    config = replace(FLAT, segments=2, dec_rnn_size=(11,), encoder_segments=2)
    lower = 2 * 2 * (1 * 7 * 28)  # segments, directions; of two steps the second has a state
    upper = 2 * (2 * 14 * 28 + 1 * 7 * 28) + 14 * 6
    assert floors.forward_flops(floors.encoder_products(config)) == 2 * (lower + upper)
    conductor = 3 * 22 + 2 * 11 * 44
    core = 2 * (11 * 22 + 11 * 44) + 4 * (11 * 44 + 11 * 5)
    assert floors.forward_flops(floors.decoder_products(config)) == 2 * (conductor + core)


def test_frames_that_are_no_look_up_count():
    dense = replace(FLAT, input_depth=2)  # another frame than the decoder's: bits
    extra = floors.forward_flops(floors.encoder_products(dense)) - floors.forward_flops(floors.encoder_products(FLAT))
    assert extra == 2 * 2 * 4 * 2 * 28
    assert floors.training_flops(dense) - floors.training_flops(FLAT) == 2 * extra  # no gradient of the frames
    controls = replace(FLAT, control_depth=2)
    more = floors.forward_flops(floors.decoder_products(controls)) - floors.forward_flops(floors.decoder_products(FLAT))
    assert more == 2 * 4 * 2 * 44


def test_a_trio_has_three_cores():
    model = CONFIGS["hierdec-trio_16bar_tiny"].model
    cores = [floors.forward_flops(floors.core_products(model, depth)) for depth in model.core_depths]
    assert len(cores) == 3
    logits = 2 * 256 * 160
    assert cores[2] - cores[0] == logits * (512 - 90)
    conductor = floors.forward_flops(floors.conductor_products(model))
    assert floors.forward_flops(floors.decoder_products(model)) == conductor + sum(cores)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_layer_counts_what_its_plain_products_count(directions):
    """Written out as matrix products, gradients included, a layer does the operations that are counted for it."""
    products = floors.lstm_products(6, 5, (7,), directions, first_state=True)
    batch = 3
    with FlopCounterMode(display=False) as counter:
        for product in products:
            read = torch.randn(batch * product.times, product.inputs, requires_grad=product.input_gradient)
            weight = torch.randn(product.outputs, product.inputs, requires_grad=True)
            F.linear(read, weight).sum().backward()
    counted = sum((3 if p.input_gradient else 2) * floors.forward_flops([p]) for p in products)
    assert counter.get_total_flops() == batch * counted


def test_rates_are_rates():
    assert 1e8 < floors.matrix_rate(CPU, torch.float32, size=256) < 1e14
    assert 1e8 < floors.read_rate(CPU, 1 << 16) < 1e13


def test_the_precision_of_a_device():
    assert floors.product_type(CPU, "float32") == torch.float32
    assert floors.product_type(CPU, "auto") == (torch.bfloat16 if supports_bfloat16(CPU) else torch.float32)


@needs_bfloat16
def test_the_precision_asked_for():
    assert floors.product_type(CPU, "bfloat16") == torch.bfloat16


def test_rows_are_of_models_that_exist_and_have_names_of_their_own():
    made = rows.all_rows(("cpu", "cuda"))
    assert len({row.name for row in made}) == len(made)
    for row in made:
        model = rows.config_of(row).model
        assert model.steps % 16 == 0
    published = [row for row in made if row.device == "cuda" and row.model == "hierdec-mel_16bar"]
    assert {row.batch for row in published if row.work == "train"} == {512}
    reduced = rows.config_of(Row("cpu", "auto", "hierdec-mel_16bar reduced", "train scheduled", 32))
    assert reduced.model.enc_rnn_size == (512, 512)
    assert (reduced.training.batch_size, reduced.training.sampling_rate) == (32, 0.5)


def test_rows_are_chosen_by_all_words():
    made = [Row("cpu", "float32", "a_small", "train", 64), Row("cpu", "auto", "a_small", "train", 512)]
    assert rows.select(made, []) == made
    assert rows.select(made, ["small", "512"]) == made[1:]
    assert rows.select(made, ["small", "encode"]) == []


def test_a_choice_that_is_empty_names_the_rows():
    with pytest.raises(SystemExit, match="cat-mel_2bar_small train 64"):
        run.main(["--rows", "nothing_of_that_name"])


def test_rows_of_one_work_are_timed_together():
    made = rows.all_rows(("cpu",))
    found = run.groups(made)
    assert sum(map(len, found)) == len(made)
    assert all(len({row._replace(precision="") for row in group}) == 1 for group in found)


def measured(**fields):
    return Measurement(seconds=0.2, first_seconds=1.5, import_seconds=1.0, memory=3 * 10**8, **fields)


def a_machine():
    return tables.Machine("a processor", 2, None, "3.11", "2.13", {"cpu": "bfloat16"}, {"cpu auto": 1e11})


def test_a_line_of_the_table():
    row = Row("cpu", "auto", "cat-mel_2bar_small", "train", 64)
    ours = [measured(items=64, flops=10**10)._replace(seconds=s) for s in (0.4, 0.2, 0.1)]
    theirs = [measured()._replace(seconds=s, memory=6 * 10**8) for s in (0.5, 0.8, 0.6)]
    line = tables.speed_cells(run.result(row, ours, theirs), a_machine())
    assert line == ("train, 64", "bfloat16", "200", "320", "600", "3.00", "100", "50.0%", "300", "600")


def test_a_rate_is_said_once_a_precision():
    rates = {"cpu float32": 1.22e11, "cpu auto": 1.27e11}
    for auto, said in (("float32", "122 GFLOP/s."), ("bfloat16", "122 GFLOP/s, cpu bfloat16 127 GFLOP/s.")):
        text = tables.machine_text(tables.Results(a_machine()._replace(precisions={"cpu": auto}, rates=rates), []))
        assert text.endswith(f"Matrix rates: cpu float32 {said}")


def test_the_longer_floor_counts_and_magenta_may_be_missing():
    row = Row("cpu", "auto", "cat-mel_2bar_small", "sample", 1)
    result = run.result(row, [measured(flops=10**9, bytes_seconds=0.05)], [])
    assert tables.floor_seconds(result, a_machine()) == 0.05
    cells = tables.speed_cells(result, a_machine())
    assert cells == ("sample, 1", "bfloat16", "200", "5", "", "", "50", "25.0%", "300", "")


def test_results_come_back_and_a_repeated_row_takes_the_place_of_the_old(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    first, second = (Row("cpu", "auto", "cat-mel_2bar_small", "train", batch) for batch in (64, 512))
    old = tables.Results(a_machine(), [run.result(row, [measured()], []) for row in (first, second)])
    tables.save_results("some", old)
    assert tables.load_results("some") == old
    again = tables.Results(a_machine(), [run.result(second, [measured(items=512)], [])])
    assert run.merged(again, "some").rows == [old.rows[0], again.rows[0]]
    elsewhere = again._replace(machine=again.machine._replace(cores=64))
    assert run.merged(elsewhere, "some") == elsewhere


def test_a_document_holds_what_its_results_render_to(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    row = Row("cpu", "auto", "cat-mel_2bar_small", "train", 64)
    tables.save_results("some", tables.Results(a_machine(), [run.result(row, [measured(items=64)], [])]))
    page = "before\n<!-- table: some speed -->\nold\n<!-- end -->\nbetween\n<!-- table: some start -->\n<!-- end -->\n"
    made = tables.rendered(page)
    assert "old" not in made
    assert made.startswith("before\n")
    assert "\nbetween\n" in made
    assert "| train, 64 | bfloat16  | 200 |" in made
    assert tables.rendered(made) == made


def test_the_tables_of_the_page_are_those_of_the_results():
    page = tables.DOCS.read_text()
    assert len(tables.TABLE.findall(page)) == 6
    assert tables.rendered(page) == page


def test_what_the_page_says_of_precisions():
    found = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "precision.json").read_text())
    text = " ".join((Path(__file__).parents[2] / "docs" / "speed.md").read_text().split())
    said = {"bfloat16": "{:.1f}, {:.1f} and {:.1f} nats (mean {:.1f})"}
    said["float32"] = "float32 to {:.1f}, {:.1f} and {:.1f} (mean {:.1f})"
    for precision, words in said.items():
        assert words.format(*found["losses"][precision], found["means"][precision]) in text


def test_what_the_page_says_of_a_processor_without_bfloat16():
    rates = [tables.load_results(f"2_cores{which}").machine.rates["cpu float32"] for which in ("", "_without_bfloat16")]
    assert "a quarter as fast as the one above" in tables.DOCS.read_text()
    assert rates[1] / rates[0] == pytest.approx(1 / 4, rel=0.1)


def test_the_readmes_figures_are_the_results():
    results, ratios = tables.load_results("2_cores"), {}
    for row in results.rows:
        if (row.precision == "auto" or row.work == "MIDI to labels") and row.magenta_seconds:
            ratio = statistics.median(row.magenta_seconds) / statistics.median(row.seconds)
            ratios.setdefault("single" if (row.work, row.batch) == ("sample", 1) else row.work, []).append(ratio)
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    promises = {"train": "trains {}", "sample": "samples {}", "single": "a single one {}", "encode": "encodes {}"}
    for work, words in promises.items():
        assert words.format(f"{min(ratios[work]):.1f} to {max(ratios[work]):.1f} times") in text
    assert f"reads MIDI {ratios['MIDI to labels'][0]:.1f} times as fast" in text


def test_one_real_row():
    row = Row("cpu", "float32", "hierdec-trio_16bar_tiny", "sample", 1)
    found = run.ours(row, 0.01)
    assert 0 < found.seconds < 60
    assert found.first_seconds > found.seconds / 10
    assert 5e7 < found.memory < 4e9
    assert found.flops == floors.forward_flops(floors.decoder_products(rows.config_of(row).model))
    assert 0 < found.bytes_seconds < 1


def test_a_process_that_fails_says_why():
    with pytest.raises(run.Failed, match="no such thing"):
        run.child([sys.executable, "-c", "raise ValueError('no such thing')"])


def test_magenta_is_told_the_sizes():
    task = run.magenta_task(Row("cpu", "float32", "hierdec-trio_16bar_tiny", "train scheduled", 16), 1.0)
    assert task["config"] == "hierdec-trio_16bar"
    assert task["sizes"] == {"z_size": 64, "enc_rnn_size": (128,), "dec_rnn_size": (160,)}
    assert (task["depths"], task["sampling_probability"]) == ((90, 90, 512), 0.5)


def test_where_magenta_fails_the_row_is_ours_alone(tmp_path, capsys):
    row = Row("cpu", "float32", "cat-mel_2bar_small", "train", 64)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)  # a Python that has no Magenta
    assert run.magentas(row, 0.1, tmp_path) == []
    assert "ModuleNotFoundError" in capsys.readouterr().err


def curve(seconds):
    return growth.Curve("batch", "cpu", "float32", [8, 16, 32, 64, 128], seconds)


def test_where_a_curve_turns_linear():
    assert growth.turn(curve([1, 2, 4, 8, 16])) == 0
    assert growth.turn(curve([1, 1, 1, 2, 4])) == 3
    assert growth.turn(curve([1, 1.5, 2, 3, 4])) is None
    assert growth.turn(curve([1, 2, 2, 2, 4])) is None  # steep at first, and flat after that
    assert growth.slopes(curve([1, 4, 16, 64, 256])) == pytest.approx([2] * 5)
    assert growth.turn(curve([1, 2, 4, 16, 64]), 2) == 3


def test_growing_sizes_reach_the_model():
    config, batch = growth.sized_config("bars", 64)
    assert (config.model.steps, config.converter.steps, batch) == (1024, 1024, 16)
    config, batch = growth.sized_config("width", 768)
    assert (config.model.enc_rnn_size, config.model.dec_rnn_size, batch) == ((768,), (768, 768), 32)
    assert growth.sized_config("batch", 128)[1] == 128


def test_the_figure_has_a_panel_for_each_size():
    figure = growth.draw([curve([1, 1, 2, 4, 8])._replace(panel=panel) for panel in growth.PANELS])
    assert [axes.get_xlabel() for axes in figure.axes] == [panel.axis for panel in growth.PANELS.values()]
    assert "slope 1 from 32" in figure.axes[0].get_legend_handles_labels()[1][0]
