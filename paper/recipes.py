"""How the published models are trained: in stages, each from the weights of the one before or from a short model.

    python -m paper.recipes mel_2bar --data FOLDER [--runs runs] [--size small]

The command trains the stage of that name into RUNS/NAME, and before it the stages that it starts from, where they are
not finished. An interrupted command continues. FOLDER holds the songs of corpus.csv, see docs/corpus.md.

The first stage of a family is its preset's recipe, or has layers of a 2-bar stage. The later ones train on at another
learning rate, or move its model along the trade between rate and distortion, by the weight of the KL (`max_beta`).
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from checkpoint import save_checkpoint
from configs import CONFIGS, Config
from console import errors_in_a_line
from corpus import NEWER_SOURCES, add_corpus_arguments, load_splits
from midi_utils import Converter, Intake, SongDataset
from paper.made_windows import with_doubled_tempo, with_made_trios
from train import EXIT_INTERRUPTED, TrainingDiverged, train
from training.two_levels import long_from_short, sizes_for

EVAL_EVERY = 1000  # steps
START = "start.pt"  # first weights that are made from a short model's, in the folder of their run
GAMES = ("simutrans", "freedoom")  # sources that the first stage leaves out, so that it can be measured on them
ALL_BUT_GROOVE = (*GAMES, *NEWER_SOURCES, "openewld", "openhymnal", "nottingham", "examples")  # not played by drummers


class Stage(NamedTuple):
    """A run of `train`: what it begins with, the songs it leaves out, and how its recipe differs from the preset's."""

    preset: str  # without its size
    start: str | None = None  # the stage whose last weights it begins with; random weights when None
    without_sources: tuple[str, ...] = ()  # of the corpus
    changes: Mapping[str, object] = {}  # of the preset's recipe, see `TrainingConfig`
    seed: int = 0  # of first weights and batches
    layers: str | None = None  # the 2-bar stage that its first weights are made from, see `long_from_short`
    z_size: int | None = None  # of a stage with layers; the preset's when None
    made_trios: bool = False  # whether trios of parts of different songs are among the training windows
    repeats: int = 1  # with made trios: how often a trio counts that no program accompanied
    pair_bars: bool = False  # whether two bars of 2/4 are one of 4/4 in the training songs
    doubled: bool = False  # whether melodies at twice the tempo are among the training windows


LATER = {
    "steps": 10_000,
    "learning_rate": 1.5e-3,
    "decay_rate": 0.9997,
    "beta2": 0.99,
    "sampling_rate": 300.0,
    "free_bits": 0.0,
}
MEL_LOW = LATER | {"steps": 12_000, "decay_rate": 0.9998, "warm_up": 50, "max_beta": 0.3}
MEL_LONGER = LATER | {"steps": 18_000, "decay_rate": 0.99986, "max_beta": 0.014}
SHORT = LATER | {"steps": 4_000, "decay_rate": 0.9993}
TEACHER_FORCED = {"sampling_schedule": "constant", "sampling_rate": 0.0}
RISING = {"steps": 3_000, "beta_rate": 0.9995}  # a weight that is high at once makes gradients that are skipped
CHORDS_LATER = LATER | {"steps": 3_500, "learning_rate": 2e-3, "decay_rate": 0.999, "max_beta": 0.1, "rekeyed": 0.5}
CHORDS_LONGER = CHORDS_LATER | {"steps": 7_000, "learning_rate": 1.5e-3, "decay_rate": 0.99974, "max_beta": 0.03}
WITHOUT_GAMES = {"steps": 10_000, "decay_rate": 0.99965, "max_beta": 0.2, "sampling_rate": 1500.0}
MEL_LEFT_OUT = WITHOUT_GAMES | {"steps": 26_000, "decay_rate": 0.99987, "max_beta": 0.02}
MEL_LEFT_OUT_LATER = MEL_LEFT_OUT | {
    "steps": 7_000,
    "learning_rate": 1.2e-3,
    "decay_rate": 0.9996,
    "warm_up": 50,
    "sampling_rate": 300.0,
}
MEL_WITHOUT_SOURCE = MEL_LEFT_OUT | {"steps": 10_000, "decay_rate": 0.99966, "sampling_rate": 1000.0}
DRUMS_LEFT_OUT = {
    "steps": 12_000,
    "learning_rate": 4e-3,
    "decay_rate": 0.9997,
    "max_beta": 0.06,
    "free_bits": 0,
    "sampling_rate": 1000.0,
}
DRUMS_LEFT_OUT_LATER = LATER | {"steps": 20_000, "decay_rate": 0.99988, "warm_up": 50, "max_beta": 0.02}
DRUMS_LEFT_OUT_LAST = DRUMS_LEFT_OUT_LATER | {"steps": 10_000, "learning_rate": 1.2e-3, "decay_rate": 0.9997}
DRUMS_DEARER_2BAR = LATER | {"steps": 8_000, "decay_rate": 0.9999, "warm_up": 100, "max_beta": 0.6}
DRUMS_LOW = DRUMS_DEARER_2BAR | {
    "steps": 9_000,
    "learning_rate": 8e-4,
    "decay_rate": 0.99983,
    "warm_up": 50,
    "max_beta": 0.45,
}
WITHOUT_Z = SHORT | TEACHER_FORCED | {"max_beta": 100.0}  # a bit of z costs more than it can save

