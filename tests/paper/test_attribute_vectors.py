"""Attribute vectors equal values worked out by hand."""

import numpy as np

from music.attributes import ATTRIBUTES
from paper.attribute_vectors import attribute_vectors


def test_attribute_vectors_equal_the_values_worked_out_by_hand():
    """Windows of 1, 2, 3 and 4 notes in 8 steps: the top quartile is the last window, the bottom one the first."""
    labels = np.zeros((4, 8), np.uint8)
    for notes in range(4):
        labels[notes, : 2 * notes + 1 : 2] = 41  # C major's C, on the eighths
    mu = np.array([[0.0, 1], [5, 5], [7, 7], [10, -1]])
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(labels, mu), strict=True))
    assert vectors["note_density"].tolist() == [10, -2]
    assert vectors["c_diatonic"].tolist() == [0, 0]  # equal in all windows: no direction
    syncopated = labels.copy()
    syncopated[3] = [0, 41, 0, 0, 0, 0, 0, 0]
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(syncopated, mu), strict=True))
    assert vectors["syncopation_16th"].tolist() == [
        10 - 4,
        -1 - 13 / 3,
    ]  # minus the mean of all windows without syncopation
