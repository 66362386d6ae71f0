"""Wrong calls of the public functions: each raises a ValueError that names what is wanted.

A row of a table is a call that somebody could make, and words of its message. What should work in its place is at the
end.
"""

import math
import re
import shutil
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import notebook_utils
from checkpoint import load_checkpoint, save_checkpoint
from configs import CONFIGS, config_to_dict
from engine.slerp import slerp
from evaluation import evaluate
from generate import TrainedModel
from helpers import BUILT_IN, MAGENTA, QUIET, made_songs, shrink
from loss import beta_at, elbo_loss, kl_divergence, reconstruction_loss, sampling_probability_at, segments_at
from magenta_checkpoint import export_magenta_js, load_magenta_checkpoint
from midi_utils import GrooveConverter, Limits, MelodyConverter, load_midi, load_songs
from model import MusicVAE
from music.attributes import note_density
from music.converter import take
from paper.reconstruction import bootstrap, decode_teacher_forced, measure_elbo
from prior import MixturePrior, fit_mixture
from train import train

NAN = math.nan
PRESETS = {
    "melody": "cat-mel_2bar_tiny",
    "trio": "hierdec-trio_16bar_tiny",
    "piano": "piano_2bar_tiny",
    "chords": "cat-mel_2bar_chords_tiny",
    "groove": "groovae_2bar_hits_control",
    "tracks": "hier-multiperf_vel_1bar_tiny",
}


@cache
def made(name):
    """A model of random weights, its songs, and one of them as MIDI."""
    torch.manual_seed(0)
    config = shrink(PRESETS[name])
    trained, songs = TrainedModel(MusicVAE(config.model), config), made_songs(config.converter)
    song = config.converter.from_arrays(songs.labels[0])
    return SimpleNamespace(trained=trained, songs=songs, song=song, config=config, two=songs.windows([0, 1]))


@pytest.fixture
def at(tmp_path):
    """What the calls need, and a folder with a MIDI file and a model."""
    things = SimpleNamespace(**{name: made(name) for name in PRESETS}, folder=tmp_path)
    things.model = things.melody.trained
    things.midi, things.file = tmp_path / "one.mid", tmp_path / "model.pt"
    things.melody.song.write(str(things.midi))
    things.model.save(things.file)
    return things


def refuses(at, call, words):
    with pytest.raises(ValueError, match=words):
        call(at)
    plt.close("all")


def read_with_limits(path, limits):
    return load_songs(path, MelodyConverter(), limits=limits)


def sample(**arguments):
    return lambda at: at.model.sample(**{"n": 1, "length": 4} | arguments)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *((sample(n=n), r"n must be a whole number of at least 1, got ") for n in (2.0, None, "2", 0, True, [2], NAN)),
        *((sample(length=n), "length must be a whole number of at least 1") for n in (2.0, "32", -3, NAN)),
        *(
            (sample(temperature=t), r"temperature must be 0 \(the most likely class\) or a larger number, got")
            for t in (None, "hot", NAN, math.inf, [1.0], 1j, torch.ones(2))
        ),
        *((sample(program=p), "program is .* General MIDI has 0 to 127") for p in ("flute", 3.5, 128, {}, True)),
        *((sample(qpm=q), "qpm is .* quarters per minute") for q in ("fast", 0, NAN, [120])),
        *((sample(seed=s), r"seed must be a whole number from 0 to 2\^63") for s in ("0", 1.5, [1], -1, 2**63, True)),
        *((sample(generator=g), "generator must be a torch.Generator") for g in ("g", 1.5, 3, np.random.default_rng())),
        (lambda at: at.trio.trained.sample(1, length=16, program="flute"), "a trio takes three"),
        (lambda at: at.trio.trained.sample(1, length=16, program=("a", "b", "c")), "program is 'a'"),
        (lambda at: at.model.interpolate(at.midi, at.midi, 2.0), "num_steps must be a whole number"),
        (lambda at: at.model.interpolate(None, at.midi, 2), "music must be a PrettyMIDI, the path of a MIDI file"),
        (lambda at: at.model.draw_z("2"), "n must be a whole number"),
    ],
)
def test_a_number_of_the_wrong_kind_is_named(at, call, words):
    refuses(at, call, words)


