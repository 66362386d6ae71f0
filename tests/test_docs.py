"""README and docs hold: links, file names, presets, commands, tables and Python code."""

import json
import re
import runpy
import shlex
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import fields, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import torch

import magenta_checkpoint
import prior
import train as training
from configs import CONFIGS, CONVERTERS, TrainingConfig
from corpus import read_manifest
from helpers import BUILT_IN, parity_folder
from magenta_checkpoint import export_magenta_js
from midi_utils import MelodyConverter, midi_files
from model import MusicVAE
from music.attributes import ATTRIBUTES
from outputs import OUTPUTS
from studio import directions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "midi_songs").rglob("*.md"))]
README, PRESETS, MAGENTA, TRAINING = (
    (ROOT / name).read_text() for name in ("README.md", "docs/presets.md", "docs/magenta.md", "docs/training.md")
)
NOTEBOOKS = [ROOT / "main.ipynb", ROOT / "paper.ipynb"]
MAX_LINES, MAX_WORDS = 150, 1400  # of the README
COMMAND = re.compile(r"^ *(?:python|torchrun) [^#\n]*", re.M)  # in a code block
INLINE_COMMAND = re.compile(r"`((?:python|torchrun) [^`]+)`")

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def code_blocks(text: str, language: str = "") -> list[str]:
    """The fenced blocks of a page; language: '' takes those without one."""
    return [block for name, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M) if name == language]


def section(text: str, mark: str) -> str:
    """What stands between <!-- mark --> and <!-- end of mark -->."""
    return text.split(f"<!-- {mark} -->\n")[1].split(f"<!-- end of {mark} -->")[0]


def table_rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without the header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


def markdown(header: str, rows: list[str]) -> str:
    return "\n".join([header, "|---" * (header.count("|") - 1) + "|", *rows]) + "\n"


def anchors(path: Path) -> set[str]:
    """What a link to a heading of a page is called, as on GitHub."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- Links and names ----


def test_the_readme_is_short():
    assert len(README.splitlines()) <= MAX_LINES
    assert len(README.split()) <= MAX_WORDS


def test_the_walk_through_is_short():
    assert len((ROOT / "docs" / "extending.md").read_text().splitlines()) < 150


@each_page
def test_relative_links_lead_to_files_and_headings(path):
    broken = []
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text()):
        file, _, heading = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_python_files_that_are_named_exist(path):
    named = re.findall(r"`([\w./-]+\.py)`", path.read_text())
    assert [name for name in named if not ((ROOT / name).exists() or (path.parent / name).exists())] == []


def test_the_readme_lists_every_module_and_folder():
    tree = next(block for block in code_blocks(README) if "midi_utils.py" in block)
    named = {word for word in tree.split() if re.fullmatch(r"\w+\.py|\w+/", word)}
    modules = {path.name for path in ROOT.glob("*.py")}
    folders = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")} | {"benchmarks/", "tests/"}
    assert modules | folders <= named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, ROOT / "train.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_presets_that_are_named_exist(path):
    text = path.read_text()
    named = re.findall(r"`((?:cat|nade|flat|hierdec|hier)-\w+|groovae_\w+)`", text)
    named += re.findall(r"\b(?:cat|nade|flat|hierdec|hier)-[a-z0-9_]+_(?:tiny|mini|small)\b", text)
    named += re.findall(r'CONFIGS\[\\?"([^"\\]+)\\?"\]', text)
    named += [name for name in re.findall(r"--config (\S+)", text) if name.islower()]
    made = re.findall(r'CONFIGS\["([^"]+)"\] = ', text)  # by the page itself
    assert set(named) - set(made) <= set(CONFIGS)


def test_functions_in_the_table_of_tasks_exist():
    table = README[README.index("| task |") : README.index("## Your own music")]
    called = {name for row in table_rows(table) for name in re.findall(r"\b(\w+)\(", row[1])} - {"replace"}
    source = "\n".join(path.read_text() for path in ROOT.glob("*.py"))
    assert [name for name in called if not re.search(rf"\b{name}\b", source)] == []


# ---- Commands ----


def commands() -> Iterator[str]:
    """Every command line of the pages that starts a program of this project."""
    for path in PAGES:
        text = path.read_text()
        fenced = "\n".join(code_blocks(text)) + "\n".join(re.findall(r"^    .*$", text, re.M))
        yield from (line.strip() for line in COMMAND.findall(fenced) + INLINE_COMMAND.findall(text))


def program_of(command: str) -> tuple[str, list[str]]:
    """A command's program (a file with its tool, or a module after -m) and its long options."""
    words = shlex.split(command.replace("...", ""))
    if words[1] == "-m":
        return words[2], [word for word in words[3:] if word.startswith("--")]
    at = next(k for k, word in enumerate(words) if word.endswith(".py"))
    tool = words[at + 1 : at + 2] if words[at] == "generate.py" and words[at + 1].islower() else []
    return " ".join([words[at], *tool]), [word for word in words[at:] if word.startswith("--")]


