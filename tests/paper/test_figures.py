"""The figures draw what was measured."""

import math

import numpy as np
import pytest

from paper import figures


def test_accuracy_by_step_has_one_panel_per_part_and_the_mean_of_each_bar(made):
    figure = figures.plot_accuracy_by_step([made("cat-mel_2bar_mini"), made("x-trio", parts=("melody", "bass"))])
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "cat-mel_2bar_mini",
        "x-trio, melody",
        "x-trio, bass",
    ]
    forced, sampled = figure.axes[0].patches
    assert forced.get_data().values == pytest.approx([90, 50])  # the first 16 of 32 steps are 0.9, the others 0.5
    assert sampled.get_data().values == pytest.approx([70, 50])
    assert forced.get_data().edges.tolist() == [0, 16, 32]


def test_interpolations_draw_the_distances_over_t(made):
    results = [made(f"model {k}") for k in range(5)]
    figure = figures.plot_interpolations(results)
    assert len(figure.axes) == 10
    above = next(axis for axis in figure.axes if axis.get_title(loc="left") == "model 4")
    drawn = {line.get_label(): line.get_ydata().tolist() for line in above.lines}
    assert drawn["model, to the start"] == [0.1, 0.3, 0.5]
    assert drawn["mix, to the end"] == [1.0, 0.5, 0.0]


def test_attribute_changes_are_relative_to_the_values_before(made):
    added, subtracted = figures.attribute_changes(made("x")["attributes"])
    assert added[:, 0] == pytest.approx([50, 0])
    assert subtracted[:, 0] == pytest.approx([-50, 10])
    assert np.isnan(added[:, 1]).all()  # it was 0 before
    figure = figures.plot_attributes(made("x"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["+50", "–", "+0", "–"]


def test_statistics_draw_both_histograms_with_long_durations_in_one_bar(made):
    figure = figures.plot_statistics(made("x"))
    assert len(figure.axes) == 4
    data, samples = figure.axes[1].containers
    assert [bar.get_height() for bar in data] == [1, *[0] * 15]
    assert [bar.get_height() for bar in samples] == [0.5, *[0] * 14, 0.5]  # notes of 17 steps count in the last bar
    assert [[bar.get_height() for bar in bars] for bars in figure.axes[3].containers] == [[0.4, 0.06], [0.1, 0.05]]
    assert [label.get_text() for label in figure.axes[3].get_xticklabels()] == ["1", "chance"]


def test_self_similarity_has_one_scale_and_a_blank_diagonal(made):
    figure = figures.plot_self_similarity(made("x"))
    data, samples = (axis.images[0] for axis in figure.axes[:2])
    assert data.get_clim() == samples.get_clim() == (0, 0.4)
    assert np.isnan(np.diag(samples.get_array().filled(np.nan))).all()


def test_each_family_has_a_line_of_points_and_the_cost_without_z(made):
    point = {"name": "a_low", "family": "a", "beta": 0.2, "kl_bits": 50.0, "reconstruction": 10.0, "nats": 44.7}
    without_z = {"name": "a_without_z", "beta": 100.0, "kl_bits": 0.1, "reconstruction": 40.0, "nats": 40.07}
    figure = figures.plot_rate_distortion([point, point | without_z, point | {"family": "b"}])
    first, second = figure.axes
    assert len(second.lines) == 1  # no line to compare with
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b"]
    front, bound = first.lines
    assert (front.get_xdata().tolist(), front.get_ydata().tolist()) == ([50, 0.1], [10, 40])
    assert bound.get_ydata()[0] == 40.07
    assert bound.get_ydata()[1] == pytest.approx(40.07 - 50 * math.log(2))
    assert [text.get_text() for text in first.texts] == ["β 0.2", "without z"]
    assert (first.get_xlim()[0], first.get_ylim()[0]) == (0, 0)


def segments(axis, part):
    """The drawn notes of a part: [notes, 2 ends, (step, row)]; the first collection holds the bar lines."""
    return np.array(axis.collections[1 + part].get_segments())


def test_a_page_draws_each_note_at_its_pitch_and_time(made):
    """The melody: pitch 60 from step 1 to 3, pitch 64 from step 5, pitch 62 from step 6 to the end."""
    melody = np.zeros((1, 32), np.uint8)
    melody[0, [1, 3, 5, 6]] = 41, 1, 45, 43
    figure = figures.plot_pages(melody, melody, ("melody",), ("samples", "music"))
    assert [len(page.axes) for page in figure.subfigs] == [32, 32]
    drawn = segments(figure.subfigs[0].axes[0], 0)
    assert drawn[:, 0].tolist() == [[1, 60], [5, 64], [6, 62]]
    assert drawn[:, 1, 0] == pytest.approx([3, 6, 32], abs=0.3)


def test_a_trio_has_its_drums_at_the_bottom_and_both_pages_share_a_scale(made):
    trio = np.zeros((2, 32, 3), np.uint16)
    trio[0, 0], trio[1, 4] = (41, 20, 0b101), (60, 22, 1)
    figure = figures.plot_pages(trio[:1], trio[1:], figures.parts_of("hierdec-trio_16bar"), ("a", "b"))
    left, right = (page.axes[0] for page in figure.subfigs)
    assert left.get_ylim() == right.get_ylim()
    kick, hat = segments(left, 2)[:, 0]
    assert kick[1] < hat[1] < 39 == segments(left, 1)[0, 0, 1]
    assert left.get_ylim()[0] < kick[1] == segments(right, 2)[0, 0, 1]
    assert segments(right, 0)[0, 0].tolist() == [4, 79]


def test_pages_without_notes_are_drawn(made):
    for preset in ("cat-mel_2bar_mini", "cat-drums_2bar_mini"):
        windows = np.zeros((32, 32), np.int64)
        figure = figures.plot_pages(windows, windows, figures.parts_of(preset), ("a", "b"))
        assert segments(figure.subfigs[0].axes[31], 0).size == 0
