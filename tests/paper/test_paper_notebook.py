"""paper.ipynb runs, and its committed form is clean."""

import os
import re
import shutil
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from clean_notebook import clean
from helpers import table_rows
from paper import tables
from paper.documents import read_results
from paper.published import BASELINES, MODELS, PIANOS

ROOT = Path(__file__).parents[2]
COMMITTED = nbformat.read(ROOT / "paper.ipynb", 4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook, kind):
    """The outputs of this MIME type."""
    found = (output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs)
    return [data[kind] for data in found if kind in data]


def test_the_notebook_runs_in_quick_mode(tmp_path, monkeypatch):
    """Quick mode trains three small models; every table then holds numbers, and every figure is drawn."""
    monkeypatch.setitem(os.environ, "QUICK", "1")
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")  # as in helpers.py
    shutil.copytree(ROOT / "midi_songs" / "built_in", tmp_path / "midi_songs" / "built_in")
    shutil.copytree(ROOT / "results", tmp_path / "results")
    (tmp_path / "pretrained").mkdir()
    shutil.copy(ROOT / "pretrained" / "piano_2bar.pt", tmp_path / "pretrained")
    notebook = nbformat.read(ROOT / "paper.ipynb", 4)
    notebook.cells.insert(0, new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    *tables_shown, pianos = outputs(notebook, "text/markdown")
    facts, accuracy, groups, hierarchy, bound, _, priors = shown = list(map(table_rows, tables_shown))
    assert pianos.count("| piano_2bar |") == 3 + 3
    assert [len(table) for table in shown] == [3, 3, 3, 2, 3, 3, 3]
    assert [row[2] for row in groups] == [row[5].split()[0] for row in accuracy]
    assert [row[2].split()[0] for row in hierarchy] == ["all", "new,"]
    assert all(0 < float(row[k].split()[0]) < 1 for row in accuracy for k in range(2, 9))
    assert all(float(row[2].replace(",", "")) > 0 for row in (*facts, *bound))
    assert all(float(cell.split(" nats, ")[0]) > 0 for row in priors for cell in row[1:])
    assert len(outputs(notebook, "image/png")) == 1 + 1 + 1 + 3 + 3 + 2 + 3 + 1 + 1
    assert len(list((tmp_path / "generated" / "quick").glob("*.json"))) == 3
    assert len(nbformat.writes(clean(notebook))) < 3_000_000


def test_the_committed_tables_are_those_of_the_results():
    stages = {"drums_16bar": "drums_16bar_first", "mel_16bar": "mel_16bar_second"}  # which their twins stand beside
    found = read_results(ROOT / "results", (*MODELS, *BASELINES, *PIANOS, *stages.values()))
    piano, twins = ([found.pop(name) for name in names] for names in (PIANOS, stages.values()))
    by_name, results = dict(zip(stages, twins, strict=True)), list(found.values())
    facts, accuracy = tables.facts_table(results), tables.accuracy_table(results)
    groups = tables.group_table(results)
    others = (tables.bound_table, tables.novelty_table, tables.prior_table)
    alike = [by_name.get(result["name"], result) for result in results if result["name"] != "mel_16bar_high"]
    gains = tables.hierarchy_table(alike)
    bound, novelty, priors = (make(results) for make in others)
    pianos = f"{tables.piano_table(piano)}\n\n{tables.piano_samples_table(piano)}"
    assert outputs(COMMITTED, "text/markdown") == [facts, accuracy, groups, gains, bound, novelty, priors, pianos]


def test_the_committed_notebook_is_clean():
    """It is small, holds no audio, no error and no path of a machine, and its cells are short."""
    shown = [output for cell in code_cells(COMMITTED) for output in cell.outputs]
    assert not any(output.output_type == "error" for output in shown)
    text = nbformat.writes(COMMITTED)
    assert len(text) < 4_000_000
    words = re.sub(r'"image/png": "[^"]*"', "", text)  # base64 can spell these words by chance
    assert not any(word in words for word in ("<audio", "widget-view", "/root", "/home", "/Users", "/tmp", "/work"))
    assert max(len(cell.source.splitlines()) for cell in code_cells(COMMITTED)) <= 18
