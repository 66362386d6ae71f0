"""Synthesizes songs with the recorded instruments of a SoundFont 2 file, in NumPy: `synthesize` returns a mono wave.

It follows the SoundFont Technical Specification 2.04 (file format: section 7; generators: section 8.1) for key and
velocity zones, loops, tuning, attenuation, the volume envelope, and the low-pass filter with its envelope. The filter
is approximated: a note is filtered with the cutoff at rest and at the envelope's peak, and the envelope fades between.
It leaves out what is hardly heard in a short listen: LFOs, reverb, chorus, panning, pitch bend, the pedal, exclusive
classes, and the filter's resonance.
"""

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pretty_midi

SAMPLE_RATE = 44_100  # Hz
DRUM_BANK = 128
FLOOR_DB = 100.0  # dB that an envelope falls in its decay or release time
AUDIBLE_DB = 60.0  # dB that a released note falls until it is cut off
EMU_ATTENUATION = 0.4  # factor of initialAttenuation, as in the EMU8000, to which fonts are tuned by ear

# Numbers of generators (section 8.1.2), and their defaults other than 0
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
FILTER_CUTOFF, ENVELOPE_TO_FILTER = 8, 11
FILTER_ENVELOPE, VOLUME_ENVELOPE = 25, 33  # delay; then attack, hold, decay, sustain, release
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE = 41, 43, 44
ATTENUATION, COARSE_TUNE, FINE_TUNE, SAMPLE, LOOP_MODE, SCALE_TUNING, ROOT_KEY = 48, 51, 52, 53, 54, 56, 58
DEFAULTS = {FILTER_CUTOFF: 13_500, SCALE_TUNING: 100, ROOT_KEY: -1}
DEFAULTS |= {first + stage: -12_000 for first in (FILTER_ENVELOPE, VOLUME_ENVELOPE) for stage in (0, 1, 2, 3, 5)}

