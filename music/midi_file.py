"""Reads a MIDI file as a `PrettyMIDI`."""

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pretty_midi import PrettyMIDI

from music.midi_bytes import DEFAULT_LIMITS, Limits, MidiError
from music.midi_repair import check_format, few, read_tracks
from music.midi_song import song_of
from music.midi_ticks import fit_ticks

__all__ = ["Limits", "MidiError", "parse_midi", "read_file"]


def parse_midi(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[PrettyMIDI, list[str]]:
    """The song in a file's bytes, and what had to be mended to read it.

    Raises:
        MidiError: the bytes cannot be read, or hold more than the limits allow; the message names the fault.
    """
    limits.check("bytes", len(data))
    with without_garbage_collection():
        division, tracks, mended = read_tracks(data, limits)
        division, tracks = fit_ticks(division, tracks, mended)
        return song_of(division, tracks, limits, mended), few(mended)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Stops the search for reference cycles: the many small objects of a parser trigger it and form few."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_file(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a file; raises MidiError if there are none or too many, with the fault as its message."""
    try:
        found = os.stat(path)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise MidiError("is a folder, not a MIDI file; load_songs reads folders")
        if not stat.S_ISREG(mode):
            raise MidiError(f"is a {_kind(mode)}, not a file")
        with open(path, "rb") as file:
            data = file.read(min(limits.bytes, found.st_size or limits.bytes) + 1)  # not the memory of the largest file
    except FileNotFoundError:
        raise MidiError("there is no such file") from None
    except MidiError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise MidiError(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > limits.bytes:
        check_format(data)  # audio, which is long, is named as such
    limits.check("bytes", len(data))
    if not data:
        raise MidiError("the file is empty")
    return data


def _kind(mode: int) -> str:
    """What a path that is no file leads to."""
    return "FIFO" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
