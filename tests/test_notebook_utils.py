"""Players, piano rolls, curves and the latent map: what is heard and drawn is what was given."""

import io
import re
import struct
from base64 import b64decode

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pretty_midi
import pytest
from matplotlib.collections import PathCollection, PolyCollection

import notebook_utils
from notebook_utils import PEAK, play, plot_latent, plot_piano_roll, plot_training, render, side_by_side
from train import HistoryRow, Metrics


def song(*notes: tuple[int, float, float], program=0, is_drum=False, name="") -> pretty_midi.PrettyMIDI:
    """A song at 120 quarters a minute, so a bar takes 2 seconds; notes are (pitch, start, end) in seconds."""
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    return add_track(midi, *notes, program=program, is_drum=is_drum, name=name)


def add_track(midi, *notes, program=0, is_drum=False, name="", velocity=80) -> pretty_midi.PrettyMIDI:
    part = pretty_midi.Instrument(program, is_drum, name)
    part.notes = [pretty_midi.Note(velocity, *note) for note in notes]
    midi.instruments.append(part)
    return midi


def trio(bars: int = 2) -> pretty_midi.PrettyMIDI:
    midi = song(*((60 + beat, beat / 2, beat / 2 + 0.5) for beat in range(4 * bars)))
    add_track(midi, *((36, 2 * bar, 2 * bar + 1) for bar in range(bars)), program=33)
    hits = ((pitch, beat / 2, beat / 2 + 0.1) for beat in range(4 * bars) for pitch in (36, 42))
    return add_track(midi, *hits, is_drum=True)


def notes_of(axis) -> np.ndarray:
    """[notes, 4]: left, bottom, right, top of every rectangle."""
    drawn = [item for item in axis.collections if isinstance(item, PolyCollection)]
    boxes = [path.get_extents() for item in drawn for path in item.get_paths()]
    return np.array([[box.x0, box.y0, box.x1, box.y1] for box in boxes])


def bar_lines(axis) -> list[float]:
    return [line.get_xdata()[0] for line in axis.lines]


# --- songs and sound --------------------------------------------------------------------------------------------------


