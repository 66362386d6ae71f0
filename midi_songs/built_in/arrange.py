"""Arranges the tunes of tunes.abc as MIDI files: melody, bass, chords and drums, exactly on the sixteenth-note grid.

Run `python midi_songs/built_in/arrange.py` to rebuild every file and the table in README.md, with the same bytes.
Each tune is repeated several times, first plain and then varied. All random choices come from a generator that is
seeded with the tune's number.
"""

import random
import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mido

STEPS_PER_BAR = 16  # sixteenth notes in 4/4
TICKS_PER_STEP = 120  # 480 ticks a quarter note
TARGET_BARS = 40  # a tune is repeated until it has as many bars, and at least twice
MELODY_RANGE = (50, 90)  # MIDI pitches
BASS_RANGE = (28, 55)
CHORD_FLOOR = 52  # MIDI pitch; chords are voiced within one octave above it
KICK, SNARE, CLOSED_HAT, OPEN_HAT, LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE = 36, 38, 42, 46, 45, 48, 50, 49, 51
TABLE_MARK = "<!-- tunes -->\n"
VELOCITIES = {"X": 84, "x": 68, "o": 44}  # accent, beat, ghost note

NOTE_CLASSES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"^": 1, "_": -1, "=": 0, "#": 1, "b": -1, "": 0}
MODES = {"": 0, "m": 3, "dor": 10}  # semitones from the tonic up to that of the major key with the same signature
ORDER_OF_SHARPS = "FCGDAEB"
QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "dim": (0, 3, 6),
}
TOKEN = re.compile(r'"([^"]*)"|([_^=]?)([A-Ga-gz])([\',]*)(\d*)(/?)(\d*)|([<>])|(-)|(\s+)')


class Chord(NamedTuple):
    root: int  # pitch class
    intervals: tuple[int, ...]  # semitones above the root

    def tones(self) -> list[int]:
        return [(self.root + interval) % 12 for interval in self.intervals]


class Note(NamedTuple):
    start: int  # in sixteenth steps; negative in a pickup
    length: int  # in sixteenth steps
    pitch: int
    velocity: int = 80


class Tune(NamedTuple):
    number: int
    title: str
    composer: str
    origin: str
    style: str
    qpm: float
    scale: frozenset[int]  # the key's pitch classes
    bars: int  # full bars; a pickup and the last bar count as one
    pickup: int  # its length in sixteenth steps, 0 without one
    melody: list[Note]
    chords: list[Chord]  # one per step

    @property
    def ascii_title(self) -> str:
        return unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode()

    @property
    def filename(self) -> str:
        words = re.findall("[a-z0-9]+", self.ascii_title.lower().replace("'", ""))
        return f"{self.number:02d}_{'_'.join(words)}.mid"


class Style(NamedTuple):
    melody_programs: tuple[int, ...]  # the tune's number selects one
    bass_programs: tuple[int, ...]
    chord_programs: tuple[int, ...]
    drums: tuple[dict[int, str], ...]  # one-bar patterns, taken in turn: drum pitch to 16 steps
    bass: tuple[str, ...]  # one-bar patterns: r root, t third, f fifth, o octave, . no onset
    chords: tuple[str, ...]  # one-bar patterns: x the whole chord, a one tone of it, upwards
    swing: bool = False  # the second of two eighth notes starts one sixteenth late


