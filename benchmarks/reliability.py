"""Damages model files and tries hostile ones, for the table of docs/reliability.md.

    python benchmarks/reliability.py           prints the table; about five minutes
    python benchmarks/reliability.py --docs    also writes it into docs/reliability.md

A flipped bit is found where loading raises a ValueError. It is harmless where the loaded model has the same bits as
before, as with a flip in a date. Everything else is silent, and must not happen.
"""

import hashlib
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.hostile_files import MAKERS, SIZE, measure, write_bundle
from benchmarks.sections import run_command
from benchmarks.tables import ROOT
from checkpoint import read_checkpoint
from configs import CONFIGS
from generate import TrainedModel
from magenta_checkpoint import load_magenta_model
from magenta_formats.crc32c import crc32c
from magenta_formats.javascript import DIGESTS, export_magenta_js
from magenta_formats.variables import tensorflow_variables
from model import MusicVAE
from prior import MixturePrior

PARITY = ROOT / "tests" / "fixtures" / "parity"
SMALLEST = "cat-mel_2bar_small"  # of Magenta's presets
HAPPENED = {"found": "refused", "harmless": "loaded with the same bits", "silent": "**loaded with other bits**"}
FLIPS = 100  # per file
CRC_BYTES = 500_000_000


class Target(NamedTuple):
    """A file whose bits are flipped."""

    kind: str
    file: Path
    path: Path  # what is loaded: the file itself, or the prefix or folder that it belongs to
    config_name: str | None = None


# ---- Flipped bits ----


def published_targets(folder: Path) -> Iterator[Target]:
    """Copies of the published files and of Magenta's checkpoints in tests/fixtures."""
    pretrained = Path(shutil.copytree(ROOT / "pretrained", folder / "pretrained"))
    for path in sorted(pretrained.glob("*.pt")):
        yield Target("`.pt`", path, path)
    for model in sorted((pretrained / "magenta_js").iterdir()):
        yield from javascript_targets(model)
    for model in sorted(Path(shutil.copytree(PARITY, folder / "parity")).glob("*/model.ckpt.index")):
        yield from tensorflow_targets(model.parent, model.parent.name)


def javascript_targets(model: Path) -> Iterator[Target]:
    """The files of a magenta.js folder."""
    kinds = {"group1-": "shard", "weights_": "manifest", "config.": "`config.json`", DIGESTS: f"`{DIGESTS}`"}
    for file in sorted(model.iterdir()):
        yield Target(f"magenta.js {next(k for start, k in kinds.items() if file.name.startswith(start))}", file, model)


def tensorflow_targets(model: Path, name: str) -> Iterator[Target]:
    """The files of a TensorFlow checkpoint, and archives of them."""
    prefix, files = model / "model.ckpt", sorted(model.glob("model.ckpt.*"))
    for file in files:
        yield Target(f"TensorFlow `.{file.name.split('.')[2].split('-')[0]}`", file, prefix, name)
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        path = model / f"model{suffix}"
        with tarfile.open(path, mode) as archive:
            for file in files:
                archive.add(file, file.name)
        yield Target(f"`{suffix}`", path, path, name)