RECORDS = {
    "phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("unused", "<u4", 3)],
    "pbag": [("generator", "<u2"), ("modulator", "<u2")],
    "pgen": [("operator", "<u2"), ("amount", "<i2")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "ibag": [("generator", "<u2"), ("modulator", "<u2")],
    "igen": [("operator", "<u2"), ("amount", "<i2")],
    "shdr": [("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"), ("loop_end", "<u4"),
             ("rate", "<u4"), ("key", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2")],
    "smpl": "<i2",
}  # fmt: skip

Zone = dict[int, int]  # generator -> amount


class Note(NamedTuple):
    """Everything that the wave of one note depends on."""

    bank: int
    program: int
    pitch: int  # MIDI, 0-127
    velocity: int  # 1-127
    milliseconds: int  # duration, rounded, so that similar notes are rendered once


class SoundFont(NamedTuple):
    """The tables of a SoundFont file as NumPy arrays, each named like its chunk (section 7)."""

    smpl: np.ndarray  # int16, all recordings end to end
    phdr: np.ndarray
    pbag: np.ndarray
    pgen: np.ndarray
    inst: np.ndarray
    ibag: np.ndarray
    igen: np.ndarray
    shdr: np.ndarray


@cache
def load_soundfont(path: Path) -> SoundFont:
    """Reads a `.sf2` file, once per process.

    Raises:
        ValueError: the file is no SoundFont, or a table is missing.
    """
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise ValueError(f"{path} is no SoundFont file: it begins with {data[:12]!r}")
    chunks = _chunks(data, 12, len(data))
    missing = RECORDS.keys() - chunks.keys()
    if missing:
        raise ValueError(f"{path} lacks the SoundFont tables {sorted(missing)}")
    return SoundFont(**{name: np.frombuffer(chunks[name], record) for name, record in RECORDS.items()})


def _chunks(data: bytes, start: int, end: int) -> dict[str, bytes]:
    found = {}
    while start + 8 <= end:
        name, size = data[start : start + 4].decode("latin-1"), int.from_bytes(data[start + 4 : start + 8], "little")
        if name == "LIST":
            found |= _chunks(data, start + 12, start + 8 + size)
        else:
            found[name] = data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2
    return found


def synthesize(midi: pretty_midi.PrettyMIDI, font: SoundFont) -> np.ndarray:
    """Synthesizes a song.

    Returns:
        float32 [samples] at SAMPLE_RATE, mono, not normalized: scale it before playing. Empty without notes.
    """
    starts = defaultdict(list)  # Note -> (seconds, gain) of each start
    for instrument in midi.instruments:
        bank = DRUM_BANK if instrument.is_drum else 0
        for note in instrument.notes:
            held = max(1, round(1000 * (note.end - note.start)))
            key = Note(bank, instrument.program, note.pitch, note.velocity, held)
            starts[key].append((note.start, _channel_gain(instrument, note.start)))
    waves = {note: render_note(font, note) for note in starts}
    length = max((_index(at) + len(waves[note]) for note, played in starts.items() for at, _ in played), default=0)
    mix = np.zeros(length, np.float32)
    for note, played in starts.items():
        for at, gain in played:
            mix[_index(at) : _index(at) + len(waves[note])] += gain * waves[note]
    return mix


def _index(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _channel_gain(instrument: pretty_midi.Instrument, seconds: float) -> float:
    """Gain by channel volume (controller 7) and expression (11) at a time; 1 at the defaults, 100 and 127."""
    value = {7: 100, 11: 127}
    for change in sorted(instrument.control_changes, key=lambda change: change.time):
        if change.number in value and change.time <= seconds:
            value[change.number] = change.value
    return (value[7] / 100 * value[11] / 127) ** 2


def render_note(font: SoundFont, note: Note) -> np.ndarray:
    """Renders one note with its release, float32 [samples], mono: the mix of all zones that sound."""
    waves = [_render_zone(font, zone, note) for zone in _zones(font, note)]
    mix = np.zeros(max(map(len, waves), default=0), np.float32)
    for wave in waves:
        mix[: len(wave)] += wave
    return mix


def _zones(font: SoundFont, note: Note) -> list[Zone]:
    """The zones that sound for a note; the preset's amounts are added to the instrument's (section 9.4)."""
    zones = []
    for preset in _zone_list(font.pbag, font.pgen, _preset_bags(font, note), INSTRUMENT, note):
        bags = font.inst["bag"][preset[INSTRUMENT] : preset[INSTRUMENT] + 2]
        for zone in _zone_list(font.ibag, font.igen, bags, SAMPLE, note):
            zone = DEFAULTS | zone
            added = preset.keys() - {INSTRUMENT, KEY_RANGE, VELOCITY_RANGE}
            zones.append(zone | {name: zone.get(name, 0) + preset[name] for name in added})
    return zones


def _preset_bags(font: SoundFont, note: Note) -> np.ndarray:
    """First bag of the preset and of the next one; an unknown drum kit or program falls back to 0 of its bank."""
    presets = font.phdr[:-1]
    in_bank = presets["bank"] == note.bank
    found = np.flatnonzero(in_bank & (presets["program"] == note.program))
    if not found.size:
        found = np.flatnonzero(in_bank & (presets["program"] == 0))
    return font.phdr["bag"][found[0] : found[0] + 2] if found.size else np.zeros(2, int)


def _zone_list(bags: np.ndarray, generators: np.ndarray, bag_range: np.ndarray, target: int, note: Note) -> list[Zone]:
    """The zones of a preset or instrument that contain the note; a first zone without a target has the defaults."""
    zones, shared = [], {}
    for bag in range(*map(int, bag_range)):
        rows = generators[bags["generator"][bag] : bags["generator"][bag + 1]]
        zone = dict(zip(rows["operator"].tolist(), rows["amount"].tolist()))
        if target not in zone:
            shared = shared or zone
        elif _holds(shared | zone, KEY_RANGE, note.pitch) and _holds(shared | zone, VELOCITY_RANGE, note.velocity):
            zones.append(shared | zone)
    return zones


def _holds(zone: Zone, name: int, value: int) -> bool:
    limits = zone.get(name, 127 << 8)
    return limits & 255 <= value <= limits >> 8 & 255


def _render_zone(font: SoundFont, zone: Zone, note: Note) -> np.ndarray:
    header = font.shdr[zone[SAMPLE]]
    held = note.milliseconds / 1000
    release = _seconds(zone[VOLUME_ENVELOPE + 5]) * AUDIBLE_DB / FLOOR_DB
    seconds = np.arange(_index(held + release), dtype=np.float32) / SAMPLE_RATE
    wave = _read_sample(font.smpl, header, zone, _pitch_ratio(header, zone, note.pitch), len(seconds))
    seconds = seconds[: len(wave)]
    wave = _filter(wave, zone, seconds) * _volume(zone, seconds, held)
    attenuation_db = EMU_ATTENUATION * zone.get(ATTENUATION, 0) / 10
    return (wave * (note.velocity / 127) ** 2 * 10 ** (-attenuation_db / 20)).astype(np.float32)


def _pitch_ratio(header: np.void, zone: Zone, pitch: int) -> float:
    """Samples of the recording per sample of the output."""
    root = zone[ROOT_KEY] if 0 <= zone[ROOT_KEY] <= 127 else int(header["key"])
    cents = (pitch - root) * zone[SCALE_TUNING] + 100 * zone.get(COARSE_TUNE, 0) + zone.get(FINE_TUNE, 0)
    return 2 ** ((cents + int(header["correction"])) / 1200) * int(header["rate"]) / SAMPLE_RATE


def _read_sample(smpl: np.ndarray, header: np.void, zone: Zone, ratio: float, length: int) -> np.ndarray:
    """The recording at another pitch [<= length], interpolated linearly, and looped if the zone says so."""
    start, end = (int(header[name]) + zone.get(offset, 0) for name, offset in (("start", START), ("end", END)))
    loop_start, loop_end = (
        int(header[name]) + zone.get(offset, 0) for name, offset in (("loop_start", LOOP_START), ("loop_end", LOOP_END))
    )
    position = start + ratio * np.arange(length)
    if zone.get(LOOP_MODE, 0) & 1 and loop_end > loop_start:
        looped = loop_start + (position - loop_start) % (loop_end - loop_start)
        position = np.where(position < loop_end, position, looped)
    else:
        position = position[position < end - 1]
    index = position.astype(np.int64)
    here, there = smpl[index].astype(np.float32), smpl[index + 1].astype(np.float32)
    return (here + (there - here) * (position - index)) / 32768


def _filter(wave: np.ndarray, zone: Zone, seconds: np.ndarray) -> np.ndarray:
    """Applies the low-pass filter, whose cutoff follows the filter envelope."""
    depth = zone.get(ENVELOPE_TO_FILTER, 0)
    if zone[FILTER_CUTOFF] >= 13_500 and depth >= 0:
        return wave
    resting = _low_pass(wave, zone[FILTER_CUTOFF])
    if depth == 0:
        return resting
    rise, fall = _stages(zone, FILTER_ENVELOPE, seconds)
    level = rise * (1 - np.minimum(fall, zone.get(FILTER_ENVELOPE + 4, 0) / 1000))
    return resting + level * (_low_pass(wave, zone[FILTER_CUTOFF] + depth) - resting)


def _low_pass(wave: np.ndarray, cutoff_cents: int) -> np.ndarray:
    """Applies a low-pass filter of 12 dB per octave; the cutoff is in cents above 8.176 Hz."""
    size = 1 << max(1, len(wave) - 1).bit_length()
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = 1 / np.sqrt(1 + (hertz / (8.176 * 2 ** (cutoff_cents / 1200))) ** 4)
    return np.fft.irfft(np.fft.rfft(wave, size) * gain, size)[: len(wave)]


def _volume(zone: Zone, seconds: np.ndarray, held: float) -> np.ndarray:
    rise, fall = _stages(zone, VOLUME_ENVELOPE, np.minimum(seconds, held))
    drop_db = np.minimum(FLOOR_DB * fall, zone.get(VOLUME_ENVELOPE + 4, 0) / 10)
    released_db = FLOOR_DB * np.maximum(seconds - held, 0) / _seconds(zone[VOLUME_ENVELOPE + 5])
    return rise * 10 ** (-(drop_db + released_db) / 20)


def _stages(zone: Zone, first: int, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The elapsed shares of an envelope's attack and full decay, 0 to 1 each."""
    delay, attack, hold, decay = (_seconds(zone[first + stage]) for stage in range(4))
    rise = np.clip((seconds - delay) / attack, 0, 1)
    return rise, np.clip((seconds - delay - attack - hold) / decay, 0, 1)


def _seconds(timecents: int) -> float:
    return 2 ** (timecents / 1200)
