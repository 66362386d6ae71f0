"""The effects of directions on all attributes are measured, and their agreement."""

import json

import numpy as np
import pytest
import torch

from helpers import made_songs, table_rows, untrained
from midi_utils import SongDataset
from music.attributes import ATTRIBUTES, note_density
from music.melody import FIRST_PITCH
from paper.attribute_vectors import AttributeTable, attribute_means
from paper.directions import Agreement, Measured, decoded, measure, measure_agreement, measure_effects
from paper.json_results import to_plain
from paper.tables import agreement_table, directions_table
from studio.directions import Directions

Z = 16


@pytest.fixture(scope="module")
def trained():
    return untrained("cat-mel_2bar_tiny")


def random_melodies(windows):
    """Labels [n, 32] that differ in all attributes."""
    random = np.random.default_rng(0)
    shares, ranges = random.uniform(0.2, 0.8, (windows, 1)), random.integers(2, 20, (windows, 1))
    pitches = FIRST_PITCH + 40 + (random.random((windows, 32)) * ranges).astype(int)
    return np.where(random.random((windows, 32)) < shares, pitches, 0).astype(np.uint8)


def test_effects_are_means_of_what_is_decoded_from_moved_z(trained):
    vectors = torch.randn(len(ATTRIBUTES), Z, generator=torch.Generator().manual_seed(0))
    z = trained.draw_z(8, seed=0)
    found = measure_effects(Directions(trained, dict(zip(ATTRIBUTES, vectors, strict=True))), z)
    assert found.names == list(ATTRIBUTES)
    for moved, means in ((z, found.before), (z + vectors[1], found.added[1]), (z - vectors[4], found.subtracted[4])):
        np.testing.assert_equal(means, attribute_means(decoded(trained, moved)))


def test_directions_agree_fully_where_z_are_the_attribute_and_less_with_noise():
    labels = random_melodies(512)
    song = np.arange(512) // 4
    (exact,) = measure_agreement(labels, note_density(labels)[:, None] * np.ones(Z), song)
    assert exact.windows == 128
    np.testing.assert_allclose(exact.cosines[list(ATTRIBUTES).index("note_density")], 1)
    (noisy,) = measure_agreement(labels, np.random.default_rng(0).normal(size=(512, Z)), song)
    assert np.abs(noisy.cosines).max() < 0.7


def test_windows_of_one_song_do_not_agree_with_each_other():
    """Equal windows, in pairs of one song, with random z: pairs in both halves would make directions agree."""
    labels, mu = random_melodies(256).repeat(2, 0), np.random.default_rng(0).normal(size=(256, Z)).repeat(2, 0)
    (within,) = measure_agreement(labels, mu, np.arange(512) // 2)
    (across,) = measure_agreement(labels, mu, np.arange(512))
    assert np.mean(within.cosines) < np.mean(across.cosines) / 2


def test_a_model_is_measured_and_its_directions_are_written(trained, tmp_path):
    made = made_songs(trained.converter, 640)
    windows = made.windows(slice(None))._replace(labels=random_melodies(640))
    songs = SongDataset(windows, made.song, made.names, made.converter, None)
    found = measure("small", trained, songs, made_songs(trained.converter), tmp_path)
    assert (found.model, found.windows, found.held_out) == ("small", 640, 24)
    assert [one.windows for one in found.agreement] == [128]
    directions = trained.load_directions(tmp_path / "pretrained" / "small_directions.json")
    assert list(directions.vectors) == list(ATTRIBUTES)


def test_tables_show_changes_and_cosines():
    table = AttributeTable(["a", "b"], [0.5, 2], [[0.75, 1], [0.5, 3]], [[0.25, 2], [0.5, 1]])
    found = to_plain(Measured("x", 600, 24, table, [Agreement(128, [0.75, 0.5]), Agreement(8192, [1.0, 0.25])]))
    found = json.loads(json.dumps(found))
    assert table_rows(directions_table(found)) == [
        ["none", "0", "0.500", "2.000"],
        ["a", "+1", "+0.250", "-1.000"],
        ["a", "-1", "-0.250", "+0.000"],
        ["b", "+1", "+0.000", "+1.000"],
        ["b", "-1", "+0.000", "-1.000"],
    ]
    assert table_rows(agreement_table(found)) == [["128", "0.750", "0.500"], ["8,192", "1.000", "0.250"]]