Z = torch.zeros(2, 16)


@pytest.mark.parametrize(
    ("z", "words"),
    [
        *(
            (z, r"z must be \[batch, 16\] numbers, such as")
            for z in (None, "z", [[1.0], [1.0, 2.0]], Z.to(torch.cfloat))
        ),
        *((z, r"z must be \[batch, 16\] of at least one vector") for z in (Z[0], Z[None], Z[:0], Z[:, 1:], (Z, Z, Z))),
        *((z, "z must be finite") for z in (Z * NAN, Z + math.inf, np.full((2, 16), NAN))),
    ],
)
def test_wrong_latent_vectors_are_refused(at, z, words):
    refuses(at, lambda at: at.model.decode(z, length=4), words)
    refuses(at, lambda at: at.model.model.sample(z=z, steps=4) if z is not None else at.model.decode(z), words)


def with_labels(of, value, **changes):
    """A call that encodes a model's windows, with this value in place of the first label."""

    def call(at):
        windows = getattr(at, of).two
        labels = windows.labels.astype(float if isinstance(value, float) else int)
        labels[0, 0] = value
        getattr(at, of).trained.encode(windows._replace(labels=labels, **changes))

    return call


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *(
            (
                lambda at, music=music: at.model.encode(music),
                "music must be a PrettyMIDI, the path of a MIDI file, a list",
            )
            for music in (None, 5, b"MThd", np.zeros((2, 32)), torch.zeros(2, 32))
        ),
        (lambda at: at.model.encode(at.melody.songs), "music must be"),
        *((lambda at, one=one: at.model.encode([one]), "a song must be a PrettyMIDI") for one in (None, 3, ["a.mid"])),
        (lambda at: at.model.encode(at.trio.two), "windows must have 32 steps, got 256"),
        (lambda at: at.model.encode(at.groove.two), "labels of windows must be whole numbers"),
        (with_labels("melody", 90), r"labels of windows must be \[2, 32\] whole numbers from 0 to 89, got .* to 90"),
        (with_labels("melody", -1), "from 0 to 89, got .* from -1"),
        (with_labels("piano", 250), r"labels of windows must be .* whole numbers from 0 to 176, got .* to 250"),
        (with_labels("melody", 2.5), "labels of windows must be whole numbers"),
        (with_labels("trio", 600), "from 0 to 89, 89, 511"),
        (with_labels("tracks", 490), "from -1 to 489"),
        (with_labels("groove", NAN), r"labels of windows must be \[2, 32, 27\] finite numbers"),
        (with_labels("groove", math.inf), "finite numbers"),
        (
            with_labels("melody", 0, lengths=np.array([32])),
            r"lengths of windows must be \[2\] whole numbers from 0 to 32",
        ),
        (with_labels("melody", 0, lengths=np.array([32, 33])), "from 0 to 32, got .* to 33"),
        (with_labels("melody", 0, lengths=None), "lengths of windows must be whole numbers"),
        (with_labels("chords", 0, controls=np.full((2, 32), 49)), "controls of windows .* from -1 to 48"),
        (with_labels("chords", 0, controls=None), "these windows have no chords"),
        (lambda at: at.chords.trained.reconstruct(at.chords.two, length=16.0), "length must be a whole number"),
        (lambda at: at.chords.trained.reconstruct(at.chords.two, length=64), "controls for 32 steps: give those of 64"),
        (lambda at: at.model.clip(take(at.melody.two, slice(0, 0))), "there is no window to join"),
        (lambda at: take(at.melody.two, 0), "part must be a slice"),
        (lambda at: MelodyConverter().to_arrays(str(at.midi)), r"midi must be a PrettyMIDI; load_midi\(path\) reads"),
        (lambda at: MelodyConverter().to_tensors(at.song_labels), "windows must be Windows"),
        (lambda at: MelodyConverter().from_arrays(["a"] * 32), "labels must be whole numbers"),
        (lambda at: MelodyConverter().from_arrays(np.full(32, 2.5)), "labels must be whole numbers"),
        (lambda at: GrooveConverter().from_arrays("abc"), r"\[steps, 27\], must be numbers of 2 axes"),
        (lambda at: note_density(np.zeros(32, int)), r"labels must be integers \[n, steps\]"),
    ],
)
def test_music_that_the_converter_does_not_make_is_refused(at, call, words):
    at.song_labels = at.melody.songs.labels
    refuses(at, call, words)