# fmt: off
STYLES = {
    "lofi": Style(
        (4, 11, 0, 24, 5, 26), (33, 32, 35), (89, 88, 46),
        (
            {KICK: "X.....x...x.....", SNARE: "....X.......X...", CLOSED_HAT: "x.x.x.x.x.x.x.xo"},
            {KICK: "X..x....x.x.....", SNARE: "....X.......X..o", CLOSED_HAT: "x.xox.x.x.xox.x.",
             OPEN_HAT: "..............x."},
            {KICK: "X.....xx..x.....", SNARE: "....X..o....X...", RIDE: "x...x.x.x...x.x."},
        ),
        ("r.....r.f.......", "r.....f.r...t...", "r..r....f.o.....", "r.......f...t.r."),
        ("x.......x.......", "a.a.a.a.a.a.a.a.", "x.....x.....x..."),
    ),
    "shuffle": Style(
        (0, 11, 26, 12, 4, 17), (32, 35, 33), (46, 89, 61),
        (
            {KICK: "X.......x.......", SNARE: "....X.......X...", CLOSED_HAT: "x..xx..xx..xx..x"},
            {KICK: "X..x....x..x....", SNARE: "....X..o....X...", RIDE: "x...x..xx...x..x"},
            {KICK: "X.......x.....x.", SNARE: "....X.......X..o", CLOSED_HAT: "x..xx..x...xx..x",
             OPEN_HAT: "........x......."},
        ),
        ("r...t...f...t...", "r..rf..fr..rf..t", "r...f...o...f...", "r...t...f...o..r"),
        ("....x.......x...", "x..x........x..x", "a..aa..aa..aa..a"),
        swing=True,
    ),
    "folk": Style(
        (25, 21, 24, 22, 15), (32, 34), (105, 46, 48),
        (
            {KICK: "X.......x.......", CLOSED_HAT: "x...X...x...X...", SNARE: "....o.......o..."},
            {KICK: "X.......x...x...", SNARE: "....x..o....x...", CLOSED_HAT: "x.x.x.x.x.x.x.x."},
            {KICK: "X...x...x...x...", SNARE: "....X.o.....X.oo", RIDE: "x...x...x...x..."},
        ),
        ("r.......f.......", "r...t...f...t...", "r.....r.f.....f.", "r...r...f...o..."),
        ("....x.......x...", "..x...x...x...x.", "x...x.x.x...x.x."),
    ),
    "march": Style(
        (9, 21, 0, 20, 16), (34, 32, 38), (61, 48, 60),
        (
            {KICK: "X.......X.......", SNARE: "o...x.oox...x.oo", CLOSED_HAT: "x...x...x...x..."},
            {KICK: "X...x...X...x...", SNARE: "x.oox.oox.ooxooo"},
            {KICK: "X.......X.......", SNARE: "..x.X.o...x.X.oo", LOW_TOM: "........x.......",
             RIDE: "x...x...x...x..."},
        ),
        ("r.......f.......", "r...f...r...f...", "r.......f...t...", "r...r...f...r..."),
        ("....x.......x...", "..x...x...x...x.", "x.......x......."),
    ),
    "hymn": Style(
        (19, 0, 16, 20, 4), (35, 32, 33), (52, 48, 89),
        (
            {KICK: "X...............", SNARE: "........o.......", CLOSED_HAT: "....x.......x..."},
            {KICK: "X.......x.......", SNARE: "............x...", RIDE: "x...x...x...x..."},
            {KICK: "X.....x.x.......", SNARE: "....x.......x...", CLOSED_HAT: "x.o.x.o.x.o.x.o."},
        ),
        ("r...............", "r.......f.......", "r.......t...f...", "r...f...o...f..."),
        ("x...............", "x.......x.......", "a...a...a...a..."),
    ),
    "carol": Style(
        (10, 8, 9, 14, 11), (32, 33, 35), (48, 52, 46),
        (
            {KICK: "X.......x.......", CLOSED_HAT: "x.x.x.x.x.x.x.x."},
            {KICK: "X.......x.....x.", SNARE: "....x.......x...", CLOSED_HAT: "x.xxx.xxx.xxx.xx"},
            {KICK: "X.....x.x.......", SNARE: "....X.......X...", RIDE: "x...x.x.x...x.x."},
        ),
        ("r.......f.......", "r...f...r...t...", "r.......o...f...", "r...t...f...o..."),
        ("x.......x.......", "a.a.a.a.a.a.a.a.", "x...x...x...x..."),
    ),
    "dance": Style(
        (21, 15, 25, 22, 13), (32, 33, 34), (105, 46, 48),
        (
            {KICK: "X.......X.......", CLOSED_HAT: "x.oxx.oxx.oxx.ox"},
            {KICK: "X...x...X...x...", SNARE: "..x...x...x...x.", CLOSED_HAT: "x...x...x...x..."},
            {KICK: "X.....x.X.......", SNARE: "....X..o....X.oo", RIDE: "x.x.x.x.x.x.x.x."},
        ),
        ("r.......f.......", "r...r...f...f...", "r.r...f.r.r...f.", "r...t...f...o..."),
        ("..x...x...x...x.", "....x.......x...", "x.......x......."),
    ),
    "ambient": Style(
        (11, 8, 24, 4, 10), (33, 35), (88, 95, 91),
        (
            {KICK: "X...............", CLOSED_HAT: "....o.......o..."},
            {KICK: "X.........x.....", SNARE: "........o.......", CLOSED_HAT: "..o...o...o...o."},
            {KICK: "X.....x.........", SNARE: "....o.......x...", RIDE: "x.......x.......",
             CLOSED_HAT: "....x.x.....x.x."},
        ),
        ("r...............", "r.........f.....", "r.......o.......", "r.....f........."),
        ("x...............", "a...a...a...a...", "x.......a...a..."),
    ),
}
FILLS = (
    {SNARE: "........x.x.XxXx", KICK: "X...x..........."},
    {SNARE: "....X...x.......", HIGH_TOM: "........xx......", MID_TOM: "..........xx....",
     LOW_TOM: "............xXxX", KICK: "X......."},
    {SNARE: "....X...x..x..xx", LOW_TOM: ".............x..", KICK: "X...x...x......."},
    {SNARE: "....X...........", HIGH_TOM: "..........x.....", MID_TOM: "............x...",
     LOW_TOM: "..............x.", KICK: "X.....x.x......."},
)
# fmt: on
COUNT_IN = {CLOSED_HAT: "X...x...x...x...", KICK: "x...............", SNARE: "..............oo"}
LAST_BAR = {CRASH: "X...............", KICK: "X...............", RIDE: "........o......."}


