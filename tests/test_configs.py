"""Presets: plain frozen data that JSON can hold."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest

from configs import CONFIGS, config_from_dict, config_to_dict, with_converter
from helpers import OWN_SIZES
from midi_utils import DrumsConverter, MelodyConverter, MultitrackConverter
from model import ModelConfig, MusicVAE
from music.converter import BarsConverter


@pytest.mark.parametrize("name", CONFIGS)
def test_a_preset_through_json_is_the_same_preset(name):
    config = CONFIGS[name]
    again = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert config.name == name or config is CONFIGS[config.name]


def test_every_preset_of_the_reference_is_here_and_so_is_the_name_of_a_published_file():
    ours = [name for name, config in CONFIGS.items() if config.name == name and not name.endswith(OWN_SIZES)]
    assert len(ours) == 23
    assert CONFIGS["groovae_2bar_hits_control"] is CONFIGS["groovae_2bar_hits_control_tfds"]


def test_the_labels_of_one_hot_models_are_their_classes():
    for config in CONFIGS.values():
        if config.model.output_kind.one_hot:
            assert config.converter.label_depths == config.model.output_depths, config.name


@pytest.mark.parametrize("size", ["mini", "small"])
@pytest.mark.parametrize(
    ("flat", "hierarchical"), [("flat-mel_16bar", "hier-mel_16bar"), ("flat-drums_16bar", "hier-drums_16bar")]
)
def test_flat_and_hierarchical_twins_have_equal_parameter_counts_and_one_recipe(flat, hierarchical, size):
    """Within 1 %: a comparison of the two shows the effect of the conductor alone."""
    twins = [CONFIGS[f"{name}_{size}"] for name in (flat, hierarchical)]
    counts = [sum(p.numel() for p in MusicVAE(twin.model).parameters()) for twin in twins]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
    assert twins[0].training == twins[1].training
    assert [twin.model.segments for twin in twins] == [1, 16]
    assert twins[0].model.encoder_segments == twins[1].model.encoder_segments


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an int of at least 1, got 0"),
        ({"beta2": 1.0}, "beta2 must be at least 0 and below 1, got 1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, got nan"),
        ({"free_bits": -5.0}, "free_bits must be at least 0, got -5.0"),
        ({"curriculum": 200_000}, "curriculum must be below steps, got 200000 of 200000 updates"),
        ({"curriculum": -1}, "curriculum must be an int of at least 0, got -1"),
        ({"warm_up": -1}, "warm_up must be an int of at least 0, got -1"),
        ({"warm_up": 2.5}, "warm_up must be an int of at least 0, got 2.5"),
        ({"transpose_range": (3, -3)}, "must go from low to high, got .3, -3."),
        ({"mixed": 1.5}, "mixed must be a share, 0 to 1, got 1.5"),
        ({"rearranged": 2.0}, "rearranged must be a share, 0 to 1, got 2.0"),
        ({"rekeyed": -0.5}, "rekeyed must be a share, 0 to 1, got -0.5"),
        ({"grad_clip": -1}, "grad_clip must be above 0, got -1"),
        ({"grad_clip": 0.0}, "grad_clip must be above 0, got 0.0"),
        ({"grad_clip": math.nan}, "grad_clip must be a finite number, got nan"),
        ({"grad_clip": math.inf}, "grad_clip must be a finite number, got inf"),
        ({"max_beta": math.nan}, "max_beta must be a finite number, got nan"),
        ({"max_beta": math.inf}, "max_beta must be a finite number, got inf"),
        ({"free_bits": math.nan}, "free_bits must be a finite number, got nan"),
        ({"decay_rate": 1.1}, "decay_rate must be above 0 and at most 1, got 1.1"),
        ({"decay_rate": math.nan}, "decay_rate must be a finite number, got nan"),
        ({"beta_rate": 1.5}, "beta_rate must be at least 0 and below 1, got 1.5"),
        ({"beta_rate": math.nan}, "beta_rate must be a finite number, got nan"),
        ({"beta2": math.nan}, "beta2 must be a finite number, got nan"),
        ({"mixed": math.nan}, "mixed must be a finite number, got nan"),
        ({"min_learning_rate": -1e-5}, "min_learning_rate must be at least 0, got -1e-05"),
        ({"min_learning_rate": math.inf}, "min_learning_rate must be a finite number, got inf"),
        ({"batch_size": 2.5}, "batch_size must be an int of at least 1, got 2.5"),
        ({"steps": math.inf}, "steps must be an int of at least 1, got inf"),
        ({"curriculum": math.nan}, "curriculum must be an int of at least 0, got nan"),
        ({"transpose_range": (-1.5, 2)}, "transpose_range must be two whole numbers"),
        ({"transpose_range": (0, 1, 2)}, "transpose_range must be two whole numbers"),
        ({"sampling_rate": math.nan}, "sampling_rate must be a finite number, got nan"),
        ({"sampling_rate": math.inf}, "sampling_rate must be a finite number, got inf"),
        ({"sampling_schedule": "x"}, "the sampling schedule must be .*, got 'x' with rate"),
        ({"sampling_rate": 0.5}, "the sampling schedule must be .* got 'inverse_sigmoid' with rate 0.5"),
    ],
)
def test_an_impossible_recipe_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIGS["cat-mel_2bar_small"].training, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_size": math.nan}, "z_size must be an int of at least 1, got nan"),
        ({"z_size": 0}, "z_size must be an int of at least 1, got 0"),
        ({"steps": 32.0}, "steps must be an int of at least 1, got 32.0"),
        ({"segments": math.inf}, "segments must be an int of at least 1, got inf"),
        ({"enc_rnn_size": [128]}, "enc_rnn_size must be a tuple of ints, each of at least 1, got .128."),
        ({"dec_rnn_size": (128, math.nan)}, "dec_rnn_size must be a tuple of ints, each of at least 1, got .128, nan."),
        ({"dec_rnn_size": 128}, "dec_rnn_size must be a tuple of ints, each of at least 1, got 128"),
        ({"control_depth": -1}, "control_depth must be an int of at least 0, got -1"),
        ({"nade_num_hidden": -2}, "nade_num_hidden must be an int of at least 0, got -2"),
        ({"end_token": 90}, "end_token must be a class below 90 or None, got 90"),
        ({"end_token": -1}, "end_token must be a class below 90 or None, got -1"),
        ({"dropout_keep_prob": math.nan}, "dropout_keep_prob must be above 0 and at most 1, got nan"),
    ],
)
def test_an_impossible_model_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIGS["cat-mel_2bar_tiny"].model, **change)


@pytest.mark.parametrize(
    ("converter", "remedy"),
    [
        (MelodyConverter(bars=4), {"steps": 64}),
        (MelodyConverter(bars=2, time_signature=(3, 4)), {"steps": 24}),
        (MelodyConverter(bars=2, chords=True), {"control_depth": 49}),
        (DrumsConverter(bars=2), {"input_depth": 10, "output_depth": 512}),
    ],
)
def test_a_converter_of_another_length_metre_or_depth_is_refused_with_the_line_that_mends_it(converter, remedy):
    config = CONFIGS["cat-mel_2bar_tiny"]
    config = replace(config, training=replace(config.training, transpose_range=(0, 0)))
    with pytest.raises(ValueError, match=f"the model of {config.name} has .*, but its converter") as refused:
        replace(config, converter=converter)
    line = str(refused.value).partition("in one call, ")[2]
    names = {"with_converter": with_converter, "config": config, "converter": converter}
    assert eval(line, names) == replace(config, converter=converter, model=replace(config.model, **remedy))


@pytest.mark.parametrize("name", CONFIGS)
def test_one_call_gives_a_preset_other_bars_and_its_model_the_sizes(name):
    config = CONFIGS[name]
    assert with_converter(config) == config
    if isinstance(config.converter, MultitrackConverter):
        return
    longer = with_converter(config, bars=8)
    assert longer.converter == replace(config.converter, bars=8)
    assert longer.model.steps == 8 * 16
    for level in ("segments", "encoder_segments"):
        assert getattr(longer.model, level) == {16: 8}.get(getattr(config.model, level), 1)
    assert longer.training == config.training


def test_one_call_gives_a_preset_a_metre_and_programs_or_another_converter():
    config = CONFIGS["hier-mel_16bar_tiny"]
    waltz = with_converter(config, time_signature=(3, 4), programs=(0, 1))
    assert waltz.converter == MelodyConverter(bars=16, time_signature=(3, 4), programs=(0, 1))
    assert (waltz.model.steps, waltz.model.segments, waltz.model.encoder_segments) == (16 * 12, 16, 16)
    assert with_converter(config, waltz.converter) == waltz
    chords = with_converter(CONFIGS["cat-mel_2bar_tiny"], MelodyConverter(), bars=4, chords=True)
    assert (chords.model.steps, chords.model.control_depth) == (64, 49)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("cat-drums_2bar_tiny", {"programs": (0,)}, "the DrumsConverter of cat-drums_2bar_tiny has no programs; it"),
        ("cat-mel_2bar_tiny", {"bars": 0}, "bars is 0; a window has a whole number of them"),
        ("cat-mel_2bar_tiny", {"time_signature": (5, 128)}, "a bar of 5/128 is no whole number of sixteenths"),
        ("cat-mel_2bar_tiny", {"converter": 4}, "converter must be a converter, such as MelodyConverter"),
    ],
)
def test_a_wrong_change_of_a_converter_is_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        with_converter(CONFIGS[name], **changes)


def test_segments_that_cut_bars_are_refused():
    """16 bars of 3/4 and 12 bars of 4/4 have as many steps; 16 segments fit the first alone."""
    config = CONFIGS["hier-mel_16bar_tiny"]
    waltz = {"converter": MelodyConverter(bars=16, time_signature=(3, 4)), "model": replace(config.model, steps=192)}
    assert replace(config, **waltz).model.segments == 16
    with pytest.raises(ValueError, match="16 segments cut the 12 bars of hier-mel_16bar_tiny between beats"):
        replace(config, **waltz | {"converter": MelodyConverter(bars=12)})


def test_a_curriculum_needs_segments_that_are_bars():
    for name in ("cat-mel_2bar_tiny", "flat-trio_16bar_tiny", "hier-multiperf_vel_1bar_tiny"):
        config = CONFIGS[name]
        with pytest.raises(ValueError, match=f"the segments of {name} are not bars"):
            replace(config, training=replace(config.training, curriculum=100))
    dense = replace(CONFIGS["hier-mel_16bar_mini"].model, upper="dense")
    with pytest.raises(ValueError, match="the dense layers of hier-mel_16bar_mini need whole windows"):
        replace(CONFIGS["hier-mel_16bar_mini"], model=dense)
    with pytest.raises(ValueError, match="core_per_part is for flat models of several parts"):
        replace(dense, core_per_part=True)
    with pytest.raises(ValueError, match="core_per_part must be True or False, got 1"):
        replace(CONFIGS["trio_2bar_tiny"].model, core_per_part=1)
    with pytest.raises(ValueError, match="upper must be 'lstm' or 'dense', got 'gru'"):
        replace(dense, upper="gru")
    with pytest.raises(ValueError, match=r"dense upper layers need segments in encoder and decoder, got \(1, 16\)"):
        replace(dense, segments=1)


def test_each_kind_of_music_has_its_own_augmentations():
    melody, drums = CONFIGS["cat-mel_2bar_tiny"], CONFIGS["cat-drums_2bar_tiny"]
    with pytest.raises(ValueError, match="a MelodyConverter cannot mix windows"):
        replace(melody, training=replace(melody.training, mixed=0.5))
    with pytest.raises(ValueError, match="the windows of cat-mel_2bar_tiny have no chords: leave rekeyed at 0"):
        replace(melody, training=replace(melody.training, rekeyed=0.5))
    for name in ("piano_2bar_tiny", "cat-mel_2bar_chords_tiny", "groovae_2bar_humanize_tiny"):
        config = CONFIGS[name]
        with pytest.raises(ValueError, match=f"{name}: rearranged takes melodies, drums and trios without chords"):
            replace(config, training=replace(config.training, rearranged=0.5))
    groove = CONFIGS["groovae_2bar_hits_control"]  # whose controls are no chords
    with pytest.raises(ValueError, match="have no chords: leave rekeyed at 0"):
        replace(groove, training=replace(groove.training, rekeyed=0.5))
    with pytest.raises(ValueError, match="a DrumsConverter does not transpose its windows: leave transpose_range at"):
        replace(drums, training=melody.training)


def test_a_representation_of_ones_own_transposes_only_if_it_defines_how():
    class UnmovedConverter(MelodyConverter):
        transpose = BarsConverter.transpose

    melody = CONFIGS["cat-mel_2bar_tiny"]
    with pytest.raises(ValueError, match="an? UnmovedConverter does not transpose its windows"):
        replace(melody, converter=UnmovedConverter())
    still = replace(melody.training, transpose_range=(0, 0))
    assert replace(melody, converter=UnmovedConverter(), training=still).converter.bars == 2


def test_presets_are_frozen():
    with pytest.raises(FrozenInstanceError):
        CONFIGS["hierdec-mel_16bar"].model.z_size = 3
    assert replace(CONFIGS["hierdec-mel_16bar"].model, z_size=3).z_size == 3
    assert CONFIGS["hierdec-mel_16bar"].model.z_size == 512


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("cat-mel_2bar", "cat-mel_2bar_"),
        ("hierdec-mel16bar", "hierdec-mel_16bar"),
        ("zzz", "no preset .zzz.; docs/presets.md lists them"),
    ],
)
def test_an_unknown_preset_suggests_the_nearest_names(asked, meant):
    with pytest.raises(KeyError, match=meant):
        CONFIGS[asked]


def test_configs_are_shown_one_field_per_line():
    config = CONFIGS["hierdec-mel_16bar"]
    lines = repr(config).splitlines()
    assert lines[:4] == ["Config(", "    name='hierdec-mel_16bar',", "    model=ModelConfig(", "        steps=256,"]
    assert "        batch_size=512," in lines
    assert max(map(len, lines)) < 120
    assert eval(repr(config.model), {"ModelConfig": ModelConfig}) == config.model


@pytest.mark.parametrize(
    "damage", [{"model": {"wings": 2}}, {"converter": {"kind": "FugueConverter"}}, {"training": 3}]
)
def test_damaged_presets_are_refused(damage):
    with pytest.raises(ValueError, match="not a preset"):
        config_from_dict(config_to_dict(CONFIGS["cat-mel_2bar_tiny"]) | damage)
