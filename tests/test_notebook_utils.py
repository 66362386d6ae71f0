"""Players, piano rolls, curves, heat maps and the latent map play and draw what they are given."""

import io
import re
import struct
import sys
from base64 import b64decode
from datetime import datetime

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pretty_midi
import pytest
from matplotlib.collections import PathCollection, PolyCollection

from configs import CONFIGS
from helpers import BUILT_IN
from music import sound
from notebook_utils import (
    GIB,
    concatenate,
    count_onsets,
    even_columns,
    first_with_songs,
    mu_law,
    pick_preset,
    play,
    plot_by_bar,
    plot_embeddings,
    plot_form,
    plot_latent,
    plot_piano_roll,
    plot_training,
    published_weights,
    render,
    resample,
    side_by_side,
    sliders,
    typical,
)
from train import HistoryRow, Metrics


def song(*notes: tuple[int, float, float], program=0, is_drum=False, name="") -> pretty_midi.PrettyMIDI:
    """A song at 120 quarter notes per minute, so a bar lasts 2 seconds; notes are (pitch, start, end) in seconds."""
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    return add_track(midi, *notes, program=program, is_drum=is_drum, name=name)


def add_track(midi, *notes, program=0, is_drum=False, name="", velocity=80) -> pretty_midi.PrettyMIDI:
    part = pretty_midi.Instrument(program, is_drum, name)
    part.notes = [pretty_midi.Note(velocity, *note) for note in notes]
    midi.instruments.append(part)
    return midi


def trio(bars: int = 2) -> pretty_midi.PrettyMIDI:
    midi = song(*((60 + beat % 40, beat / 2, beat / 2 + 0.5) for beat in range(4 * bars)))
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
        monkeypatch.setattr(sound, "SOUNDFONT", tmp_path / "missing.sf2")
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
        assert np.abs(render(quiet_or_loud).samples).max() == pytest.approx(sound.PEAK, rel=1e-4)


def test_drums_are_heard():
    samples, rate = render(song((38, 0.5, 0.6), is_drum=True))
    assert np.abs(samples[: int(0.45 * rate)]).max() < 1e-2 < np.abs(samples[int(0.5 * rate) : int(0.7 * rate)]).max()


@pytest.mark.parametrize(("hertz", "kept"), [(440, 1), (7_000, 1), (9_000, 0)])
def test_a_lower_sample_rate_keeps_the_frequencies_that_it_can_carry(hertz, kept):
    wave = np.sin(2 * np.pi * hertz * np.arange(44_100) / 44_100)
    lower = resample(wave, 44_100, 16_000)
    assert len(lower) == 16_000
    assert np.abs(lower[1000:-1000]).max() == pytest.approx(kept, abs=0.02)
    if kept:
        assert peak_hz(lower, 16_000) == pytest.approx(hertz, rel=0.001)


def test_a_song_with_drums_keeps_higher_frequencies():
    assert render(trio()).sample_rate > render(song((60, 0, 1))).sample_rate


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


def decoded(codes: np.ndarray) -> np.ndarray:
    """Samples from -1 to 1 of mu-law codes, by the decoder's formula in ITU-T G.711."""
    inverted = 255 - codes.astype(int)
    sign, exponent, mantissa = inverted >> 7, inverted >> 4 & 7, inverted & 15
    magnitude = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(sign, -magnitude, magnitude) / 32_767


def test_mu_law_is_the_code_of_the_standard():
    np.testing.assert_array_equal(mu_law(np.array([0.0, 1.0, -1.0])), [0xFF, 0x80, 0x00])
    every_code = np.array([code for code in range(256) if code != 0x7F], np.uint8)  # that one is minus zero
    np.testing.assert_array_equal(mu_law(decoded(every_code)), every_code)


@pytest.mark.parametrize("loudness", [1, 0.3, 0.1, 0.03])
def test_eight_bits_keep_quiet_sound_as_clean_as_loud(loudness):
    samples = loudness * render(trio()).samples
    noise = decoded(mu_law(samples)) - samples
    assert 10 * np.log10(np.square(samples).sum() / np.square(noise).sum()) > 30  # decibels


