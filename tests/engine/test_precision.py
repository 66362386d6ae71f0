"""bfloat16 is chosen where it is measured to be faster, once per machine."""

import time

import pytest
import torch

from engine import precision
from engine.precision import chosen_precision
from helpers import needs_bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def new_machine(tmp_path, monkeypatch):
    """A machine that has not been measured, and whose answers the process has not seen."""
    monkeypatch.setattr(precision, "CACHE", tmp_path / "cache")
    precision.bfloat16_is_faster.cache_clear()
    yield tmp_path / "cache"
    precision.bfloat16_is_faster.cache_clear()


def take_seconds(monkeypatch, **seconds):
    """Lets products take so many seconds per dtype; returns the list of those that were timed."""
    timed = []

    def product_seconds(dtype):
        timed.append(dtype)
        return seconds[str(dtype).removeprefix("torch.")]

    monkeypatch.setattr(precision, "product_seconds", product_seconds)
    return timed


@needs_bfloat16
@pytest.mark.parametrize(("float32", "bfloat16", "chosen"), [(2.0, 1.0, "bfloat16"), (1.0, 2.0, "float32")])
def test_auto_takes_the_faster_precision(monkeypatch, float32, bfloat16, chosen):
    """Also on a processor that lists bfloat16 and emulates it slowly."""
    take_seconds(monkeypatch, float32=float32, bfloat16=bfloat16)
    assert chosen_precision(CPU, "auto") == chosen
    assert chosen_precision(CPU, "bfloat16") == "bfloat16"
    assert chosen_precision(CPU, "float32") == "float32"


def test_a_machine_is_measured_once(monkeypatch):
    timed = take_seconds(monkeypatch, float32=1.0, bfloat16=2.0)
    assert not precision.bfloat16_is_faster(CPU)
    precision.bfloat16_is_faster.cache_clear()  # as in another process
    take_seconds(monkeypatch, float32=2.0, bfloat16=1.0)
    assert not precision.bfloat16_is_faster(CPU)
    assert len(timed) == 2


def test_another_number_of_threads_is_measured_anew(monkeypatch):
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        precision.bfloat16_is_faster.cache_clear()  # as in another process
        timed = take_seconds(monkeypatch, float32=1.0, bfloat16=float(threads) / 1.5)
        assert precision.bfloat16_is_faster(CPU) == (threads == 1)
        assert len(timed) == 2


def test_a_damaged_answer_is_measured_again(monkeypatch, new_machine):
    take_seconds(monkeypatch, float32=2.0, bfloat16=1.0)
    assert precision.bfloat16_is_faster(CPU)
    (file,) = new_machine.iterdir()
    file.write_text("bflo")
    precision.bfloat16_is_faster.cache_clear()
    take_seconds(monkeypatch, float32=1.0, bfloat16=2.0)
    assert not precision.bfloat16_is_faster(CPU)
    assert file.read_text() == "float32"


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(precision, "CACHE", tmp_path / "file" / "cache")
    take_seconds(monkeypatch, float32=2.0, bfloat16=1.0)
    assert precision.bfloat16_is_faster(CPU)


@needs_bfloat16
def test_measuring_takes_less_than_20_ms_of_processor_time():
    seconds = []
    for _ in range(3):  # another program may slow one down
        start = time.thread_time()
        precision.product_seconds(torch.bfloat16)
        precision.product_seconds(torch.float32)
        seconds.append(time.thread_time() - start)
    assert 0 < min(seconds) < 0.02
