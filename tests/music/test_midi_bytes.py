"""The walker of a track's events, and the limits."""

import time

import pytest

from music.midi_bytes import META, Limits, MidiError, walk_track


def walk(*events: bytes, before: bytes = b"") -> list[tuple[int, int, int, bytes]]:
    """What the walker yields for a track of these events, with other bytes of the file before and after it."""
    track = b"".join(events)
    return list(walk_track(before + track + b"more", len(before), len(before) + len(track)))


NOTE_ON, UNDER_RUNNING_STATUS = b"\x00\x91\x3c\x40", b"\x60\x3c\x00"
SYSEX = b"\x00\xf0\x02\x7e\xf7"
TEXT, END = b"\x81\x00\xff\x01\x02la", b"\x00\xff\x2f\x00"


def test_events_have_ticks_position_status_and_content():
    assert walk(NOTE_ON, UNDER_RUNNING_STATUS, b"\x00\xc2\x05", TEXT, END, before=b"12345") == [
        (0, 6, 0x91, b"\x3c\x40"),
        (0x60, 10, 0x91, b"\x3c\x00"),
        (0, 13, 0xC2, b"\x05"),
        (128, 17, META, b"\x01la"),
        (0, 23, META, b"\x2f"),
    ]


@pytest.mark.parametrize("between", [TEXT, SYSEX, b"\x00\xf8", b"\x00\xf2\x01\x02"])
def test_running_status_holds_across_other_events(between):
    assert walk(NOTE_ON, between, UNDER_RUNNING_STATUS)[-1][2:] == (0x91, b"\x3c\x00")


def test_an_event_that_is_cut_off_raises_after_the_events_before():
    for cut in range(1, len(NOTE_ON)):
        events = walk_track(NOTE_ON + NOTE_ON[:cut], 0, len(NOTE_ON) + cut)
        assert next(events)[2] == 0x91
        with pytest.raises(IndexError):
            next(events)


def test_an_end_of_track_is_found_without_its_length():
    events = walk_track(END, 0, 3)
    assert next(events) == (0, 1, META, b"\x2f")
    with pytest.raises(IndexError):
        next(events)


def test_data_without_a_status_and_long_numbers_are_refused_with_their_position():
    with pytest.raises(MidiError, match="byte 6: data where an event should begin"):
        walk(UNDER_RUNNING_STATUS, before=b"12345")
    with pytest.raises(MidiError, match="byte 10: a number of more than five bytes"):
        walk(b"\x80\x80\x80\x80\x80\x00\x91\x3c\x40", before=b"12345")
    with pytest.raises(MidiError, match="byte 9: a number of more than 32 bits"):
        walk(b"\x90\x80\x80\x80\x00\x91\x3c\x40", before=b"12345")


@pytest.mark.parametrize(
    "written, delta",
    [
        (b"\xff\x7f", 16_383),
        (b"\xff\xff\xff\x7f", 2**28 - 1),
        (b"\x80\x80\x80\x80\x05", 5),
        (b"\x87\xff\xff\xff\x7f", 2**31 - 1),
        (b"\x88\x80\x80\x80\x00", -(2**31)),
        (b"\x8f\xff\xff\xff\x20", -96),
    ],
)
def test_a_delta_time_has_up_to_32_bits_of_which_the_first_is_the_sign(written, delta):
    assert walk(written + NOTE_ON[1:])[0][0] == delta


def test_a_run_of_continuation_bytes_takes_no_time():
    started = time.process_time()
    with pytest.raises(MidiError):
        walk(b"\xff" * 10_000_000)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name, value", [("bytes", 5), ("events", 7), ("tracks", 1), ("ticks_per_second", 9.5)])
def test_a_limit_is_named_with_the_way_to_raise_it(name, value):
    limits = Limits(**{name: value})
    limits.check(name, value)
    with pytest.raises(MidiError, match=rf"more than {value} {name.replace('_', ' ')} \(limits=Limits\({name}="):
        limits.check(name, value + 1)


@pytest.mark.parametrize("value, text", [(60.0, "60"), (0.5, "0.5"), (2_000_000, "2,000,000"), (1e9, "1,000,000,000")])
def test_a_limit_is_written_without_a_point_where_it_is_whole(value, text):
    assert f"more than {text} seconds (" in Limits(seconds=value).exceeded("seconds")
