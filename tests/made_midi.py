"""What the tests of MIDI share: songs in few words, expected windows, and converters."""

import struct
from functools import cache
from pathlib import Path

import mido
import numpy as np
import pretty_midi

from midi_utils import DrumsConverter, MelodyConverter, TrioConverter, load_midi

FIXTURES = Path(__file__).parent / "fixtures"
CONVERTERS = {
    "cat-mel_2bar_small": MelodyConverter(bars=2),
    "hierdec-mel_16bar": MelodyConverter(bars=16, programs=None),
    "cat-drums_2bar_small": DrumsConverter(bars=2),
    "hierdec-trio_16bar": TrioConverter(bars=16),
}
ROLLS = {
    "nade-drums_2bar_reduced": DrumsConverter(bars=2, output="roll"),
    "nade-drums_2bar_full": DrumsConverter(bars=2, output="roll", classes=61),
}
MADE_FILES = sorted(path.stem for path in (FIXTURES / "converters/midi").glob("*.mid"))
STEP = 0.125  # seconds, at 120 quarters per minute


# ---- Files of the fixtures ----


def made_song(name):
    """One of MADE_FILES."""
    return load_midi(FIXTURES / "converters/midi" / f"{name}.mid")


@cache
def reference(preset):
    """The arrays that Magenta's converter of a preset gives for MADE_FILES, named by file and kind."""
    return dict(np.load(FIXTURES / "converters" / f"handmade_{preset}.npz"))


def smf(*tracks, division=480, kind=1, declared=None):
    """The bytes of a Standard MIDI File of these tracks, each given as its events' bytes, without end-of-track."""
    return smf_header(len(tracks) if declared is None else declared, division, kind) + b"".join(map(chunk, tracks))


def smf_header(tracks, division=480, kind=1):
    return b"MThd" + struct.pack(">LHHH", 6, kind, tracks, division)


END = b"\x00\xff\x2f\x00"  # the end-of-track event


def chunk(events, size=None, end=END):
    """An MTrk chunk of these events; size: what its header says, in place of the true size."""
    events += end
    return b"MTrk" + struct.pack(">L", len(events) if size is None else size) + events


def meta(kind, data, delta=0):
    return number(delta) + bytes((0xFF, kind, len(data))) + data


def tempo(microseconds, delta=0):
    """A tempo, in microseconds per quarter."""
    return meta(0x51, microseconds.to_bytes(3, "big"), delta)


def metre(numerator, denominator, delta=0):
    return meta(0x58, bytes((numerator, denominator.bit_length() - 1, 24, 8)), delta)


def sound(pitch, ticks, delta=0, channel=0):
    """A note of this many ticks."""
    on = number(delta) + bytes((0x90 | channel, pitch, 100))
    return on + number(ticks) + bytes((0x80 | channel, pitch, 0))


def number(value):
    """A variable-length number."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))


def notes_of(midi):
    """(pitch, start, end) of all notes in the order of the file, in seconds."""
    return [(note.pitch, note.start, note.end) for part in midi.instruments for note in part.notes]


# ---- Songs ----


def track(notes, program=0, is_drum=False, step=STEP):
    """A track of notes (start, end, pitch) in steps, or of drum hits (start, pitch); step: its seconds."""
    instrument = pretty_midi.Instrument(program, is_drum)
    for note in notes:
        start, end, pitch = note if len(note) == 3 else (note[0], note[0] + 1, note[1])
        instrument.notes.append(pretty_midi.Note(100, pitch, start * step, end * step))
    return instrument


def song(*tracks, metre=None, qpm=120.0):
    """A song of these tracks; metre: (numerator, denominator), at the start."""
    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=qpm)
    midi.instruments += tracks
    if metre:
        midi.time_signature_changes.append(pretty_midi.TimeSignature(*metre, 0.0))
    return midi


def melody(*notes, **kwargs):
    return song(track(notes), **kwargs)


def with_tempo_change(midi, seconds, qpm):
    """The song of 120 quarters per minute, with another tempo from this time on."""
    ticks = midi.time_to_tick(seconds)
    tempos = [(0, 120.0), (ticks, qpm)]
    messages = [mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo), time=time) for time, tempo in tempos]
    file = mido.MidiFile(ticks_per_beat=midi.resolution, tracks=[mido.MidiTrack(messages)])
    changed = pretty_midi.PrettyMIDI(mido_object=file)
    for field in ("instruments", "time_signature_changes", "text_events", "lyrics"):
        setattr(changed, field, getattr(midi, field))
    return changed


def on_disk(midi, path):
    """The song as it is read back from a file."""
    midi.write(str(path))
    return load_midi(path)


def write_song(path, midi):
    """Writes a song into a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.write(str(path))