@pytest.mark.parametrize(
    ("of", "controls", "words"),
    [
        *(
            ("chords", c, r'controls must be a list of chord symbols, as \["C", "Am"\]')
            for c in (5, "C", {"C": 1}, [None])
        ),
        ("chords", np.array(["C"]), "controls must be chord symbols or numbers"),
        ("chords", np.zeros((32, 49), complex), "controls must be chord symbols or numbers"),
        ("chords", np.full((32, 49), NAN), "controls must be finite"),
        ("chords", torch.full((32, 49), math.inf), "controls must be finite"),
        ("chords", torch.zeros(0, dtype=int), "chord classes must be from -1 to 48"),
        ("chords", torch.full((32,), 49), "chord classes must be from -1 to 48"),
        ("groove", torch.full((32, 9), NAN), "controls must be finite"),
        ("groove", torch.zeros(32, 8), r"controls must be \[2, 32, 9\] for this model"),
        ("melody", torch.zeros(32, 3), "takes no controls: omit them"),
    ],
)
def test_wrong_controls_are_refused(at, of, controls, words):
    refuses(at, lambda at: getattr(at, of).trained.sample(2, controls=controls), words)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *((lambda at, p=p: TrainedModel.load(p), "path must be a path, got") for p in (None, 5, b"x", ["m.pt"], "")),
        (lambda at: TrainedModel.load(at.midi), "is a MIDI file, not a model"),
        *(
            (lambda at, d=d: TrainedModel.load(at.file, device=d), "no device .* here")
            for d in ("gpu", None, 1.5, "", *(() if torch.cuda.is_available() else ("cuda",)))
        ),
        (lambda at: TrainedModel.load(at.file, precision="half"), "precision must be 'auto', 'float32' or 'bfloat16'"),
        (lambda at: at.model.save(at.folder), "is no place for a file"),
        (lambda at: at.model.save(at.file / "model.pt"), "is no place for a file"),
        (lambda at: at.model.save(None), "path must be a path"),
        (lambda at: TrainedModel(at.file, at.melody.config), "model must be a MusicVAE; TrainedModel.load reads one"),
        (
            lambda at: TrainedModel(at.model.model, "cat-mel_2bar_tiny"),
            r"config must be a Config, such as CONFIGS\[name\]",
        ),
        (lambda at: TrainedModel(at.model.model, at.melody.config, prior=3), "prior must be a NamedTuple of tensors"),
        (
            lambda at: TrainedModel(
                at.model.model,
                at.melody.config,
                prior=MixturePrior(torch.full((1, 16), torch.nan), torch.eye(16), torch.ones(1)),
            ),
            "prior.means must be finite, but holds NaN",
        ),
        (
            lambda at: TrainedModel(
                at.model.model, at.melody.config, prior=MixturePrior(Z[:, :3], torch.eye(3), torch.ones(2))
            ),
            "prior must be of z_size 16",
        ),
        (
            lambda at: TrainedModel(
                at.model.model, at.melody.config, sequence_prior=MixturePrior(Z, torch.eye(16), torch.ones(1))
            ),
            "sequence_prior must be a prior.SequencePrior or None",
        ),
        *((lambda at, p=p: load_checkpoint(p), "path must be a path") for p in (None, "")),
        (lambda at: save_checkpoint(at.folder / "x.pt", at.model, at.melody.config), "model must be a MusicVAE"),
        *((lambda at, p=p: load_magenta_checkpoint(p), "path must be a path") for p in (None, 5, "")),
        (lambda at: export_magenta_js(at.model, at.melody.config, at.folder / "js"), "model must be a MusicVAE"),
        *((lambda at, p=p: load_songs(p, MelodyConverter()), "folder_or_paths must be a") for p in ("", None, 5)),
        (lambda at: load_songs([None], MelodyConverter()), "each of folder_or_paths must be a path"),
        (lambda at: load_songs(at.midi, MelodyConverter), r"converter must be a converter, such as CONFIGS\[name\]"),
        (lambda at: load_songs(at.midi, MelodyConverter(), workers=0), "workers must be a whole number of at least 1"),
        (lambda at: load_songs(at.midi, MelodyConverter(), executor=4), "executor must be a concurrent.futures"),
        (lambda at: load_songs(at.midi, MelodyConverter(), cache=4), "cache must be a path"),
        *(
            (lambda at, read=read, limits=limits: read(at.midi, limits), words)
            for read in (lambda path, limits: load_midi(path, limits=limits), read_with_limits)
            for limits, words in (
                (None, "limits must be Limits"),
                (Limits(bytes=1e7), "limits.bytes must be a whole number of at least 1"),
                (Limits(seconds=0), "limits.seconds must be a number above 0, got 0"),
                (Limits(seconds=NAN), "limits.seconds must be a number above 0, got nan"),
            )
        ),
        *((lambda at, p=p: load_midi(p), "path must be a path") for p in (None, 5, "", b"MThd")),
        (lambda at: at.melody.songs.split(seed=None), "seed must be a whole number from 0"),
        (lambda at: at.melody.songs.split(valid="0.1"), "valid must be a number"),
        (lambda at: at.melody.songs.split(groups="abcdef"), "groups must be a list or a mapping"),
    ],
)
def test_what_is_no_path_or_no_place_is_named(at, call, words):
    refuses(at, call, words)