LATER_LONG = TEACHER_FORCED | {
    "steps": 14_000,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "decay_rate": 0.99985,
    "beta2": 0.99,
    "max_beta": 0.02,
    "free_bits": 0.0,
    "curriculum": 0,
    "transpose_range": (-6, 6),
}
TRIO_LATER = LATER_LONG | {"steps": 7_000, "decay_rate": 0.9998}
TRIO_THIRD = TRIO_LATER | {"steps": 10_000, "max_beta": 0.015}
AT_ANOTHER_PRICE = {"steps": 2_000, "decay_rate": 0.9985}  # of a bit
TRIO_SHORT = LATER_LONG | AT_ANOTHER_PRICE
MEL_SHORT = LATER_LONG | AT_ANOTHER_PRICE | {"steps": 1_500, "max_beta": 0.1}
DRUMS_LONG = {name: value for name, value in LATER_LONG.items() if name != "transpose_range"}
DRUMS_LATER = DRUMS_LONG | {"steps": 5_000, "decay_rate": 0.99975}  # its best weights are measured: publish.py --best
DRUMS_SHORT = DRUMS_LONG | AT_ANOTHER_PRICE
PIANO_FIRST = {"steps": 5_000, "decay_rate": 0.9996, "max_beta": 0.02, "sampling_rate": 1000.0}
PIANO_LATER = {
    "steps": 2_500,
    "learning_rate": 1.5e-3,
    "decay_rate": 0.9988,
    "max_beta": 0.06,
    "sampling_schedule": "constant",
    "sampling_rate": 0.25,
}
PIANO_THIRD = PIANO_LATER | {"steps": 6_000, "learning_rate": 1e-3, "decay_rate": 0.9995, "max_beta": 0.04}
PIANO_FOURTH = PIANO_THIRD | {"steps": 9_000, "learning_rate": 1.5e-3, "decay_rate": 0.9999}
PIANO_LAST = PIANO_THIRD | {"steps": 4_000, "learning_rate": 6e-4, "decay_rate": 0.9994}
PIANO_LONGER = PIANO_FOURTH | {"steps": 9_000, "decay_rate": 0.99972, "warm_up": 100}
PIANO_LONGEST = PIANO_LONGER | {"steps": 5_000, "decay_rate": 0.99986}
PIANO_SETTLED = PIANO_LONGER | {"learning_rate": 8e-4, "warm_up": 50}
PIANO_PAIRED = PIANO_LONGER | {"steps": 12_000, "learning_rate": 1e-3, "decay_rate": 0.9998, "warm_up": 50}
PIANO_LOW = PIANO_PAIRED | {"steps": 6_000, "decay_rate": 0.9996, "max_beta": 0.2}
PIANO_LONG = {
    "batch_size": 8,
    "steps": 3_500,
    "decay_rate": 0.9996,
    "max_beta": 0.02,
    "sampling_rate": 800.0,
    "curriculum": 3_000,
}
PIANO_LONG_LATER = PIANO_LONG | {
    "steps": 4_500,
    "learning_rate": 1e-3,
    "decay_rate": 0.9993,
    "beta2": 0.99,
    "sampling_schedule": "constant",
    "sampling_rate": 0.1,
    "curriculum": 0,
}
FROM_LAYERS = {  # of a 2-bar stage
    "steps": 2_500,
    "learning_rate": 5e-4,
    "decay_rate": 0.999,
    "warm_up": 250,
    "beta2": 0.99,
    "free_bits": 0.0,
    "sampling_schedule": "constant",
    "curriculum": 0,
}
DRUMS_FROM_LAYERS = FROM_LAYERS | {"batch_size": 16, "max_beta": 0.15, "sampling_rate": 0.5, "rearranged": 0.5}
MEL_FROM_LAYERS = FROM_LAYERS | {
    "batch_size": 16,
    "max_beta": 0.3,
    "sampling_rate": 0.25,
    "transpose_range": (-6, 6),
    "rearranged": 0.5,
}
TRIO_FROM_LAYERS = MEL_FROM_LAYERS | {"steps": 1_000, "learning_rate": 1e-3, "max_beta": 0.25, "sampling_rate": 0.5}
PIANO_FROM_LAYERS = FROM_LAYERS | {"batch_size": 8, "max_beta": 0.2, "sampling_rate": 0.25}
TRIO_CHEAPER = TRIO_FROM_LAYERS | {"steps": 2_000, "learning_rate": 8e-4, "decay_rate": 0.9987, "max_beta": 0.12}
TRIO_FASTER = TRIO_FROM_LAYERS | {"steps": 1_500, "decay_rate": 0.9992, "max_beta": 0.135}
TRIO_SETTLED = TRIO_CHEAPER | {
    "steps": 2_500,
    "learning_rate": 7e-4,
    "decay_rate": 0.9989,
    "warm_up": 50,
    "max_beta": 0.165,
}
TRIO_LONGER = TRIO_FASTER | {"steps": 5_000, "decay_rate": 0.9994, "warm_up": 100, "max_beta": 0.16}
TRIO_DEARER = TRIO_LONGER | {
    "steps": 1_200,
    "learning_rate": 4e-4,
    "decay_rate": 0.9983,
    "warm_up": 50,
    "max_beta": 0.195,
}
TRIO_LONGEST = TRIO_LONGER | {"steps": 7_000, "decay_rate": 0.9996, "max_beta": 0.18}
TRIO_SETTLED_AGAIN = TRIO_DEARER | {"steps": 800, "decay_rate": 0.9975, "max_beta": 0.193}
TRIO_LONGEST_AGAIN = TRIO_LONGEST | {"steps": 7_500, "decay_rate": 0.99962, "max_beta": 0.178}
TRIO_SETTLED_LAST = TRIO_SETTLED_AGAIN | {"max_beta": 0.19}
TRIO_REPEATED = TRIO_LONGEST_AGAIN | {"max_beta": 0.185}
TRIO_REPEATED_DEARER = TRIO_DEARER | {"steps": 1_000, "decay_rate": 0.9978, "max_beta": 0.2}
TRIO_REPEATED_LAST = TRIO_SETTLED_AGAIN | {"max_beta": 0.225}
FASTER = {"learning_rate": 1e-3}
DRUMS_FASTER = DRUMS_FROM_LAYERS | FASTER | {"steps": 2_000, "decay_rate": 0.9993}
MEL_FASTER = MEL_FROM_LAYERS | FASTER | {"decay_rate": 0.9994, "max_beta": 0.22, "sampling_rate": 0.5}
SETTLING = {"steps": 1_500, "decay_rate": 0.9985, "warm_up": 50}
DRUMS_DEARER = DRUMS_FASTER | SETTLING | {"learning_rate": 3e-4, "max_beta": 0.2}
MEL_DEARER = MEL_FASTER | SETTLING | {"learning_rate": 2.5e-4, "max_beta": 0.25}
MEL_LAST = MEL_DEARER | {"learning_rate": 5e-4, "warm_up": 100, "max_beta": 0.225}
MEL_WITHOUT_GAMES = MEL_FASTER | {"decay_rate": 0.9988, "max_beta": 0.25}
SHORT_TWINS = TEACHER_FORCED | {  # of the short pairs of 16-bar melodies; windows grow, or z would be ignored
    "steps": 800,
    "learning_rate": 3e-3,
    "decay_rate": 0.997,
    "max_beta": 0.02,
    "free_bits": 0.0,
    "curriculum": 500,
    "transpose_range": (-6, 6),
}
COMPARED = {  # of the two outputs for pianos, at --size tiny
    "batch_size": 64,
    "steps": 3_000,
    "learning_rate": 5e-3,
    "decay_rate": 0.9993,
    "beta2": 0.99,
    "max_beta": 0.1,
    "free_bits": 0.0,
    "sampling_schedule": "inverse_sigmoid",
    "sampling_rate": 400.0,
}

