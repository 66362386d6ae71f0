"""Slopes of curves, sized models and the figure of growth."""

import json

import pytest

from benchmarks import growth
from midi_utils import MelodyConverter, load_songs


def curve(seconds):
    return growth.Curve("batch", "cpu", "float32", [8, 16, 32, 64, 128], seconds)


def test_a_curve_turns_linear_where_its_slope_stays_near_one():
    assert growth.turn(curve([1, 2, 4, 8, 16])) == 0
    assert growth.turn(curve([1, 1, 1, 2, 4])) == 3
    assert growth.turn(curve([1, 1.5, 2, 3, 4])) is None
    assert growth.turn(curve([1, 2, 2, 2, 4])) is None  # steep at first, flat later
    assert growth.slopes(curve([1, 4, 16, 64, 256])) == pytest.approx([2] * 5)
    assert growth.turn(curve([1, 2, 4, 16, 64]), 2) == 3


def test_a_panels_size_changes_the_model():
    config, batch = growth.sized_config("bars", 64)
    assert (config.model.steps, config.converter.steps, batch) == (1024, 1024, 16)
    config, batch = growth.sized_config("width", 768)
    assert (config.model.enc_rnn_size, config.model.dec_rnn_size, batch) == ((768,), (768, 768), 32)
    assert growth.sized_config("batch", 128)[1] == 128
    config, batch = growth.sized_config("sampled", 1)
    assert (config.model.steps, config.converter.steps, batch) == (16, 16, 16)


def test_written_songs_differ_and_give_a_window_each(tmp_path):
    growth.write_songs(tmp_path, 30)
    songs = load_songs(tmp_path, MelodyConverter(), progress=False)
    assert (len(songs.names), len(songs)) == (30, 30)


def test_panels_that_are_not_named_stay_as_they_were_measured(tmp_path, monkeypatch):
    stored = tmp_path / "growth.json"
    monkeypatch.setattr(growth, "results_path", lambda name: stored)
    monkeypatch.setattr(growth, "write_picture", lambda curves: None)
    monkeypatch.setitem(growth.PANELS, "songs", growth.PANELS["songs"]._replace(sizes=(2, 4)))
    kept = [curve([1, 2, 4, 8, 16])._asdict(), growth.Curve("songs", "cpu", "float32", [1, 2], [9.0, 9.0])._asdict()]
    stored.write_text(json.dumps(kept))
    growth.main(["songs"])
    batch, songs = json.loads(stored.read_text())
    assert batch == kept[0]
    assert songs["sizes"] == [2, 4]
    assert all(0 < seconds < 9 for seconds in songs["seconds"])


def test_a_panel_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit):
        growth.parse_arguments(["length"])
    assert "there is no panel 'length': give some of batch, bars, width, sampled, songs" in capsys.readouterr().err


def test_the_figure_has_one_panel_per_size():
    figure = growth.draw([curve([1, 1, 2, 4, 8])._replace(panel=panel) for panel in growth.PANELS])
    assert [axes.get_xlabel() for axes in figure.axes] == [panel.axis for panel in growth.PANELS.values()]
    assert "slope 1 from 32" in figure.axes[0].get_legend_handles_labels()[1][0]
