"""The layers of the house: which module may import which, and what lies at the root.

The import graph is read from the source, so that imports inside functions count as well.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (  # from the ground; an import goes down or stays in its layer
    {"engine", "music", "console"},
    {"outputs", "loss", "model", "prior"},
    {"configs", "midi_utils", "checkpoint", "corpus", "training"},
    {"train", "generate", "magenta_formats", "magenta_checkpoint", "notebook_utils", "studio"},
    {"evaluation", "paper", "benchmarks", ".ci"},
)
NOT_LAYERED = ("tests", "midi_songs")  # tests import everything; the built-in songs' program imports nothing of ours

NETWORKS = {
    *("model", "loss", "outputs", "prior"),
    *("engine.lstm", "engine.fused_lstm", "engine.core_steps", "engine.single_sequence", "engine.cuda_graph"),
}
FILES = {"os", "io", "pathlib", "json", "csv", "shutil", "tempfile", "zipfile"}
FORBIDDEN = {  # module or folder: what it must not import, whatever its layer allows
    "engine": {"music", "pretty_midi", "mido"},
    "music": NETWORKS,
    "loss": FILES | {"music", "pretty_midi", "mido"},
    "outputs": FILES | {"music", "pretty_midi", "mido"},
    "model": FILES | {"music", "pretty_midi", "mido", "torch.optim"},
}
ALLOWED = {"outputs": {"music.labels"}}  # and what it may import all the same: constants alone

MAX_ROOT_MODULES = 13
MAX_ROOT_ENTRIES = 34  # visible ones
COMMON_PACKAGES = {  # importable names that a folder of this repository would hide
    *("magenta", "note_seq", "music21", "mido", "pretty_midi", "symusic", "muspy", "miditok", "midi", "mir_eval"),
    *("torch", "torchaudio", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "tensorflow", "keras", "jax"),
    *("models", "datasets", "transformers", "tokenizers", "accelerate", "evaluate", "utils", "data", "common"),
    *("tqdm", "jupyter", "notebook", "pytest", "dask", "ray", "audio", "librosa", "soundfile"),
}

ALLOWED_UNDERSCORES = {
    *("_replace", "_asdict", "_fields", "_make", "_exit"),  # public: of named tuples, and os._exit
    *("_tick_scales", "_update_tick_to_time"),  # pretty_midi has no other way to write a change of tempo
}


def git(*arguments) -> list[str]:
    """Lines that git prints about this checkout; skips the test outside of one."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    found = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if (ROOT / line).exists()]


def python_files() -> list[str]:
    return git("ls-files", "--cached", "--others", "--exclude-standard", "*.py")


def module_files() -> dict[str, Path]:
    """Module name, such as 'music.grid', to its file; a folder's name stands for its __init__.py."""
    paths = (Path(name) for name in python_files() if not name.startswith(tuple(f"{part}/" for part in NOT_LAYERED)))
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): ROOT / path for path in paths}


def place(module: str) -> str:
    """The module or folder at the root that a module belongs to."""
    return ".ci" if module.startswith(".ci.") else module.split(".")[0]


def layer(module: str) -> int:
    return next(k for k, names in enumerate(LAYERS) if place(module) in names)


def imported_names(path: Path) -> list[str]:
    """Everything that a file imports, dotted: 'from a import b' gives 'a.b', whether b is a module or a name in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}, line {node.lineno}: imports are absolute in this project"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def import_graph() -> dict[str, set[str]]:
    """Each module of the project to those that it imports."""
    files = module_files()
    graph = {}
    for module, path in files.items():
        names = imported_names(path)
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in names} & set(files)
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Modules that are imported from a module on, directly or by what it imports."""
    found, waiting = set(), [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def circular(graph: dict[str, set[str]]) -> set[str]:
    """Modules that import themselves in the end."""
    return {module for module in graph if module in reachable(graph, module)}


def within(name: str, scope: str) -> bool:
    """Whether a dotted name is a scope or lies in it."""
    return name == scope or name.startswith(f"{scope}.")


def test_every_module_and_folder_has_one_layer():
    places = {place(module) for module in module_files()}
    assert places - set().union(*LAYERS) == set()
    assert sum(map(len, LAYERS)) == len(set().union(*LAYERS))


def test_every_name_in_the_layers_exists():
    assert set().union(*LAYERS) - {place(module) for module in module_files()} == set()


def test_imports_go_down_or_stay_in_their_layer():
    upwards = [(a, b) for a, below in import_graph().items() for b in below if layer(b) > layer(a)]
    assert upwards == []


def test_no_modules_import_one_another_in_a_circle():
    assert circular(import_graph()) == set()


def test_a_circle_is_found():
    assert circular({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a", "b", "c"}


def test_an_import_inside_a_function_counts(tmp_path):
    path = tmp_path / "late.py"
    path.write_text("import torch\ndef f():\n    from music import grid\n    import model\n")
    assert imported_names(path) == ["torch", "music.grid", "model"]


@pytest.mark.parametrize("scope", FORBIDDEN)
def test_a_module_imports_nothing_that_it_must_not_know(scope):
    files = {module: path for module, path in module_files().items() if within(module, scope)}
    found = [(m, name) for m, path in files.items() for name in imported_names(path)]
    found = [(m, name) for m, name in found if not any(within(name, fine) for fine in ALLOWED.get(scope, ()))]
    assert [(m, name) for m, name in found if any(within(name, bad) for bad in FORBIDDEN[scope])] == []


def test_what_a_module_may_import_all_the_same_imports_nothing():
    files = module_files()
    assert {name: imported_names(files[name]) for names in ALLOWED.values() for name in names} == {"music.labels": []}


def test_the_root_is_small():
    top = {name.split("/")[0] for name in git("ls-files")}
    visible = sorted(name for name in top if not name.startswith("."))
    assert len(visible) <= MAX_ROOT_ENTRIES, visible
    assert len([name for name in visible if name.endswith(".py")]) <= MAX_ROOT_MODULES, visible


def test_no_folder_hides_a_package():
    folders = {name.split("/")[0] for name in git("ls-files") if "/" in name}
    assert folders & (COMMON_PACKAGES | sys.stdlib_module_names) == set()


def private_uses(path: Path) -> list[str]:
    """Private names of other objects that a test reads, imports or patches."""
    uses = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            names = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            names = [part.value.split(".")[-1] for part in node.args[:2] if is_text(part)]
        private = [name for name in names if name.startswith("_") and not name.startswith("__")]
        uses += [f"{path.name}:{node.lineno} {name}" for name in private if name not in ALLOWED_UNDERSCORES]
    return uses


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_tests_use_public_names_only():
    tests = [ROOT / name for name in python_files() if name.startswith("tests/")]
    assert [use for path in tests for use in private_uses(path)] == []


def test_the_tests_lie_as_the_code_does():
    """A test of a folder's module lies in the folder of that name."""
    folders = {str(Path(name).parent) for name in python_files() if Path(name).name.startswith("test_")}
    assert {name.removeprefix("tests").lstrip("/") for name in folders} <= {"", *set().union(*LAYERS), "midi_songs"}
    for module in module_files():
        folder, _, name = module.rpartition(".")
        assert not folder or not (ROOT / "tests" / f"test_{name}.py").exists(), module