STAGES = {
    "mel_2bar_first": Stage("cat-mel_2bar", None, GAMES),
    "mel_2bar_second": Stage("cat-mel_2bar", "mel_2bar_first", (), LATER | {"max_beta": 0.02}),
    "mel_2bar": Stage("cat-mel_2bar", "mel_2bar_second", (), MEL_LONGER),
    "mel_2bar_low_first": Stage("cat-mel_2bar", "mel_2bar_first", (), LATER | {"max_beta": 0.3}),
    "mel_2bar_low": Stage("cat-mel_2bar", "mel_2bar_low_first", (), MEL_LOW, pair_bars=True),
    "mel_2bar_beta_0.05": Stage("cat-mel_2bar", "mel_2bar_second", (), SHORT | {"max_beta": 0.05}),
    "mel_2bar_beta_0.1": Stage("cat-mel_2bar", "mel_2bar_low_first", (), SHORT | {"max_beta": 0.1}),
    "mel_2bar_beta_0.6": Stage("cat-mel_2bar", "mel_2bar_low_first", (), SHORT | {"max_beta": 0.6}),
    "mel_2bar_beta_1.5": Stage("cat-mel_2bar", "mel_2bar_low_first", (), SHORT | {"max_beta": 1.5}),
    "mel_2bar_without_games": Stage("cat-mel_2bar", None, GAMES, WITHOUT_GAMES),
    "mel_2bar_left_out_first": Stage("cat-mel_2bar", None, GAMES, MEL_LEFT_OUT, pair_bars=True, doubled=True),
    "mel_2bar_left_out": Stage(
        "cat-mel_2bar", "mel_2bar_left_out_first", GAMES, MEL_LEFT_OUT_LATER, pair_bars=True, doubled=True
    ),
    "mel_2bar_without_lieder": Stage(
        "cat-mel_2bar", None, ("lieder",), MEL_WITHOUT_SOURCE, pair_bars=True, doubled=True
    ),
    "mel_2bar_without_openewld": Stage(
        "cat-mel_2bar", None, ("openewld",), MEL_WITHOUT_SOURCE, pair_bars=True, doubled=True
    ),
    "mel_2bar_without_z": Stage("cat-mel_2bar", "mel_2bar_low_first", (), WITHOUT_Z),
    "mel_2bar_chords_first": Stage("cat-mel_2bar_chords"),
    "mel_2bar_chords_second": Stage("cat-mel_2bar_chords", "mel_2bar_chords_first", (), CHORDS_LATER),
    "mel_2bar_chords": Stage("cat-mel_2bar_chords", "mel_2bar_chords_second", (), CHORDS_LONGER),
    "drums_2bar_first": Stage("cat-drums_2bar", without_sources=NEWER_SOURCES),
    "drums_2bar": Stage("cat-drums_2bar", "drums_2bar_first", (), LATER | {"max_beta": 0.09}),
    "drums_2bar_low_first": Stage("cat-drums_2bar", "drums_2bar_first", (), LATER | {"max_beta": 0.4}),
    "drums_2bar_low_second": Stage("cat-drums_2bar", "drums_2bar_low_first", (), DRUMS_DEARER_2BAR),
    "drums_2bar_low": Stage("cat-drums_2bar", "drums_2bar_low_second", (), DRUMS_LOW),
    "drums_2bar_beta_0.06": Stage("cat-drums_2bar", "drums_2bar_first", (), LATER | {"max_beta": 0.06}),
    "drums_2bar_left_out_first": Stage("cat-drums_2bar", None, GAMES, DRUMS_LEFT_OUT),
    "drums_2bar_left_out_second": Stage("cat-drums_2bar", "drums_2bar_left_out_first", GAMES, DRUMS_LEFT_OUT_LATER),
    "drums_2bar_left_out": Stage(
        "cat-drums_2bar", "drums_2bar_left_out_second", GAMES, DRUMS_LEFT_OUT_LAST, pair_bars=True
    ),
    "drums_2bar_without_z": Stage("cat-drums_2bar", "drums_2bar_low_first", (), WITHOUT_Z),
    "piano_2bar_first": Stage("piano_2bar", changes=PIANO_FIRST),
    "piano_2bar_second": Stage("piano_2bar", "piano_2bar_first", (), PIANO_LATER),
    "piano_2bar_third": Stage("piano_2bar", "piano_2bar_second", (), PIANO_THIRD),
    "piano_2bar_fourth": Stage("piano_2bar", "piano_2bar_third", (), PIANO_FOURTH),
    "piano_2bar_fifth": Stage("piano_2bar", "piano_2bar_fourth", (), PIANO_LAST),
    "piano_2bar_sixth": Stage("piano_2bar", "piano_2bar_fifth", (), PIANO_LONGER),
    "piano_2bar_seventh": Stage("piano_2bar", "piano_2bar_sixth", (), PIANO_LONGER | {"steps": 10_000}),
    "piano_2bar_eighth": Stage("piano_2bar", "piano_2bar_seventh", (), PIANO_LONGER | {"steps": 10_000}),
    "piano_2bar_ninth": Stage("piano_2bar", "piano_2bar_eighth", (), PIANO_LONGEST),
    "piano_2bar_tenth": Stage("piano_2bar", "piano_2bar_ninth", (), PIANO_SETTLED),
    "piano_2bar": Stage("piano_2bar", "piano_2bar_tenth", (), PIANO_PAIRED, pair_bars=True),
    "piano_2bar_low": Stage("piano_2bar", "piano_2bar", (), PIANO_LOW),
    "piano_2bar_without_z": Stage("piano_2bar", "piano_2bar_third", (), WITHOUT_Z | RISING),
    "piano_16bar_first": Stage("hierdec-piano_16bar", changes=PIANO_LONG),
    "piano_16bar_second": Stage("hierdec-piano_16bar", "piano_16bar_first", (), PIANO_LONG_LATER),
    "piano_16bar": Stage("hier-piano_16bar", layers="piano_2bar_fifth", changes=PIANO_FROM_LAYERS),
    "piano_notes": Stage("piano_2bar", changes=COMPARED),
    "piano_keys": Stage("piano_2bar_keys", changes=COMPARED),
    "groove_humanize": Stage("groovae_2bar_humanize", without_sources=ALL_BUT_GROOVE),
    "groove_tap": Stage("groovae_2bar_tap_fixed_velocity", without_sources=ALL_BUT_GROOVE),
    "mel_16bar_first": Stage("hier-mel_16bar", without_sources=NEWER_SOURCES),
    "mel_16bar_second": Stage("hier-mel_16bar", "mel_16bar_first", (), LATER_LONG),
    "mel_16bar": Stage("hier-mel_16bar", "mel_16bar_second", (), MEL_SHORT),
    "mel_16bar_high_first": Stage("hier-mel_16bar", layers="mel_2bar_low_first", changes=MEL_FROM_LAYERS),
    "mel_16bar_high_second": Stage("hier-mel_16bar", "mel_16bar_high_first", (), MEL_FASTER),
    "mel_16bar_high_third": Stage("hier-mel_16bar", "mel_16bar_high_second", (), MEL_DEARER),
    "mel_16bar_high": Stage("hier-mel_16bar", "mel_16bar_high_third", (), MEL_LAST),
    "mel_16bar_without_games": Stage("hier-mel_16bar", None, GAMES, MEL_WITHOUT_GAMES, layers="mel_2bar_without_games"),
    "mel_16bar_flat_first": Stage("flat-mel_16bar", without_sources=NEWER_SOURCES),
    "mel_16bar_flat": Stage("flat-mel_16bar", "mel_16bar_flat_first", (), LATER_LONG),
    "drums_16bar_first": Stage("hier-drums_16bar", without_sources=NEWER_SOURCES),
    "drums_16bar_second": Stage("hier-drums_16bar", "drums_16bar_first", (), DRUMS_LATER),
    "drums_16bar_third": Stage("hier-drums_16bar", layers="drums_2bar", z_size=256, changes=DRUMS_FROM_LAYERS),
    "drums_16bar_fourth": Stage("hier-drums_16bar", "drums_16bar_third", (), DRUMS_FASTER),
    "drums_16bar": Stage("hier-drums_16bar", "drums_16bar_fourth", (), DRUMS_DEARER),
    "drums_16bar_flat": Stage("flat-drums_16bar", without_sources=NEWER_SOURCES),
    "trio_2bar": Stage("trio_2bar", changes={"free_bits": 0.0}),
    "trio_16bar_first": Stage("hier-trio_16bar", without_sources=NEWER_SOURCES),
    "trio_16bar_second": Stage("hier-trio_16bar", "trio_16bar_first", (), TRIO_LATER),
    "trio_16bar_third": Stage("hier-trio_16bar", "trio_16bar_second", (), TRIO_THIRD, made_trios=True),
    "trio_16bar_fourth": Stage(
        "hier-trio_16bar", "trio_16bar_third", (), TRIO_SHORT | {"max_beta": 0.05}, made_trios=True
    ),
    "trio_16bar_fifth": Stage(
        "hier-trio_16bar", layers="trio_2bar", z_size=224, changes=TRIO_FROM_LAYERS, made_trios=True
    ),
    "trio_16bar_sixth": Stage("hier-trio_16bar", "trio_16bar_fifth", (), TRIO_CHEAPER, made_trios=True),
    "trio_16bar_seventh": Stage("hier-trio_16bar", "trio_16bar_sixth", (), TRIO_FASTER, made_trios=True),
    "trio_16bar_eighth": Stage("hier-trio_16bar", "trio_16bar_seventh", (), TRIO_SETTLED, made_trios=True),
    "trio_16bar_ninth": Stage("hier-trio_16bar", "trio_16bar_eighth", (), TRIO_LONGER, made_trios=True),
    "trio_16bar_tenth": Stage("hier-trio_16bar", "trio_16bar_ninth", (), TRIO_DEARER, made_trios=True),
    "trio_16bar_eleventh": Stage("hier-trio_16bar", "trio_16bar_tenth", (), TRIO_LONGEST, made_trios=True),
    "trio_16bar_twelfth": Stage("hier-trio_16bar", "trio_16bar_eleventh", (), TRIO_SETTLED_AGAIN, made_trios=True),
    "trio_16bar_thirteenth": Stage("hier-trio_16bar", "trio_16bar_twelfth", (), TRIO_LONGEST_AGAIN, made_trios=True),
    "trio_16bar_fourteenth": Stage("hier-trio_16bar", "trio_16bar_thirteenth", (), TRIO_SETTLED_LAST, made_trios=True),
    "trio_16bar_fifteenth": Stage(
        "hier-trio_16bar", "trio_16bar_fourteenth", (), TRIO_REPEATED, made_trios=True, repeats=4
    ),
    "trio_16bar_sixteenth": Stage(
        "hier-trio_16bar", "trio_16bar_fifteenth", (), TRIO_REPEATED_DEARER, made_trios=True, repeats=4
    ),
    "trio_16bar": Stage("hier-trio_16bar", "trio_16bar_sixteenth", (), TRIO_REPEATED_LAST, made_trios=True, repeats=4),
    "trio_16bar_beta_0.1": Stage(
        "hier-trio_16bar", "trio_16bar_third", (), TRIO_SHORT | {"max_beta": 0.1}, made_trios=True
    ),
    "drums_16bar_beta_0.05": Stage("hier-drums_16bar", "drums_16bar_second", (), DRUMS_SHORT | {"max_beta": 0.05}),
    "drums_16bar_beta_0.1": Stage("hier-drums_16bar", "drums_16bar_second", (), DRUMS_SHORT | {"max_beta": 0.1}),
}
STAGES |= {
    f"{name}_short_{seed}": Stage(preset, changes=SHORT_TWINS, seed=seed)
    for seed in range(3)
    for name, preset in (("mel_16bar", "hier-mel_16bar"), ("mel_16bar_flat", "flat-mel_16bar"))
}


