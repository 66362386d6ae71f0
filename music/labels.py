"""What the labels of melodies, drums, trios and pianos stand for, and how many classes they have.

Constants alone: this module imports nothing, so that `outputs` can share them with the converters.
"""

NO_EVENT, NOTE_OFF, FIRST_PITCH = 0, 1, 2  # labels; FIRST_PITCH is the label of MIN_PITCH
MIN_PITCH, MAX_PITCH = 21, 108  # the piano's keys, as MIDI pitches
KEYS = MAX_PITCH - MIN_PITCH + 1  # 88
MELODY_DEPTH = FIRST_PITCH + KEYS  # 90 classes

PIANO_DEPTH = 2 * KEYS  # 176 codes: `key` for a key that is held from the step before, KEYS + key for its onset
NO_NOTE = PIANO_DEPTH  # the label of a voice that has no note
VOICES = 10  # notes per step, at most; ten fingers

DRUM_PITCHES = (  # the MIDI pitches of each drum class; the first is the one written
    (36, 35),  # bass drum
    (38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85),  # snare
    (42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 22),  # closed hi-hat
    (46, 67, 72, 74, 79, 81, 26),  # open hi-hat
    (45, 29, 41, 43, 61, 64, 84),  # low tom
    (48, 47, 60, 63, 77, 86, 87),  # mid tom
    (50, 30, 62, 76, 83),  # high tom
    (49, 52, 55, 57, 58),  # crash
    (51, 53, 59, 82),  # ride
)
DRUM_CLASSES = len(DRUM_PITCHES)
DRUMS_DEPTH = 2**DRUM_CLASSES  # 512 classes: a label is the sum of 2^class over the hits

TRIO_DEPTHS = (MELODY_DEPTH, MELODY_DEPTH, DRUMS_DEPTH)  # classes of melody, bass and drums
