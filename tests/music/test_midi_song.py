"""Songs equal those of pretty_midi; what pretty_midi passes over is read as it sounds."""

import io
import random
import warnings

import mido
import pytest
from mido import Message, MetaMessage
from pretty_midi import PrettyMIDI

from helpers import BUILT_IN, SHARED
from made_midi import FIXTURES, meta, metre, notes_of, number, smf, sound, tempo
from midi_utils import Limits, MidiError
from music.midi_file import parse_midi

SONGS = sorted(BUILT_IN.glob("*.mid"))[::12] + sorted((SHARED / "data/pop909_grid").glob("*.mid"))[::80]
DAMAGED = sorted((FIXTURES / "malformed").iterdir())
PROGRAM_33, PROGRAM_40 = b"\x00\xc0\x21", b"\x00\xc0\x28"


# ---- Equal to pretty_midi ----


def content_of(midi):
    """All that a song holds."""
    return {
        "tempos": [column.tolist() for column in midi.get_tempo_changes()],
        "resolution": midi.resolution,
        "ticks": [midi.time_to_tick(time) for time in (0.1, midi.get_end_time(), midi.get_end_time() + 1)],
        "metres": [(change.numerator, change.denominator, change.time) for change in midi.time_signature_changes],
        "keys": [(change.key_number, change.time) for change in midi.key_signature_changes],
        "texts": [(text.text, text.time) for text in midi.lyrics + midi.text_events],
        "parts": [(part.program, part.is_drum, part.name) for part in midi.instruments],
        "notes": [[(n.velocity, n.pitch, n.start, n.end) for n in part.notes] for part in midi.instruments],
        "controls": [[(c.number, c.value, c.time) for c in part.control_changes] for part in midi.instruments],
        "bends": [[(bend.pitch, bend.time) for bend in part.pitch_bends] for part in midi.instruments],
    }


def reference(data):
    """The song as pretty_midi reads it; None if it refuses the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return PrettyMIDI(io.BytesIO(data))
        except Exception:  # a damaged file can lead pretty_midi and mido into any
            return None


def every_kind():
    """A file of every message that a song can have, with two programs in a channel and controls before the notes."""
    messages = [
        MetaMessage("sequence_number", number=3),
        MetaMessage("track_name", name="Lied ohne W\xf6rter", time=3),
        MetaMessage("set_tempo", tempo=123_456, time=200),
        MetaMessage("time_signature", numerator=7, denominator=8),
        MetaMessage("key_signature", key="Ebm"),
        MetaMessage("smpte_offset", hours=1, minutes=59, frames=3),
        MetaMessage("midi_port", port=1),
        MetaMessage("sequencer_specific", data=(1, 200)),
        Message("sysex", data=(1, 2, 127), time=40_000),
        Message("program_change", channel=15, program=127),
        Message("control_change", channel=15, control=64, value=127, time=5),
        Message("pitchwheel", channel=15, pitch=-8192, time=1),
        MetaMessage("lyrics", text="la"),
        MetaMessage("text", text="\xe9t\xe9", time=5),
        Message("note_on", channel=15, note=60, velocity=127, time=16_383),
        Message("note_on", channel=15, note=60, velocity=1, time=20),
        Message("note_on", channel=15, note=60, velocity=0, time=16_384),
        MetaMessage("set_tempo", tempo=600_000, time=20),
        MetaMessage("set_tempo", tempo=500_000, time=0),
        Message("program_change", channel=15, program=3),
        Message("control_change", channel=15, control=64, value=0, time=30),
        Message("note_on", channel=15, note=61, velocity=90),
        Message("note_off", channel=15, note=61, velocity=9, time=7),
        Message("control_change", channel=15, control=7, value=80),
        Message("note_on", channel=15, note=61, velocity=90, time=100),
        Message("note_off", channel=15, note=61, velocity=9, time=7),
        Message("note_on", channel=9, note=36, velocity=90),
        Message("note_off", channel=9, note=36, velocity=9, time=7),
        Message("polytouch", note=1, value=2, time=1),
        Message("aftertouch", value=99, time=1),
        Message("pitchwheel", channel=15, pitch=8191, time=1),
    ]
    file = io.BytesIO()
    mido.MidiFile(ticks_per_beat=0x7FFF, tracks=[mido.MidiTrack(messages), mido.MidiTrack()]).save(file=file)
    return file.getvalue()


def test_every_kind_of_message_is_read_as_pretty_midi_reads_it():
    midi, mended = parse_midi(every_kind())
    assert mended == []
    assert content_of(midi) == content_of(reference(every_kind()))
    assert len(midi.instruments) == 3
    assert len(midi.instruments[0].control_changes) == 3  # the channel's instruments share what precedes its notes


@pytest.mark.parametrize("path", SONGS, ids=lambda path: path.name)
def test_songs_are_read_as_pretty_midi_reads_them(path):
    midi, mended = parse_midi(path.read_bytes())
    assert mended == []
    assert content_of(midi) == content_of(reference(path.read_bytes()))


@pytest.mark.parametrize("sharps", range(-7, 8))
@pytest.mark.parametrize("minor", [0, 1])
def test_keys_have_pretty_midis_numbers(sharps, minor):
    data = smf(meta(0x59, bytes((sharps % 256, minor))))
    assert content_of(parse_midi(data)[0])["keys"] == content_of(reference(data))["keys"]


SOURCES = [every_kind(), *(path.read_bytes() for path in SONGS[:2] + DAMAGED[:8])]


@pytest.mark.parametrize("seed", range(200))
def test_damaged_files_are_read_as_pretty_midi_reads_them_or_mended_or_refused(seed):
    """A few bytes are changed, removed or added, most often in a header or among the first events."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(SOURCES))
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(min(len(data), rng.choice((30, 200, len(data)))))
        removed, added = rng.choice(((1, 1), (1, 1), (1, 1), (1, 0), (0, 1)))
        data[place : place + removed] = rng.randbytes(added)
    expected = reference(bytes(data))
    try:
        midi, mended = parse_midi(bytes(data))
    except MidiError:
        assert expected is None
        return
    if not mended and expected:
        assert content_of(midi) == content_of(expected)