def stage_config(stage: Stage, size: str) -> Config:
    """The preset of a stage at a size, with the recipe of the stage and the sizes of what it begins with."""
    config = CONFIGS[f"{stage.preset}_{size}"]
    config = replace(config, training=replace(config.training, **stage.changes))
    if stage.start:
        return replace(config, model=stage_config(STAGES[stage.start], size).model)
    if not stage.layers:
        return config
    sizes = sizes_for(config.model, stage_config(STAGES[stage.layers], size).model)
    return replace(config, model=replace(config.model, z_size=stage.z_size or config.model.z_size, **sizes))


def train_stage(name: str, options: argparse.Namespace) -> Path:
    """Trains a stage and what it begins with, where that is not finished; returns the stage's checkpoint.

    An interrupt ends the program, as an interrupted stage is nothing to start from.
    """
    stage, out_dir = STAGES[name], options.runs / name
    config = stage_config(stage, options.size)
    start, layers = (before and train_stage(before, options) for before in (stage.start, stage.layers))
    songs = training_songs(stage, config, options)
    if layers:
        start = out_dir / START
        if not start.exists() or start.stat().st_mtime < layers.stat().st_mtime:
            save_checkpoint(start, long_from_short(config, layers, songs[0], seed=stage.seed), config)
    run = {"init_from": start, "eval_every": EVAL_EVERY, "device": options.device, "seed": stage.seed}
    result = train(config, *songs, out_dir=out_dir, **run)
    if result.stopped_by:
        raise SystemExit(EXIT_INTERRUPTED)
    return result.checkpoint


