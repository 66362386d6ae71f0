"""A long model's first weights: the layers of a short one, and layers above them that pass its z on."""

from dataclasses import replace

import pytest
import torch

from checkpoint import save_checkpoint
from helpers import QUIET, equal_weights, made_songs, shrink
from model import MusicVAE
from train import train
from training.two_levels import encode_segments, long_from_short, take_layers, upper_losses


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run of one-bar drums, whose z is smaller than a conductor is wide."""
    config = shrink("cat-drums_2bar_tiny", bars=1)
    config = replace(config, training=replace(config.training, learning_rate=5e-3, max_beta=0.05, free_bits=0.0))
    folder = tmp_path_factory.mktemp("short")
    return train(config, made_songs(config.converter), out_dir=folder, steps=60, **QUIET)


@pytest.fixture
def long():
    config = shrink("hier-drums_16bar_mini", bars=4, steps=2, curriculum=0)
    dense = replace(config.model, upper="dense")
    return replace(config, model=dense, training=replace(config.training, max_beta=0.05))


def test_a_long_model_takes_the_layers_that_read_and_write_steps(short, long):
    model = MusicVAE(long.model)
    before, theirs = {name: weight.clone() for name, weight in model.state_dict().items()}, short.model.state_dict()
    take_layers(model, short.model)
    own = model.state_dict()
    for name in ("encoder.layers.0.weight_ih_l0_reverse", "cores.0.layers.0.weight_hh_l0", "cores.0.output.weight"):
        assert torch.equal(own[name], theirs[name])
    for name in ("encoder.mu.weight", "encoder.sigma.weight", "conductor.dense.weight"):
        assert torch.equal(own[name], before[name])


def test_its_cores_read_an_embedding_as_the_short_model_reads_z(short, long):
    model = MusicVAE(long.model)
    take_layers(model, short.model)
    z_size, width = short.config.model.z_size, long.model.dec_rnn_size[-1]
    z, unused = torch.randn(3, z_size), torch.randn(3, width - z_size)
    frames, none = torch.rand(3, 16, long.model.output_depth), torch.zeros(3, 16, 0)
    logits = model.cores[0](frames, torch.cat([z, unused], 1), none, None)
    torch.testing.assert_close(logits, short.model.cores[0](frames, z, none, None))


def test_segments_are_encoded_as_the_short_model_encodes_them(short, long):
    long, songs = replace(long, training=replace(long.training, mixed=0.0)), made_songs(long.converter)
    segments = encode_segments(short.model, 0.05, long, songs, 64, seed=0)
    frames = long.converter.to_tensors(songs.windows(slice(None))).inputs.unflatten(1, (4, 16)).flatten(0, 1)
    posterior = short.model.encode(frames)
    apart = torch.cdist(segments.z.flatten(0, 1).float(), posterior.loc)
    assert apart.min(1).values.max() < 0.01 < apart.median()
    assert segments.z.shape[:2] == segments.outputs.shape[:2] == (64, 4)
    highest = 0.05 * (1 / posterior.scale.min() ** 2 - 1)
    assert segments.weights.max().item() == pytest.approx(highest.item(), rel=1e-2)


def test_the_upper_layers_learn_to_pass_z_on(short, long):
    songs = made_songs(long.converter)
    segments = encode_segments(short.model, 0.05, long, songs, 64, seed=0)
    segments = segments._replace(**{name: part.float() for name, part in segments._asdict().items()})
    losses = []
    for updates, price in ((1, 0.05), (200, 0.05), (200, 2.0)):
        config = replace(long, training=replace(long.training, max_beta=price))
        model = long_from_short(config, short.checkpoint, songs, updates=updates, windows=64, progress=False)
        with torch.no_grad():
            losses.append(upper_losses(model, segments, torch.Generator().manual_seed(0)))
    (before, _), (after, kl_nats), (dearer, fewer_nats) = losses
    assert after < 0.5 * before
    assert fewer_nats < 0.8 * kl_nats  # a higher price of a bit buys fewer, at a larger error
    assert dearer > after


def test_the_same_seed_gives_the_same_first_weights(short, long, tmp_path):
    songs = made_songs(long.converter)
    one, two = (
        long_from_short(long, short.checkpoint, songs, updates=3, windows=64, seed=5, progress=False) for _ in range(2)
    )
    assert equal_weights(one, two)
    assert train(long, songs, out_dir=tmp_path, init_from=one, **QUIET).history[-1].step == 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"enc_rnn_size": (32,)}, r"replace\(config.model, enc_rnn_size=\(64,\)\)"),
        ({"segments": 2, "encoder_segments": 2}, r"replace\(config.model, segments=4, encoder_segments=4\)"),
        ({"upper": "lstm"}, r"replace\(config.model, upper='dense'\)"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_what_it_needs(short, long, sizes, message):
    other = replace(long, model=replace(long.model, **sizes))
    with pytest.raises(ValueError, match=message):
        long_from_short(other, short.checkpoint, made_songs(other.converter), progress=False)


def refusal(config, short, tmp_path, songs=None):
    """The message with which a long model of `config` refuses a short one of the preset `short`, or its songs."""
    path = tmp_path / "short.pt"
    save_checkpoint(path, MusicVAE(short.model), short)
    with pytest.raises(ValueError, match=".") as error:
        long_from_short(config, path, songs or made_songs(config.converter), progress=False)
    return str(error.value)


def test_a_model_that_is_no_short_one_is_refused(long, tmp_path):
    plain, chords = shrink("cat-mel_2bar_tiny", bars=1), shrink("cat-mel_2bar_chords_tiny", bars=1)
    melody, trio = (shrink(f"hier-{kind}_16bar_tiny", bars=4, curriculum=1) for kind in ("mel", "trio"))
    assert "short must be a flat model, got one of 4 segments" in refusal(long, long, tmp_path)
    assert "input_depth of hier-drums_16bar_mini is 10, that of short 90" in refusal(long, plain, tmp_path)
    assert "control_depth of hier-mel_16bar_tiny is 0, that of short" in refusal(melody, chords, tmp_path)
    one_core = refusal(trio, shrink("flat-trio_16bar_tiny", bars=1), tmp_path)
    assert "core_depths of hier-trio_16bar_tiny is (90, 90, 512), that of short (692,): train short with" in one_core
    assert "must have a multiple of 64 steps, got 64" in refusal(long, shrink("cat-drums_2bar_tiny", bars=4), tmp_path)
    without = shrink("cat-drums_2bar_tiny", bars=1, max_beta=0.0, free_bits=0.0)
    assert "train it with free_bits=0 and max_beta above 0" in refusal(long, without, tmp_path)


def test_songs_of_another_converter_and_wrong_numbers_are_refused(short, long, tmp_path):
    others = made_songs(short.config.converter)
    assert "trains on windows of DrumsConverter(bars=4" in refusal(long, short.config, tmp_path, others)
    songs = made_songs(long.converter)
    for wrong in ({"updates": 0}, {"windows": 0}, {"seed": 0.5}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            long_from_short(long, short.checkpoint, songs, progress=False, **wrong)


def test_a_long_trio_is_made_from_a_short_one_with_a_core_per_part(tmp_path):
    short, long = shrink("trio_2bar_tiny", bars=1, free_bits=0.0), shrink("hier-trio_16bar_tiny", bars=4, curriculum=0)
    long = replace(long, model=replace(long.model, upper="dense", dec_rnn_size=(64,)))
    flat = MusicVAE(short.model)
    save_checkpoint(tmp_path / "short.pt", flat, short)
    songs = made_songs(long.converter)
    model = long_from_short(long, tmp_path / "short.pt", songs, updates=2, windows=8, progress=False).train()
    z, frames, none = torch.randn(3, short.model.z_size), torch.rand(3, 16, 692), torch.zeros(3, 16, 0)
    embedding = torch.cat([z, torch.randn(3, 64 - short.model.z_size)], 1)
    for own, theirs, part in zip(model.cores, flat.cores, frames.split([90, 90, 512], -1), strict=True):
        torch.testing.assert_close(own(part, embedding, none, None), theirs(part, z, none, None))
    assert train(long, songs, out_dir=tmp_path / "run", init_from=model, steps=2, **QUIET).history[-1].step == 2


def test_a_long_piano_is_made_from_a_short_one(tmp_path):
    """Its output is notes, and its z larger than the short one's."""
    short = shrink("piano_2bar_tiny", bars=1, free_bits=0.0)
    long = shrink("hier-piano_16bar_tiny", bars=4, curriculum=0)
    long = replace(long, model=replace(long.model, z_size=20, upper="dense"))
    save_checkpoint(tmp_path / "short.pt", MusicVAE(short.model), short)
    songs = made_songs(long.converter)
    model = long_from_short(long, tmp_path / "short.pt", songs, updates=2, windows=8, progress=False)
    assert not model.training
    assert model.sample(1, generator=torch.Generator().manual_seed(0)).isfinite().all()