@pytest.mark.parametrize(
    ("songs", "words"),
    [
        (lambda at: at.trio.songs, r"songs must be windows of MelodyConverter\(.*, got windows of TrioConverter"),
        (lambda at: made_songs(replace(at.melody.config.converter, programs=None)), "programs=None"),
        (lambda at: at.melody.songs.split().test, "songs must have at least one window"),
        (lambda at: at.melody.two, "songs must be a SongDataset, as load_songs makes it"),
        (lambda at: str(BUILT_IN), "songs must be a SongDataset"),
    ],
)
def test_a_prior_is_fitted_to_songs_of_the_models_converter_alone(at, songs, words):
    refuses(at, lambda at: at.model.fit_prior(songs(at)), words)
    assert at.model.prior is None


MU = torch.zeros(2, 3)
PRIOR = MixturePrior(MU, torch.eye(3), torch.ones(2) / 2)
NATS = torch.ones(2)
LOGITS = torch.zeros(2, 32, 90)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *(
            (lambda at, a=a: fit_mixture(*a), r"mu and sigma must be floats (of one shape )?\[n, Z\]")
            for a in ((MU, MU[:1]), (MU[0], MU[0]), (MU[:0], MU[:0]), (MU.int(), MU.int()), (None, None))
        ),
        (lambda at: fit_mixture(MU, MU - 1), "sigma must be at least 0, got -1"),
        (lambda at: PRIOR.draw(0), "n must be a whole number of at least 1"),
        (lambda at: PRIOR.draw(2, width=NAN), "width must be a number of at least 0, got nan"),
        (lambda at: PRIOR.draw(2, 1.5), "generator must be a torch.Generator"),
        (lambda at: PRIOR.log_prob(MU * NAN), "z must be finite"),
        (lambda at: PRIOR.log_prob(MU[:, :2]), r"z must be \[n, 3\]"),
        (lambda at: slerp(MU[0], MU[0, :2], 0.5), "end must be a vector of the size of start"),
        (lambda at: slerp(MU[0], MU[0], NAN), "t must be a number, got nan"),
        (lambda at: reconstruction_loss(LOGITS, LOGITS[:1], output="categorical"), "logits must be .* for targets"),
        (lambda at: reconstruction_loss(LOGITS, LOGITS.numpy(), output="categorical"), "targets must be a tensor"),
        (lambda at: reconstruction_loss(LOGITS, LOGITS, NATS[:1], output="categorical"), "lengths must be a tensor"),
        (lambda at: kl_divergence(MU), "posterior must be a torch.distributions.Normal"),
        (lambda at: elbo_loss(NATS, torch.ones(3)), "kl_nats must be of the shape of reconstruction"),
        (lambda at: elbo_loss(NATS, NATS, beta=-1), "beta must be a number of at least 0"),
        (lambda at: elbo_loss(NATS, NATS, beta=NAN), "beta must be a number of at least 0, got nan"),
        (lambda at: elbo_loss(NATS, NATS, free_bits=None), "free_bits must be a number of at least 0"),
        (lambda at: beta_at(-1, max_beta=1.0, beta_rate=0.5), "step must be a whole number of at least 0"),
        (lambda at: beta_at(1, max_beta=1.0, beta_rate=2.0), "rate must be a number from 0 to 1"),
        (lambda at: segments_at(1, segments=0, curriculum=4), "segments must be a whole number of at least 1"),
        (lambda at: sampling_probability_at(1, schedule="constant", rate="x"), "sampling_rate must be a finite number"),
        (lambda at: at.model.model.encode(at.melody.two), r"inputs must be a tensor \[batch, 32, 90\]"),
        (
            lambda at: at.model.model.encode(torch.zeros(2, 32, 90).to("meta")),
            "inputs must be on the model's device, cpu",
        ),
        (lambda at: at.model.model.decode(Z.numpy(), LOGITS), r"z must be a tensor \[2, 16\]"),
        (lambda at: at.model.model.decode(Z[:1], LOGITS), "z and targets must be of one batch, got 1 and 2"),
        *(
            (lambda at, p=p: at.model.model.decode(Z, LOGITS, sampling_probability=p), "a number from 0 to 1, got")
            for p in (2.0, -1.0, NAN, None, "x")
        ),
        (lambda at: MusicVAE("cat-mel_2bar_tiny"), "config must be a ModelConfig"),
        (lambda at: evaluate(at.file, at.melody.songs, at.melody.songs), "trained must be a TrainedModel"),
        (lambda at: evaluate(at.model, at.trio.songs, at.melody.songs), "train_set must be windows of MelodyConverter"),
        (lambda at: evaluate(at.model, at.melody.songs, at.melody.songs, limit=0), "limit must be a whole number"),
        (lambda at: evaluate(at.model, at.melody.songs, at.melody.songs, seed="x"), "seed must be a whole number"),
        (lambda at: bootstrap(np.zeros(0), np.zeros(0)), "values and song must be one per window"),
        (
            lambda at: decode_teacher_forced(at.model, at.melody.two, Z[:1]),
            "z must be one vector per window, got 1 for 2",
        ),
        (
            lambda at: measure_elbo(at.model.encode(at.melody.two), np.full(2, NAN), [0, 1], 32),
            "nats must be .2. finite",
        ),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_named(at, call, words):
    refuses(at, call, words)


