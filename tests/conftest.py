"""Fixtures that several tests share, and the order of the files."""

import os
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch reads it; so do the programs that tests start

import pytest
import torch

from configs import CONFIGS
from corpus import Entry, file_sha1, write_manifest
from generate import TrainedModel
from helpers import BUILT_IN, made_songs, shrink
from midi_utils import midi_files
from model import MusicVAE

torch.set_num_threads(1)  # models this small gain nothing from more, and lose much where other programs run

# Files of tests that take long. They come first, so that several workers end at about the same time.
LONGEST = ("test_notebook.py", "test_processes.py", "test_paper_notebook.py", "test_train.py", "test_song_cache.py")

FAMILIES = ("cat-mel_2bar_tiny", "cat-drums_2bar_tiny", "hierdec-mel_16bar_tiny", "hierdec-trio_16bar_tiny")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Puts the longest files first, and keeps the order of all else."""
    rank = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def corpus_arguments(tmp_path_factory):
    """Command-line arguments for a folder of twelve built-in songs with a manifest; tests only read it."""
    corpus, songs = tmp_path_factory.mktemp("corpus"), sorted(midi_files(BUILT_IN))[:12]
    folder, manifest = corpus / "songs", corpus / "corpus.csv"
    folder.mkdir()
    for song in songs:
        (folder / song.name).write_bytes(song.read_bytes())
    splits = ["train"] * 6 + ["valid"] * 3 + ["test"] * 3
    entries = [Entry(s.name, file_sha1(s), split, s.name) for s, split in zip(songs, splits, strict=True)]
    write_manifest(manifest, entries)
    return ["--data", str(folder), "--manifest", str(manifest)]


@pytest.fixture
def tiny():
    """A small melody preset and a set of songs for it."""
    config = shrink("cat-mel_2bar_tiny")
    return config, made_songs(config.converter)


@pytest.fixture(params=FAMILIES)
def trained(request):
    """An untrained model of two bars, of each kind of music that the paper measures."""
    torch.manual_seed(0)
    config = shrink(request.param, bars=2)
    return TrainedModel(MusicVAE(config.model), config)


@pytest.fixture
def magenta_melodies():
    """The preset of Magenta's small melody checkpoint, with a small batch, and songs for it."""
    config = CONFIGS["cat-mel_2bar_small"]
    config = replace(config, training=replace(config.training, batch_size=4, learning_rate=1e-4))
    return config, made_songs(config.converter)
