"""Checks of arguments: what they return; tests/test_wrong_calls.py has what they refuse."""

import numpy as np
import pytest
import torch

from engine.checks import (
    checked_count,
    checked_number,
    checked_path,
    checked_seed,
    described,
    finite_array,
    finite_floats,
    whole_numbers,
)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_a_whole_number_becomes_an_int(value):
    for found in (checked_count("n", value), checked_seed(value)):
        assert type(found) is int
        assert found == 3


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_a_number_becomes_a_float_and_both_of_its_bounds_are_taken(value):
    found = checked_number("share", value, low=0.5, high=0.5)
    assert type(found) is float
    assert found == 0.5


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_the_outermost_seeds_are_taken_by_pytorch_and_numpy(seed):
    torch.Generator().manual_seed(checked_seed(seed))
    np.random.default_rng(checked_seed(seed))
    with pytest.raises(ValueError, match="seed must be a whole number"):
        checked_seed(seed + (1 if seed > 0 else -1))


def test_the_current_folder_is_a_path_but_an_empty_text_is_none():
    assert checked_path("path", ".").is_dir()
    with pytest.raises(ValueError, match="path must be a path, got ''"):
        checked_path("path", "")


@pytest.mark.parametrize(
    "values", [[[1, 2]], np.array([[1.0, 2.0]]), np.array([[1, 2]], np.uint8), torch.tensor([[1, 2]])]
)
def test_whole_numbers_become_int64(values):
    found = whole_numbers("labels", values)
    assert found.dtype == np.int64
    assert found.tolist() == [[1, 2]]


def test_floats_take_the_type_of_the_weights():
    weight = torch.zeros(1, dtype=torch.float64)
    for values in ([[1, 2]], np.array([[1.0, 2.0]], np.float16), [torch.tensor([1.0, 2.0])]):
        found = finite_floats("z", values, "[n, 2]", weight)
        assert found.dtype == torch.float64
        assert found.tolist() == [[1, 2]]
    assert finite_array("mu", torch.ones(1, 2, requires_grad=True), axes=2).tolist() == [[1, 1]]


def test_a_message_shows_short_values_and_describes_long_ones():
    assert described("flute") == "'flute'"
    assert described(np.zeros((2, 3))) == "ndarray of float64, shape [2, 3]"
    assert described("x" * 100) == "a value of type str"
