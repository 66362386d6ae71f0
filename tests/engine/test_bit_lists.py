"""Rows of bits become lists of their outer ones."""

import numpy as np
import torch

from engine.bit_lists import code_lists, outer_ones


def test_the_outer_ones_are_kept_from_the_last_and_the_first_in_turn():
    bits = np.array([[1, 0, 1, 1, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0, 0, 0]], bool)
    kept = [np.flatnonzero(row).tolist() for row in outer_ones(bits, 3)]
    assert kept == [[0, 6, 7], [2]]
    assert np.array_equal(outer_ones(torch.from_numpy(bits), 3).numpy(), outer_ones(bits, 3))
    assert np.array_equal(outer_ones(bits, 8), bits)


def test_codes_rise_and_name_the_kind_of_each_one():
    bits = torch.zeros(2, 8, dtype=torch.bool)
    bits[0, [0, 2, 4 + 1, 4 + 2]] = True  # places 0 and 2 of the first kind, 1 and 2 of the second
    assert code_lists(bits, 4).tolist() == [[0, 5, 6, 8], [8, 8, 8, 8]]
    assert code_lists(bits, 2).tolist() == [[0, 6], [8, 8]]
