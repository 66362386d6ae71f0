"""Model files that changed are found, and files that ask for much memory do not get it."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.hostile_files import MAKERS, SIZE, STATUS, measure
from benchmarks.reliability import (
    Target,
    damaged_bundles,
    damaged_checkpoints,
    damaged_folders,
    flip_bits,
    javascript_targets,
    names_tensor,
    published_targets,
    small_model,
    tensorflow_targets,
)
from checkpoint import save_checkpoint
from configs import CONFIGS
from helpers import parity_folder
from magenta_checkpoint import export_magenta_js
from prior import MixturePrior

PRESET = "cat-mel_2bar_small"
WHOLE = "a model of half of SIZE"
MAX_GROWTH = 40 * 2**20  # bytes; each of the hostile files would take SIZE


def small_targets(folder):
    """One small file of every kind."""
    model = small_model()
    config, prior = (
        replace(CONFIGS[PRESET], model=model.config),
        MixturePrior(torch.zeros(2, 16), torch.eye(16), torch.ones(2)),
    )
    save_checkpoint(folder / "model.pt", model, config, prior=prior)
    export_magenta_js(model, config, folder / "javascript", "uint8")
    parity = shutil.copytree(parity_folder(PRESET), folder / "parity")
    yield Target("`.pt`", folder / "model.pt", folder / "model.pt")
    yield from javascript_targets(folder / "javascript")
    yield from tensorflow_targets(parity, PRESET)


KINDS = {
    *("`.pt`", "TensorFlow `.data`", "TensorFlow `.index`", "`.tar`", "`.tar.gz`"),
    *("magenta.js shard", "magenta.js manifest", "magenta.js `config.json`", "magenta.js `SHA256SUMS`"),
}


def test_each_of_a_hundred_flipped_bits_is_found_or_harmless(tmp_path):
    """In every kind of file; most are found."""
    outcomes = {target.kind: flip_bits(target, 100) for target in small_targets(tmp_path)}
    assert outcomes.keys() == KINDS
    assert all(counts.total() == 100 and not counts["silent"] for counts in outcomes.values()), outcomes
    assert all(counts["found"] > 80 for counts in outcomes.values()), outcomes


@pytest.mark.slow
def test_each_flipped_bit_of_the_published_files_is_found_or_harmless(tmp_path):
    outcomes = Counter()
    for target in published_targets(tmp_path):
        outcomes.update(flip_bits(target, 100, seed=1))
    assert outcomes["silent"] == 0
    assert outcomes["found"] > 0.97 * outcomes.total()


def test_a_flip_that_changes_weights_counts_as_silent(tmp_path):
    """Without digests, magenta.js's format has no checksums: the count above can fail."""
    *_, target = (target for target in small_targets(tmp_path) if target.kind == "magenta.js shard")
    (target.path / "SHA256SUMS").unlink()
    assert flip_bits(target, 20)["silent"] == 20


@pytest.mark.parametrize("files", [damaged_bundles, damaged_checkpoints, damaged_folders])
def test_nan_and_infinity_are_refused_by_the_name_of_their_tensor(tmp_path, files):
    attempts = [names_tensor(load, path, name) for load, path, name in files(tmp_path)]
    assert len(attempts) >= 32
    assert all(attempts)


needs_peak = pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process's memory is read as on Linux")


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    """What loading each of the hostile files, and then a whole model, came to. One process loads them all."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = [make(folder) for make in MAKERS.values()]
    assert sum(file.stat().st_size for file in folder.rglob("*")) < SIZE / 10
    model = small_model(enc_rnn_size=(int((SIZE / 2 / 32) ** 0.5),))
    save_checkpoint(folder / "model.pt", model, replace(CONFIGS[PRESET], model=model.config))
    return dict(zip((*MAKERS, WHOLE), measure([*paths, folder / "model.pt"]), strict=True))


@needs_peak
@pytest.mark.parametrize("name", MAKERS)
def test_a_small_file_does_not_take_much_memory(attempts, name):
    assert attempts[name].message
    assert attempts[name].memory < MAX_GROWTH
    assert attempts[name].seconds < 10


@needs_peak
def test_the_measurement_sees_memory_that_is_taken(attempts):
    assert attempts[WHOLE].message is None
    assert attempts[WHOLE].memory > MAX_GROWTH
