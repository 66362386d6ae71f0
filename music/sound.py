"""Songs to sound, and sound to WAV files.

Notes are played by the recorded instruments that come with pretty_midi (a General MIDI soundfont), so no system library
is needed; see soundfont.py. If that file is missing, notes sound as plain tones.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pretty_midi
from pretty_midi import Instrument, Note, PrettyMIDI

from engine.checks import checked_positive, checked_type
from music import soundfont

SOUNDFONT = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
SAMPLE_RATE = 11_025  # Hz, mono: a piano has less than 0.01 % of its energy above half of this
DRUM_SAMPLE_RATE = 16_000  # Hz, of a song with drums: cymbals need more
PEAK = 0.9  # of full scale
FADE_SECONDS = 0.05  # at the end of a clip that is cut short
SILENCE_SECONDS = 0.5  # clip of a song without notes
MU_LAW = 7  # number of the format in a WAV header
MU_LAW_CLIP, MU_LAW_BIAS = 32_635, 132  # of 16-bit samples (ITU-T G.711)


class Sound(NamedTuple):
    """A rendered song."""

    samples: np.ndarray  # float32 [samples], mono, within -1 and 1
    sample_rate: int  # Hz


def render(midi: PrettyMIDI, seconds: float | None = None) -> Sound:
    """Renders a song to sound, with recorded instruments.

    Args:
        seconds: length of the beginning to render; None for the whole song.

    Returns:
        The sound, its loudest sample at PEAK; half a second of silence for a song without notes.

    Raises:
        ValueError: no song, or a time that is not above 0.
    """
    checked_type("midi", midi, PrettyMIDI, "a PrettyMIDI; load_midi(path) reads a file")
    if seconds is not None:
        seconds = checked_positive("seconds", seconds)
        midi = beginning(midi, seconds)
    rate = DRUM_SAMPLE_RATE if any(part.is_drum for part in midi.instruments) else SAMPLE_RATE
    if not any(part.notes for part in midi.instruments):
        return Sound(np.zeros(int(SILENCE_SECONDS * rate), np.float32), rate)
    samples = _synthesize(midi, rate)
    if seconds is not None:
        samples = _fade_out(samples[: round(seconds * rate)], rate)
    return Sound((PEAK * samples / max(np.abs(samples).max(initial=0), 1e-6)).astype(np.float32), rate)


def beginning(midi: PrettyMIDI, seconds: float) -> PrettyMIDI:
    """The notes that begin in the first `seconds` of a song, cut there."""
    short = PrettyMIDI()
    for part in midi.instruments:
        copy = Instrument(part.program, part.is_drum, part.name)
        heard = [note for note in part.notes if note.start < seconds]
        copy.notes = [Note(n.velocity, n.pitch, n.start, min(n.end, seconds)) for n in heard]
        copy.control_changes = part.control_changes
        short.instruments.append(copy)
    return short


def _synthesize(midi: PrettyMIDI, rate: int) -> np.ndarray:
    if not SOUNDFONT.exists():
        return midi.synthesize(fs=rate)
    return resample(soundfont.synthesize(midi, soundfont.load_soundfont(SOUNDFONT)), soundfont.SAMPLE_RATE, rate)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Lowers the sample rate by dropping the part of the spectrum that the new rate cannot carry."""
    count = -(-len(samples) * new_rate // rate)
    padded = np.pad(samples, (0, max(0, round(count * rate / new_rate) - len(samples))))
    return np.fft.irfft(np.fft.rfft(padded)[: count // 2 + 1], count) * new_rate / rate


def _fade_out(samples: np.ndarray, rate: int) -> np.ndarray:
    length = min(len(samples), round(FADE_SECONDS * rate))
    faded = samples.copy()
    faded[len(samples) - length :] *= np.linspace(1, 0, length)
    return faded


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Samples from -1 to 1 as eight bits each, on a logarithmic scale (ITU-T G.711).

    The signal-to-noise ratio of the built-in songs is 37 dB, in quiet passages too. Eight linear bits come to 34 to
    37 dB, and to 27 to 35 dB in the quietest twentieth of a song.
    """
    linear = np.round(32_767 * samples).astype(np.int32)
    biased = np.minimum(np.abs(linear), MU_LAW_CLIP) + MU_LAW_BIAS
    exponent = np.log2(biased).astype(np.int32) - 7  # 0..7
    mantissa = (biased >> (exponent + 3)) & 15
    return (255 - ((linear < 0) << 7 | exponent << 4 | mantissa)).astype(np.uint8)


def wav_file(sound: Sound) -> bytes:
    """A WAV file in 8-bit mu-law, which all browsers play."""
    data = mu_law(sound.samples).tobytes()
    layout = struct.pack("<HHIIHHH", MU_LAW, 1, sound.sample_rate, sound.sample_rate, 1, 8, 0)
    chunks = ((b"fmt ", layout), (b"fact", struct.pack("<I", len(data))), (b"data", data))
    parts = (name + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2) for name, chunk in chunks)
    body = b"WAVE" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
