"""A file and a folder of songs: what is read, errors, the report, and splits."""

import os

import numpy as np
import pytest
import torch

from made_midi import EIGHTS, FIXTURES, melody, song, track, write_melodies, write_song
from midi_utils import MelodyConverter, MidiError, load_midi, load_songs

# ---- A file ----


@pytest.mark.parametrize(
    "content, message",
    [(b"", "the file is empty"), (b"once upon a time", "not a MIDI file"), (b"MThd", "cut off inside its header")],
)
def test_a_file_without_midi_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "song.mid"
    path.write_bytes(content)
    with pytest.raises(MidiError, match=message) as error:
        load_midi(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(MidiError, match="there is no such file"):
        load_midi(tmp_path / "none.mid")
    with pytest.raises(MidiError, match="is a folder"):
        load_midi(tmp_path)
    assert issubclass(MidiError, ValueError)


# ---- A folder of songs ----


@pytest.fixture
def folder(tmp_path):
    """Six good songs of four windows each, in subfolders and with every ending."""
    for seed, name in enumerate(["a.mid", "b.MID", "sub/c.midi", "sub/deep/d.kar", "e.rmi", "z.Midi"]):
        write_melodies(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("not music")
    (tmp_path / ".hidden.mid").write_bytes(b"")
    return tmp_path


def read(paths, converter=None, **kwargs):
    return load_songs(paths, converter or MelodyConverter(), progress=False, **kwargs)


def test_all_songs_of_a_folder_and_its_subfolders_are_read(folder):
    dataset = read(folder)
    assert dataset.names == ("a.mid", "b.MID", "e.rmi", "sub/c.midi", "sub/deep/d.kar", "z.Midi")
    assert len(dataset) == dataset.report.windows == 24
    assert dataset.labels.dtype == np.uint8
    assert dataset.labels.shape == (24, 32)
    assert dataset.song.tolist() == np.repeat(range(6), 4).tolist()
    assert dataset.start_bar.tolist() == [0, 1] * 12
    assert dataset.track.tolist() == [0, 0, 1, 1] * 6
    assert (dataset.lengths == 32).all()
    assert dataset.controls is None
    assert dataset.converter == MelodyConverter()
    np.testing.assert_array_equal(dataset[4], dataset.windows([4]).labels[0])


def test_songs_have_the_names_that_a_mapping_gives(folder):
    empty = folder / "empty.mid"
    empty.write_bytes(b"")
    dataset = read({"second": folder / "a.mid", "first": str(folder / "b.MID"), "third": empty})
    assert dataset.names == ("first", "second")
    assert [name for name, _ in dataset.report.refused] == ["third"]
    np.testing.assert_array_equal(dataset.labels[4:], read([folder / "a.mid"]).labels)


def test_built_in_songs_are_read_only_if_there_are_no_others(tmp_path):
    write_melodies(tmp_path / "built_in" / "a.mid", 0)
    built_in = read(tmp_path)
    assert built_in.names == ("built_in/a.mid",)
    assert "built-in songs" in str(built_in.report)
    write_melodies(tmp_path / "deep" / "built_in" / "b.mid", 1)
    own = read(tmp_path)
    assert own.names == ("deep/built_in/b.mid",)
    assert "built-in" not in str(own.report).splitlines()[0].replace(str(tmp_path), "")


def test_windows_can_be_taken_by_index_slice_and_mask(folder):
    dataset = read(folder)
    for indices in ([5, 3], slice(2, 6), np.arange(24) % 7 == 0, torch.tensor([0, 23]), []):
        windows = dataset.windows(indices)
        rows = np.arange(24)[indices] if len(np.atleast_1d(indices)) else np.zeros(0, int)
        np.testing.assert_array_equal(windows.labels, dataset.labels[rows])
        assert dataset.converter.to_tensors(windows).inputs.shape[0] == len(windows.labels)


def test_a_list_of_paths_keeps_its_names(folder):
    paths = [folder / "z.Midi", str(folder / "a.mid")]
    dataset = read(paths)
    assert dataset.names == (str(folder / "a.mid"), str(folder / "z.Midi"))
    assert read([folder / "sub"]).names == (str(folder / "sub/c.midi"), str(folder / "sub/deep/d.kar"))
    assert read(folder / "a.mid").names == ("a.mid",)


def test_of_windows_that_are_equal_anywhere_in_the_set_the_first_is_kept(folder):
    (folder / "a copy.mid").write_bytes((folder / "a.mid").read_bytes())
    both = song(track([(4 * k, 4 * k + 4, 60) for k in range(8)]), track([(4 * k, 4 * k + 4, 61) for k in range(8)]))
    write_song(folder / "new.mid", both)
    write_song(folder / "old.mid", song(track([(4 * k, 4 * k + 4, 60) for k in range(8)])))
    dataset = read(folder)
    assert dataset.report.duplicates == 5
    assert len(dataset) == 26
    assert len(np.unique(dataset.labels, axis=0)) == 26
    assert "a copy.mid" in dataset.names  # it is the first by name
    assert dict(dataset.report.without_window) == {
        "a.mid": "every window is in an earlier song too",
        "old.mid": "every window is in an earlier song too",
    }


def test_the_report_names_what_became_of_every_file(folder):
    (folder / "broken.mid").write_bytes((FIXTURES / "malformed/truncated_half.mid").read_bytes())
    (folder / "page.mid").write_bytes((FIXTURES / "malformed/html_error_page.mid").read_bytes())
    (folder / "mended.mid").write_bytes((FIXTURES / "malformed/keysig_bad_mode.mid").read_bytes())
    write_song(folder / "waltz.mid", melody(*EIGHTS, metre=(3, 4)))
    write_song(folder / "strings.mid", song(track(EIGHTS, 48), track(EIGHTS, 73)))
    write_song(folder / "short.mid", melody((0, 4, 60)))
    write_song(folder / "sparse.mid", melody((0, 4, 60), (40, 44, 60)))
    write_song(folder / "silent.mid", melody())
    write_song(folder / "free.mid", melody(*((3.7 * k + 0.3, 3.7 * k + 3, 70 - k) for k in range(30))))
    report = read(folder).report
    assert (report.files, report.songs) == (15, 7)
    assert dict(report.refused) == {
        "broken.mid": "cut off: track 0 ends before its end-of-track event",
        "page.mid": "not a MIDI file: it begins with b'<!DOCTYPE html><', not with MThd",
    }
    assert dict(report.mended) == {"mended.mid": "track 0: a key signature of bytes ff ff, left out"}
    assert dict(report.without_window) == {
        "mended.mid": "shorter than 2 bars",
        "short.mid": "shorter than 2 bars",
        "silent.mid": "no notes",
        "sparse.mid": "no melody of 2 bars without a bar's rest",
        "strings.mid": "no track with a program in 0-31; it has programs 48, 73",
        "waltz.mid": "3/4 throughout",
    }
    assert [name for name, _ in report.off_grid] == ["free.mid"]
    text = str(report)
    for line in (
        f"{folder}: 15 MIDI files, 13 read, 2 refused",
        "30 windows of 2 bars kept from 7 songs, 0 duplicates dropped",
        "Refused: 2",
        "Songs without a usable window: 6",
        "  shorter than 2 bars: 2 songs: mended.mid, short.mid",
        "  no track with a program in 0-31: 1 song: strings.mid (it has programs 48, 73)",
    ):
        assert line in text.splitlines()
    assert repr(report) == text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_with_a_line_break_stays_in_its_line(folder):
    (folder / "two\nlines\t.mid").write_bytes(b"")
    report = read(folder).report
    assert "the file is empty: 1 song: two\\nlines\\t.mid" in str(report)
    assert dict(report.refused)["two\nlines\t.mid"] == "the file is empty"


def test_long_lists_are_shortened_in_print_and_complete_in_the_fields(folder):
    for k in range(9):
        (folder / f"empty {k}.mid").write_bytes(b"")
        write_song(folder / f"waltz {k}.mid", song(track([(0, 4, 60)]), metre=(3, 4)))
    report = read(folder).report
    assert f"the file is empty: 9 songs: {', '.join(f'empty {k}.mid' for k in range(9))}" in str(report)
    shown = "waltz 0.mid, waltz 1.mid, waltz 2.mid, waltz 3.mid, waltz 4.mid and 4 more"
    assert f"3/4 throughout: 9 songs: {shown}" in str(report)
    assert len(report.without_window) == 9


@pytest.mark.parametrize("make", ["missing", "empty", "other", "broken", "short", "list"])
def test_a_set_without_a_window_is_an_error(tmp_path, make):
    path, message = {
        "missing": (tmp_path / "none", "there is no such folder"),
        "empty": (tmp_path, "there is no MIDI file; add files that end in .mid"),
        "other": (tmp_path, "there is no MIDI file"),
        "broken": (tmp_path, "1 MIDI file, 0 read, 1 refused\n(.*\n)*.*add MIDI files that play"),
        "short": (tmp_path, "shorter than 2 bars: 1 song: song.mid\n.*take another preset"),
        "list": ([], "there is no MIDI file"),
    }[make]
    if make == "other":
        (tmp_path / "song.txt").write_text("la la")
    if make == "broken":
        (tmp_path / "song.mid").write_bytes(b"la la")
    if make == "short":
        write_song(tmp_path / "song.mid", melody((0, 4, 60)))
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_missing_file_in_a_list_is_refused_by_name(folder):
    dataset = read([folder / "a.mid", folder / "none.mid"])
    assert dataset.report.refused == ((str(folder / "none.mid"), "there is no such file"),)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_what_is_no_file_is_refused_by_name(folder, monkeypatch):
    os.mkfifo(folder / "pipe.mid")
    (folder / "broken link.mid").symlink_to(folder / "gone.mid")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = read(folder, workers=1).report
    assert dict(report.refused) == {
        "pipe.mid": "is a FIFO, not a file",
        "broken link.mid": "there is no such file",
        "sub/deep": "the folder cannot be opened",
    }
    assert report.songs == 5


# ---- Splits ----


def all_windows(parts):
    return sorted(row.tobytes() for part in parts for row in part.labels)


@pytest.mark.parametrize("valid, test, counts", [(0.1, 0.0, (5, 1, 0)), (0.5, 0.2, (2, 3, 1)), (0.0, 0.0, (6, 0, 0))])
def test_a_split_puts_all_windows_of_a_song_in_one_part(folder, valid, test, counts):
    dataset = read(folder)
    split = dataset.split(valid=valid, test=test)
    assert tuple(len(part.names) for part in split) == counts
    assert sorted(name for part in split for name in part.names) == sorted(dataset.names)
    assert all_windows(split) == all_windows([dataset])
    for part in split:
        assert len(part) == 4 * len(part.names)
        for k, name in enumerate(part.names):
            same = dataset.labels[dataset.song == dataset.names.index(name)]
            np.testing.assert_array_equal(part.labels[part.song == k], same)


def test_the_same_seed_gives_the_same_split(folder):
    dataset = read(folder)
    assert dataset.split(0.3, seed=5).valid.names == dataset.split(0.3, seed=5).valid.names
    assert len({dataset.split(0.2, seed=seed).valid.names for seed in range(20)}) > 3


def test_songs_of_a_group_stay_in_one_part(folder):
    dataset = read(folder)
    groups = {name: "tune" if name in ("a.mid", "e.rmi", "z.Midi") else name for name in dataset.names}
    for seed in range(10):
        split = dataset.split(0.3, 0.2, seed=seed, groups=groups)
        assert sum("a.mid" in part.names for part in split) == 1
        for part in split:
            assert len({"a.mid", "e.rmi", "z.Midi"} & set(part.names)) in (0, 3)
        by_list = dataset.split(0.3, 0.2, seed=seed, groups=[groups[name] for name in dataset.names])
        assert [part.names for part in by_list] == [part.names for part in split]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"valid": 1.0}, "valid is 1.0"),
        ({"valid": -0.1}, "valid is -0.1"),
        ({"valid": 0.6, "test": 0.5}, "valid is 0.6 and test is 0.5"),
        ({"groups": ["tune"] * 6}, "1 group cannot be split into 2 parts"),
        ({"groups": ["tune"]}, "groups has 1 entries; the dataset has 6 songs"),
        ({"groups": {"a.mid": "tune"}}, "groups has no entry for b.MID"),
    ],
)
def test_impossible_splits_are_refused(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        read(folder).split(**kwargs)


def test_two_songs_cannot_be_split_into_three_parts(folder):
    with pytest.raises(ValueError, match="2 songs cannot be split into 3 parts"):
        read(folder / "sub").split(valid=0.1, test=0.1)
    assert [len(part.names) for part in read(folder / "sub").split(valid=0.1)] == [1, 1, 0]
