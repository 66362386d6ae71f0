"""What several tests share: small presets, made songs, and where fixtures lie."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs import CONFIGS, Config
from engine.lstm import supports_bfloat16
from generate import TrainedModel
from midi_utils import DrumsConverter, GrooveConverter, MultitrackConverter, PianoConverter, SongDataset, Windows
from model import MusicVAE
from music.clips import Clip
from music.labels import KEYS, NO_NOTE
from music.performance import END, FIRST_PROGRAM, NOTE_OFF, PADDING, TIME_SHIFT, VELOCITY
from training import updates

BUILT_IN = Path(__file__).parents[1] / "midi_songs" / "built_in"
SHARED = Path(__file__).parents[2] / "shared"  # the reference's whole data, where it is present
PARITY = (Path(__file__).parent / "fixtures" / "parity", SHARED / "parity")  # what is committed of it, and all

MAGENTA = PARITY[0] / "cat-mel_2bar_small"  # checkpoints of Magenta's small melody model

# What the names of presets end in that Magenta has not.
OWN_SIZES = ("_tiny", "_mini", "16bar_small", "piano_2bar_small", "piano_2bar_keys_small", "trio_2bar_small")

BAR = 16  # steps of 4/4

QUIET = {"progress": False, "device": "cpu"}  # arguments of `train` in most tests

needs_bfloat16 = pytest.mark.skipif(
    not supports_bfloat16(torch.device("cpu")), reason="this processor runs no LSTM in bfloat16"
)


def parity_folder(name, places=PARITY):
    """Where a preset's fixture lies; skips the test where it is not there."""
    for place in places:
        if (place / name / "fixture.npz").exists():
            return place / name
    pytest.skip(f"reference data for {name} not present")


def table_rows(table):
    """The cells of a Markdown table without its header, one list per row."""
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def equal_weights(a, b):
    """Whether two models have the same weights, bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def shrink(name, bars=None, **training):
    """A preset at a size, and of a length, that trains in seconds."""
    config = CONFIGS[name]
    converter, sizes = config.converter, {"z_size": 16, "enc_rnn_size": (64,), "dec_rnn_size": (64,)}
    if not isinstance(converter, MultitrackConverter):
        converter = replace(converter, bars=bars or converter.bars)
        for levels in ("segments", "encoder_segments"):
            sizes[levels] = converter.bars if getattr(config.model, levels) > 1 else 1
    model = replace(config.model, steps=converter.steps, **sizes)
    return Config(name, model, converter, replace(config.training, batch_size=8, decay_rate=1.0, **training))


def untrained(name):
    """A model of random weights, so large that its outputs depend on its inputs."""
    torch.manual_seed(0)
    config = shrink(name)
    model = MusicVAE(config.model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return TrainedModel(model, config)


def made_songs(converter, windows=24, songs=6, seed=0):
    """A data set of scales, arpeggios and beats: what a converter could have cut from so many songs."""
    random = np.random.default_rng(seed)
    kinds = {GrooveConverter: made_grooves, MultitrackConverter: made_bars, PianoConverter: made_chords}
    make = kinds.get(type(converter), made_lines)
    labels = make(converter, windows, random)
    kept = labels >= 0 if isinstance(converter, MultitrackConverter) else np.ones((windows, converter.steps), bool)
    lengths = kept.sum(1) if kept.all() else kept.reshape(windows, converter.segments, -1).sum(-1)
    chords = random.integers(0, 49, (windows, 1)) if converter.chords else None
    controls = None if chords is None else np.where(kept, chords, -1).astype(np.int8)
    place = (np.zeros(windows, np.int16), np.arange(windows, dtype=np.int32))
    cut = Windows(labels, lengths.astype(np.int32), controls, *place, ())
    return SongDataset(cut, np.arange(windows) % songs, [f"song_{k}.mid" for k in range(songs)], converter, None)


def made_clip(converter, bars=5, seed=0):
    """A clip of any number of bars of 4/4, which need not fill the last window."""
    labels = made_songs(converter, windows=-(-bars * BAR // converter.steps), songs=1, seed=seed).labels
    labels = converter.as_line(labels)
    labels = labels.reshape(-1, *labels.shape[2:])[: bars * BAR]
    chords = np.full(bars * BAR, 1, np.int8) if converter.chords else None
    return Clip(labels, chords, qpm=90.0)


def made_lines(converter, windows, random):
    """Labels of melodies, drums and trios."""
    starts, stride = random.integers(30, 50, windows), random.integers(1, 5, windows)
    steps = np.arange(converter.steps)
    labels = np.where(steps % 2 == 0, starts[:, None] + stride[:, None] * (steps // 2 % 8), 0)
    if isinstance(converter, DrumsConverter):
        labels = labels * 7 % 512
    if converter.output_depth == 692:
        labels = np.stack([labels, np.maximum(labels - 12, 0), labels * 7 % 512], -1)
    dtype = np.uint8 if converter.output_depth == 90 else np.uint16
    return labels.astype(dtype)


def made_grooves(converter, windows, random):
    """Labels of grooves: two drums in turn, each window in a pattern and with a feeling of its own."""
    hits, velocities, offsets = labels = np.zeros((3, windows, converter.steps, 9), np.float32)
    for window in range(windows):
        for drum, start in enumerate(random.integers(0, 4, 2)):
            hits[window, start :: 4 + drum, drum] = 1
    velocities[:] = hits * random.uniform(0.3, 0.9, (windows, 1, 1))
    offsets[:] = hits * random.uniform(-0.5, 0.5, (windows, 1, 1))
    return np.concatenate(labels, -1)


def made_chords(converter, windows, random):
    """Labels of pianos: a triad on every quarter, its lowest note held for two quarters, each window in its own key."""
    labels = np.full((windows, converter.steps, converter.voices), NO_NOTE, np.uint8)
    steps = np.arange(converter.steps)
    for window, key in zip(labels, random.integers(20, 50, windows)):
        window[:, :3] = key + np.array([0, 4, 7]) + (steps // 8 % 4)[:, None]
        window[::8, 0] += KEYS
        window[::4, 1:3] += KEYS
    return labels


def made_bars(converter, windows, random):
    """Labels of bars of two to four tracks, each with a note on every quarter."""
    labels = np.full((windows, converter.segments, converter.segment_steps), PADDING, np.int16)
    labels[..., 0] = END
    for window in labels:
        for track in window[: random.integers(2, 5)]:
            pitch = random.integers(40, 80)
            quarter = (pitch, TIME_SHIFT + 11, NOTE_OFF + pitch, TIME_SHIFT + 11)
            track[:19] = (FIRST_PROGRAM + random.integers(128), VELOCITY + 4, *quarter * 4, END)
    return labels.reshape(windows, -1)


def make_loss_nan(patch, steps):
    """Makes the loss NaN in the updates that start at these steps; patch: a `pytest.MonkeyPatch`."""
    current = []

    def beta_at(step, beta_at=updates.beta_at, **settings):
        current[:] = [step]
        return beta_at(step, **settings)

    def kl_divergence(posterior, kl_divergence=updates.kl_divergence):
        return kl_divergence(posterior) * (math.nan if current[0] in steps else 1.0)

    patch.setattr(updates, "beta_at", beta_at)
    patch.setattr(updates, "kl_divergence", kl_divergence)