def peak_hz(samples: np.ndarray, sample_rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return spectrum.argmax() * sample_rate / (1 << 18)


@pytest.mark.parametrize("with_soundfont", [True, False])
def test_the_pitch_and_the_length_heard_are_those_written(with_soundfont, monkeypatch, tmp_path):
    if not with_soundfont:
        monkeypatch.setattr(notebook_utils, "SOUNDFONT", tmp_path / "missing.sf2")
    samples, rate = render(song((69, 1.0, 2.5), program=73))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert peak_hz(samples[int(1.2 * rate) : int(2.4 * rate)], rate) == pytest.approx(440, rel=0.01)
    loud = np.flatnonzero(np.abs(samples) > 0.05) / rate
    assert loud[0] == pytest.approx(1.0, abs=0.1)
    assert loud[-1] == pytest.approx(2.5, abs=0.3)


def test_a_full_arrangement_does_not_clip():
    loud = song(*((pitch, 0, 2) for pitch in range(48, 84)))
    for quiet_or_loud in (loud, song((60, 0, 0.3))):
        assert np.abs(render(quiet_or_loud).samples).max() == pytest.approx(PEAK, rel=1e-4)


def test_drums_are_heard():
    samples, rate = render(song((38, 0.5, 0.6), is_drum=True))
    assert np.abs(samples[: int(0.45 * rate)]).max() < 1e-2 < np.abs(samples[int(0.5 * rate) : int(0.7 * rate)]).max()


@pytest.mark.parametrize(("hertz", "kept"), [(440, 1), (9_000, 1), (13_000, 0)])
def test_halving_the_rate_keeps_what_it_can_carry(hertz, kept):
    wave = np.sin(2 * np.pi * hertz * np.arange(44_101) / 44_100)
    half = notebook_utils._halve_rate(wave)
    assert len(half) == 22_051
    assert np.abs(half[1000:-1000]).max() == pytest.approx(kept, abs=0.02)
    if kept:
        assert peak_hz(half, 22_050) == pytest.approx(hertz, rel=0.001)


def test_the_beginning_alone_ends_in_silence():
    whole, beginning = song((69, 0, 4)), render(song((69, 0, 4)), seconds=1.5)
    assert len(beginning.samples) == round(1.5 * beginning.sample_rate)
    assert abs(beginning.samples[-1]) < 1e-6
    assert len(render(whole).samples) > 4 * beginning.sample_rate


def test_an_empty_song_is_silent_and_says_so():
    empty = pretty_midi.PrettyMIDI()
    assert not render(empty).samples.any()
    assert render(empty).samples.size
    assert "silent: no notes" in play(empty, "nothing").data
    assert "silent" not in play(song((60, 0, 1)), "something").data


def test_the_player_carries_the_samples_and_an_escaped_title():
    midi = song((69, 0, 1))
    html = play(midi, "<b> & c").data
    assert "&lt;b&gt; &amp; c" in html
    wave = b64decode(re.search(r"base64,([^\"]+)", html)[1])
    sound = render(midi)
    assert struct.unpack("<I", wave[24:28])[0] == sound.sample_rate
    np.testing.assert_allclose(np.frombuffer(wave[44:], "<i2") / 32767, sound.samples, atol=1e-4)


def test_players_stand_side_by_side():
    html = side_by_side([song((60, 0, 1)), song((64, 0, 1))], ["original", "reconstruction"], seconds=0.5).data
    assert html.count("<audio") == 2
    assert html.index("original") < html.index("reconstruction")


# --- piano rolls ------------------------------------------------------------------------------------------------------


def test_notes_are_drawn_where_they_are():
    roll = plot_piano_roll(song((60, 0, 1), (67, 3, 4))).axes[0]
    np.testing.assert_allclose(notes_of(roll), [[0, 59.6, 0.488, 60.4], [1.5, 66.6, 1.988, 67.4]], atol=1e-6)
    assert roll.get_xlim() == (0, 2)


def test_bar_lines_and_numbers():
    figure = plot_piano_roll(trio(bars=3))
    for axis in figure.axes:
        assert bar_lines(axis) == [0, 1, 2, 3]
    strip = figure.axes[-1]
    assert [label.get_text() for label in strip.get_xticklabels()] == ["1", "2", "3"]
    assert strip.get_xlabel() == "bar"


def test_bars_follow_the_metre_and_the_tempo():
    midi = song((60, 0, 1.5), (62, 1.5, 3.0))
    midi.time_signature_changes = [pretty_midi.TimeSignature(3, 4, 0)]
    np.testing.assert_allclose(notes_of(plot_piano_roll(midi).axes[0])[:, 0], [0, 1], atol=1e-6)
    slow = pretty_midi.PrettyMIDI(initial_tempo=60)
    add_track(slow, (60, 4, 8))
    np.testing.assert_allclose(notes_of(plot_piano_roll(slow).axes[0])[:, 0], [1], atol=1e-6)


def test_a_trio_has_a_drum_strip_and_a_legend():
    figure = plot_piano_roll(trio(), "a trio")
    roll, strip = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["melody", "bass", "drums"]
    assert [label.get_text() for label in strip.get_yticklabels()] == ["kick", "closed hat"]
    assert sorted(set(notes_of(strip)[:, 1].round(3))) == [-0.4, 0.6]
    assert notes_of(roll)[:, 1].max() < 70  # no drum note among the pitches
    assert roll.get_title(loc="left") == "a trio"
    assert len({tuple(item.get_facecolor()[0][:3]) for item in roll.collections}) == 2


def test_names_of_tracks():
    midi = song((60, 0, 1), name="Fiddle")
    for program in (0, 0, 33, 40):
        add_track(midi, (50, 0, 1), program=program)
    names = [text.get_text() for text in plot_piano_roll(midi).legends[0].get_texts()]
    assert names == ["fiddle", "melody", "acoustic grand piano", "violin", "bass"]


def test_more_tracks_than_colours_share_grey():
    midi = pretty_midi.PrettyMIDI()
    for program in range(20):
        add_track(midi, (60 + program, 0, 1), program=program)
    names = [text.get_text() for text in plot_piano_roll(midi).legends[0].get_texts()]
    assert len(names) == 6
    assert names[-1] == "others"


def test_songs_side_by_side_share_both_scales():
    figure = plot_piano_roll([song((40, 0, 2)), song((80, 0, 4)), pretty_midi.PrettyMIDI()], ["a", "b", "c"])
    assert len(figure.axes) == 3
    assert {axis.get_xlim() for axis in figure.axes} == {(0, 2)}
    assert {axis.get_ylim() for axis in figure.axes} == {(38, 82)}
    boxes = np.array([axis.get_position().bounds for axis in figure.axes])
    np.testing.assert_allclose(boxes[:, 1:], boxes[[0] * 3, 1:])  # one row, one size
    assert (np.diff(boxes[:, 0]) > boxes[0, 2]).all()


def test_long_songs_stand_under_each_other_unless_asked_otherwise():
    songs = [song((60, 0, 32)), song((60, 0, 30))]
    column = np.array([axis.get_position().bounds for axis in plot_piano_roll(songs).axes])
    assert column[0, 0] == column[1, 0]
    assert column[0, 1] > column[1, 1] + column[1, 3]
    row = np.array([axis.get_position().bounds for axis in plot_piano_roll(songs, columns=2).axes])
    assert row[0, 1] == row[1, 1]


def test_bars_cut_a_song_and_never_stretch_one():
    long = song((60, 0, 5), (62, 6, 8))
    roll = plot_piano_roll(long, bars=2).axes[0]
    assert roll.get_xlim() == (0, 2)
    np.testing.assert_allclose(notes_of(roll)[:, 2], [1.988], atol=1e-6)
    assert plot_piano_roll(long, bars=16).axes[0].get_xlim() == (0, 4)


def test_nothing_to_draw_still_gives_a_picture():
    figure = plot_piano_roll(pretty_midi.PrettyMIDI(), "empty")
    assert bar_lines(figure.axes[0]) == [0, 1]
    figure.savefig(io.BytesIO())
    drums = plot_piano_roll(song((38, 0, 0.1), is_drum=True))
    roll, strip = drums.axes
    assert roll.get_position().height < 0.5 * strip.get_position().height
    drums.savefig(io.BytesIO())


def test_titles_must_match_songs():
    with pytest.raises(ValueError, match="2 titles, 1 songs"):
        plot_piano_roll([song((60, 0, 1))], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        plot_piano_roll([])


def test_figures_are_not_left_open():
    before = plt.get_fignums()
    plot_piano_roll(trio())
    plot_latent(np.eye(3))
    assert plt.get_fignums() == before


# --- training and the latent space ------------------------------------------------------------------------------------


def test_curves_of_training_and_validation():
    rows = [HistoryRow(step, Metrics(50 - step, 40, 4, 0.5), None) for step in (10, 20)]
    rows.append(HistoryRow(30, Metrics(20, 19, 5, 0.75), Metrics(22, 21, 6, 0.625)))
    axes = plot_training(rows).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["loss", "reconstruction", "KL divergence", "accuracy"]
    train, valid = axes[0].lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([10, 20, 30], [40, 30, 20])
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([30], [22])
    assert [list(line.get_ydata()) for line in axes[3].lines] == [[50, 50, 75], [62.5]]  # in per cent
    assert "bits" in axes[2].get_ylabel()
    assert all(axis.get_xlabel() == "step" for axis in axes)


def test_no_validation_no_second_curve():
    axes = plot_training([HistoryRow(1, Metrics(1, 1, 1, 1), None)]).axes
    assert [len(axis.lines) for axis in axes] == [1] * 4
    with pytest.raises(ValueError, match="history is empty"):
        plot_training([])


def test_the_latent_map_keeps_the_largest_distances():
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(40, 2)) * (5, 2)
    turn = np.linalg.qr(generator.normal(size=(8, 8)))[0][:2]
    axis = plot_latent(plane @ turn + 3).axes[0]
    (points,) = (item.get_offsets() for item in axis.collections if isinstance(item, PathCollection))
    wanted, drawn = (np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (plane, np.asarray(points)))
    np.testing.assert_allclose(drawn, wanted, atol=1e-9)
    assert np.ptp(points[:, 0]) > np.ptp(points[:, 1])
    shares = [int(re.search(r"(\d+) %", label)[1]) for label in (axis.get_xlabel(), axis.get_ylabel())]
    assert sum(shares) in (99, 100, 101)


def test_labels_and_a_path_on_the_latent_map():
    mu = np.random.default_rng(0).normal(size=(16, 4))
    figure = plot_latent(mu, ["a", "a", "b", "c", "d", "e", "f", "g"] * 2, path=mu[:3])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["a", "b", "c", "d", "e", "f", "others", "path"]
    path = figure.axes[0].lines[0].get_xydata()
    offsets = figure.axes[0].collections[0].get_offsets()  # the points named a: rows 0, 1, 8, 9
    np.testing.assert_allclose(path[:2], offsets[:2])


@pytest.mark.parametrize(("mu", "labels"), [(np.ones((1, 4)), None), (np.ones(4), None), (np.ones((3, 4)), ["a"])])
def test_a_latent_map_of_the_wrong_shape_is_refused(mu, labels):
    with pytest.raises(ValueError, match="mu must be|one label a point"):
        plot_latent(mu, labels)
