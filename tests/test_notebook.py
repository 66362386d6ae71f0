"""The notebook runs from the first cell to the last, and the committed one is clean and complete."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pretty_midi
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

from clean_notebook import clean

ROOT = Path(__file__).parents[1]
COMMITTED = nbformat.read(ROOT / "main.ipynb", 4)
SAME_FOR_ALL = (  # sections that do the same for every preset
    "Listen first",
    "Sliders",
    "Fine-tune on one style",
    "Longer pieces",
    "Chord conditioning",
    "Chords: several notes at a time",
)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def without_sections(cells, titles):
    """The cells, less those from a heading of these titles to the next heading."""
    kept, left_out = [], False
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            left_out = cell.source.splitlines()[0][3:] in titles
        kept += [] if left_out else [cell]
    return kept


def execute(parameters, left_out, folder):
    """Runs the notebook in a folder of its own, less some sections, with other parameters behind the tagged cell."""
    notebook = nbformat.read(ROOT / "main.ipynb", 4)
    notebook.cells = without_sections(notebook.cells, left_out)
    tagged = next(k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(tagged + 1, new_code_cell(parameters))
    notebook.cells.insert(0, new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})"))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.parametrize(
    ("preset", "songs", "left_out"),
    [
        ("cat-mel_2bar_tiny", 20, ()),
        ("hierdec-trio_16bar_tiny", 2, SAME_FOR_ALL),
        ("hier-drums_16bar_mini", 2, SAME_FOR_ALL),
    ],
)
def test_the_notebook_runs_on_the_songs_of_a_user(preset, songs, left_out, tmp_path, monkeypatch):
    """All cells work after an update or two on a few songs, for melodies, trios and drums, and music is written."""
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    folder = tmp_path / "midi_songs"
    shutil.copytree(ROOT / "midi_songs" / "built_in", folder / "built_in")
    for path in sorted((ROOT / "midi_songs" / "built_in").glob("*.mid"))[:songs]:
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "pretrained", tmp_path / "pretrained")
    shorter = "import prior; prior.sequence.CHOICE_UPDATES = 10"
    notebook = execute(f"PRESET, MINUTES = {preset!r}, 0.001; {shorter}", left_out, tmp_path)
    assert len(list((tmp_path / "generated").glob(f"{preset}_*.mid"))) == 12 + 2 + 9
    text = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert f"{songs} MIDI files, {songs} read, 0 refused" in text
    assert (tmp_path / "runs").is_dir()
    cleaned = clean(notebook)
    assert "<audio" not in nbformat.writes(cleaned)
    assert sum("image/png" in output.get("data", {}) for cell in code_cells(cleaned) for output in cell.outputs) >= 5


def test_the_notebook_asks_for_a_second_song(tmp_path):
    """Before it trains, and by name: one song cannot be held out."""
    (tmp_path / "midi_songs").mkdir()
    shutil.copy(ROOT / "midi_songs" / "built_in" / "38_drowsy_maggie.mid", tmp_path / "midi_songs")
    headings = (cell.source.splitlines()[0] for cell in COMMITTED.cells if cell.source.startswith("## "))
    others = [heading[3:] for heading in headings if heading != "## Your songs"]
    with pytest.raises(CellExecutionError, match="midi_songs must have two or more songs with windows of cat-mel_2bar"):
        execute("PRESET = 'cat-mel_2bar_tiny'", others, tmp_path)


@pytest.mark.parametrize(
    ("is_drum", "bars", "preset"),
    [(False, 2, "cat-mel_2bar_mini"), (True, 2, "cat-drums_2bar_mini"), (True, 16, "hier-drums_16bar_mini")],
)
def test_short_songs_and_drums_get_a_preset_without_a_setting(is_drum, bars, preset, tmp_path):
    (tmp_path / "midi_songs").mkdir()
    for k in range(3):
        loop = pretty_midi.PrettyMIDI(initial_tempo=120)
        loop.instruments.append(pretty_midi.Instrument(0, is_drum))
        times = np.arange(8 * bars) / 4  # quavers
        loop.instruments[0].notes = [
            pretty_midi.Note(80, (36, 38, 42)[(k + n) % 3] if is_drum else 60 + k + n % 5, start, start + 0.25)
            for n, start in enumerate(times)
        ]
        loop.write(str(tmp_path / "midi_songs" / f"loop_{k}.mid"))
    headings = (cell.source.splitlines()[0] for cell in COMMITTED.cells if cell.source.startswith("## "))
    others = [heading[3:] for heading in headings if heading != "## Your songs"]
    notebook = execute("", others, tmp_path)
    text = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert f"preset {preset}\n" in text


def test_guides_name_sections_that_exist():
    headings = {cell.source.splitlines()[0][3:] for cell in COMMITTED.cells if cell.source.startswith("## ")}
    found = {}
    for path in (ROOT / "docs").rglob("*.md"):
        found[path.name] = re.findall(r"section \*([^*]+)\* of \[main\.ipynb\]", path.read_text())
        assert headings.issuperset(found[path.name]), path.name
    assert any(found.values())


def test_the_sections_that_are_run_once_are_there():
    """Each has code, and the notebook is otherwise whole."""
    for title in SAME_FOR_ALL:
        kept = without_sections(COMMITTED.cells, [title])
        left_out = [cell for cell in COMMITTED.cells if cell not in kept]
        assert left_out[0].source.startswith(f"## {title}")
        assert [cell.cell_type for cell in left_out].count("code") >= 2
        following = COMMITTED.cells[COMMITTED.cells.index(left_out[-1]) + 1]
        assert following.source.startswith("## ")


def test_the_committed_notebook_is_clean():
    """It was run from top to bottom, and has pictures, but nothing heavy and no path of a machine."""
    assert [cell.execution_count for cell in code_cells(COMMITTED)] == list(range(1, len(code_cells(COMMITTED)) + 1))
    outputs = [output for cell in code_cells(COMMITTED) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not any(output.output_type == "error" for output in outputs)
    text = nbformat.writes(COMMITTED)
    assert len(text) < 2_000_000
    words = re.sub(r'"image/png": "[^"]*"', "", text)  # a picture's letters may spell anything
    assert not any(word in words for word in ("<audio", "widget-view", "/root", "/home", "/Users", "/tmp", "/work"))


def test_the_committed_notebook_reports_what_it_promises():
    """Held-out accuracy is 10 points above the majority label; 90 % of samples have 4 to 32 onsets in 2 bars."""
    lines = [o.text for cell in code_cells(COMMITTED) for o in cell.outputs if o.output_type == "stream"]
    points = next(line for line in lines if "points" in line).strip().splitlines()[-1]  # in the end
    assert "in the end" in points
    assert float(points.rsplit(":", 1)[1].split()[0]) >= 10
    share = next(line for line in lines if "onsets in 2 bars" in line)
    assert int(share.split("samples ")[1].split("%")[0]) >= 90


def test_cells_are_short():
    assert max(len(cell.source.splitlines()) for cell in code_cells(COMMITTED)) <= 18