def test_the_player_carries_the_samples_and_an_escaped_title():
    midi = song((69, 0, 1))
    html = play(midi, "<b> & c").data
    assert "&lt;b&gt; &amp; c" in html
    wave = b64decode(re.search(r"base64,([^\"]+)", html)[1])
    heard = render(midi)
    kind, channels, rate, bytes_per_second, _, bits = struct.unpack("<HHIIHH", wave[20:36])
    assert (kind, channels, rate, bytes_per_second, bits) == (7, 1, heard.sample_rate, heard.sample_rate, 8)
    start = wave.index(b"data") + 8
    assert struct.unpack("<I", wave[start - 4 : start])[0] == len(heard.samples)
    assert struct.unpack("<I", wave[4:8])[0] == len(wave) - 8
    codes = np.frombuffer(wave[start : start + len(heard.samples)], np.uint8)
    np.testing.assert_allclose(decoded(codes), heard.samples, atol=0.02)


def test_players_stand_side_by_side():
    html = side_by_side([song((60, 0, 1)), song((64, 0, 1))], ["original", "reconstruction"], seconds=0.5).data
    assert html.count("<audio") == 2
    assert html.index("original") < html.index("reconstruction")


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (9, 3)])
def test_rows_of_players_are_even(count, columns):
    assert even_columns(count, 3) == columns
    html = side_by_side([pretty_midi.PrettyMIDI()] * count, [""] * count).data
    assert f"repeat({columns}," in html


def test_songs_in_turn_begin_one_every_so_many_seconds():
    whole = concatenate([song((60, 0, 1)), song((62, 0.5, 1))], 4.0)
    assert [(n.pitch, n.start, n.end) for n in whole.instruments[0].notes] == [(60, 0, 1), (62, 4.5, 5)]


def test_onsets_are_counted_once_per_time():
    assert count_onsets(trio(bars=2)) == 8
    assert count_onsets(trio(bars=2), seconds=2) == 4


def test_typical_songs_are_neither_empty_nor_crowded_nor_on_one_pitch():
    counts = (1, 9, 8, 40, 7, 10, 0, 11)
    songs = [song(*((60 + (k % 5 if count != 9 else 0), k, k + 1) for k in range(count))) for count in counts]
    assert [count_onsets(one) for one in typical(songs)] == [8, 7]
    assert len(typical(songs[:1])) == 1


@pytest.mark.parametrize(
    ("free_gib", "preset"),
    [
        (None, "hier-mel_16bar_mini"),
        (2, "hier-mel_16bar_mini"),
        (7.5, "hier-mel_16bar_small"),
        (39, "hier-mel_16bar_small"),
        (79, "hierdec-mel_16bar"),
    ],
)
def test_the_preset_is_the_largest_that_the_device_holds(free_gib, preset):
    assert pick_preset(free_gib and int(free_gib * GIB)) == preset
    assert CONFIGS[preset].model.segments == 16


def test_the_first_published_weights_of_a_preset_are_found():
    folder = BUILT_IN.parents[1] / "pretrained"
    assert published_weights("cat-mel_2bar_mini", folder).name == "mel_2bar.pt"  # not mel_2bar_low.pt
    assert published_weights("hierdec-mel_16bar", folder) is None


def test_short_songs_take_the_preset_that_has_windows_of_them(tmp_path):
    """A folder of loops has no window of sixteen bars; one long song among them is too few."""
    presets, only_loops = [CONFIGS["hier-mel_16bar_tiny"], CONFIGS["cat-mel_2bar_tiny"]], tmp_path / "loops"
    only_loops.mkdir()
    trio(2).write(str(only_loops / "loop.mid"))
    for name, bars in (("a", 2), ("b", 3), ("long", 16)):
        trio(bars).write(str(tmp_path / f"{name}.mid"))
    found, songs = first_with_songs(presets, tmp_path)
    assert (found.name, len(songs.names)) == ("cat-mel_2bar_tiny", 3)
    trio(20).write(str(tmp_path / "longer.mid"))
    found, songs = first_with_songs(presets, tmp_path)
    assert (found.name, len(songs.names)) == ("hier-mel_16bar_tiny", 2)
    with pytest.raises(ValueError, match="there is no window to learn from"):
        first_with_songs([CONFIGS["hier-drums_16bar_mini"]], only_loops)
    with pytest.raises(ValueError, match="missing"):
        first_with_songs(presets, tmp_path / "missing")


