"""The paper's tables hold our numbers and the paper's, the figures what was measured, and their notebook runs."""

import os
import re
import shutil
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from clean_notebook import clean
from evaluation import (
    Accuracy,
    AttributeTable,
    Elbo,
    Evaluation,
    Interpolation,
    Interval,
    Likeness,
    PriorSamples,
    Reconstruction,
    Samples,
    plain,
)
from paper import figures as paper_figures

ROOT = Path(__file__).parents[2]
COMMITTED = nbformat.read(ROOT / "paper.ipynb", 4)
ATTRIBUTES = ["c_diatonic", "note_density"]


def around(mean):
    """A mean whose interval is 0.01 to either side."""
    return Interval(mean, mean - 0.01, mean + 0.01)


def made(preset, forced=0.9, sampled=0.7, parts=("all",), bars=2):
    """What a run of evaluation.py on so many bars writes, read back."""
    accuracies = [
        Accuracy(
            dict.fromkeys(parts, around(share)),
            {part: [share] * 8 * bars + [0.5] * 8 * bars for part in parts},
            {"new": dict.fromkeys(parts, share - 0.1), "groove": dict.fromkeys(parts, share / 2)},
        )
        for share in (forced, sampled, forced + 0.02, sampled + 0.02)
    ]
    durations = Likeness([0, 0.5] + [0.0] * 15 + [0.5] + [0.0] * 15, [0, 1.0] + [0.0] * 31, 0.25)
    statistics = {
        "pitch classes": Likeness([0.5, *[0.0] * 10, 0.5], [1.0, *[0.0] * 11], 0.311),
        "durations": durations,
        "notes a step": Likeness(0.25, 0.5),
        "repetition at 1 bars": Likeness(0.1, 0.4),
        "repetition by chance": Likeness(0.05, 0.06),
        "n-gram cost, nats a step": Likeness(1.5, 1.25),
        "self-similarity": Likeness([[1.0, 0.1], [0.1, 1.0]], [[1.0, 0.4], [0.4, 1.0]]),
    }
    line = [0.0, 0.5, 1.0]
    return plain(
        Evaluation(
            preset=preset,
            parameters=764_058,
            steps=None,
            minutes=31.25,
            seed=0,
            split="test",
            songs=46,
            windows=1064,
            groups={"new": 700, "groove": 64},
            still=dict.fromkeys(parts, 0.613),
            reconstruction=Reconstruction(*accuracies),
            elbo=Elbo(Interval(444.7, 382.1, 504.5), 2.506, around(314.7), around(187.5), 111, 128),
            interpolation=Interpolation(line, [0.1, 0.3, 0.5], [0.5, 0.3, 0.1], [2.0] * 3, line, line[::-1], [3.0] * 3),
            attributes=AttributeTable(ATTRIBUTES, [0.5, 0.0], [[0.75, 0.1], [0.5, 0.2]], [[0.25, 0], [0.55, 0]]),
            samples=Samples(statistics, Likeness(0.0625, 0.125), Likeness(0.2, 0.1)),
            priors={"standard normal": PriorSamples(3.5, 0.1, 0.0), "width 0.8": PriorSamples(1.5, 0.25, 0.0625)},
            prior_bits=12.34,
        )
    )


def rows(table):
    """A Markdown table's cells without its head, a list a row."""
    return [re.split(r" \| ", line.strip("| ")) for line in table.splitlines()[2:]]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_every_accuracy_stands_beside_the_papers():
    table = paper_figures.accuracy_table([made("hier-mel_16bar_mini", 0.9, 0.7)])
    assert rows(table) == [
        ["hier-mel_16bar_mini", "all", "0.613", "0.900 (0.890 to 0.910)", "0.919", "0.700 (0.690 to 0.710)", "0.812",
         "0.920 (0.910 to 0.930)", "0.720 (0.710 to 0.730)"],
    ]  # fmt: skip
    heads = [len(line.split(" | ")) for line in table.splitlines()]
    assert heads == [9, 9, 9]