def write_melodies(path, seed=0):
    """Writes a song of two melodies of three bars each, unlike that of any other seed: four windows of two bars."""
    rng = np.random.default_rng(seed)
    voices = (track([(4 * k, 4 * k + 4, int(rng.integers(40, 90))) for k in range(12)]) for _ in range(2))
    write_song(path, song(*voices))


def write_trio(path, seed, bars=4, notes_per_bar=4):
    """Writes a song of a melody, a bass and a drum track, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    midi = pretty_midi.PrettyMIDI()
    for program, is_drum, pitches in ((0, False, (60, 90)), (33, False, (30, 50)), (0, True, (36, 52))):
        instrument = pretty_midi.Instrument(program, is_drum)
        for k, pitch in enumerate(random.integers(*pitches, int(bars * notes_per_bar)).tolist()):
            instrument.notes.append(pretty_midi.Note(90, pitch, 2 * k / notes_per_bar, 2 * (k + 1) / notes_per_bar))
        midi.instruments.append(instrument)
    write_song(path, midi)


# ---- Windows ----


def window(events, steps=32):
    """Labels of a window: {step: label}, and zeros at the other steps."""
    labels = np.zeros(steps, np.int64)
    labels[list(events)] = list(events.values())
    return labels


EIGHTS = [(4 * k, 4 * k + 2, 60 + k) for k in range(8)]  # notes of two bars, eighth notes and rests in turn
EIGHTS_LABELS = window({4 * k: 41 + k for k in range(8)} | {4 * k + 2: 1 for k in range(8)})


def whole_melody(rng, steps, bar):
    """A melody with an onset in the first bar and in the last, and no rest of a bar."""
    labels, sounding = np.zeros(steps, np.int64), False
    for step in range(steps):
        if step % max(1, bar // 2) == 0 or rng.random() < 0.3:
            labels[step], sounding = rng.integers(2, 90), True
        elif sounding and rng.random() < 0.2:
            labels[step], sounding = 1, False
    return labels


def whole_window(converter, rng):
    """Labels of a melody, drum or trio window that are read back as they are."""
    steps, bar = converter.steps, converter.steps_per_bar
    drums = np.where(rng.random(steps) < 0.4, rng.integers(1, 512, steps), 0)
    drums[::bar] = 1
    if isinstance(converter, DrumsConverter):
        return drums
    if isinstance(converter, MelodyConverter):
        return whole_melody(rng, steps, bar)
    return np.stack([whole_melody(rng, steps, bar), whole_melody(rng, steps, bar), drums], -1)


def sorted_rows(labels):
    rows = labels.reshape(len(labels), -1)
    return labels[np.lexsort(rows.T[::-1])]


def assert_windows(windows, expected):
    """The windows are these, in any order."""
    assert len(windows.labels) == len(expected)
    if expected:
        np.testing.assert_array_equal(sorted_rows(windows.labels), sorted_rows(np.array(expected)))


def why(converter, midi):
    """The reason why a song gives no window."""
    windows = converter.to_arrays(midi)
    assert len(windows.labels) == 0
    assert windows.skipped[0].what == "song"
    return windows.skipped[0].reason