# ---- Tempo, metre and key in any track ----


def test_tempo_metre_and_key_of_all_tracks_count_in_the_order_of_their_ticks():
    first = tempo(500_000) + metre(3, 4, 960) + sound(60, 480, 960)
    second = meta(0x59, b"\x02\x00", 240) + tempo(250_000, 240) + metre(4, 4) + tempo(400_000, 960)
    for tracks in ((first, second), (b"", first, second), (sound(60, 480, 1920), first, second)):
        content = content_of(parse_midi(smf(*tracks))[0])
        assert content["tempos"] == [[0, 0.5, 1.0], pytest.approx([120, 240, 150])]
        assert content["metres"] == [(4, 4, 0.5), (3, 4, 0.75)]
        assert content["keys"] == [(2, 0.25)]


def test_of_two_tempos_on_one_tick_the_later_track_holds():
    midi, _ = parse_midi(smf(tempo(500_000), tempo(300_000) + sound(60, 480)))
    assert notes_of(midi) == [(60, 0, pytest.approx(0.3))]


def test_what_later_tracks_repeat_counts_once():
    midi, _ = parse_midi(smf(*[metre(3, 4) + tempo(400_000) + sound(60, 480)] * 4))
    assert len(midi.time_signature_changes) == 1
    assert len(midi.get_tempo_changes()[0]) == 1


def test_a_tempo_beyond_the_limit_is_refused_by_its_name():
    fast = smf(tempo(1) + sound(60, 480))
    assert len(notes_of(parse_midi(fast)[0])) == 1
    with pytest.raises(MidiError, match="more than 1,000,000 ticks per second"):
        parse_midi(fast, Limits(ticks_per_second=1_000_000))


# ---- Notes without a length or an end ----

TICK = 0.5 / 480


def on(pitch, delta=0, channel=0):
    return number(delta) + bytes((0x90 | channel, pitch, 100))


def off(pitch, delta=0, channel=0):
    return number(delta) + bytes((0x80 | channel, pitch, 0))


NO_END = ["notes without an end, ended at the next of their pitch or with their track"]