def changed(part, **fields):
    return lambda at: replace(getattr(at.melody.config, part), **fields)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (changed("model", z_size=True), "z_size must be an int of at least 1, got True"),
        (changed("model", z_size=np.int64(8)), re.escape(f"z_size must be an int of at least 1, got {np.int64(8)!r}")),
        (changed("model", end_token=1.0), "end_token must be a class below 90 or None, got 1.0"),
        (changed("model", dropout_keep_prob=None), "dropout_keep_prob must be a number, got None"),
        (changed("training", batch_size=True), "batch_size must be an int of at least 1, got True"),
        (changed("training", learning_rate="x"), "learning_rate must be a number, got 'x'"),
        (changed("training", mixed=True), "mixed must be a number, got True"),
        (changed("converter", bars=1.5), "bars is 1.5; a window has a whole number of them"),
        (changed("converter", time_signature="4/4"), r"time_signature must be two whole numbers, such as \(4, 4\)"),
        (changed("converter", time_signature=(4, 0)), "time_signature must be two whole numbers"),
        (changed("converter", programs="piano"), r"programs must be General MIDI programs, such as \(0, 1\)"),
        (changed("converter", programs=(200,)), "program is 200"),
        (changed("converter", programs=()), "programs must be at least one program, or None for all"),
        (changed("converter", chords="yes"), "chords must be True or False"),
        (lambda at: GrooveConverter(note_dropout=NAN), "note_dropout must be a share, 0 to 1"),
        (lambda at: GrooveConverter(added_classes=2), r"added_classes must be classes, such as \(2,\)"),
        (lambda at: replace(at.melody.config, name=""), "name must be a text, got ''"),
        (lambda at: replace(at.melody.config, model=None), "model must be a ModelConfig, got None"),
        (lambda at: replace(at.melody.config, converter=MelodyConverter), "converter must be a converter, such as"),
        (lambda at: replace(at.melody.config, training={}), "training must be a TrainingConfig"),
        (lambda at: config_to_dict("cat-mel_2bar_tiny"), "config must be a Config"),
    ],
)
def test_impossible_presets_are_refused(at, call, words):
    refuses(at, call, words)