@pytest.mark.parametrize(
    ("preset", "part", "paper"),
    [
        ("cat-mel_2bar_small", "all", (0.986, 0.951)),
        ("cat-drums_2bar_mini", "all", (0.979, 0.917)),
        ("flat-mel_16bar_mini", "all", (0.883, 0.620)),
        ("flat-drums_16bar_small", "all", (0.884, 0.549)),
        ("hier-drums_16bar_mini", "all", (0.928, 0.879)),
        ("hierdec-trio_16bar", "bass", (0.880, 0.773)),
        ("flat-trio_16bar_tiny", "drums", (0.903, 0.641)),
        ("hier-mel_16bar_tiny", "all", (0.919, 0.812)),
        ("cat-mel_2bar_med_chords", "all", (None, None)),
    ],
)
def test_the_papers_number_follows_from_the_presets_name(preset, part, paper):
    assert paper_figures.paper_accuracy(preset, part) == paper


def test_what_the_paper_has_not_is_a_dash():
    (row,) = rows(paper_figures.accuracy_table([made("cat-mel_2bar_med_chords")]))
    assert [row[4], row[6]] == ["–", "–"]


def test_a_trio_has_a_row_a_part():
    table = rows(paper_figures.accuracy_table([made("hier-trio_16bar_mini", parts=("melody", "bass", "drums"))]))
    assert [row[1] for row in table] == ["melody", "bass", "drums"]
    assert [row[6] for row in table] == ["0.753", "0.773", "0.863"]


def test_the_gain_of_the_hierarchy_is_that_over_the_flat_twin_of_its_size():
    results = [
        made("hier-mel_16bar_mini", 0.9, 0.7),
        made("flat-mel_16bar_mini", 0.8, 0.75),
        made("hier-drums_16bar_mini"),
        made("flat-drums_16bar_small"),
        made("cat-mel_2bar_mini"),
    ]
    assert rows(paper_figures.hierarchy_table(results)) == [
        ["mel_16bar_mini", "all", "all 1,064", "+0.100", "+0.036", "-0.050", "+0.192"],
        ["mel_16bar_mini", "all", "new, 700", "+0.100", "–", "-0.050", "–"],
        ["mel_16bar_mini", "all", "groove, 64", "+0.050", "–", "-0.025", "–"],
    ]


def test_accuracy_by_windows_has_a_column_a_source():
    results = [made("hier-mel_16bar_mini", sampled=0.7), made("cat-mel_2bar_mini", sampled=0.5)]
    del results[1]["groups"]["groove"], results[1]["reconstruction"]["sampled"]["by_group"]["groove"]
    table = paper_figures.group_table(results)
    assert table.splitlines()[0] == "| model | part | all | new | groove |"
    assert rows(table) == [
        ["hier-mel_16bar_mini", "all", "0.700", "0.600", "0.350"],
        ["cat-mel_2bar_mini", "all", "0.500", "0.400", "–"],
    ]


def test_facts_bound_and_novelty():
    results = [made("cat-mel_2bar_mini")]
    (facts,), (bound,), (novelty,) = (
        rows(table(results))
        for table in (paper_figures.facts_table, paper_figures.bound_table, paper_figures.novelty_table)
    )
    assert facts[1:] == ["764,058", "–", "31.2", "0", "test", "46", "1,064"]
    assert bound[1:3] == ["444.7 (382.1 to 504.5)", "2.506"]
    assert bound[-2:] == ["12.3", "111 of 128"]
    assert novelty[1:] == ["0.062", "0.125", "0.200", "0.100", "1.500", "1.250"]


def test_a_way_to_draw_z_that_a_model_has_not_is_a_dash():
    fitted, plain_one = made("cat-mel_2bar_mini"), made("cat-drums_2bar_mini")
    del plain_one["priors"]["width 0.8"]
    table = paper_figures.prior_table([plain_one, fitted])
    assert table.splitlines()[0] == "| model | standard normal | width 0.8 | held-out music |"
    normals, narrow = "3.50 nats, 10 % again, 0.0 % copies", "1.50 nats, 25 % again, 6.2 % copies"
    assert [row[1:3] for row in rows(table)] == [[normals, "–"], [normals, narrow]]
    assert rows(table)[0][3].startswith("1.25 nats")
    assert rows(table)[0][3].endswith("12.5 % copies")