def training_songs(stage: Stage, config: Config, options: argparse.Namespace) -> list[SongDataset]:
    """The windows that a stage trains on and those that are held out, which are of songs as they are."""

    def read(converter: Converter) -> SongDataset:
        return load_splits(options, converter, ("train",), stage.without_sources, Intake(pair_bars=stage.pair_bars))[0]

    train_set = read(config.converter)
    if stage.made_trios:
        parts = (read(CONFIGS[f"hier-{kind}_16bar_mini"].converter) for kind in ("mel", "drums"))
        train_set = with_made_trios(train_set, *parts, repeats=stage.repeats)
    if stage.doubled:
        longer = replace(config.converter, bars=2 * config.converter.bars)
        train_set = with_doubled_tempo(train_set, read(longer))
    return [train_set, *load_splits(options, config.converter, ("valid",), stage.without_sources)]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Train a published model, in its stages.")
    parser.add_argument("name", choices=STAGES, metavar="NAME", help=f"one of {', '.join(STAGES)}")
    add_corpus_arguments(parser, sources=False)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--size", default="mini", help="size of the presets: mini (default), small or tiny")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the fastest)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: trains the stage of the given name."""
    options = parse_arguments(arguments)
    with errors_in_a_line(ValueError, KeyError, TrainingDiverged):
        train_stage(options.name, options)


if __name__ == "__main__":
    main()
