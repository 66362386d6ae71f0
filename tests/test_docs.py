"""The README and the docs say what is so: presets that exist, sizes that are right, code that compiles."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from configs import CONFIGS
from model import MusicVAE
from music.grid import MELODY_PROGRAMS

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("magenta", "data", "distributed"))]
README = DOCS[0].read_text()


def megabytes(name):
    """Weights of a preset as float32; the second bias of PyTorch's LSTMs is none of them."""
    with torch.device("meta"):
        parameters = MusicVAE(CONFIGS[name].model).named_parameters()
    return round(sum(4 * value.numel() for key, value in parameters if "bias_hh" not in key) / 1e6)


def test_the_sizes_of_the_published_checkpoints():
    rows = re.findall(r"^\| \[[^\]]+\]\(https://[^)]+/([^/)]+)\.tar\) \| `([^`]+)` \| (\d+) \|", README, re.M)
    assert len(rows) == 11
    for file, preset, size in rows:
        assert file.split(".")[0] == preset
        assert int(size) == megabytes(preset)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_code_compiles_and_names_what_exists(path):
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.S)
    assert blocks
    for block in blocks:
        compile(block, path.name, "exec")
        assert set(re.findall(r'CONFIGS\["([^"]+)"\]', block)) <= set(CONFIGS)
        for module, names in re.findall(r"^\s*from (\w+) import (.+)$", block, re.M):
            if (ROOT / f"{module}.py").exists():
                source = (ROOT / f"{module}.py").read_text()
                assert all(re.search(rf"\b{name}\b", source) for name in names.split(", "))


def patterns(cell):
    """The names with * that stand in a cell, {a,b} spelled out."""
    for name in re.findall("`(.*?)`", cell):
        before, _, rest = name.partition("{")
        choices, _, after = rest.partition("}")
        yield from (f"{before}{choice}{after}" for choice in choices.split(","))


def test_every_preset_has_one_row_of_what_it_takes():
    """And takes what the row says, as far as its converter's fields tell."""
    table = README[README.index("| preset | takes") : README.index("Bars are 4/4")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    for name, config in CONFIGS.items():
        ((takes, window),) = (row[1:] for row in rows if any(fnmatch(name, p) for p in patterns(row[0])))
        converter = config.converter
        assert str(converter.bars) in window
        assert ("0 to 31" in takes) == (getattr(converter, "programs", None) == MELODY_PROGRAMS)
        assert ("61 instruments" in takes) == (getattr(converter, "classes", 9) == 61)


@pytest.mark.parametrize("name", ["README.md", "main.ipynb", "paper.ipynb", "docs/speed.md", "train.py"])
def test_presets_that_are_named_exist(name):
    named = re.findall(r"\b(?:cat|nade|flat|hierdec|hier)-[a-z0-9_]+_(?:tiny|mini|small)\b", (ROOT / name).read_text())
    assert named
    assert set(named) <= set(CONFIGS)


def test_every_module_has_a_line():
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert {path.name for path in ROOT.glob("*.py")} <= named


def test_pictures_and_links_are_there():
    for path in [*DOCS, ROOT / "docs" / "speed.md"]:
        links = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text())
        assert all((path.parent / link).exists() for link in links)
