"""Keys: a piece is moved into the one that a musician asks for."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pretty_midi import KeySignature, PrettyMIDI, key_name_to_key_number, key_number_to_key_name

from engine.checks import described

KEY_PROFILES = {  # how well each pitch class fits a key, from its tonic on (Krumhansl & Kessler 1982)
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
MOVES = sorted(range(-6, 7), key=abs)  # semitones; of two that fit alike, the first counts


def read_key(name: str) -> int:
    """The number of a key, as in pretty_midi: C major is 0, C minor 12, 'A minor' and 'Am' 21, 'Bb' and 'A# major' 10.

    Raises:
        ValueError: no such key.
    """
    try:
        return key_name_to_key_number(name)
    except (ValueError, TypeError):
        raise ValueError(f"there is no key {described(name)}: give one such as 'A minor', 'F# minor' or 'Bb'") from None


def key_name(key: int) -> str:
    """The name of a key from its number, such as 'A minor' or 'Bb major'."""
    tonic, mode = key_number_to_key_name(key).split()
    return f"{tonic} {mode.lower()}"


def in_key(midi: PrettyMIDI, key: str) -> PrettyMIDI:
    """A piece whose notes are moved by at most a tritone, all by the same interval, so that they fit a key best.

    The fit is the product of how long each pitch class sounds with KEY_PROFILES. Drums stay. The result names the
    key.

    Raises:
        ValueError: no such key.
    """
    number = read_key(key)
    song = deepcopy(midi)
    song.key_signature_changes = [KeySignature(number, 0.0)]
    notes = [note for track in song.instruments if not track.is_drum for note in track.notes]
    moves = [move for move in MOVES if all(0 <= note.pitch + move <= 127 for note in notes)]
    semitones = _best_of(moves, song.get_pitch_class_histogram(use_duration=True), number)
    for note in notes:
        note.pitch += semitones
    return song


def _best_of(moves: Sequence[int], sounding: np.ndarray, key: int) -> int:
    """The move, in semitones, after which pitch classes [12] fit a key best."""
    mode, tonic = divmod(key, 12)
    profile = np.roll(list(KEY_PROFILES.values())[mode], tonic)
    return max(moves, key=lambda move: (np.roll(sounding, move) @ profile).round(9))
