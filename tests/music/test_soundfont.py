"""The synthesizer: pitch, length and loudness of notes, and the zones of a small SoundFont that is made here."""

import struct
from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from music.soundfont import SAMPLE_RATE, Note, load_soundfont, render_note, synthesize

GENERAL_MIDI = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
PERIOD = 100  # samples per cycle of the test font's recording, at SAMPLE_RATE
RECORDED_HZ = SAMPLE_RATE / PERIOD


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def generators(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<Hh", *pair) for pair in pairs)


def write_font(path: Path, *zones: tuple[tuple[int, int], ...], preset: tuple[tuple[int, int], ...] = ()) -> Path:
    """A font of one looped sine cycle whose root key is 60, in one instrument with the zones given."""
    cycles = np.sin(2 * np.pi * np.arange(4 * PERIOD) / PERIOD)
    smpl = (20_000 * np.append(cycles, np.zeros(46))).astype("<i2").tobytes()
    zones = [(*zone, (53, 0)) for zone in zones or [((54, 1),)]]
    firsts = np.cumsum([0, *map(len, zones)])
    header = struct.pack("<20s5IBbHH", b"sine", 0, 4 * PERIOD, PERIOD, 3 * PERIOD, SAMPLE_RATE, 60, 0, 0, 1)
    pdta = b"pdta" + b"".join(
        [
            chunk(b"phdr", b"".join(struct.pack("<20s3H3I", b"one", 0, 0, bag, 0, 0, 0) for bag in (0, 1))),
            chunk(b"pbag", struct.pack("<4H", 0, 0, len(preset) + 1, 0)),
            chunk(b"pgen", generators(*preset, (41, 0), (0, 0))),
            chunk(b"inst", struct.pack("<20sH", b"one", 0) + struct.pack("<20sH", b"", len(zones))),
            chunk(b"ibag", b"".join(struct.pack("<2H", first, 0) for first in firsts)),
            chunk(b"igen", generators(*(pair for zone in zones for pair in zone), (0, 0))),
            chunk(b"shdr", header + struct.pack("<20s5IBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)),
        ]
    )
    body = chunk(b"LIST", b"sdta" + chunk(b"smpl", smpl)) + chunk(b"LIST", pdta)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"sfbk" + body)
    return path


def peak_hz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return spectrum.argmax() * SAMPLE_RATE / (1 << 18)


@pytest.mark.parametrize("pitch", [48, 60, 61, 79])
def test_a_looped_recording_keeps_the_requested_pitch(tmp_path, pitch):
    wave = render_note(load_soundfont(write_font(tmp_path / "a.sf2")), Note(0, 0, pitch, 127, 1000))
    want = RECORDED_HZ * 2 ** ((pitch - 60) / 12)
    for part in np.array_split(wave[: SAMPLE_RATE - 1000], 3):
        assert peak_hz(part) == pytest.approx(want, rel=0.002)


def test_tuning_and_root_key_add_up(tmp_path):
    font = load_soundfont(write_font(tmp_path / "a.sf2", ((54, 1), (58, 72), (51, 1), (52, -20)), preset=((52, 50),)))
    want = RECORDED_HZ * 2 ** ((60 - 72 + 1.3) / 12)
    assert peak_hz(render_note(font, Note(0, 0, 60, 127, 1000))) == pytest.approx(want, rel=0.002)


def test_zones_sound_only_in_their_key_and_velocity_ranges(tmp_path):
    high, loud = ((43, 60 | 127 << 8), (54, 1)), ((44, 100 | 127 << 8), (54, 1), (51, 12))
    font = load_soundfont(write_font(tmp_path / "a.sf2", high, loud))
    assert not render_note(font, Note(0, 0, 59, 99, 100)).size
    assert peak_hz(render_note(font, Note(0, 0, 60, 99, 1000))) == pytest.approx(RECORDED_HZ, rel=0.002)
    eleven_up = RECORDED_HZ * 2 ** (11 / 12)
    assert peak_hz(render_note(font, Note(0, 0, 59, 100, 1000))) == pytest.approx(eleven_up, rel=0.002)


def test_velocity_attenuation_and_release_set_the_loudness(tmp_path):
    plain = load_soundfont(write_font(tmp_path / "plain.sf2"))
    softer = load_soundfont(write_font(tmp_path / "softer.sf2", ((54, 1), (48, 150))))
    released = load_soundfont(write_font(tmp_path / "released.sf2", ((54, 1), (38, 0))))
    full = np.abs(render_note(plain, Note(0, 0, 60, 127, 500))).max()
    assert np.abs(render_note(plain, Note(0, 0, 60, 64, 500))).max() == pytest.approx(full * (64 / 127) ** 2, rel=1e-3)
    assert np.abs(render_note(softer, Note(0, 0, 60, 127, 500))).max() == pytest.approx(full * 10**-0.3, rel=1e-3)
    tail = render_note(released, Note(0, 0, 60, 127, 500))
    seconds = 0.5 + 0.6  # it falls by 100 dB per second, and is cut off after 60 dB
    assert len(tail) == pytest.approx(SAMPLE_RATE * seconds, abs=2)
    at = slice(round(0.8 * SAMPLE_RATE) - 60, round(0.8 * SAMPLE_RATE) + 60)
    assert np.abs(tail[at]).max() == pytest.approx(full * 10 ** (-30 / 20), rel=0.05)


def test_a_low_cutoff_attenuates_high_frequencies(tmp_path):
    plain = render_note(load_soundfont(write_font(tmp_path / "a.sf2")), Note(0, 0, 60, 127, 500))
    cutoff = round(1200 * np.log2(RECORDED_HZ / 8.176))
    dark = render_note(load_soundfont(write_font(tmp_path / "b.sf2", ((54, 1), (8, cutoff)))), Note(0, 0, 60, 127, 500))
    middle = slice(5000, 15000)
    assert np.abs(dark[middle]).max() == pytest.approx(np.abs(plain[middle]).max() / 2**0.5, rel=0.02)


@pytest.mark.parametrize("program", [0, 4, 24, 32, 33, 40, 48, 56, 73])
@pytest.mark.parametrize("pitch", [45, 57, 69])
def test_general_midi_instruments_are_in_tune(program, pitch):
    """Most of the energy, after the attack, lies within 35 cents of the harmonics of the requested pitch."""
    wave = render_note(load_soundfont(GENERAL_MIDI), Note(0, program, pitch, 100, 900))[3000:36000]
    energy = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18)) ** 2
    ratio = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)[1:] / pretty_midi.note_number_to_hz(pitch)
    harmonic = np.maximum(np.round(ratio), 1)
    in_tune = np.abs(1200 * np.log2(ratio / harmonic)) < 35
    heard = ratio > 0.4
    assert energy[1:][in_tune & heard].sum() > 0.8 * energy[1:][heard].sum()


