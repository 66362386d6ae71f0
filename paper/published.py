"""The published models: what each is for, and how it is published and measured."""

from typing import NamedTuple

from prior import FITS

MEASURES = ("accuracy", "chords", "piano", "groove")  # what is measured, and by which command


class Published(NamedTuple):
    """A model of pretrained/, by the name of its stage in paper/recipes.py."""

    use: str  # in the README's table
    measure: str = "accuracy"  # one of MEASURES
    prior_kinds: tuple[str, ...] = tuple(FITS)  # among which its prior is chosen
    composes: bool = False  # whether its file holds a sequence prior, too
    in_browser: bool = False  # whether it is exported for magenta.js
    trained_on: bool = False  # whether an earlier stage was measured on the test split before it was trained on


WITHOUT_DIFFUSION = ("gaussian", "mixture")  # a diffusion model would make pretrained/ larger than 80 MB
PUBLISHED = {
    "mel_2bar": Published("melodies: reconstruct, interpolate", trained_on=True),
    "mel_2bar_low": Published("melodies: sample, continue, compose", composes=True, in_browser=True, trained_on=True),
    "drums_2bar": Published("drums: all tasks"),
    "drums_2bar_low": Published("drums in the browser", in_browser=True, trained_on=True),
    "mel_16bar": Published("melodies: sample, fine-tune", in_browser=True),
    "mel_16bar_high": Published("melodies: reconstruct", trained_on=True),
    "drums_16bar": Published("drums: all tasks", trained_on=True),
    "trio_16bar": Published("melody, bass and drums", trained_on=True),
    "mel_2bar_chords": Published("melodies under chords", "chords"),
    "piano_2bar": Published("chords and piano", "piano", trained_on=True),
    "piano_16bar": Published("piano: reconstruct", "piano", WITHOUT_DIFFUSION),
    "groove_humanize": Published("humanize drums", "groove"),
    "groove_tap": Published("taps to drums", "groove"),
}
MODELS, CHORDS, PIANOS, GROOVES = (
    tuple(name for name, model in PUBLISHED.items() if model.measure == measure) for measure in MEASURES
)
FOR_MAGENTA_JS = tuple(name for name, model in PUBLISHED.items() if model.in_browser)
BASELINES = ("mel_16bar_flat", "drums_16bar_flat")  # flat twins of earlier stages: measured, but without a file
ALSO_MEASURED = (*BASELINES, "mel_16bar_second", "drums_16bar_first", "music21_mel_2bar")  # not published
# Measured on sources that they were trained without
LEFT_OUT = (
    "mel_2bar_first",
    "mel_2bar_left_out",
    "mel_2bar_without_lieder",
    "mel_2bar_without_openewld",
    "drums_2bar_left_out",
    "mel_16bar_without_games",
)