# --- sliders ----------------------------------------------------------------------------------------------------------


RANGES = {"pitch": (48, 72, 60), "length": (0.5, 1.5, 1.0)}


def one_note(given, pitch, length):
    """A song of one note; of a given song whose first note is 40 it is none that can be used."""
    if given.instruments[0].notes[0].pitch == 40:
        raise ValueError("no music in <this> song")
    return song((int(pitch), 0, length))


def test_sliders_draw_and_play_what_their_values_make():
    made = []
    box = sliders(lambda *given, **values: made.append((given, values)) or one_note(*given, **values), trio(), RANGES)
    pitch, length, _, roll, player = box.children
    assert [(one.description, one.min, one.max, one.value) for one in (pitch, length)] == [
        ("pitch", 48, 72, 60),
        ("length", 0.5, 1.5, 1.0),
    ]
    before = bytes(roll.value), player.value
    assert before[0].startswith(b"\x89PNG")
    assert "<audio" in before[1]
    pitch.value = 66
    assert [values for _, values in made] == [{"pitch": 60, "length": 1}, {"pitch": 66, "length": 1}]
    assert roll.value != before[0]
    assert player.value != before[1]


def uploaded(content):
    """What a browser gives an upload button."""
    file = {"name": "a.mid", "type": "audio/midi", "size": len(content), "content": memoryview(content)}
    return (file | {"last_modified": datetime.now()},)


def test_a_file_takes_the_place_of_the_song():
    given = []
    box = sliders(lambda midi, **values: given.append(midi) or one_note(midi, **values), trio(), RANGES)
    upload, _, player = box.children[2:]
    file = io.BytesIO()
    song((45, 0, 1)).write(file)
    upload.value = uploaded(file.getvalue())
    assert given[-1].instruments[0].notes[0].pitch == 45
    assert "<audio" in player.value


def test_a_file_that_cannot_be_used_is_named_and_the_picture_stays():
    box = sliders(one_note, trio(), RANGES)
    upload, roll, player = box.children[2:]
    drawn, file = bytes(roll.value), io.BytesIO()
    song((40, 0, 1)).write(file)
    for content, words in ((b"RIFF", "MIDI"), (file.getvalue(), "no music in &lt;this&gt; song")):
        upload.value = uploaded(content)
        assert words in player.value
        assert roll.value == drawn


