"""Strips an executed notebook for version control. `make notebook` runs it.

Pictures and printed text stay. Sound (megabytes), live widgets and what differs between two runs are removed.
"""

import argparse

import nbformat

VOLATILE = ("application/vnd.jupyter.widget-view+json",)  # outputs that work only in a live notebook


def keep(output: nbformat.NotebookNode) -> bool:
    """Whether an output stays: not sound, a widget or text of the error stream."""
    data = output.get("data", {})
    sound = "<audio" in data.get("text/html", "")
    return not (sound or output.get("name") == "stderr" or any(kind in data for kind in VOLATILE))


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with only the outputs that `keep` accepts, and its code cells numbered from 1."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    for count, cell in enumerate(cells, start=1):
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.outputs if keep(output)]
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def main():
    """The command."""
    parser = argparse.ArgumentParser(description="Strip sound and widgets from an executed notebook.")
    parser.add_argument("executed")
    parser.add_argument("cleaned")
    options = parser.parse_args()
    nbformat.write(clean(nbformat.read(options.executed, 4)), options.cleaned)


if __name__ == "__main__":
    main()