def test_the_notes_of_a_song_sound_at_their_times(tmp_path):
    font, midi = load_soundfont(write_font(tmp_path / "a.sf2")), pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = [pretty_midi.Note(127, 60, start, start + 0.25) for start in (0.5, 1.5)]
    wave = np.abs(synthesize(midi, font))
    sounding = np.flatnonzero(wave > 1e-3) / SAMPLE_RATE
    assert sounding[0] == pytest.approx(0.5, abs=0.005)
    assert sounding[-1] == pytest.approx(1.75, abs=0.005)
    assert not ((sounding > 0.76) & (sounding < 1.49)).any()


def test_channel_volume_changes_the_loudness(tmp_path):
    font, midi = load_soundfont(write_font(tmp_path / "a.sf2")), pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(0))
    midi.instruments[0].notes = [pretty_midi.Note(127, 60, 0, 0.5), pretty_midi.Note(127, 60, 1, 1.5)]
    midi.instruments[0].control_changes = [pretty_midi.ControlChange(7, 50, 0.9)]
    wave = np.abs(synthesize(midi, font))
    assert wave[SAMPLE_RATE:].max() == pytest.approx(wave[:SAMPLE_RATE].max() / 4, rel=1e-3)


def test_an_unknown_drum_kit_falls_back_to_the_standard_one():
    font = load_soundfont(GENERAL_MIDI)
    standard, odd = (render_note(font, Note(128, program, 38, 100, 100)) for program in (0, 77))
    assert standard.any()
    np.testing.assert_array_equal(standard, odd)


def test_a_file_that_is_no_soundfont_is_refused_by_name(tmp_path):
    path = tmp_path / "song.sf2"
    path.write_bytes(b"MThd and so on")
    with pytest.raises(ValueError, match="song.sf2 is no SoundFont"):
        load_soundfont(path)
    (tmp_path / "short.sf2").write_bytes(GENERAL_MIDI.read_bytes()[:5_790_000])
    with pytest.raises(ValueError, match="lacks the SoundFont tables.*shdr"):
        load_soundfont(tmp_path / "short.sf2")
