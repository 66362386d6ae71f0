"""Presets are plain frozen data that survive JSON."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import pytest

from configs import CONFIGS, config_from_dict, config_to_dict
from helpers import OWN_SIZES
from model import MusicVAE


@pytest.mark.parametrize("name", CONFIGS)
def test_presets_survive_json(name):
    config = CONFIGS[name]
    again = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert config.name == name or config is CONFIGS[config.name]


def test_all_of_the_references_presets_and_the_name_of_a_published_file():
    ours = [name for name, config in CONFIGS.items() if config.name == name and not name.endswith(OWN_SIZES)]
    assert len(ours) == 23
    assert CONFIGS["groovae_2bar_hits_control"] is CONFIGS["groovae_2bar_hits_control_tfds"]


@pytest.mark.parametrize("size", ["mini", "small"])
@pytest.mark.parametrize(
    ("flat", "hierarchical"), [("flat-mel_16bar", "hier-mel_16bar"), ("flat-drums_16bar", "hier-drums_16bar")]
)
def test_flat_and_hierarchical_twins_have_as_many_parameters_and_one_recipe(flat, hierarchical, size):
    """Within one in a hundred, so that what a comparison shows is the conductor's."""
    twins = [CONFIGS[f"{name}_{size}"] for name in (flat, hierarchical)]
    counts = [sum(p.numel() for p in MusicVAE(twin.model).parameters()) for twin in twins]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
    assert twins[0].training == twins[1].training
    assert [twin.model.segments for twin in twins] == [1, 16]
    assert twins[0].model.encoder_segments == twins[1].model.encoder_segments


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 0}, "batch_size and steps must be at least 1, got 0"),
        ({"beta2": 1.0}, "beta2 must be from 0 to below 1, got 1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0, got nan"),
        ({"free_bits": -5.0}, "must not be below 0, got 0.2, -5.0 and 0"),
        ({"curriculum": 200_000}, "200000 updates, must end before the 200000 do"),
        ({"curriculum": -1}, "must not be below 0, got 0.2, 0.0 and -1"),
        ({"transpose_range": (3, -3)}, "from low to high, got .3, -3."),
        ({"mixed": 1.5}, "a share from 0 to 1, got 1.5"),
        ({"sampling_schedule": "x"}, "no sampling schedule 'x'"),
        ({"sampling_rate": 0.5}, "no sampling schedule 'inverse_sigmoid' with rate 0.5"),
    ],
)
def test_a_recipe_that_no_run_can_have_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIGS["cat-mel_2bar_small"].training, **change)


def test_a_curriculum_is_for_models_whose_segments_are_bars():
    for name in ("cat-mel_2bar_tiny", "flat-trio_16bar_tiny", "hier-multiperf_vel_1bar_tiny"):
        config = CONFIGS[name]
        with pytest.raises(ValueError, match=f"{name} has no bars as segments"):
            replace(config, training=replace(config.training, curriculum=100))


def test_drums_are_not_transposed_and_nothing_else_is_mixed():
    melody, drums = CONFIGS["cat-mel_2bar_tiny"], CONFIGS["cat-drums_2bar_tiny"]
    with pytest.raises(ValueError, match="a MelodyConverter mixes no windows"):
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
def test_a_preset_that_does_not_exist_suggests_the_nearest(asked, meant):
    with pytest.raises(KeyError, match=meant):
        CONFIGS[asked]


@pytest.mark.parametrize("name", ["hier-mel_16bar_tiny", "hierdec-mel_16bar_tiny", "cat-mel_2bar_tiny"])
def test_presets_of_the_first_version_are_read(name):
    """Checkpoints of before said of an encoder only whether it has two levels."""
    kept = config_to_dict(CONFIGS[name])
    kept["model"]["hierarchical_encoder"] = kept["model"].pop("encoder_segments") > 1
    assert config_from_dict(kept) == CONFIGS[name]


@pytest.mark.parametrize(
    "damage", [{"model": {"wings": 2}}, {"converter": {"kind": "FugueConverter"}}, {"training": 3}]
)
def test_damaged_presets_are_refused(damage):
    with pytest.raises(ValueError, match="not a preset"):
        config_from_dict(config_to_dict(CONFIGS["cat-mel_2bar_tiny"]) | damage)