@cache
def programs() -> dict[str, set[str]]:
    """Every program that the pages start, with the options that they give it."""
    found = {}
    for command in commands():
        program, options = program_of(command)
        found.setdefault(program, set()).update(options)
    return found


def test_programs_that_are_named_exist():
    files = {name.split()[0] for name in programs()}
    missing = [name for name in files if not (ROOT / name).exists() and "." in name.removesuffix(".py")]
    assert [name for name in missing if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []


@pytest.fixture
def options_of(monkeypatch, capsys):
    """A function: a program's long options, by its --help."""

    def run(program: str) -> set[str]:
        program, *tool = program.split()
        monkeypatch.setattr(sys, "argv", [program, *tool, "--help"])
        monkeypatch.setattr(sys, "path", [*sys.path])  # programs in folders add the root to it
        start, name = (runpy.run_path, str(ROOT / program)) if program.endswith(".py") else (runpy.run_module, program)
        with pytest.raises(SystemExit):
            start(name, run_name="__main__")
        return set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    return run


@pytest.mark.parametrize("program", [program for program, options in programs().items() if options])
def test_a_program_accepts_the_options_that_the_pages_give(program, options_of):
    assert programs()[program] <= options_of(program)


def test_the_page_on_training_has_every_option(options_of):
    assert set(re.findall(r"^\| `(--[a-z-]+)` \|", TRAINING, re.M)) == options_of("train.py")


# ---- Tables and figures ----


def test_the_sizes_of_published_checkpoints_are_those_of_their_presets():
    rows = re.findall(r"^\| \[[^\]]+\]\(https://[^)]+/([^/)]+)\.tar\) \| `([^`]+)` \| (\d+) \|", MAGENTA, re.M)
    assert len(rows) == 11
    for file, preset, size in rows:
        assert file.split(".")[0] == preset
        assert int(size) == round(4 * parameters(preset) / 1e6)  # MB of float32


@cache
def parameters(preset: str) -> int:
    """Trained numbers of a preset's model; the second bias of PyTorch's LSTMs stays zero and does not count."""
    with torch.device("meta"):
        named = MusicVAE(CONFIGS[preset].model).named_parameters()
    return sum(value.numel() for key, value in named if "bias_hh" not in key)


def patterns(cell: str) -> Iterator[str]:
    """The names with * in a cell, with {a,b} spelled out."""
    for name in re.findall("`(.*?)`", cell):
        before, _, rest = name.partition("{")
        choices, _, after = rest.partition("}")
        yield from (f"{before}{choice}{after}" for choice in choices.split(","))


def test_every_preset_has_one_row_of_what_it_takes():
    """And takes what the row says, as far as its converter's fields tell."""
    table = PRESETS[PRESETS.index("| preset | takes") : PRESETS.index("- Bars are in 4/4")]
    rows = table_rows(table)
    for name, config in CONFIGS.items():
        ((takes, window),) = (row[1:] for row in rows if any(fnmatch(name, p) for p in patterns(row[0])))
        converter = config.converter
        assert str(converter.bars) in window
        assert ("0 to 31" in takes) == (getattr(converter, "programs", None) == MelodyConverter().programs)
        assert ("61 instruments" in takes) == (getattr(converter, "classes", 9) == 61)


def size_table() -> str:
    rows = []
    for name, config in CONFIGS.items():
        encoder, decoder = (
            ", ".join(map(str, sizes)) for sizes in (config.model.enc_rnn_size, config.model.dec_rnn_size)
        )
        rows.append(f"| `{name}` | {parameters(name):,} | {config.model.z_size} | {encoder} | {decoder} |")
    return markdown("| preset | parameters | z | encoder | decoder |", rows)


def recipe_table() -> str:
    """One row per recipe, with the fields in which it differs from the defaults of `TrainingConfig`."""
    names = {}
    for name, config in CONFIGS.items():
        names.setdefault(config.training, []).append(f"`{name}`")
    defaults = [field for field in fields(TrainingConfig) if field.name not in ("batch_size", "steps")]
    rows = []
    for recipe, presets in names.items():
        values = {field.name: getattr(recipe, field.name) for field in defaults}
        others = [f"`{name}={values[name]!r}`" for name in values if values[name] != default_of(name)]
        rows.append(f"| {', '.join(presets)} | {recipe.batch_size} | {recipe.steps:,} | {', '.join(others) or '-'} |")
    return markdown("| presets | `batch_size` | `steps` | other fields |", rows)


def default_of(name: str):
    return next(field.default for field in fields(TrainingConfig) if field.name == name)


def test_the_tables_of_sizes_and_recipes_are_those_of_the_presets():
    assert section(PRESETS, "sizes") == size_table()
    assert section(PRESETS, "recipes") == recipe_table()


def test_a_flat_preset_is_as_large_as_its_twin():
    assert "within 1 %" in PRESETS
    for name in CONFIGS:
        if name.startswith("flat-") and name.endswith(("_mini", "16bar_small")):
            assert parameters(name) == pytest.approx(parameters(name.replace("flat-", "hier-")), rel=0.01)


def test_the_minutes_of_published_models_are_those_of_the_results():
    published = [ROOT / "results" / f"{path.stem}.json" for path in (ROOT / "pretrained").glob("*.pt")]
    minutes = [round(json.loads(path.read_text())["minutes"]) for path in published]
    assert f"took {min(minutes)} to {max(minutes)} minutes" in PRESETS


def test_the_readme_counts_the_songs():
    songs = sum(entry.split == "train" for entry in read_manifest())
    assert f"The models were trained on songs among {songs:,} files" in README
    assert f"{len(midi_files(BUILT_IN))} built-in songs" in README


# ---- Python ----


@each_page
def test_python_blocks_import_names_that_exist(path):
    for block in code_blocks(path.read_text(), "python"):
        compile(block, path.name, "exec")
        for module, names in re.findall(r"^\s*from ([\w.]+) import (.+)$", block, re.M):
            source = ROOT / f"{module.replace('.', '/')}.py"
            if source.exists():
                assert [name for name in names.split(", ") if not re.search(rf"\b{name}\b", source.read_text())] == []


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder with what the pages' code reads, at a small size; `train` makes two steps. Tables stay as they were."""
    monkeypatch.chdir(tmp_path)
    tables = [(table, dict(table)) for table in (ATTRIBUTES, CONFIGS, CONVERTERS, OUTPUTS)]
    monkeypatch.setattr(magenta_checkpoint, "FORMATS", magenta_checkpoint.FORMATS)
    monkeypatch.setattr(directions, "MIN_GROUP", 16)
    monkeypatch.setattr(prior.sequence, "CHOICE_UPDATES", 10)
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    for folder in ("midi_songs", "lmd_full"):
        (tmp_path / folder).mkdir()
        for song in sorted(midi_files(BUILT_IN))[:4]:
            (tmp_path / folder / song.name).symlink_to(song)
    write_published(tmp_path)
    whole = training.train
    monkeypatch.setattr(training, "train", lambda *args, **options: whole(*args, **options | {"steps": 2}))
    yield
    for table, entries in tables:
        table.clear()
        table.update(entries)


def write_published(folder: Path):
    """Magenta's files that the pages name, small, under the same names."""
    fixture = parity_folder("cat-drums_2bar_small")
    with tarfile.open(folder / "cat-drums_2bar_small.lokl.tar", "w") as archive:
        for part in fixture.glob("model.ckpt.*"):
            archive.add(part, f"cat-drums_2bar_small.lokl/{part.name}")
    config = CONFIGS["cat-mel_2bar_tiny"]
    longer = replace(config, converter=replace(config.converter, bars=4), model=replace(config.model, steps=64))
    model = replace(longer.model, dec_rnn_size=(32, 32))
    export_magenta_js(MusicVAE(model), replace(longer, model=model), folder / "mel_4bar_small_q2")


@pytest.mark.parametrize(
    "path", [path for path in PAGES if "```python" in path.read_text()], ids=lambda path: path.name
)
def test_the_python_of_a_page_runs_from_top_to_bottom(path, reader):
    names = {"__name__": "__main__"}
    for block in code_blocks(path.read_text(), "python"):
        if "from dask" in block:
            continue  # not among the requirements
        exec(compile(block, path.name, "exec"), names)