# --- figures ----------------------------------------------------------------------------------------------------------


def test_accuracy_by_step_has_a_panel_a_part_and_the_mean_of_each_bar():
    figure = paper_figures.plot_accuracy_by_step([made("cat-mel_2bar_mini"), made("x-trio", parts=("melody", "bass"))])
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "cat-mel_2bar_mini",
        "x-trio, melody",
        "x-trio, bass",
    ]
    forced, sampled = figure.axes[0].patches
    assert forced.get_data().values == pytest.approx([90, 50])  # the first 16 of 32 steps are 0.9, the others 0.5
    assert sampled.get_data().values == pytest.approx([70, 50])
    assert forced.get_data().edges.tolist() == [0, 16, 32]


def test_interpolations_are_drawn_over_t():
    results = [made(f"model {k}") for k in range(5)]
    figure = paper_figures.plot_interpolations(results)
    assert len(figure.axes) == 10
    above = next(axis for axis in figure.axes if axis.get_title(loc="left") == "model 4")
    drawn = {line.get_label(): line.get_ydata().tolist() for line in above.lines}
    assert drawn["model, to the start"] == [0.1, 0.3, 0.5]
    assert drawn["mix, to the end"] == [1.0, 0.5, 0.0]


def test_attributes_change_by_shares_of_what_they_were():
    added, subtracted = paper_figures.attribute_changes(made("x")["attributes"])
    assert added[:, 0] == pytest.approx([50, 0])
    assert subtracted[:, 0] == pytest.approx([-50, 10])
    assert np.isnan(added[:, 1]).all()  # it was 0 before
    figure = paper_figures.plot_attributes(made("x"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["+50", "–", "+0", "–"]


def test_statistics_hold_both_histograms_and_lump_long_durations():
    figure = paper_figures.plot_statistics(made("x"))
    assert len(figure.axes) == 4
    data, samples = figure.axes[1].containers
    assert [bar.get_height() for bar in data] == [1, *[0] * 15]
    assert [bar.get_height() for bar in samples] == [0.5, *[0] * 14, 0.5]  # notes of 17 steps are in the last
    assert [[bar.get_height() for bar in bars] for bars in figure.axes[3].containers] == [[0.4, 0.06], [0.1, 0.05]]
    assert [label.get_text() for label in figure.axes[3].get_xticklabels()] == ["1", "chance"]


def test_self_similarity_is_on_one_scale_without_the_diagonal():
    figure = paper_figures.plot_self_similarity(made("x"))
    data, samples = (axis.images[0] for axis in figure.axes[:2])
    assert data.get_clim() == samples.get_clim() == (0, 0.4)
    assert np.isnan(np.diag(samples.get_array().filled(np.nan))).all()


def test_rate_and_distortion_join_what_differs_in_beta_alone():
    point = {"preset": "a", "free_bits": 0.0, "beta": 0.2, "kl_bits": 50.0, "reconstruction": 10.0, "accuracy": 0.9}
    free = {"free_bits": 48.0, "kl_bits": 48.0}
    figure = paper_figures.plot_rate_distortion([point, point | {"kl_bits": 20.0, "beta": 1.0}, point | free])
    (axis,) = figure.axes
    assert [line.get_xdata().tolist() for line in axis.lines] == [[20, 50], [48]]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "None"]
    assert [text.get_text() for text in axis.texts] == ["β 1", "β 0.2", "48 free bits, β 0.2"]
    assert axis.get_xlim()[0] == 0


def segments(axis, part):
    """What is drawn of a part: [notes, 2 ends, (step, row)]; the first collection holds the bar lines."""
    return np.array(axis.collections[1 + part].get_segments())


def test_a_page_draws_each_note_where_it_sounds():
    """In the melody: pitch 60 from step 1 to its end at 3, pitch 64 from 5 until pitch 62 at 6, which lasts."""
    melody = np.zeros((1, 32), np.uint8)
    melody[0, [1, 3, 5, 6]] = 41, 1, 45, 43
    figure = paper_figures.plot_pages(melody, melody, ("melody",), ("samples", "music"))
    assert [len(page.axes) for page in figure.subfigs] == [32, 32]
    drawn = segments(figure.subfigs[0].axes[0], 0)
    assert drawn[:, 0].tolist() == [[1, 60], [5, 64], [6, 62]]
    assert drawn[:, 1, 0] == pytest.approx([3, 6, 32], abs=0.3)


def test_a_trio_has_its_drums_below_and_both_pages_one_scale():
    trio = np.zeros((2, 32, 3), np.uint16)
    trio[0, 0], trio[1, 4] = (41, 20, 0b101), (60, 22, 1)
    figure = paper_figures.plot_pages(trio[:1], trio[1:], paper_figures.parts_of("hierdec-trio_16bar"), ("a", "b"))
    left, right = (page.axes[0] for page in figure.subfigs)
    assert left.get_ylim() == right.get_ylim()
    kick, hat = segments(left, 2)[:, 0]
    assert kick[1] < hat[1] < 39 == segments(left, 1)[0, 0, 1]
    assert left.get_ylim()[0] < kick[1] == segments(right, 2)[0, 0, 1]
    assert segments(right, 0)[0, 0].tolist() == [4, 79]


def test_silent_pages_are_drawn():
    for preset in ("cat-mel_2bar_mini", "cat-drums_2bar_mini"):
        windows = np.zeros((32, 32), np.int64)
        figure = paper_figures.plot_pages(windows, windows, paper_figures.parts_of(preset), ("a", "b"))
        assert segments(figure.subfigs[0].axes[31], 0).size == 0


# --- the notebook -----------------------------------------------------------------------------------------------------


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook, kind):
    """What the cells show of a kind."""
    found = (output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)
    return [data[kind] for data in found if kind in data]


