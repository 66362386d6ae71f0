"""The comparison with pretty_midi: what it finds, and that the page holds its results."""

import json

from benchmarks.midi_differences import SECTION, differences, table
from benchmarks.sections import split_page
from benchmarks.tables import results_path
from made_midi import smf, sound, tempo


def test_files_are_listed_by_fault_and_by_the_presets_whose_windows_differ(tmp_path):
    bars = b"".join(sound(60 + k % 5, 240) for k in range(64))
    files = {
        "plain.mid": smf(bars),
        "late tempo.mid": smf(b"", tempo(1_000_000, 480 * 6) + bars),
        "program.mid": smf(b"\x00\xc0\x30", bars),
        "short.mid": smf(sound(72, 0) + bars),
        "refused.mid": smf(bars).replace(b"MTrk\x00", b"MTrk\x01"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = differences(sorted(tmp_path.iterdir()), tmp_path)
    assert found["files"] == 5
    assert found["concerned"] == {
        "tempo or time signature in a later track": ["late tempo.mid"],
        "program set in another track": ["program.mid"],
        "notes without a length or an end": ["short.mid"],
        "refused by pretty_midi": ["refused.mid"],
    }
    assert found["differing"]["program set in another track"] == {"cat-mel_2bar_small": ["program.mid"]}
    assert "unexplained" not in found["differing"]


def test_the_page_holds_the_results_and_no_song_differs_without_a_fault():
    results = json.loads(results_path("midi_differences").read_text())
    assert split_page(*SECTION)[1] == table(results)
    assert not any("unexplained" in result["differing"] for result in results.values())
    assert sum(result["files"] for result in results.values()) == 4373
