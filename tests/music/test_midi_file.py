"""Files: what is opened, and what takes too long or too much."""

import os
import socket
import time
from contextlib import suppress

import pytest

from benchmarks.hostile_midi import MAKERS, NO_LIMITS
from made_midi import notes_of, smf, sound
from midi_utils import Limits, MidiError, load_midi
from music.midi_file import parse_midi, read_file


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(path := tmp_path / "pipe.mid")
    (tmp_path / "link.mid").symlink_to(path)
    for name in ("pipe.mid", "link.mid"):
        with pytest.raises(MidiError, match=f"{name}: is a FIFO, not a file"):
            load_midi(tmp_path / name)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets in folders")
def test_a_socket_and_a_device_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("song.mid")
        with pytest.raises(MidiError, match=r"song\.mid: is a socket, not a file"):
            load_midi("song.mid")
    with pytest.raises(MidiError, match="is a device, not a file"):
        load_midi(os.devnull)


def test_a_broken_link_and_a_name_that_no_file_can_have_are_refused(tmp_path):
    (tmp_path / "link.mid").symlink_to(tmp_path / "none.mid")
    with pytest.raises(MidiError, match="there is no such file"):
        load_midi(tmp_path / "link.mid")
    with pytest.raises(MidiError, match="cannot be opened"):
        load_midi("a\0b.mid")


# ---- Limits ----

SONG = smf(10 * sound(60, 480), 10 * sound(62, 480))
MOST = {"bytes": len(SONG), "events": 42, "tracks": 2, "ticks_per_second": 960}


@pytest.mark.parametrize("name", MOST)
def test_a_file_beyond_a_limit_is_refused_by_its_name(tmp_path, name):
    path = write(tmp_path / "song.mid", SONG)
    assert len(notes_of(load_midi(path, limits=Limits(**MOST)))) == 20
    with pytest.raises(MidiError, match=rf"song\.mid: more than .* {name.replace('_', ' ')} \(limits=Limits\({name}="):
        load_midi(path, limits=Limits(**MOST)._replace(**{name: MOST[name] - 1}))


def test_a_larger_file_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "large.mid"
    with path.open("wb") as file:
        file.truncate(2**40)  # a sparse file takes no space on the disk
    with pytest.raises(MidiError, match="more than 20,000,000 bytes"):
        read_file(path)


def test_events_are_counted_before_all_are_read():
    data = smf(b"\x00\x90\x3c\x40" + 3_000_000 * b"\x00\x3c\x00")
    started = time.process_time()
    with pytest.raises(MidiError, match="more than 1,000 events"):
        parse_midi(data, Limits(events=1000))
    assert time.process_time() - started < 1


# ---- Time ----


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_takes_at_most_two_seconds_per_megabyte(kind):
    """With limits that are no obstacle, so that every byte is read; the best of three tries."""
    data = MAKERS[kind](200_000)

    def seconds():
        started = time.process_time()
        with suppress(MidiError):
            parse_midi(data, NO_LIMITS)
        return time.process_time() - started

    assert any(seconds() < 0.2 + 2e-6 * len(data) for _ in range(3))


def test_a_file_whose_size_is_not_stated_is_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.mid"
    path.write_bytes(smf())
    stated = os.stat(path)
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result((*stated[:6], 0, *stated[7:])))
    assert read_file(path) == smf()