def test_without_widgets_sliders_are_the_picture_of_their_first_values(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    figure = sliders(one_note, trio(), RANGES)
    assert len(notes_of(figure.axes[0])) == 1


# --- piano rolls ------------------------------------------------------------------------------------------------------


def test_notes_are_drawn_where_they_are():
    roll = plot_piano_roll(song((60, 0, 1), (67, 3, 4))).axes[0]
    np.testing.assert_allclose(notes_of(roll), [[0, 59.6, 0.488, 60.4], [1.5, 66.6, 1.988, 67.4]], atol=1e-6)
    assert roll.get_xlim() == (0, 2)


def test_bars_have_lines_and_the_lowest_panel_numbers_them():
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


def test_tracks_are_named_by_name_role_or_program():
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


@pytest.mark.parametrize(("count", "bars", "rows"), [(4, 2, 1), (6, 2, 2), (9, 2, 3), (12, 2, 3), (4, 4, 2)])
def test_rolls_wrap_into_even_rows_that_a_notebook_shows_at_full_size(count, bars, rows):
    figure = plot_piano_roll([song((60, 0, 2 * bars))] * count)
    assert len({axis.get_position().y0 for axis in figure.axes}) == rows
    assert figure.get_size_inches()[0] < 10.1
    assert min(axis.get_position().width for axis in figure.axes) * figure.get_size_inches()[0] > 2


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


def test_training_and_validation_have_a_curve_each_per_measure():
    rows = [HistoryRow(step, Metrics(50 - step, 40, 4, 0.5), None) for step in (10, 20)]
    rows.append(HistoryRow(30, Metrics(20, 19, 5, 0.75), Metrics(22, 21, 6, 0.625)))
    axes = plot_training(rows).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["loss", "reconstruction", "KL divergence", "accuracy"]
    train, valid = axes[0].lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([10, 20, 30], [40, 30, 20])
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([30], [22])
    assert [list(line.get_ydata()) for line in axes[3].lines] == [[50, 50, 75], [62.5]]  # in percent
    assert "bits" in axes[2].get_ylabel()
    assert all(axis.get_xlabel() == "step" for axis in axes)


def test_without_validation_there_is_one_curve_and_without_rows_an_error():
    axes = plot_training([HistoryRow(1, Metrics(1, 1, 1, 1), None)]).axes
    assert [len(axis.lines) for axis in axes] == [1] * 4
    with pytest.raises(ValueError, match="history is empty"):
        plot_training([])


def test_curves_of_several_runs_share_a_figure():
    rows = [HistoryRow(10, Metrics(50, 40, 4, 0.5), Metrics(22, 21, 6, 0.625))]
    figure = plot_training({"first": rows, "second": rows})
    assert len(figure.axes[0].lines) == 4
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [f"{run}: {part}" for run in ("first", "second") for part in ("training", "held-out songs")]


def test_more_curves_than_colours_are_all_drawn():
    rows = [HistoryRow(10, Metrics(50, 40, 4, 0.5), None)]
    assert len(plot_training({f"run {k}": rows for k in range(8)}).axes[0].lines) == 8
    assert len(plot_by_bar({f"model {k}": [0.5] for k in range(8)}, "accuracy", "%").axes[0].lines) == 8


def test_a_curve_by_bar_begins_at_bar_one():
    axis = plot_by_bar({"flat": [0.9, 0.5], "conductor": [0.8, 0.7]}, "accuracy", "% of steps").axes[0]
    assert [list(line.get_xdata()) for line in axis.lines] == [[1, 2], [1, 2]]
    assert [list(line.get_ydata()) for line in axis.lines] == [[0.9, 0.5], [0.8, 0.7]]


def test_embeddings_are_drawn_with_a_column_per_bar_on_one_scale():
    embeddings = np.random.default_rng(0).normal(size=(2, 16, 40))
    embeddings[..., 3] = 7  # says nothing
    images = [axis.images[0] for axis in plot_embeddings(embeddings, ["a", "b"]).axes if axis.images]
    maps = [image.get_array() for image in images[:2]]
    assert [map_.shape for map_ in maps] == [(32, 16)] * 2
    assert images[0].get_clim() == images[1].get_clim()
    assert not any((map_ == 0).all(axis=1).any() for map_ in maps)  # the constant dimension is not among the 32


def test_forms_are_drawn_on_one_scale_with_bar_one_at_the_top():
    first, second = np.eye(4), np.full((8, 8), np.nan)
    axes = [axis for axis in plot_form([first, second], ["song", "piece"]).axes if axis.images]
    assert [axis.get_title(loc="left") for axis in axes] == ["song", "piece"]
    assert [axis.images[0].get_clim() for axis in axes] == [(0, 1)] * 2
    assert [axis.images[0].get_extent() for axis in axes] == [[0.5, n + 0.5, n + 0.5, 0.5] for n in (4, 8)]


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


def test_the_latent_map_shows_labels_and_a_path_through_its_points():
    mu = np.random.default_rng(0).normal(size=(16, 4))
    figure = plot_latent(mu, ["a", "a", "b", "c", "d", "e", "f", "g"] * 2, path=mu[:3])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["a", "b", "c", "d", "e", "f", "others", "path"]
    path = figure.axes[0].lines[0].get_xydata()
    offsets = figure.axes[0].collections[0].get_offsets()  # the points named a: rows 0, 1, 8, 9
    np.testing.assert_allclose(path[:2], offsets[:2])


@pytest.mark.parametrize(("mu", "labels"), [(np.ones((1, 4)), None), (np.ones(4), None), (np.ones((3, 4)), ["a"])])
def test_a_latent_map_of_the_wrong_shape_is_refused(mu, labels):
    with pytest.raises(ValueError, match="mu must be|labels must be one per point"):
        plot_latent(mu, labels)
