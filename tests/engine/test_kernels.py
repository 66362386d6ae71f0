"""The compiled kernels: when they are built, and what runs without them."""

import subprocess

import pytest
import torch

from engine import kernels
from engine.lstm import LstmLayer


@pytest.fixture
def fresh():
    """Kernels are looked for anew, in the test and after it."""
    kernels.compiled_kernels.cache_clear()
    yield
    kernels.compiled_kernels.cache_clear()


@pytest.mark.parametrize("fault", ["no compiler", "failing compiler", "no folder", "changed oneDNN", "Windows"])
def test_layers_fall_back_to_pytorchs_without_kernels(monkeypatch, tmp_path, fault, fresh):
    source = kernels.SOURCE_FILE.read_text() + ("#error" if fault == "failing compiler" else "//")
    (tmp_path / "lstm.cpp").write_text(source)
    (tmp_path / "__pycache__").write_text("a file instead of the folder") if fault == "no folder" else None
    monkeypatch.setattr(kernels, "SOURCE_FILE", tmp_path / "lstm.cpp")
    if fault == "no compiler":
        monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    if fault == "changed oneDNN":
        monkeypatch.setattr(kernels, "packed_linear", lambda weight, bias, batch_size: lambda *x: torch.zeros(2, 3))
    if fault == "Windows":
        monkeypatch.setattr(kernels.platform, "system", lambda: "Windows")
    assert kernels.compiled_kernels() is None
    outputs, _ = LstmLayer(3, 4)(torch.randn(2, 5, 3))
    outputs.sum().backward()


@pytest.mark.skipif(kernels.compiled_kernels() is None, reason="no C++ compiler, or no oneDNN, here")
def test_the_library_is_compiled_once_per_source(monkeypatch, tmp_path):
    (tmp_path / "lstm.cpp").write_text(kernels.SOURCE_FILE.read_text())
    monkeypatch.setattr(kernels, "SOURCE_FILE", tmp_path / "lstm.cpp")
    first = kernels.build_library("c++")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("compiled again"))
    assert kernels.build_library("c++") == first
    assert [path.name for path in first.parent.iterdir()] == [first.name]