def pitch_class(name: str) -> int:
    """The pitch class of a note name such as `Bb`."""
    return (NOTE_CLASSES[name[0]] + ACCIDENTALS[name[1:]]) % 12


def parse_key(text: str) -> int:
    """The tonic, as a pitch class, of the major key with the same signature as `F`, `Em` or `Ddor`."""
    tonic, mode = re.fullmatch(r"([A-G][#b]?)(m|dor|)", text).groups()
    return (pitch_class(tonic) + MODES[mode]) % 12


def parse_chord(text: str) -> Chord:
    """The chord of a symbol such as `F#m7`. Raises ValueError for a quality that is not in QUALITIES."""
    match = re.fullmatch(r"([A-G][#b]?)(.*)", text)
    if not match or match[2] not in QUALITIES:
        raise ValueError(f"cannot read the chord {text!r}; known qualities are {', '.join(QUALITIES)}")
    return Chord(pitch_class(match[1]), QUALITIES[match[2]])


def signature(major: int) -> dict[str, int]:
    """The key signature of a major key: note name to its alteration in semitones."""
    sharps = major * 7 % 12
    if sharps <= 6:
        return {name: int(name in ORDER_OF_SHARPS[:sharps]) for name in ORDER_OF_SHARPS}
    return {name: -int(name in ORDER_OF_SHARPS[sharps - 12 :]) for name in ORDER_OF_SHARPS}


def step_length(unit: int, times: str, slash: str, divisor: str) -> int:
    """A note's length in half sixteenths, so that a length off the grid is an odd number."""
    length = unit * 2 * int(times or 1)
    return length // int(divisor or 2) if slash else length


