"""Reads a MIDI file as a `PrettyMIDI`: by the fast reader, or else by mido, or else after repair."""

import io
import os
from pathlib import Path

from pretty_midi import PrettyMIDI

from music.midi_bytes import Limits, MidiError, read_events
from music.midi_repair import repair

__all__ = ["Limits", "parse_midi", "read_file"]


def parse_midi(data: bytes) -> tuple[PrettyMIDI, list[str]]:
    """The song in a file's bytes, and what had to be mended to read it.

    Raises:
        MidiError: the bytes cannot be read; the message names the fault.
    """
    try:
        events = read_events(data)
        midi = PrettyMIDI(mido_object=events) if events else PrettyMIDI(io.BytesIO(data))
        if midi.resolution > 0:
            return midi, []
    except Exception:  # a damaged file can lead pretty_midi and mido into any
        pass
    try:
        data, mended = repair(data)
        return PrettyMIDI(io.BytesIO(data)), mended
    except MidiError:
        raise
    except Exception as error:
        raise MidiError(f"cannot be read even after mending ({type(error).__name__}: {error})") from error


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a file; raises MidiError if there are none, with the fault as its message."""
    if Path(path).is_dir():
        raise MidiError("is a folder, not a MIDI file; load_songs reads folders")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MidiError("there is no such file") from None
    except OSError as error:
        raise MidiError(f"cannot be opened ({error.strerror or error})") from error
    if not data:
        raise MidiError("the file is empty")
    return data