def test_the_notebook_runs(tmp_path, monkeypatch):
    """The quick mode, in a folder of its own: three small models, every table with numbers, every figure."""
    monkeypatch.setitem(os.environ, "QUICK", "1")
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")  # as in helpers.py
    shutil.copytree(ROOT / "midi_songs" / "built_in", tmp_path / "midi_songs" / "built_in")
    notebook = nbformat.read(ROOT / "paper.ipynb", 4)
    notebook.cells.insert(0, new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    facts, accuracy, groups, hierarchy, bound, _, priors = tables = list(map(rows, outputs(notebook, "text/markdown")))
    assert [len(table) for table in tables] == [3, 3, 3, 2, 3, 3, 3]
    assert [row[2] for row in groups] == [row[5].split()[0] for row in accuracy]
    assert [row[2].split()[0] for row in hierarchy] == ["all", "new,"]
    assert all(0 < float(row[k].split()[0]) < 1 for row in accuracy for k in range(2, 9))
    assert all(float(row[2].replace(",", "")) > 0 for row in (*facts, *bound))
    assert all(float(cell.split(" nats, ")[0]) > 0 for row in priors for cell in row[1:])  # of models without a prior
    assert len(outputs(notebook, "image/png")) == 1 + 1 + 1 + 3 + 3 + 2 + 3 + 1
    assert len(list((tmp_path / "generated" / "quick").glob("*.json"))) == 3
    assert len(nbformat.writes(clean(notebook))) < 3_000_000


def test_the_committed_notebook_is_clean():
    """Nothing that is heavy or of one machine; each cell is short."""
    shown = [output for cell in code_cells(COMMITTED) for output in cell.outputs]
    assert not any(output.output_type == "error" for output in shown)
    text = nbformat.writes(COMMITTED)
    assert len(text) < 4_000_000
    words = re.sub(r'"image/png": "[^"]*"', "", text)  # a picture's letters may spell anything
    assert not any(word in words for word in ("<audio", "widget-view", "/root", "/home", "/Users", "/tmp", "/work"))
    assert max(len(cell.source.splitlines()) for cell in code_cells(COMMITTED)) <= 18