def read_bar(text: str, unit: int, key: dict[str, int]) -> tuple[list[list], list[tuple[int, Chord]]]:
    """One bar's events [length in steps, pitch or None, tied], and its chords, each with its step in the bar."""
    events, chords, altered, lean = [], [], {}, 0
    for match in TOKEN.finditer(text):
        symbol, accidental, letter, octave, times, slash, divisor, broken, tie, _ = match.groups()
        if symbol:
            chords.append((sum(event[0] for event in events), parse_chord(symbol)))
        elif letter:
            length = step_length(unit, times, slash, divisor)
            events.append([length, read_pitch(letter, octave, accidental, key, altered), False])
            lean = lean and lean_pair(events, lean)
        elif broken:
            lean = 1 if broken == ">" else -1
        elif tie:
            events[-1][2] = True
    check_text(text, events)
    return [[length // 2, *rest] for length, *rest in events], [(step // 2, chord) for step, chord in chords]


def check_text(text: str, events: list[list]) -> None:
    """Raises ValueError for a sign that the subset does not know, or for a length off the grid."""
    if "".join(match.group() for match in TOKEN.finditer(text)) != text:
        raise ValueError(f"cannot read the bar {text.strip()!r}")
    if any(length % 2 or not length for length, _, _ in events):
        raise ValueError(f"the bar {text.strip()!r} leaves the sixteenth-note grid")


def read_pitch(letter: str, octave: str, accidental: str, key: dict[str, int], altered: dict[str, int]) -> int | None:
    """The MIDI pitch of an ABC note, None for a rest. An accidental lasts until the end of the bar."""
    if letter == "z":
        return None
    name = letter.upper()
    if accidental:
        altered[name] = ACCIDENTALS[accidental]
    base = 60 if letter.isupper() else 72
    return base + NOTE_CLASSES[name] + altered.get(name, key[name]) + 12 * (octave.count("'") - octave.count(","))


def lean_pair(events: list[list], lean: int) -> int:
    """Moves half of a note's length to its neighbour: `A>B` lengthens A, `A<B` lengthens B. Returns 0, no pair open."""
    taken = events[-1 if lean > 0 else -2][0] // 2
    events[-1][0] -= lean * taken
    events[-2][0] += lean * taken
    return 0


def parse_fields(text: str) -> dict[str, str]:
    """A tune's header fields. Raises ValueError if a field is missing or the style is unknown."""
    fields = {name: value.strip() for name, value in re.findall(r"^([A-Z]):(.*)$", text, re.M)}
    missing = [name for name in "XTCORQLK" if not fields.get(name)]
    if missing:
        raise ValueError(f"tune {fields.get('X')} {fields.get('T')} lacks {', '.join(missing)}")
    if fields["R"] not in STYLES:
        raise ValueError(f"{fields['T']}: no style {fields['R']!r}; there are {', '.join(STYLES)}")
    return fields


def parse_tune(text: str) -> Tune:
    """Parses one tune. A bar that does not hold four quarter notes raises a ValueError that names it."""
    fields = parse_fields(text)
    music = "".join(line for line in text.splitlines() if not re.match(r"[A-Z]:|%", line))
    major, (numerator, denominator) = parse_key(fields["K"]), map(int, fields["L"].split("/"))
    unit = STEPS_PER_BAR * numerator // denominator
    bars = [read_bar(bar, unit, signature(major)) for bar in music.strip("|\n ").split("|")]
    pickup = check_bars(fields["T"], [sum(length for length, _, _ in events) for events, _ in bars])
    melody, chords = lay_out(bars, pickup)
    full_bars = len(bars) - (pickup > 0)
    return Tune(
        *(int(fields["X"]), fields["T"], fields["C"], fields["O"], fields["R"], float(fields["Q"].split("=")[1])),
        frozenset((major + degree) % 12 for degree in (0, 2, 4, 5, 7, 9, 11)),
        *(full_bars, pickup, melody, fill_chords(chords, full_bars * STEPS_PER_BAR)),
    )


def check_bars(title: str, lengths: list[int]) -> int:
    """The pickup's length in steps, 0 without one. Raises ValueError for a bar that does not add up."""
    pickup = lengths[0] % STEPS_PER_BAR
    expected = [STEPS_PER_BAR] * len(lengths)
    if pickup:
        expected[0], expected[-1] = pickup, STEPS_PER_BAR - pickup
    for number, (length, wanted) in enumerate(zip(lengths, expected, strict=True), 1):
        if length != wanted:
            after = f", after a first bar of {pickup}" if pickup else ""
            raise ValueError(f"{title}: bar {number} holds {length} sixteenths, not {wanted}{after}")
    return pickup


def lay_out(bars: list, pickup: int) -> tuple[list[Note], list[tuple[int, Chord]]]:
    """Notes and chords at their steps, counted from the first full bar. Tied notes become one."""
    melody, chords, now, tied = [], [], -pickup, False
    for events, symbols in bars:
        chords += [(now + step, chord) for step, chord in symbols]
        for length, pitch, ties in events:
            if pitch is not None:
                if tied:
                    melody[-1] = melody[-1]._replace(length=melody[-1].length + length)
                else:
                    melody.append(Note(now, length, pitch))
            tied, now = ties, now + length
    return melody, chords


def fill_chords(chords: list[tuple[int, Chord]], steps: int) -> list[Chord]:
    """The chord of every step. A chord lasts until the next one."""
    changes = dict(chords)
    if 0 not in changes:
        raise ValueError("the first full bar of a tune needs a chord before its first note")
    filled = [changes[0]]
    for step in range(1, steps):
        filled.append(changes.get(step, filled[-1]))
    return filled


def scale_step(tune: Tune, pitch: int, direction: int) -> int:
    """The next pitch of the tune's key above (direction 1) or below (-1) a pitch."""
    pitch += direction
    while pitch % 12 not in tune.scale:
        pitch += direction
    return pitch


def chord_tone(chord: Chord, pitch: int, direction: int) -> int:
    """The next tone of the chord above (direction 1) or below (-1) a pitch."""
    pitch += direction
    while pitch % 12 not in chord.tones():
        pitch += direction
    return pitch


def plain(tune: Tune, melody: list[Note], rng: random.Random) -> list[Note]:
    """The melody, unchanged."""
    return melody


def ornament(tune: Tune, melody: list[Note], rng: random.Random) -> list[Note]:
    """Adds passing notes in thirds, neighbour notes between repeated notes, and turns on some longer notes."""
    varied = []
    for note, following in zip(melody, melody[1:] + melody[:1]):
        up = 1 if following.pitch >= note.pitch else -1
        between = scale_step(tune, note.pitch, up)
        wanted = abs(following.pitch - note.pitch) in (0, 3, 4) or note.length >= 6
        if note.length < 2 or not wanted or rng.random() > 0.6:
            varied.append(note)
        else:
            tail = 1 if note.length < 4 else 2
            varied += [note._replace(length=note.length - tail), Note(note.start + note.length - tail, tail, between)]
    return varied


def push(tune: Tune, melody: list[Note], rng: random.Random) -> list[Note]:
    """Moves some notes on the beat an eighth note earlier, as singers do."""
    varied = [melody[0]]
    for note in melody[1:]:
        before = varied[-1]
        joined = before.length >= 4 and before.start + before.length == note.start
        short = note.length <= 8 and note != melody[-1]
        if note.start % 4 == 0 and joined and short and rng.random() < 0.45:
            varied[-1] = before._replace(length=before.length - 2)
            note = note._replace(start=note.start - 2, length=note.length + 2)
        varied.append(note)
    return varied


def arpeggiate(tune: Tune, melody: list[Note], rng: random.Random) -> list[Note]:
    """Breaks notes of at least two beats into the chord's tones, and some quarter notes into two eighths."""
    varied = []
    for note in melody:
        direction, pitch, unit = (1 if note.pitch < 74 else -1), note.pitch, (4 if rng.random() < 0.4 else 2)
        if note.length < 8 and (note.length < 4 or rng.random() < 0.55):
            varied.append(note)
            continue
        for start in range(note.start, note.start + note.length, unit):
            varied.append(Note(start, min(unit, note.start + note.length - start), pitch))
            pitch = chord_tone(tune.chords[(start + unit) % len(tune.chords)], pitch, direction)
            direction = -direction if (start - note.start) // unit % 3 == 1 else direction
    return varied


def shift_octave(tune: Tune, melody: list[Note], rng: random.Random) -> list[Note]:
    """Moves the tune an octave up, or down if that is too high, and ornaments it."""
    pitches = [note.pitch for note in melody]
    shift = 12 if max(pitches) <= MELODY_RANGE[1] - 14 else -12 if min(pitches) >= MELODY_RANGE[0] + 14 else 0
    return ornament(tune, [note._replace(pitch=note.pitch + shift) for note in melody], rng)


def swing(melody: list[Note]) -> list[Note]:
    """Turns two eighth notes on a beat into a dotted eighth and a sixteenth."""
    varied = list(melody)
    for i, (first, second) in enumerate(pairwise(melody)):
        if first.start % 4 == 0 and first.length == 2 <= second.length and second.start == first.start + 2:
            varied[i] = first._replace(length=3)
            varied[i + 1] = second._replace(start=second.start + 1, length=second.length - 1)
    return varied


VARIATIONS: tuple[Callable, ...] = (plain, ornament, push, arpeggiate, shift_octave)


def times_through(tune: Tune) -> int:
    """How often a tune is repeated in its song."""
    return max(2, -(-TARGET_BARS // tune.bars))


def variation(tune: Tune, time: int) -> Callable:
    """The variation for a repeat, counted from 0: first the plain melody, then the other variations in turn."""
    return VARIATIONS[1 + (time - 1 + tune.number) % (len(VARIATIONS) - 1)] if time else plain


def melody_part(tune: Tune, song_steps: int, lead_in: int) -> list[Note]:
    """The melody of the whole song, first plain, then varied. A note ends before the next; the last one is held."""
    rng, notes = random.Random(tune.number), []
    for time in range(times_through(tune)):
        once = variation(tune, time)(tune, tune.melody, rng)
        once = swing(once) if STYLES[tune.style].swing else once
        offset = lead_in + time * tune.bars * STEPS_PER_BAR
        notes += [note._replace(start=note.start + offset, pitch=fit(note.pitch, MELODY_RANGE)) for note in once]
    close = song_steps - tune.bars * STEPS_PER_BAR + tune.melody[-1].start
    notes = [note for note in notes if note.start <= close]
    notes[-1] = notes[-1]._replace(length=song_steps - notes[-1].start)
    ends = [note.start for note in notes[1:]] + [song_steps]
    notes = [note._replace(length=min(note.length, end - note.start)) for note, end in zip(notes, ends, strict=True)]
    return [note._replace(velocity=touch(note, rng)) for note in notes]


def fit(pitch: int, limits: tuple[int, int]) -> int:
    """Moves a pitch by octaves into the limits."""
    while pitch < limits[0]:
        pitch += 12
    while pitch > limits[1]:
        pitch -= 12
    return pitch


def touch(note: Note, rng: random.Random) -> int:
    """A velocity: louder at the start of a bar or beat, with some random variation."""
    return 72 + 8 * (note.start % STEPS_PER_BAR == 0) + 5 * (note.start % 4 == 0) + int(rng.random() * 9)


def song_chords(tune: Tune, lead_in: int) -> list[Chord]:
    """The chord of every step of the song. A pickup bar has the first chord."""
    return [tune.chords[0]] * lead_in + tune.chords * times_through(tune)


def pattern_of(tune: Tune, patterns: tuple, bar: int, lead_in: int) -> object:
    """The pattern of a bar. It changes with each repeat and in the tune's second half."""
    position = max(0, bar - lead_in // STEPS_PER_BAR)
    time, half = position // tune.bars, (position % tune.bars) * 2 // tune.bars
    return patterns[(time + half + tune.number) % len(patterns)]


def bass_part(tune: Tune, chords: list[Chord], lead_in: int) -> list[Note]:
    """The bass: the style's pattern, and the root wherever the chord changes. A note is held until the next."""
    hits = []
    for bar in range(len(chords) // STEPS_PER_BAR):
        pattern = pattern_of(tune, STYLES[tune.style].bass, bar, lead_in)
        last = bar == len(chords) // STEPS_PER_BAR - 1
        for step in range(STEPS_PER_BAR):
            now = bar * STEPS_PER_BAR + step
            degree = "r" if step == 0 or chords[now] != chords[now - 1] else "." if last else pattern[step]
            if degree != ".":
                hits.append((now, bass_pitch(chords[now], degree)))
    ends = [start for start, _ in hits[1:]] + [len(chords)]
    held = zip(hits, ends, strict=True)
    return [Note(start, end - start, pitch, 74 if start % 8 == 0 else 66) for (start, pitch), end in held]


def bass_pitch(chord: Chord, degree: str) -> int:
    """The pitch of a chord degree (r, t, f or o) in the bass register."""
    root = 31 + (chord.root - 31) % 12
    return fit(root + {"r": 0, "t": chord.intervals[1], "f": chord.intervals[2], "o": 12}[degree], BASS_RANGE)


def chord_part(tune: Tune, chords: list[Chord], lead_in: int) -> list[Note]:
    """The chords in the style's rhythm, whole or broken. Each is held until the next."""
    hits = []
    for now, chord in enumerate(chords):
        mark = pattern_of(tune, STYLES[tune.style].chords, now // STEPS_PER_BAR, lead_in)[now % STEPS_PER_BAR]
        if mark == "." and now and chord != chords[now - 1]:
            mark = "x"
        if mark != ".":
            voicing = sorted(CHORD_FLOOR + (tone - CHORD_FLOOR) % 12 for tone in chord.tones())
            hits.append((now, voicing if mark == "x" else [voicing[now // 2 % len(voicing)]]))
    ends = [start for start, _ in hits[1:]] + [len(chords)]
    held = zip(hits, ends, strict=True)
    return [Note(start, end - start, pitch, 46) for (start, voicing), end in held for pitch in voicing]


def drum_part(tune: Tune, bars: int, lead_in: int) -> list[Note]:
    """The style's beat, with fills, a crash at each repeat of the tune, and a count-in before a pickup."""
    notes = []
    for bar in range(bars):
        position = bar - lead_in // STEPS_PER_BAR
        pattern = drum_bar(tune, bar, position, bars, lead_in)
        for drum, marks in pattern.items():
            hits = [(bar * STEPS_PER_BAR + step, mark) for step, mark in enumerate(marks) if mark != "."]
            notes += [Note(start, 1, drum, VELOCITIES[mark]) for start, mark in hits]
        if position > 0 and position % tune.bars == 0:
            notes.append(Note(bar * STEPS_PER_BAR, 1, CRASH, 68))
    return notes


def drum_bar(tune: Tune, bar: int, position: int, bars: int, lead_in: int) -> dict[int, str]:
    """One bar of drums."""
    if position < 0:
        return COUNT_IN
    if bar == bars - 1:
        return LAST_BAR
    time, place = divmod(position, tune.bars)
    if place == tune.bars - 1 or place % 8 == 7:
        return FILLS[(tune.number + time + place // 8) % len(FILLS)]
    return pattern_of(tune, STYLES[tune.style].drums, bar, lead_in)


def arrange(tune: Tune) -> mido.MidiFile:
    """The whole song: the conductor track, then melody, bass, chords and drums."""
    lead_in = STEPS_PER_BAR if tune.pickup else 0
    chords = song_chords(tune, lead_in)
    style = STYLES[tune.style]
    melody_program, bass_program, chord_program = (programs[tune.number % len(programs)] for programs in style[:3])
    midi = mido.MidiFile(type=1, ticks_per_beat=4 * TICKS_PER_STEP)
    midi.tracks.append(conductor_track(tune))
    midi.tracks.append(part_track("Melody", 0, melody_program, melody_part(tune, len(chords), lead_in)))
    midi.tracks.append(part_track("Bass", 1, bass_program, bass_part(tune, chords, lead_in)))
    midi.tracks.append(part_track("Chords", 2, chord_program, chord_part(tune, chords, lead_in)))
    midi.tracks.append(part_track("Drums", 9, 0, drum_part(tune, len(chords) // STEPS_PER_BAR, lead_in)))
    return midi


def conductor_track(tune: Tune) -> mido.MidiTrack:
    """Title, tempo and metre."""
    return mido.MidiTrack(
        [
            mido.MetaMessage("track_name", name=tune.ascii_title),
            mido.MetaMessage("copyright", text="Public domain (CC0 1.0)"),
            mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tune.qpm)),
            mido.MetaMessage("time_signature", numerator=4, denominator=4),
            mido.MetaMessage("end_of_track"),
        ]
    )


def part_track(name: str, channel: int, program: int, notes: list[Note]) -> mido.MidiTrack:
    """One part as a track. At the same tick, note ends come before note starts."""
    events = [(note.start + note.length, 0, note.pitch, 0) for note in notes]
    events += [(note.start, 1, note.pitch, note.velocity) for note in notes]
    track, now = mido.MidiTrack([mido.MetaMessage("track_name", name=name)]), 0
    track.append(mido.Message("program_change", channel=channel, program=program))
    for step, starts, pitch, velocity in sorted(events):
        kind, ticks = ("note_on" if starts else "note_off"), (step - now) * TICKS_PER_STEP
        track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=ticks))
        now = step
    track.append(mido.MetaMessage("end_of_track"))
    return track


def read_tunes(path: Path) -> list[Tune]:
    """Every tune of an ABC file. The first lines of tunes.abc describe the subset that this program reads."""
    return [parse_tune("X:" + text) for text in re.split(r"^X:", path.read_text(encoding="utf-8"), flags=re.M)[1:]]


def table(tunes: list[Tune]) -> str:
    """The tunes and their origins as a Markdown table."""
    rows = ["| no. | tune | by | origin | style | bars |", "|---|---|---|---|---|---|"]
    for tune in tunes:
        bars = times_through(tune) * tune.bars + (tune.pickup > 0)
        by = "traditional" if tune.composer == "trad." else tune.composer
        rows.append(f"| {tune.number} | {tune.title} | {by} | {tune.origin} | {tune.style} | {bars} |")
    return "\n".join(rows)


def write_all(source: Path, folder: Path) -> list[Path]:
    """Writes one MIDI file per tune into a folder and returns the paths."""
    paths = []
    for tune in read_tunes(source):
        paths.append(folder / tune.filename)
        arrange(tune).save(paths[-1])
    return paths


def with_table(readme: str, tunes: list[Tune]) -> str:
    """The README's text with a new table between its two marks."""
    before, _, after = readme.split(TABLE_MARK)
    return f"{before}{TABLE_MARK}{table(tunes)}\n{TABLE_MARK}{after}"


def main() -> None:
    """Writes the MIDI files and the README's table into the folder of this program."""
    here = Path(__file__).resolve().parent
    write_all(here / "tunes.abc", here)
    readme = here / "README.md"
    text = with_table(readme.read_text(encoding="utf-8"), read_tunes(here / "tunes.abc"))
    readme.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