def test_a_preset_of_no_name_is_not_found():
    with pytest.raises(KeyError, match="no preset 5; docs/presets.md lists them"):
        CONFIGS[5]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"config": "cat-mel_2bar_tiny"}, r"config must be a Config, such as CONFIGS\[name\]"),
        ({"train_set": str(BUILT_IN)}, "a data set must be a SongDataset, as load_songs and its split make it"),
        ({"train_set": made("melody").songs.split()}, "a data set must be a SongDataset"),
        ({"valid_set": 0.1}, "valid_set must be a SongDataset, as its split makes it, or None"),
        *(({"steps": steps}, "steps must be a whole number of at least 1, got ") for steps in (1.5, "1", True)),
        ({"eval_every": 1.5}, "eval_every must be a whole number of at least 1, got 1.5"),
        ({"minutes": "1"}, "minutes must be a number above 0"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"out_dir": None}, "out_dir must be a path"),
        ({"out_dir": ""}, "out_dir must be a path"),
        ({"precision": "half"}, "precision must be 'auto'"),
        ({"device": 1.5}, "no device '1.5' here"),
        ({"init_from": ""}, "init_from must be a path, got ''"),
    ],
)
def test_wrong_arguments_of_training_are_named_before_anything_is_written(tmp_path, wrong, words):
    right = {
        "config": made("melody").config,
        "train_set": made("melody").songs,
        "out_dir": tmp_path / "run",
        "steps": 1,
    }
    with pytest.raises(ValueError, match=words):
        train(**QUIET | right | wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        *((lambda at, midi=midi: notebook_utils.play(midi), "a song must be a PrettyMIDI") for midi in (None, 3, [])),
        *(
            (lambda at, s=s: notebook_utils.play(at.midi, seconds=s), "seconds must be a number above 0")
            for s in (0, -1, NAN, "x")
        ),
        (lambda at: notebook_utils.side_by_side([], []), "songs must be at least one song"),
        (lambda at: notebook_utils.side_by_side([at.midi] * 2, "ab"), "as many titles as songs"),
        (
            lambda at: notebook_utils.plot_piano_roll(None),
            "songs must be a list of PrettyMIDI or paths of MIDI files, got None",
        ),
        (lambda at: notebook_utils.plot_piano_roll(at.midi, bars=0), "bars must be a whole number of at least 1"),
        (lambda at: notebook_utils.plot_piano_roll(at.midi, columns=1.5), "columns must be a whole number"),
        (lambda at: notebook_utils.concatenate([], 4), "songs must be at least one song"),
        (lambda at: notebook_utils.concatenate([at.midi], -4), "seconds_each must be a number of at least 0"),
        (lambda at: notebook_utils.plot_training("x"), r"history must be rows of training, as train\(...\).history"),
        (lambda at: notebook_utils.plot_by_bar([1, 2], "", ""), "curves must be lists of numbers by name"),
        (lambda at: notebook_utils.plot_embeddings(np.zeros((2, 16)), ["a"]), "embeddings must be numbers of 3 axes"),
        (lambda at: notebook_utils.plot_embeddings(np.full((1, 2, 3), NAN), ["a"]), "embeddings must be finite"),
        (lambda at: notebook_utils.plot_form([], []), r"matrices must be \[bars, bars\] each"),
        (lambda at: notebook_utils.plot_form([np.eye(4)], []), "as many titles as songs"),
        (lambda at: notebook_utils.plot_latent(None), "mu must be numbers of 2 axes"),
        (lambda at: notebook_utils.plot_latent(np.full((3, 4), NAN)), "mu must be finite"),
        (lambda at: notebook_utils.plot_latent(np.eye(4), path=np.zeros((2, 3))), r"path must be \[k, 4\], as mu"),
    ],
)
def test_what_cannot_be_played_or_drawn_is_named(at, call, words):
    refuses(at, call, words)


