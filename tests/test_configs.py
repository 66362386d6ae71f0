"""Presets are plain frozen data that survive JSON."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from configs import CONFIGS, config_from_dict, config_to_dict


@pytest.mark.parametrize("name", CONFIGS)
def test_presets_survive_json(name):
    config = CONFIGS[name]
    again = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert config.name == name or config is CONFIGS[config.name]


def test_all_of_the_references_presets_and_the_name_of_a_published_file():
    ours = [name for name, config in CONFIGS.items() if config.name == name and not name.endswith("_tiny")]
    assert len(ours) == 23
    assert CONFIGS["groovae_2bar_hits_control"] is CONFIGS["groovae_2bar_hits_control_tfds"]


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


@pytest.mark.parametrize(
    "damage", [{"model": {"wings": 2}}, {"converter": {"kind": "FugueConverter"}}, {"training": 3}]
)
def test_damaged_presets_are_refused(damage):
    with pytest.raises(ValueError, match="not a preset"):
        config_from_dict(config_to_dict(CONFIGS["cat-mel_2bar_tiny"]) | damage)