@pytest.mark.parametrize(
    "events, expected, mended",
    [
        (on(60) + off(60), [(60, 0, 1)], []),
        (on(60) + on(60) + off(60), [(60, 0, 1)] * 2, []),
        (on(60) + off(60) + on(60) + off(60, 480), [(60, 0, 1), (60, 0, 480)], []),
        (on(60) + off(60, 480) + on(60) + off(60, 480), [(60, 0, 480), (60, 480, 960)], []),
        (on(60) + on(60, 480) + off(60) + off(60, 480), [(60, 0, 480), (60, 480, 960)], []),
        (on(60) + on(60, 480) + off(60, 480), [(60, 0, 960), (60, 480, 960)], []),
        (on(60) + on(60, 480) + on(62, 480), [(60, 0, 480), (60, 480, 960), (62, 960, 961)], NO_END),
        (on(60) + on(62) + on(60, 480, 1) + off(62, 480), [(62, 0, 960), (60, 0, 960), (60, 480, 960)], NO_END),
        (off(60) + off(60, 480), [], []),
    ],
)
def test_a_note_lasts_at_least_a_tick_and_at_most_to_the_end_of_its_track(events, expected, mended):
    midi, said = parse_midi(smf(events))
    notes = [(pitch, round(start / TICK), round(end / TICK)) for pitch, start, end in notes_of(midi)]
    assert notes == expected
    assert said == mended


def test_a_note_without_an_end_lasts_as_long_as_its_own_track():
    midi, _ = parse_midi(smf(on(60) + meta(1, b"end", 960), on(60) + meta(1, b"end", 480), sound(60, 1920)))
    assert [end for _, _, end in notes_of(midi)] == [1.0, 0.5, 2.0]


def test_a_note_without_an_end_does_not_end_with_a_note_in_another_track_or_channel():
    midi, _ = parse_midi(smf(on(60) + on(60, 480, 1) + meta(1, b"end", 480), on(60, 240)))
    assert [end for _, _, end in notes_of(midi)] == [1.0, 1.0, 0.25 + TICK]


# ---- Programs ----


def programs_of(*tracks, **kwargs):
    midi, _ = parse_midi(smf(*tracks, **kwargs))
    return [(part.program, len(part.notes)) for part in midi.instruments]


def test_a_program_holds_in_the_tracks_of_its_channel_that_set_none():
    notes = sound(60, 480) + sound(60, 480)
    assert programs_of(PROGRAM_33, notes) == [(33, 2)]
    assert programs_of(notes, PROGRAM_33) == [(33, 2)]
    assert programs_of(PROGRAM_33, PROGRAM_40 + notes, notes) == [(40, 2), (40, 2)]
    assert programs_of(PROGRAM_33, notes + PROGRAM_40) == [(0, 2)]  # a track's own program holds from where it is set
    assert programs_of(PROGRAM_33, sound(60, 480, channel=1)) == [(0, 1)]
    assert programs_of(meta(0x21, b"\x01") + PROGRAM_33, meta(0x21, b"\x00") + notes) == [(0, 2)]
    assert programs_of(meta(0x21, b"\x01") + PROGRAM_33, meta(0x21, b"\x01") + notes) == [(33, 2)]


def test_programs_of_another_track_hold_from_their_ticks_on():
    setup = PROGRAM_33 + number(480) + PROGRAM_40[1:]
    assert programs_of(setup, b"".join(sound(60, 240) for _ in range(5))) == [(33, 2), (40, 3)]
    assert programs_of(setup, sound(60, 960)) == [(33, 1)]


def test_controls_go_to_the_instrument_of_a_program_of_another_track():
    pedal = b"\x00\xb0\x40\x7f"
    midi, _ = parse_midi(smf(PROGRAM_33, sound(60, 480) + pedal))
    assert [(part.program, len(part.control_changes)) for part in midi.instruments] == [(33, 1)]


def test_all_tracks_on_the_drum_channel_are_drums():
    midi, _ = parse_midi(smf(*[sound(36, 120, channel=9)] * 3))
    assert [part.is_drum for part in midi.instruments] == [True] * 3