# ---- What works in their place ----


def notes(songs):
    return [(note.pitch, note.start) for song in songs for track in song.instruments for note in track.notes]


@pytest.mark.parametrize(
    "given",
    [
        lambda z: z.numpy(),
        lambda z: z.double(),
        lambda z: z.double().numpy(),
        lambda z: z.tolist(),
        lambda z: list(z),
        lambda z: z.clone().requires_grad_(),
    ],
)
def test_latent_vectors_may_be_arrays_of_any_float_type(at, given):
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    wanted = notes(at.model.decode(z, seed=0))
    assert notes(at.model.decode(given(z), seed=0)) == wanted
    assert wanted


@pytest.mark.parametrize("number", [np.int64, np.uint8, torch.tensor, int])
def test_numbers_may_be_numpys_or_tensors(at, number):
    wanted = notes(at.model.sample(2, seed=3, length=8))
    assert notes(at.model.sample(number(2), seed=number(3), length=number(8), temperature=np.float64(1.0))) == wanted


def test_a_seed_of_training_may_be_numpys(tmp_path):
    tiny = made("melody")
    runs = [train(tiny.config, tiny.songs, out_dir=tmp_path / str(k), steps=2, seed=s, **QUIET) for k, s in SEEDS]
    assert runs[0].history == runs[1].history


SEEDS = tuple(enumerate((7, np.int64(7))))


class PathLike:
    """What has a path, as a directory entry does."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, PathLike, lambda path: path])
def test_paths_work_where_songs_are_meant(at, kind):
    path, song = kind(at.midi), at.melody.song
    assert torch.equal(at.model.encode(path).mu, at.model.encode(song).mu)
    assert torch.equal(at.model.encode([path]).mu, at.model.encode([song]).mu)
    assert notebook_utils.play(path).data == notebook_utils.play(load_midi(at.midi)).data
    assert notebook_utils.count_onsets(path) == notebook_utils.count_onsets(song)
    assert len(notebook_utils.plot_piano_roll([path, song]).axes) == len(
        notebook_utils.plot_piano_roll([song] * 2).axes
    )
    assert TrainedModel.load(kind(at.file)).config == at.melody.config


def test_every_file_of_a_tensorflow_checkpoint_stands_for_it(tmp_path):
    shutil.copytree(MAGENTA, tmp_path / "run")
    for suffix in ("", ".index", ".data-00000-of-00001"):
        assert TrainedModel.load(tmp_path / "run" / f"model.ckpt{suffix}").config.name == "cat-mel_2bar_small"
