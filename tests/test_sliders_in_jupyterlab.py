"""The sliders of the notebook in JupyterLab itself: moved by keys, and given a MIDI file."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest

from chromium import chromium_page, wait_until
from helpers import BUILT_IN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CELL = """
from copy import deepcopy
from notebook_utils import sliders
from midi_utils import load_midi

def moved(song, semitones=0.0):
    song = deepcopy(song)
    for note in song.instruments[0].notes:
        note.pitch += round(semitones)
    return song

sliders(moved, "{song}", {{"semitones": (-10, 10, 0)}})
"""
NOTEBOOK = "[...(window.jupyterapp?.shell.widgets('main') ?? [])][0]"
KERNEL_IS_READY = f"{NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
ROLL, PLAYER = ".widget-image", "audio source, audio"
LAB = ("--no-browser", "--port=0", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--allow-root")
PATIENCE = 90.0  # seconds, for the server and for the kernel


@pytest.fixture
def lab(tmp_path):
    """The address of a server of a folder with one notebook, sliders.ipynb."""
    pytest.importorskip("jupyterlab")
    songs = sorted(BUILT_IN.glob("*.mid"))
    cell = nbformat.v4.new_code_cell(CELL.format(song=songs[0]))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), tmp_path / "sliders.ipynb")
    runtime = tmp_path / "runtime"
    folders = {"JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    environment = os.environ | folders | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyterlab", *LAB, f"--ServerApp.root_dir={tmp_path}"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = wait_until(lambda: address_of(runtime), PATIENCE)
        assert address, "the server did not start"
        yield address
    finally:
        server.terminate()
        server.wait(20)


def address_of(runtime: Path) -> str | None:
    """The address of a server that answers, from the file that it writes."""
    for file in runtime.glob("jpserver-*.json"):
        with suppress(OSError, ValueError):  # it is not written yet, or the server does not answer yet
            url = json.loads(file.read_text())["url"]
            with urllib.request.urlopen(f"{url}api/status"):
                return url
    return None


def shown(page) -> str:
    """The address of the picture that the page shows; it changes with the picture."""
    return page.run(f"document.querySelector('{ROLL}')?.src ?? ''")


def test_sliders_redraw_and_take_a_file(lab, tmp_path):
    with chromium_page(tmp_path / "profile") as page:
        page.open(f"{lab}lab/tree/sliders.ipynb")
        page.wait(KERNEL_IS_READY, PATIENCE)
        page.run(f"window.jupyterapp.shell.activateById({NOTEBOOK}.id)")
        page.run("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        first = page.wait(lambda: shown(page), PATIENCE)
        page.run("document.querySelector('.noUi-handle').focus()")
        for _ in range(3):  # of half a semitone each
            page.press("ArrowRight")
        second = page.wait(lambda: shown(page) != first and shown(page))
        assert page.run("document.querySelector('.widget-readout').textContent") == "1.50"
        assert page.run(f"!!document.querySelector('{PLAYER}')")
        chosen = []
        page.note = lambda message, note=page.note: (note(message), chosen.append(message))
        page.call("Page.setInterceptFileChooserDialog", enabled=True)
        page.click(".widget-upload")
        opened = page.wait(lambda: page.run("1") and [m for m in chosen if m.get("method") == "Page.fileChooserOpened"])
        other = sorted(BUILT_IN.glob("*.mid"))[5]
        node = opened[0]["params"]["backendNodeId"]
        page.call("DOM.setFileInputFiles", files=[str(other)], backendNodeId=node)
        page.wait(lambda: shown(page) not in (first, second))
