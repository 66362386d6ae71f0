"""Small files after public bug reports, read as a set: what the report says of them."""

import json
from pathlib import Path

import pytest

from midi_utils import DrumsConverter, MelodyConverter, load_songs

CASES = Path(__file__).parents[1] / "cases"
EXPECTED = json.loads((CASES / "cases.json").read_text())


def named(key):
    return [name for name, right in EXPECTED.items() if key in right]


def report_of(name):
    return load_songs([CASES / "b_cc255_only.mid", CASES / name], MelodyConverter(), progress=False).report


@pytest.mark.parametrize("name", named("reason"))
def test_the_reason_for_no_window_names_the_cause(name):
    reason = dict(report_of(name).without_window)[str(CASES / name)]
    assert EXPECTED[name]["reason"] in reason
    assert "156 tempo changes" in reason
    followed = load_songs(CASES / name, MelodyConverter(follow_tempo=True), progress=False)
    assert followed.start_bar.max() == 38


@pytest.mark.parametrize("name", named("off_grid"))
def test_swung_songs_are_listed_as_off_the_grid(name):
    assert [path for path, _ in report_of(name).off_grid] == [str(CASES / name)]


@pytest.mark.parametrize("name", named("report"))
def test_bars_that_are_left_out_are_counted(name):
    assert EXPECTED[name]["report"] in str(report_of(name))


@pytest.mark.parametrize("name", named("melody_4_4_at_least"))
def test_tempo_changes_that_cannot_be_heard_do_not_end_windows(name):
    songs = load_songs(CASES / name, MelodyConverter(), progress=False)
    assert songs.report.windows + songs.report.duplicates >= EXPECTED[name]["melody_4_4_at_least"]


@pytest.mark.parametrize(
    "name, words",
    [
        ("drums_on_channel_1_named.mid", "not on channel 10"),
        ("kick_on_60.mid", "no bass drum, snare or hi-hat among the pitches; they are 60, 62, 64"),
    ],
)
def test_drums_off_the_conventions_are_named(name, words):
    report = report_of(name)
    assert [path for path, _ in report.unusual_drums] == [str(CASES / name)]
    assert words in report.unusual_drums[0][1]
    assert report_of("drums_one_tick.mid").unusual_drums == ()


def test_songs_of_the_built_in_folder_are_on_the_grid_and_have_usual_drums():
    report = load_songs(Path(__file__).parents[2] / "midi_songs", DrumsConverter(), progress=False).report
    assert (report.off_grid, report.unusual_drums) == ((), ())
