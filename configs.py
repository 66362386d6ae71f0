"""The presets: each has a name, a model, a converter and a training recipe, as plain frozen data.

Names, sizes and recipes are those that Magenta released (its music_vae/configs.py). The paper's recipes differ in
places: it trains 2-bar melodies with 48 free bits, a KL weight of 0.2 and a sampling rate of 2000.

This project's own presets have names that end in:

    _tiny    trains in minutes on a laptop
    _mini    trains in minutes to hours on a laptop, see docs/results.md
    _small   needs an accelerator (`cat-mel_2bar_small` and `cat-drums_2bar_small` are Magenta's)

`flat-mel_16bar` and `flat-drums_16bar` in _mini and _small have the encoder of their `hier-` twin and as many
parameters, within 1 %. Change a preset with `dataclasses.replace`.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import get_args

from engine.checks import check_integers, check_numbers, checked_type, described, one_field_per_line
from loss import sampling_probability_at
from midi_utils import (
    Converter,
    DrumsConverter,
    GrooveConverter,
    MelodyConverter,
    MultitrackConverter,
    PianoConverter,
    TrioConverter,
)
from model import ModelConfig
from music.converter import BarsConverter
from music.labels import VOICES
from music.melody import MELODY_PROGRAMS

SHARES = ("mixed", "rearranged", "rekeyed")  # fields of a recipe, 0 to 1
WINDOW_SIZES = ("steps", "input_depth", "output_depth", "control_depth")  # of a converter and of its model
CONVERTERS = {kind.__name__: kind for kind in get_args(Converter)}  # by the name that `config_to_dict` writes


def window_sizes(part: Converter | ModelConfig) -> dict[str, int]:
    """The sizes that a converter and the model that goes with it have in common, by name."""
    return {name: getattr(part, name) for name in WINDOW_SIZES}


@dataclass(frozen=True)
class TrainingConfig:
    """A training recipe. Whatever changes with the step is a function in loss.py."""

    batch_size: int  # windows per update
    steps: int = 200_000  # updates
    learning_rate: float = 1e-3  # Adam's, at step 0
    decay_rate: float = 0.9999  # factor on the learning rate per update
    min_learning_rate: float = 1e-5  # what the learning rate decays to
    warm_up: int = 0  # updates over which the learning rate rises; first updates of Adam disturb trained weights
    beta2: float = 0.999  # Adam's decay of the second moments per update
    grad_clip: float = 1.0  # largest global norm of the gradients
    max_beta: float = 1.0  # final weight of the KL
    beta_rate: float = 0.0  # how slowly that weight rises: 0 at once, near 1 slowly, see `loss.beta_at`
    free_bits: float = 0.0  # bits of an example's total KL that cost nothing
    sampling_schedule: str = "constant"  # of scheduled sampling: 'constant', 'exponential' or 'inverse_sigmoid'
    sampling_rate: float = 0.0  # parameter of that schedule, see `loss.sampling_probability_at`
    transpose_range: tuple[int, int] = (0, 0)  # semitones, both ends included; drawn for each window and epoch
    curriculum: int = 0  # updates over which windows grow from one segment to their whole length
    mixed: float = 0.0  # share of the drum windows that take some of their drums from another window
    rearranged: float = 0.0  # share of the windows whose bars are another window's, repeated as their own bars are
    rekeyed: float = 0.0  # share of the windows with chords that are decoded in a key of their own, drawn at random

    __repr__ = one_field_per_line

    def __post_init__(self):
        check_integers(self, ("batch_size", "steps"), least=1)
        check_integers(self, ("curriculum", "warm_up"), least=0)
        check_numbers(self)
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
        self._check_limits()
        self._check_transposition()
        sampling_probability_at(0, schedule=self.sampling_schedule, rate=self.sampling_rate)  # raises ValueError

    def _check_limits(self):
        """Raises ValueError for a number that is out of range; names it and the range."""
        limits = (  # of each number: whether it is in range, the range, and what else to say
            ("learning_rate", self.learning_rate > 0, "above 0", ""),
            ("beta2", 0 <= self.beta2 < 1, "at least 0 and below 1", ""),
            ("max_beta", self.max_beta >= 0, "at least 0", ""),
            ("free_bits", self.free_bits >= 0, "at least 0", ""),
            ("curriculum", self.curriculum < self.steps, "below steps", f" of {self.steps} updates"),
            *((name, 0 <= getattr(self, name) <= 1, "a share, 0 to 1", "") for name in SHARES),
            ("grad_clip", self.grad_clip > 0, "above 0", "; 10,000 clips nothing"),
            ("decay_rate", 0 < self.decay_rate <= 1, "above 0 and at most 1", "; 1 keeps learning_rate"),
            ("beta_rate", 0 <= self.beta_rate < 1, "at least 0 and below 1", ""),
            ("min_learning_rate", self.min_learning_rate >= 0, "at least 0", ""),
        )
        for name, fits, wanted, more in limits:
            if not fits:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)}{more}")

    def _check_transposition(self):
        """Raises ValueError unless `transpose_range` is two whole numbers, the lower one first."""
        ends = self.transpose_range
        if not (isinstance(ends, tuple) and [type(end) for end in ends] == [int, int]):
            raise ValueError(f"transpose_range must be two whole numbers of semitones, (low, high), got {ends}")
        if ends[0] > ends[1]:
            raise ValueError(f"transpose_range must go from low to high, got {ends}")


@dataclass(frozen=True)
class Config:
    """A preset."""

    name: str
    model: ModelConfig
    converter: Converter  # how its music is read and written
    training: TrainingConfig

    __repr__ = one_field_per_line

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name must be a text, got {described(self.name)}")
        checked_type("model", self.model, ModelConfig, "a ModelConfig")
        checked_type("converter", self.converter, BarsConverter, "a converter, such as MelodyConverter()")
        checked_type("training", self.training, TrainingConfig, "a TrainingConfig")
        self._check_converter()
        kind = type(self.converter)
        if self.training.mixed and kind is not DrumsConverter:
            raise ValueError(f"a {kind.__name__} cannot mix windows: leave mixed at 0")
        plain = kind in (MelodyConverter, DrumsConverter, TrioConverter) and not self.model.control_depth
        if self.training.rearranged and not plain:
            raise ValueError(f"{self.name}: rearranged takes melodies, drums and trios without chords; leave it at 0")
        if self.training.rekeyed and not self.converter.chords:
            raise ValueError(f"the windows of {self.name} have no chords: leave rekeyed at 0")
        if self.training.curriculum and self.model.upper == "dense":
            raise ValueError(f"the dense layers of {self.name} need whole windows: leave curriculum at 0")
        if self.training.curriculum and (self.model.min_steps == self.model.steps or self.converter.segments):
            raise ValueError(f"the segments of {self.name} are not bars: leave curriculum at 0")
        if self.training.transpose_range != (0, 0) and not self.converter.transposes:
            raise ValueError(f"a {kind.__name__} does not transpose its windows: leave transpose_range at (0, 0)")

    def _check_converter(self):
        """Raises ValueError if the model reads other frames than the converter makes, or segments that cut its bars."""
        both = window_sizes(self.model), window_sizes(self.converter)
        if wrong := [name for name in WINDOW_SIZES if both[0][name] != both[1][name]]:
            given, wanted = (", ".join(f"{name}={sizes[name]}" for name in wrong) for sizes in both)
            raise ValueError(
                f"the model of {self.name} has {given}, but its converter makes windows of {wanted}: change both in "
                "one call, with_converter(config, converter)"
            )
        voices = getattr(self.converter, "voices", 0)
        if voices and (self.model.output_kind.one_hot or voices > VOICES):
            raise ValueError(
                f"{self.name} has up to {voices} notes per step: a piano needs an output such as 'notes', and at most "
                f"{VOICES} voices"
            )
        bars = self.converter.bars
        for name in ("segments", "encoder_segments"):
            parts = getattr(self.model, name)
            if not self.converter.segments and parts % bars and bars % parts:
                raise ValueError(
                    f"{parts} segments cut the {bars} bars of {self.name} between beats: change the model, "
                    f"replace(config.model, {name}={bars})"
                )


class Presets(dict[str, Config]):
    """Presets by name. A KeyError for an unknown name suggests the nearest ones."""

    def __missing__(self, name: str) -> Config:
        nearest = get_close_matches(str(name), self, n=3, cutoff=0.3)
        remedy = f"did you mean {' or '.join(nearest)}?" if nearest else "docs/presets.md lists them"
        raise KeyError(f"no preset {name!r}; {remedy}")


def _presets(*configs: Config) -> Presets:
    return Presets((config.name, config) for config in configs)


# ---- Converters ----

MELODY_2BAR = MelodyConverter(bars=2)  # General MIDI programs 0-31
MELODY_16BAR = MelodyConverter(bars=16, programs=None)  # any program
DRUMS_2BAR = DrumsConverter(bars=2)
DRUMS_16BAR = DrumsConverter(bars=16)
TRIO_2BAR = TrioConverter(bars=2)
TRIO_16BAR = TrioConverter(bars=16)
CHORDS_2BAR = MelodyConverter(bars=2, programs=None, chords=True)
ROLL_2BAR = DrumsConverter(bars=2, output="roll")
FULL_ROLL_2BAR = DrumsConverter(bars=2, output="roll", classes=61)
HUMANIZE = GrooveConverter(bars=2, humanize=True)
TAP = GrooveConverter(bars=2, tap=True, fixed_velocity=True)
TAP_DROPOUT = GrooveConverter(bars=2, tap=True, fixed_velocity=True, note_dropout=0.8)
CLOSED_HH = GrooveConverter(bars=2, added_classes=(2,))
HITS_CONTROL = GrooveConverter(bars=2, hits_control=True)
PIANO_2BAR = PianoConverter(bars=2, programs=MELODY_PROGRAMS, follow_tempo=True)
PIANO_16BAR = PianoConverter(bars=16, programs=MELODY_PROGRAMS, follow_tempo=True)
TRACKS = MultitrackConverter()
TRACKS_CHORDS = MultitrackConverter(chords=True)

# ---- Families: what their models have in common beside sizes, as fields of ModelConfig ----

FLAT = {}
CONDUCTOR = {"segments": 16}
TWO_LEVEL_ENCODER = {"encoder_segments": 16}
TWO_LEVELS = CONDUCTOR | TWO_LEVEL_ENCODER
TRIO = {"output": "trio"}
SHORT_TRIO = TRIO | {"core_per_part": True}
NADE = {"output": "nade", "nade_num_hidden": 128}
NOTES = {"output": "notes", "nade_num_hidden": 128}
KEYS = {"output": "keys"}
GROOVE_OUTPUT = {"output": "groove"}
GROOVE = GROOVE_OUTPUT | {"dropout_keep_prob": 0.3}
MULTITRACK = {"segments": TRACKS.segments, "encoder_segments": TRACKS.segments, "end_token": TRACKS.end_token}


# ---- Recipes ----

SCHEDULED = TrainingConfig(batch_size=512, max_beta=0.2, sampling_schedule="inverse_sigmoid", sampling_rate=1000.0)
MELODY = replace(SCHEDULED, beta_rate=0.99999, transpose_range=(-5, 5))
BIG_MELODY = replace(MELODY, max_beta=0.5)
DRUMS = replace(SCHEDULED, free_bits=48.0)
LONG = TrainingConfig(batch_size=512, max_beta=0.2, free_bits=256.0)
FLAT_TRIO = TrainingConfig(batch_size=256)
LONG_TRIO = replace(LONG, batch_size=256)
CHORDS = TrainingConfig(batch_size=512, transpose_range=(-3, 3))
TRACK = TrainingConfig(batch_size=256, transpose_range=(-3, 3))
GROOVES = TrainingConfig(batch_size=512, max_beta=0.2, free_bits=48.0)
MINI_HUMANIZE = replace(
    GROOVES,
    batch_size=64,
    steps=3_000,
    learning_rate=3e-3,
    decay_rate=0.05 ** (1 / 3_000),  # a twentieth at the end
    beta2=0.99,
    max_beta=0.02,
    free_bits=0.0,
    sampling_schedule="inverse_sigmoid",
    sampling_rate=300.0,
)
MINI_TAP = replace(
    MINI_HUMANIZE,
    steps=2_000,
    decay_rate=0.05 ** (1 / 2_000),
    sampling_schedule=GROOVES.sampling_schedule,
    sampling_rate=GROOVES.sampling_rate,
)
TINY_DRUMS = TrainingConfig(
    batch_size=32, steps=5000, learning_rate=8e-3, decay_rate=0.9992, max_beta=0.2, free_bits=24.0
)
TINY_MELODY = replace(TINY_DRUMS, transpose_range=(-2, 3))
TINY_LONG = replace(TINY_MELODY, batch_size=16, steps=1500, learning_rate=5e-3, decay_rate=0.998, free_bits=64.0)
MINI_MELODY = replace(  # a small weight on all of the KL, with no free bits: every bit of z has a price
    SCHEDULED,
    batch_size=64,
    steps=34_000,
    learning_rate=4e-3,
    decay_rate=0.99996,
    beta2=0.99,
    max_beta=0.05,
    sampling_rate=4000.0,
    transpose_range=(-6, 6),
)
MINI_CHORDS = replace(  # few bits for z, so that the harmony comes from the chords
    MINI_MELODY, steps=5_000, decay_rate=0.9994, max_beta=0.1, sampling_rate=400.0
)
TINY_PIANO = replace(TINY_MELODY, transpose_range=(-5, 6))
TINY_LONG_PIANO = replace(TINY_LONG, transpose_range=(-5, 6))
MINI_PIANO = replace(
    MINI_MELODY,
    steps=12_000,
    learning_rate=3e-3,
    decay_rate=0.99975,
    sampling_rate=1500.0,
    transpose_range=(-5, 6),
)
MINI_SHORT_TRIO = replace(MINI_MELODY, steps=6_000, decay_rate=0.99963, max_beta=0.1, sampling_rate=1200.0)
MINI_DRUMS = replace(
    SCHEDULED,
    batch_size=64,
    steps=28_000,
    learning_rate=6e-3,
    decay_rate=0.99987,
    free_bits=448.0,
    mixed=0.5,
)
MINI_LONG = replace(  # the curriculum starts with single bars, which are learned fastest and not forgotten
    LONG,
    batch_size=8,
    steps=32_000,
    learning_rate=2e-3,
    decay_rate=0.99992,
    beta2=0.98,
    free_bits=512.0,
    sampling_schedule="inverse_sigmoid",
    sampling_rate=3500.0,
    transpose_range=(-5, 5),
    curriculum=14_000,
)
MINI_LONG_PIANO = replace(MINI_LONG, batch_size=16, free_bits=0.0, max_beta=0.05, transpose_range=(-5, 6))
MINI_TRIO = replace(MINI_LONG, steps=20_000, decay_rate=0.99984, sampling_rate=2200.0, curriculum=9_000)
MINI_LONG_DRUMS = replace(
    MINI_LONG,
    steps=28_000,
    decay_rate=0.99991,
    sampling_rate=2500.0,
    transpose_range=(0, 0),
    curriculum=12_000,
    mixed=0.5,
)
SMALL_LONG = replace(MINI_TRIO, batch_size=256)
SMALL_PIANO = replace(MINI_LONG_PIANO, batch_size=256)
SMALL_DRUMS = replace(SMALL_LONG, transpose_range=(0, 0), mixed=0.5)


def _config(name, converter, training, z_size, enc_rnn_size, dec_rnn_size, family=FLAT) -> Config:
    """A preset; steps and depths come from the converter, and `family` holds other fields of ModelConfig."""
    sizes = {"z_size": z_size, "enc_rnn_size": enc_rnn_size, "dec_rnn_size": dec_rnn_size}
    return Config(name, ModelConfig(**window_sizes(converter), **sizes, **family), converter, training)


# fmt: off
CONFIGS = _presets(
    # name, converter, recipe, z, encoder, decoder, family

    # Magenta's
    _config("cat-mel_2bar_small", MELODY_2BAR, MELODY, 256, (512,), (256, 256)),
    _config("cat-mel_2bar_big", MELODY_2BAR, BIG_MELODY, 512, (2048,), (2048, 2048, 2048)),
    _config("cat-mel_2bar_med_chords", CHORDS_2BAR, CHORDS, 256, (1024,), (512, 512, 512)),
    _config("cat-drums_2bar_small", DRUMS_2BAR, DRUMS, 256, (512,), (256, 256)),
    _config("cat-drums_2bar_big", DRUMS_2BAR, DRUMS, 512, (2048,), (2048, 2048, 2048)),
    _config("nade-drums_2bar_reduced", ROLL_2BAR, DRUMS, 256, (1024,), (512, 512), NADE),
    _config("nade-drums_2bar_full", FULL_ROLL_2BAR, DRUMS, 256, (1024,), (512, 512), NADE),
    _config("flat-mel_16bar", MELODY_16BAR, LONG, 512, (2048, 2048), (2048, 2048, 2048)),
    _config("hierdec-mel_16bar", MELODY_16BAR, LONG, 512, (2048, 2048), (1024, 1024), CONDUCTOR),
    _config("hier-mel_16bar", MELODY_16BAR, LONG, 512, (1024,), (1024, 1024), TWO_LEVELS),
    _config("flat-trio_16bar", TRIO_16BAR, FLAT_TRIO, 512, (2048, 2048), (2048, 2048, 2048), TRIO),
    _config("hierdec-trio_16bar", TRIO_16BAR, LONG_TRIO, 512, (2048, 2048), (1024, 1024), CONDUCTOR | TRIO),
    _config("hier-trio_16bar", TRIO_16BAR, LONG_TRIO, 512, (1024,), (1024, 1024), TWO_LEVELS | TRIO),
    _config("hier-multiperf_vel_1bar_med", TRACKS, TRACK, 512, (1024,), (512, 512, 512), MULTITRACK),
    _config("hier-multiperf_vel_1bar_big", TRACKS, TRACK, 512, (2048,), (1024, 1024, 1024), MULTITRACK),
    _config("hier-multiperf_vel_1bar_med_chords", TRACKS_CHORDS, TRACK, 512, (1024,), (512, 512, 512), MULTITRACK),
    _config("hier-multiperf_vel_1bar_big_chords", TRACKS_CHORDS, TRACK, 512, (2048,), (1024, 1024, 1024), MULTITRACK),
    _config("groovae_4bar", GrooveConverter(bars=4), GROOVES, 256, (512,), (256, 256), GROOVE),
    _config("groovae_2bar_humanize", HUMANIZE, GROOVES, 256, (512,), (256, 256), GROOVE),
    _config("groovae_2bar_tap_fixed_velocity", TAP, GROOVES, 256, (512,), (256, 256), GROOVE),
    _config("groovae_2bar_tap_fixed_velocity_note_dropout", TAP_DROPOUT, GROOVES, 256, (512,), (256, 256), GROOVE),
    _config("groovae_2bar_add_closed_hh", CLOSED_HH, GROOVES, 256, (512,), (256, 256), GROOVE),
    _config("groovae_2bar_hits_control_tfds", HITS_CONTROL, GROOVES, 256, (512,), (256, 256), GROOVE),

    # this project's
    _config("cat-mel_2bar_tiny", MELODY_2BAR, TINY_MELODY, 24, (128,), (192,)),
    _config("cat-mel_2bar_chords_tiny", CHORDS_2BAR, TINY_MELODY, 24, (128,), (192,)),
    _config("cat-drums_2bar_tiny", DRUMS_2BAR, TINY_DRUMS, 24, (128,), (192,)),
    _config("nade-drums_2bar_tiny", ROLL_2BAR, TINY_DRUMS, 24, (128,), (192,), NADE | {"nade_num_hidden": 32}),
    _config("flat-mel_16bar_tiny", MELODY_16BAR, TINY_LONG, 64, (128,), (160,)),
    _config("hierdec-mel_16bar_tiny", MELODY_16BAR, TINY_LONG, 64, (128,), (160,), CONDUCTOR),
    _config("hier-mel_16bar_tiny", MELODY_16BAR, TINY_LONG, 64, (128,), (160,), TWO_LEVELS),
    _config("flat-trio_16bar_tiny", TRIO_16BAR, TINY_LONG, 64, (128,), (160,), TRIO),
    _config("hierdec-trio_16bar_tiny", TRIO_16BAR, TINY_LONG, 64, (128,), (160,), CONDUCTOR | TRIO),
    _config("hier-trio_16bar_tiny", TRIO_16BAR, TINY_LONG, 64, (128,), (160,), TWO_LEVELS | TRIO),
    _config("hier-multiperf_vel_1bar_tiny", TRACKS, TINY_LONG, 64, (128,), (160,), MULTITRACK),
    _config("groovae_2bar_humanize_tiny", HUMANIZE, TINY_DRUMS, 24, (128,), (192,), GROOVE_OUTPUT),
    _config("groovae_2bar_humanize_mini", HUMANIZE, MINI_HUMANIZE, 64, (192,), (256,), GROOVE_OUTPUT),
    _config("groovae_2bar_tap_fixed_velocity_mini", TAP, MINI_TAP, 32, (192,), (256,), GROOVE_OUTPUT),
    _config("cat-mel_2bar_mini", MELODY_2BAR, MINI_MELODY, 160, (224,), (256,)),
    _config("cat-mel_2bar_chords_mini", CHORDS_2BAR, MINI_CHORDS, 64, (160,), (224,)),
    _config("cat-drums_2bar_mini", DRUMS_2BAR, MINI_DRUMS, 256, (256,), (256,)),
    _config("flat-mel_16bar_mini", MELODY_16BAR, MINI_LONG, 256, (192,), (348,), TWO_LEVEL_ENCODER),
    _config("hier-mel_16bar_mini", MELODY_16BAR, MINI_LONG, 256, (192,), (256,), TWO_LEVELS),
    _config("flat-drums_16bar_mini", DRUMS_16BAR, MINI_LONG_DRUMS, 192, (160,), (280,), TWO_LEVEL_ENCODER),
    _config("hier-drums_16bar_mini", DRUMS_16BAR, MINI_LONG_DRUMS, 192, (160,), (224,), TWO_LEVELS),
    _config("hier-trio_16bar_mini", TRIO_16BAR, MINI_TRIO, 160, (112,), (144,), TWO_LEVELS | TRIO),
    _config("trio_2bar_tiny", TRIO_2BAR, TINY_MELODY, 64, (128,), (160,), SHORT_TRIO),
    _config("trio_2bar_mini", TRIO_2BAR, MINI_SHORT_TRIO, 160, (144,), (176,), SHORT_TRIO),
    _config("trio_2bar_small", TRIO_2BAR, replace(MINI_SHORT_TRIO, batch_size=256), 256, (512,), (512,), SHORT_TRIO),
    _config("piano_2bar_tiny", PIANO_2BAR, TINY_PIANO, 64, (128,), (192,), NOTES),
    _config("piano_2bar_mini", PIANO_2BAR, MINI_PIANO, 192, (256,), (320,), NOTES),
    _config("piano_2bar_small", PIANO_2BAR, replace(MINI_PIANO, batch_size=256), 256, (512,), (640,), NOTES),
    _config("piano_2bar_keys_tiny", PIANO_2BAR, TINY_PIANO, 64, (128,), (224,), KEYS),
    _config("piano_2bar_keys_mini", PIANO_2BAR, MINI_PIANO, 192, (256,), (336,), KEYS),
    _config("piano_2bar_keys_small", PIANO_2BAR, replace(MINI_PIANO, batch_size=256), 256, (512,), (656,), KEYS),
    _config("hierdec-piano_16bar_tiny", PIANO_16BAR, TINY_LONG_PIANO, 64, (128,), (160,), CONDUCTOR | NOTES),
    _config("hierdec-piano_16bar_mini", PIANO_16BAR, MINI_LONG_PIANO, 256, (192,), (256,), CONDUCTOR | NOTES),
    _config("hierdec-piano_16bar_small", PIANO_16BAR, SMALL_PIANO, 256, (512,), (512,), CONDUCTOR | NOTES),
    _config("hier-piano_16bar_tiny", PIANO_16BAR, TINY_LONG_PIANO, 64, (128,), (160,), TWO_LEVELS | NOTES),
    _config("hier-piano_16bar_mini", PIANO_16BAR, MINI_LONG_PIANO, 256, (256,), (320,), TWO_LEVELS | NOTES),
    _config("hier-piano_16bar_small", PIANO_16BAR, SMALL_PIANO, 256, (512,), (512,), TWO_LEVELS | NOTES),
    _config("flat-mel_16bar_small", MELODY_16BAR, SMALL_LONG, 256, (512,), (800,), TWO_LEVEL_ENCODER),
    _config("hier-mel_16bar_small", MELODY_16BAR, SMALL_LONG, 256, (512,), (512,), TWO_LEVELS),
    _config("flat-drums_16bar_small", DRUMS_16BAR, SMALL_DRUMS, 256, (512,), (744,), TWO_LEVEL_ENCODER),
    _config("hier-drums_16bar_small", DRUMS_16BAR, SMALL_DRUMS, 256, (512,), (512,), TWO_LEVELS),
    _config("hier-trio_16bar_small", TRIO_16BAR, SMALL_LONG, 256, (512,), (512,), TWO_LEVELS | TRIO),
)
CONFIGS["groovae_2bar_hits_control"] = CONFIGS["groovae_2bar_hits_control_tfds"]  # the published file's name
# fmt: on


def with_converter(config: Config, converter: BarsConverter | None = None, **changes) -> Config:
    """A preset with another converter, whose model has the sizes that go with it.

    A model with one segment per bar keeps one per bar.

    Args:
        config: the preset.
        converter: of the new preset; the preset's own when None.
        changes: fields of the converter, such as bars=4, time_signature=(3, 4) or programs=(0, 1).

    Raises:
        ValueError: the converter has no such field, a value is wrong, or the model or the recipe does not go with it.
    """
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    own, converter = config.converter, config.converter if converter is None else converter
    checked_type("converter", converter, BarsConverter, "a converter, such as MelodyConverter()")
    names = [field.name for field in fields(converter)]
    if unknown := [name for name in changes if name not in names]:
        kind = type(converter).__name__
        raise ValueError(f"the {kind} of {config.name} has no {', '.join(unknown)}; it has {', '.join(names)}")
    converter, model = replace(converter, **changes), config.model
    sizes = window_sizes(converter)
    if not converter.segments:
        segments = [name for name in ("segments", "encoder_segments") if getattr(model, name) == own.bars > 1]
        sizes |= dict.fromkeys(segments, converter.bars)
    return replace(config, converter=converter, model=replace(model, **sizes))


def with_model(config: Config, model: ModelConfig) -> Config:
    """The preset with the sizes of a model; without its curriculum if they are not its own, as `train` goes on.

    Raises:
        ValueError: the model reads other windows than the preset's converter makes.
    """
    if model == config.model:
        return config
    reads, makes = (tuple(window_sizes(part).values()) for part in (model, config.converter))
    if reads != makes:
        raise ValueError(
            f"the model reads windows of (steps, input, output and control depth) {reads}, the converter of "
            f"{config.name} makes {makes}: give a config whose converter fits"
        )
    return replace(config, model=model, training=replace(config.training, curriculum=0))


def config_to_dict(config: Config) -> dict:
    """A preset as plain values that JSON can hold."""
    checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
    return asdict(config) | {"converter": {"kind": type(config.converter).__name__, **asdict(config.converter)}}


def config_from_dict(data: dict) -> Config:
    """The preset that `config_to_dict` wrote, directly or through JSON.

    Raises:
        ValueError: a missing or unknown field, or a wrong value.
    """
    try:
        converter = dict(data["converter"])
        kind = CONVERTERS[converter.pop("kind")]
        parts = ((ModelConfig, data["model"]), (kind, converter), (TrainingConfig, data["training"]))
        return Config(data["name"], *(_rebuild(part, values) for part, values in parts))
    except (KeyError, TypeError) as fault:
        raise ValueError(f"not a preset of this version: {fault!r}") from fault


def _rebuild(kind: type, values: dict):
    """A frozen dataclass from its fields; JSON's lists become tuples again."""
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise TypeError(f"{kind.__name__} has no {sorted(unknown)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
