"""Presets: plain frozen data that JSON can hold."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest

from configs import CONFIGS, config_from_dict, config_to_dict
from helpers import OWN_SIZES
from model import ModelConfig, MusicVAE


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
        ({"batch_size": 0}, "batch_size and steps must be at least 1, got 0"),
        ({"beta2": 1.0}, "beta2 must be at least 0 and below 1, got 1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0, got nan"),
        ({"free_bits": -5.0}, "must be at least 0, got 0.2, -5.0 and 0"),
        ({"curriculum": 200_000}, "curriculum must be below steps, got 200000 of 200000 updates"),
        ({"curriculum": -1}, "must be at least 0, got 0.2, 0.0 and -1"),
        ({"transpose_range": (3, -3)}, "must go from low to high, got .3, -3."),
        ({"mixed": 1.5}, "mixed must be a share, 0 to 1, got 1.5"),
        ({"sampling_schedule": "x"}, "no sampling schedule 'x'"),
        ({"sampling_rate": 0.5}, "no sampling schedule 'inverse_sigmoid' with rate 0.5"),
    ],
)
def test_an_impossible_recipe_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIGS["cat-mel_2bar_small"].training, **change)


def test_a_curriculum_needs_segments_that_are_bars():
    for name in ("cat-mel_2bar_tiny", "flat-trio_16bar_tiny", "hier-multiperf_vel_1bar_tiny"):
        config = CONFIGS[name]
        with pytest.raises(ValueError, match=f"the segments of {name} are not bars"):
            replace(config, training=replace(config.training, curriculum=100))


def test_drums_are_not_transposed_and_only_drums_are_mixed():
    melody, drums = CONFIGS["cat-mel_2bar_tiny"], CONFIGS["cat-drums_2bar_tiny"]
    with pytest.raises(ValueError, match="a MelodyConverter cannot mix windows"):
        replace(melody, training=replace(melody.training, mixed=0.5))
    with pytest.raises(ValueError, match="a DrumsConverter has no pitch to transpose"):
        replace(drums, training=melody.training)


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
        ("zzz", "one of cat-mel_2bar_small"),
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