def flip_bits(target: Target, count: int = FLIPS, seed: int = 0) -> Counter:
    """Flips single bits at random places, one at a time, and counts how often that was found, harmless and silent."""
    whole = fingerprint(target)
    content, outcomes = bytearray(target.file.read_bytes()), Counter()
    for bit in np.random.default_rng(seed).integers(8 * len(content), size=count):
        content[bit // 8] ^= 1 << bit % 8
        target.file.write_bytes(content)
        outcomes[outcome(target, whole)] += 1
        content[bit // 8] ^= 1 << bit % 8
    target.file.write_bytes(content)
    return outcomes


def outcome(target: Target, whole: str) -> str:
    """What became of a damaged file whose whole model had a fingerprint."""
    try:
        return "harmless" if fingerprint(target) == whole else "silent"
    except ValueError:
        return "found"


def fingerprint(target: Target) -> str:
    """A digest of all that is loaded."""
    trained = TrainedModel.load(target.path, config_name=target.config_name)
    digest = hashlib.sha256(repr(trained.config).encode())
    for tensor in (*trained.model.state_dict().values(), *(trained.prior or ())):
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def flip_rows() -> Iterator[tuple[str, int, str]]:
    """The rows of flipped bits, one per kind of file."""
    outcomes: dict[str, Counter] = {}
    with tempfile.TemporaryDirectory() as folder:
        for target in published_targets(Path(folder)):
            outcomes.setdefault(target.kind, Counter()).update(flip_bits(target))
    for kind, counts in outcomes.items():
        yield (
            f"{kind}, one bit flipped",
            counts.total(),
            ", ".join(f"{did} {counts[how]} times" for how, did in HAPPENED.items() if counts[how]),
        )


# ---- Values that are not finite ----


def not_finite_rows() -> Iterator[tuple[str, int, str]]:
    """The rows of NaN and infinity: one value of each tensor, in each format."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, attempts in (
            ("`.pt`", damaged_checkpoints),
            ("TensorFlow", damaged_bundles),
            ("magenta.js", damaged_folders),
        ):
            named = [names_tensor(load, path, name) for load, path, name in attempts(Path(folder))]
            yield f"{kind}, NaN or infinity in one tensor", len(named), f"tensor named {sum(named)} times"


def names_tensor(load: Callable, path: Path, name: str) -> bool:
    """Whether loading a file raises an error that names a tensor."""
    try:
        load(path)
    except ValueError as fault:
        return name in str(fault) and "NaN" in str(fault)
    return False


def damaged_checkpoints(folder: Path) -> Iterator[tuple[Callable, Path, str]]:
    """A published checkpoint with a value that is not finite in one tensor after the other."""
    path = folder / "model.pt"
    content = read_checkpoint(ROOT / "pretrained" / "mel_2bar.pt")
    tensors = content["model"] | {f"prior.{name}": content["prior"][name] for name in MixturePrior._fields}
    for name, tensor in tensors.items():
        for value in (float("nan"), float("inf")):
            last = (-1,) * tensor.ndim
            kept = tensor[last].clone()
            tensor[last] = value
            torch.save(content, path)
            tensor[last] = kept
            yield TrainedModel.load, path, name


def damaged_bundles(folder: Path) -> Iterator[tuple[Callable, Path, str]]:
    """The same of a TensorFlow checkpoint, with valid checksums."""
    model = small_model()
    for name, values in tensorflow_variables(model).items():
        for value in (np.nan, -np.inf):
            variables = tensorflow_variables(model)
            variables[name] = values.copy()
            variables[name].flat[-1] = value
            yield (
                partial(load_magenta_model, config_name=SMALLEST),
                write_bundle(folder / "model.ckpt", variables),
                name,
            )


def damaged_folders(folder: Path) -> Iterator[tuple[Callable, Path, str]]:
    """The same of a magenta.js folder without digests."""
    model, path = small_model(), folder / "javascript"
    export_magenta_js(model, replace(CONFIGS[SMALLEST], model=model.config), path)
    (path / DIGESTS).unlink()
    shard, end = next(path.glob("group1-*")), 0
    content = shard.read_bytes()
    for name, values in tensorflow_variables(model).items():
        end += values.nbytes
        for value in (np.nan, np.inf):
            shard.write_bytes(content[: end - 4] + np.float32(value).tobytes() + content[end:])
            yield load_magenta_model, path, name


def small_model(**sizes) -> MusicVAE:
    """A model of Magenta's smallest preset with narrow layers, or with other sizes."""
    sizes = {"z_size": 16, "enc_rnn_size": (24,), "dec_rnn_size": (20, 20)} | sizes
    return MusicVAE(replace(CONFIGS[SMALLEST].model, **sizes))


# ---- Hostile files, and the table ----


def hostile_rows() -> Iterator[tuple[str, int, str]]:
    """The rows of small files that ask for much memory."""
    with tempfile.TemporaryDirectory() as folder:
        attempts = [measure([make(Path(folder))])[0] for make in MAKERS.values()]  # each in a process of its own
    for what, attempt in zip(MAKERS, attempts, strict=True):
        happened = "refused" if attempt.message else "**loaded**"
        grown = f"{attempt.memory / 1e6:.0f} MB" if attempt.memory >= 1e6 else "less than 1 MB"
        yield f"{what}, which would take {SIZE / 1e6:.0f} MB", 1, f"{happened} after taking {grown}"


def checksum_row() -> tuple[str, int, str]:
    """The row of the speed of CRC-32C."""
    data = np.random.default_rng(0).integers(0, 256, CRC_BYTES, np.uint8)
    start = time.process_time()
    crc32c(data)
    seconds = time.process_time() - start
    return (
        f"CRC-32C of {CRC_BYTES / 1e6:.0f} MB",
        1,
        f"{seconds:.2f} s on one core, {CRC_BYTES / seconds / 1e9:.1f} GB/s",
    )


def all_rows() -> list[tuple[str, int, str]]:
    """All rows of the table."""
    return [*flip_rows(), *not_finite_rows(), *hostile_rows(), checksum_row()]


def main():
    """The command: prints the table, and writes the page if asked."""
    run_command("Damage model files and try hostile ones.", "model files", "reliability.py", all_rows)


if __name__ == "__main__":
    main()
