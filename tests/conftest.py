"""Small things that several tests share."""

from dataclasses import replace

import numpy as np
import pytest

from configs import CONFIGS, Config
from midi_utils import SongDataset, Windows


def shrink(name, bars=None, **training):
    """A preset at a size, and of a length, that trains in seconds."""
    config = CONFIGS[name]
    converter = replace(config.converter, bars=bars or config.converter.bars)
    segments = converter.bars if config.model.segments > 1 else 1
    sizes = {"z_size": 16, "enc_rnn_size": (64,), "dec_rnn_size": (64,), "segments": segments}
    model = replace(config.model, steps=converter.steps, **sizes)
    return Config(name, model, converter, replace(config.training, batch_size=8, decay_rate=1.0, **training))


def made_songs(converter, windows=24, songs=6, seed=0):
    """A data set of scales, arpeggios and beats: what a converter could have cut from so many songs."""
    random = np.random.default_rng(seed)
    starts, stride = random.integers(30, 50, windows), random.integers(1, 5, windows)
    steps = np.arange(converter.steps)
    labels = np.where(steps % 2 == 0, starts[:, None] + stride[:, None] * (steps // 2 % 8), 0)
    if converter.output_depth == 512:
        labels = labels * 7 % 512
    if converter.output_depth == 692:
        labels = np.stack([labels, np.maximum(labels - 12, 0), labels * 7 % 512], -1)
    dtype = np.uint8 if converter.output_depth == 90 else np.uint16
    place = (np.zeros(windows, np.int16), np.arange(windows, dtype=np.int32))
    cut = Windows(labels.astype(dtype), np.full(windows, converter.steps, np.int32), None, *place, ())
    return SongDataset(cut, np.arange(windows) % songs, [f"song_{k}.mid" for k in range(songs)], converter, None)


@pytest.fixture
def tiny():
    """A small melody preset and a set of songs for it."""
    config = shrink("cat-mel_2bar_tiny")
    return config, made_songs(config.converter)
