"""TrainedModel: MIDI in and out, seeds, files, and errors that say what to do."""

import io
import tarfile
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pretty_midi
import pytest
import torch
from IPython.core.formatters import HTMLFormatter

import prior
from checkpoint import read_checkpoint
from configs import CONFIGS
from generate import PRIOR_WIDTH, TrainedModel
from helpers import (
    BUILT_IN,
    PARITY,
    equal_weights,
    made_clip,
    made_songs,
    needs_bfloat16,
    parity_folder,
    shrink,
    untrained,
)
from magenta_checkpoint import export_magenta_js, load_magenta_checkpoint
from midi_utils import midi_files
from model import MusicVAE
from music.chords import chords_to_controls
from prior import MixturePrior


@pytest.fixture(scope="module", params=["cat-mel_2bar_tiny", "cat-drums_2bar_tiny", "hierdec-trio_16bar_tiny"])
def trained(request):
    return untrained(request.param)


def one_window(trained, seed=0):
    """A song of exactly one window of the model's length."""
    songs = made_songs(trained.config.converter, windows=1, songs=1, seed=seed)
    return trained.config.converter.from_arrays(songs.labels[0])


def notes(midi):
    return [
        (track, note.pitch, round(note.start, 6), round(note.end, 6))
        for track, instrument in enumerate(midi.instruments)
        for note in instrument.notes
    ]


def test_samples_are_midi_files(trained, tmp_path):
    for k, midi in enumerate(trained.sample(3, seed=0, qpm=90)):
        midi.write(str(tmp_path / f"{k}.mid"))
        again = pretty_midi.PrettyMIDI(str(tmp_path / f"{k}.mid"))
        assert notes(again)
        assert again.get_tempo_changes()[1].round(3).tolist() == [90]
        assert again.get_end_time() <= trained.config.converter.steps * 60 / 90 / 4 + 1e-3


def test_a_seed_repeats_a_sample(trained):
    one, same, other = ([notes(m) for m in trained.sample(4, seed=seed)] for seed in (1, 1, 2))
    assert one == same != other


def test_every_method_takes_its_randomness_under_the_same_names(trained):
    """A seed and a generator with that seed give the same; both together are refused."""
    window, z = one_window(trained), torch.zeros(2, trained.config.model.z_size)
    calls = {
        "sample": lambda **source: trained.sample(2, **source),
        "draw_z": lambda **source: trained.draw_z(2, **source),
        "encode": lambda **source: trained.encode(window, **source).z,
        "decode": lambda **source: trained.decode(z, **source),
        "reconstruct": lambda **source: trained.reconstruct(window, temperature=1.0, **source),
        "interpolate": lambda **source: trained.interpolate(window, window, 2, **source),
    }
    for name, call in calls.items():
        results = call(seed=1), call(generator=torch.Generator().manual_seed(1)), call(seed=np.int64(1))
        first, *others = ([notes(midi) for midi in r] if isinstance(r, list) else r.tolist() for r in results)
        assert others == [first, first], name
        with pytest.raises(ValueError, match="a seed or a generator, not both: got seed=1 and a generator"):
            call(seed=1, generator=torch.Generator())


def test_pieces_are_the_labels_that_their_z_decodes_to(trained):
    z = trained.draw_z(2, seed=0)
    labels = trained.decode_labels(z, temperature=0.5, length=48, seed=1)
    assert labels.shape == (2, 48, *trained.converter.no_labels().shape[2:])
    pieces = trained.decode(z, temperature=0.5, length=48, seed=1)
    assert [notes(midi) for midi in pieces] == [notes(trained.converter.from_arrays(one)) for one in labels]


def test_another_converter_keeps_the_model_and_its_priors():
    trained = untrained("cat-mel_2bar_tiny")
    trained.fit_prior(made_songs(trained.config.converter, windows=300))
    trained.fit_sequence_prior([made_clip(trained.config.converter, 16, seed) for seed in range(4)])
    other = trained.with_converter(programs=(70,))
    assert other.converter == other.config.converter == replace(trained.converter, programs=(70,))
    assert trained.converter.programs != (70,)
    assert [notes(midi) for midi in other.sample(2, seed=0)] == [notes(midi) for midi in trained.sample(2, seed=0)]
    pieces = [notes(one.compose(16, seed=0)[0]) for one in (other, trained)]
    assert pieces[0] == pieces[1]
    with pytest.raises(ValueError, match="the model reads windows of"):
        trained.with_converter(bars=4)


def test_a_groove_model_trains_on_rolands_kit_and_reads_songs_on_general_midis():
    trained = untrained("groovae_2bar_humanize")
    assert trained.converter == replace(trained.config.converter, kit="general_midi") != trained.config.converter


def test_a_sample_has_the_length_and_programs_that_are_asked_for(trained):
    programs = (20, 35, 8) if trained.config.model.output == "trio" else 20
    (midi,) = trained.sample(1, length=48, seed=0, program=programs)
    assert midi.get_end_time() <= 48 / 8 + 1e-3
    assert midi.instruments[0].program == 20


def test_encode_gives_one_latent_vector_per_song(trained):
    z, mu, sigma = trained.encode([one_window(trained, 0), one_window(trained, 1)], seed=3)
    assert z.shape == mu.shape == sigma.shape == (2, trained.config.model.z_size)
    assert (sigma > 0).all()
    assert not torch.equal(mu[0], mu[1])
    torch.testing.assert_close(trained.encode(one_window(trained, 1), seed=3).mu, mu[1:], rtol=0, atol=1e-6)
    assert torch.equal(trained.encode([one_window(trained, 0), one_window(trained, 1)], seed=3).z, z)


def test_windows_of_another_length_are_refused():
    """A model with segments could read them, but would write its own length."""
    trained = untrained("hier-mel_16bar_tiny")
    windows = trained.converter.to_arrays(one_window(trained))
    with pytest.raises(ValueError, match="windows must have 256 steps, got 128"):
        trained.encode(windows._replace(labels=windows.labels[:, :128], lengths=windows.lengths // 2))


def test_many_windows_are_encoded_in_batches(trained, monkeypatch):
    songs = made_songs(trained.config.converter, windows=7, songs=2)
    whole = trained.encode(songs.windows(range(7))).mu
    monkeypatch.setattr("generate.CPU_ENCODE_BATCH", 3)
    torch.testing.assert_close(trained.encode(songs.windows(range(7))).mu, whole, rtol=0, atol=1e-6)


def test_a_song_with_no_window_or_several_is_refused_with_the_way_to_cut_it(trained):
    with pytest.raises(ValueError, match=r"song 2 of 2 has no window of \d+ steps"):
        trained.encode([one_window(trained), pretty_midi.PrettyMIDI()])
    converter = trained.config.converter
    double = np.concatenate([made_songs(converter, 2, 1).labels[k] for k in range(2)])
    with pytest.raises(ValueError, match=r"song 1 of 1 has \d+ windows .*to_arrays\(load_midi\(path\)\)"):
        trained.encode(converter.from_arrays(double))


def test_an_interpolation_starts_and_ends_at_the_reconstructions(trained):
    a, b = one_window(trained, 0), one_window(trained, 1)
    ends = [notes(m) for m in trained.reconstruct([a, b])]
    path = [notes(m) for m in trained.interpolate(a, b, 5, temperature=0)]
    assert len(path) == 5
    assert [path[0], path[-1]] == ends
    assert [notes(m) for m in trained.interpolate(a, a, 3, temperature=0)] == [ends[0]] * 3
    assert [notes(m) for m in trained.interpolate(a, b, 1, temperature=0)] == [ends[0]]
    with pytest.raises(ValueError, match="num_steps must be a whole number of at least 1, got 0"):
        trained.interpolate(a, b, 0)


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_songs_may_be_given_as_paths(trained, tmp_path, kind):
    songs = [one_window(trained, seed) for seed in (0, 1)]
    paths = [kind(tmp_path / f"{k}.mid") for k in range(2)]
    for song, path in zip(songs, paths, strict=True):
        song.write(str(path))
    mu = trained.encode(songs).mu
    assert torch.equal(trained.encode(paths).mu, mu)
    assert torch.equal(trained.encode(iter([paths[0], songs[1]])).mu, mu)
    torch.testing.assert_close(trained.encode(paths[0]).mu, mu[:1], rtol=0, atol=1e-6)
    assert [notes(m) for m in trained.reconstruct(paths)] == [notes(m) for m in trained.reconstruct(songs)]
    ours, theirs = (trained.interpolate(*ends, 3, temperature=0) for ends in (paths, songs))
    assert [notes(m) for m in ours] == [notes(m) for m in theirs]


def test_a_path_is_named_where_its_song_is_not_one_window(trained):
    song = max(midi_files(BUILT_IN), key=lambda path: path.stat().st_size)
    with pytest.raises(ValueError, match=rf"song 1 of 1 \(.*{song.name}\) has \d+ windows"):
        trained.encode(song)
    with pytest.raises(ValueError, match=r"nowhere\.mid"):
        trained.encode("nowhere.mid")


# ---- Files ----


def test_a_saved_model_is_loaded_as_the_same_model(trained, tmp_path):
    trained.save(tmp_path / "model.pt")
    again = TrainedModel.load(tmp_path / "model.pt")
    assert again.config == trained.config
    assert again.prior is None
    assert [notes(m) for m in again.sample(2, seed=0)] == [notes(m) for m in trained.sample(2, seed=0)]


def test_a_model_with_dense_upper_layers_goes_with_a_preset_that_has_a_curriculum(tmp_path):
    config = shrink("hier-drums_16bar_mini", bars=4, curriculum=3)
    dense = MusicVAE(replace(config.model, upper="dense"))
    TrainedModel(dense, config).save(tmp_path / "dense.pt")
    loaded = TrainedModel.load(tmp_path / "dense.pt").config
    assert (loaded.model, loaded.training.curriculum) == (dense.config, 0)


def test_a_model_with_dense_upper_layers_is_a_file_and_a_tool_like_any_other(tmp_path):
    """A clip of two windows comes back at its length; one z decodes to one window or less."""
    config = shrink("hier-drums_16bar_mini", bars=4, curriculum=0)
    config = replace(config, model=replace(config.model, upper="dense"))
    songs, trained = made_songs(config.converter), TrainedModel(MusicVAE(config.model), config)
    trained.fit_prior(songs)
    trained.save(tmp_path / "dense.pt")
    loaded = TrainedModel.load(tmp_path / "dense.pt")
    assert loaded.config == config
    assert equal_weights(loaded.model, trained.model)
    clip = loaded.clip(one_window(loaded))
    longer = clip._replace(labels=np.concatenate([clip.labels, clip.labels]))
    midi = loaded.reconstruct_clip(longer)
    assert 8.0 < midi.get_end_time() <= 16.0
    assert loaded.folded(songs).config == config
    (short,) = loaded.sample(1, length=16, seed=0)
    assert short.get_end_time() <= 2.0
    with pytest.raises(ValueError, match="steps must be at most 64 for dense upper layers, got 65"):
        loaded.sample(1, length=65)


def test_a_fitted_prior_has_the_mean_and_covariance_of_the_songs_posteriors_and_is_saved(trained, tmp_path):
    torch.manual_seed(0)
    songs = made_songs(trained.config.converter, windows=40, songs=4)
    standard = trained.draw_z(3, seed=0)
    fitted = TrainedModel(trained.model, trained.config)
    fitted.fit_prior(songs)
    drawn, posterior = fitted.draw_z(20_000, seed=0), fitted.encode(songs.windows(slice(None)))
    repeated = torch.cat([posterior.mu + posterior.sigma * torch.randn_like(posterior.mu) for _ in range(400)])
    torch.testing.assert_close(drawn.mean(0), posterior.mu.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(drawn.T), PRIOR_WIDTH**2 * torch.cov(repeated.T), rtol=0, atol=0.1)
    assert torch.equal(trained.draw_z(3, seed=0), standard)
    fitted.save(tmp_path / "model.pt")
    again = TrainedModel.load(tmp_path / "model.pt")
    assert torch.equal(again.draw_z(3, seed=0), fitted.draw_z(3, seed=0))
    assert torch.equal(
        TrainedModel(trained.model, trained.config, prior=fitted.prior).draw_z(3, seed=0), fitted.draw_z(3, seed=0)
    )
    assert [notes(m) for m in again.sample(2, seed=0)] == [notes(m) for m in fitted.sample(2, seed=0)]


@pytest.mark.parametrize("kind, words", [("gaussian", "mixture of 1 Gaussian "), ("diffusion", "diffusion model of ")])
def test_a_prior_of_another_kind_and_width_is_fitted_and_saved(trained, tmp_path, monkeypatch, kind, words):
    monkeypatch.setattr(prior.diffusion, "UPDATES", 3)
    fitted = TrainedModel(trained.model, trained.config)
    fitted.fit_prior(made_songs(trained.config.converter, windows=200), kind, width=0.6)
    fitted.save(tmp_path / "model.pt")
    again = TrainedModel.load(tmp_path / "model.pt")
    assert f"{words}" in repr(again)
    assert torch.equal(again.draw_z(3, seed=0), fitted.prior.draw(3, torch.Generator().manual_seed(0), 0.6))
    assert torch.equal(again.draw_z(3, seed=0), fitted.draw_z(3, seed=0))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kind": "flow"}, "kind must be one of mixture, gaussian, diffusion, got 'flow'"),
        ({"kind": ["mixture"]}, "kind must be one of mixture"),
        ({"width": -1}, "width must be a number of at least 0, got -1"),
    ],
)
def test_a_prior_of_an_unknown_kind_is_not_fitted(trained, options, words):
    fitted = TrainedModel(trained.model, trained.config)
    with pytest.raises(ValueError, match=words):
        fitted.fit_prior(made_songs(trained.config.converter), **options)
    assert fitted.prior is None


def test_a_diffusion_model_in_half_precision_draws_nearly_the_same(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(prior.diffusion, "UPDATES", 20)
    whole = TrainedModel(deepcopy(trained.model), trained.config)
    whole.fit_prior(made_songs(trained.config.converter, windows=200), "diffusion", width=1.0)
    TrainedModel(whole.model.half(), whole.config, prior=whole.prior, prior_width=1.0).save(tmp_path / "half.pt")
    assert read_checkpoint(tmp_path / "half.pt")["prior"]["read"].dtype == torch.float16
    half = TrainedModel.load(tmp_path / "half.pt")
    assert half.prior.read.dtype == torch.float32
    torch.testing.assert_close(half.draw_z(20, seed=0), whole.draw_z(20, seed=0), rtol=0, atol=0.05)


def test_weights_and_prior_are_saved_in_the_precision_of_the_model(trained, tmp_path):
    whole = TrainedModel(deepcopy(trained.model), trained.config)
    whole.fit_prior(made_songs(trained.config.converter, windows=200, songs=4))
    TrainedModel(whole.model.half(), whole.config, prior=whole.prior).save(tmp_path / "half.pt")
    content = read_checkpoint(tmp_path / "half.pt")
    priors = (content["prior"][name] for name in MixturePrior._fields)
    assert {tensor.dtype for tensor in (*content["model"].values(), *priors)} == {torch.float16}
    half = TrainedModel.load(tmp_path / "half.pt")
    assert len(half.prior.means) == 4
    for ours, theirs in zip(half.prior, whole.prior, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.half().float())
    z = half.draw_z(500, seed=0)
    torch.testing.assert_close(half.prior.log_prob(z), whole.prior.log_prob(z), rtol=0, atol=0.5)


def test_a_model_says_what_it_is(trained):
    config = trained.config.model
    parameters = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
    text = f"preset={trained.config.name}, parameters={parameters:,}, z_size={config.z_size}, prior=N(0, I), device=cpu"
    assert repr(trained) == f"TrainedModel({text}, precision=float32)"
    html = HTMLFormatter()(trained)
    assert f"<tr><th>parameters</th><td>{parameters:,}</td></tr>" in html
    assert "<tr><th>prior</th><td>N(0, I)</td></tr>" in html


MAGENTA = PARITY[0] / "cat-mel_2bar_small"
INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"


def test_magentas_checkpoints_are_loaded_from_a_prefix_a_folder_and_an_archive(tmp_path):
    with tarfile.open(tmp_path / "cat-mel_2bar_small.tar", "w") as tar:
        for name in (INDEX, DATA):
            tar.add(MAGENTA / name, name)
    model = load_magenta_checkpoint(MAGENTA / "model.ckpt")
    for path in (MAGENTA / "model.ckpt", str(MAGENTA), tmp_path / "cat-mel_2bar_small.tar"):
        trained = TrainedModel.load(path, precision="auto")
        assert trained.config == replace(CONFIGS["cat-mel_2bar_small"], model=model.config)
        assert trained.precision == "auto"
        assert all(torch.equal(*pair) for pair in zip(trained.model.parameters(), model.parameters(), strict=True))


def test_a_magenta_js_folder_is_loaded_at_its_own_length(tmp_path):
    config = shrink("cat-drums_2bar_small", bars=4)
    export_magenta_js(MusicVAE(config.model), config, tmp_path / "model")
    trained = TrainedModel.load(tmp_path / "model")
    assert (trained.config.name, trained.converter.bars, trained.config.model) == (config.name, 4, config.model)
    assert len(trained.sample(2, seed=0)) == 2


def test_the_preset_of_a_magenta_checkpoint_is_asked_for_where_several_fit():
    path = PARITY[0] / "hier-multiperf_vel_1bar_med" / "model.ckpt"
    fitting = "hier-multiperf_vel_1bar_med, hier-multiperf_vel_1bar_big"
    with pytest.raises(ValueError, match=f"fit several presets: {fitting}; choose one with config_name"):
        TrainedModel.load(path)
    trained = TrainedModel.load(path, config_name="hier-multiperf_vel_1bar_med")
    assert trained.converter == CONFIGS["hier-multiperf_vel_1bar_med"].converter


def test_any_file_of_a_tensorflow_checkpoint_gives_the_model():
    prefix = parity_folder("cat-mel_2bar_small") / "model.ckpt"
    wanted = TrainedModel.load(prefix).model.state_dict()
    for suffix in (".index", ".data-00000-of-00001"):
        found = TrainedModel.load(f"{prefix}{suffix}").model.state_dict()
        assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_preset_of_our_own_checkpoint_cannot_be_changed(trained, tmp_path):
    trained.save(tmp_path / "model.pt")
    assert TrainedModel.load(tmp_path / "model.pt", config_name=trained.config.name).config == trained.config
    with pytest.raises(ValueError, match=f"is a model of {trained.config.name}, not of flat-mel_16bar: omit"):
        TrainedModel.load(tmp_path / "model.pt", config_name="flat-mel_16bar")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no checkpoint at .*model.pt"),
        (b"", "truncated"),
        (b"no checkpoint" * 100, "truncated"),
        (b"MThd" + bytes(600), "model.pt is a MIDI file, not a model"),
    ],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TrainedModel.load(tmp_path / "model.pt")


# ---- Arguments ----


def test_no_windows_or_too_many_are_refused(trained):
    songs = made_songs(trained.config.converter, windows=3, songs=1)
    with pytest.raises(ValueError, match="no music to encode"):
        trained.encode([])
    with pytest.raises(ValueError, match="no window to encode"):
        trained.reconstruct(songs.windows([]))
    with pytest.raises(ValueError, match="interpolation must be one window, got 2: .*, or use interpolate_clips$"):
        trained.interpolate(songs.windows([0, 1]), songs.windows([2]), 3)


def test_clips_data_sets_and_long_songs_are_refused_with_the_remedy(trained):
    converter = trained.config.converter
    songs, clip = made_songs(converter, windows=3, songs=1), made_clip(converter, bars=3 * converter.bars)
    midi = converter.from_arrays(clip.labels)
    with pytest.raises(
        ValueError, match="start of the interpolation: song 1 .*; for all of it use .* interpolate_clips"
    ):
        trained.interpolate(midi, midi, 5)
    with pytest.raises(ValueError, match=r"got SongDataset\(.*\): give its windows, such as dataset.windows\("):
        trained.encode(songs)
    for call in (trained.encode, trained.reconstruct, lambda music: trained.interpolate(music, music, 3)):
        for music in (clip, [clip, clip]):
            with pytest.raises(ValueError, match="Clip.*: use clip_posterior, reconstruct_clip or interpolate_clips$"):
                call(music)


def test_arguments_out_of_range_are_named(trained):
    with pytest.raises(ValueError, match="temperature"):
        trained.sample(1, temperature=-1)
    with pytest.raises(ValueError, match="n must be a whole number of at least 1, got 0"):
        trained.sample(0)
    with pytest.raises(ValueError, match="z must be"):
        trained.decode(torch.zeros(2, 99))
    with pytest.raises(ValueError, match="precision"):
        TrainedModel(trained.model, trained.config, precision="half").sample(1)


@needs_bfloat16
def test_bfloat16_gives_music_and_nearly_the_same_mu(trained):
    half = TrainedModel(trained.model, trained.config, precision="bfloat16")
    assert all(notes(m) for m in half.sample(2, seed=0))
    mu = trained.encode(one_window(trained)).mu
    torch.testing.assert_close(half.encode(one_window(trained)).mu, mu, rtol=0.1, atol=0.1)


def test_a_sample_can_be_written_to_a_buffer(trained):
    buffer = io.BytesIO()
    trained.sample(1, seed=0)[0].write(buffer)
    assert buffer.getvalue()[:4] == b"MThd"


@pytest.mark.parametrize(
    "name", ["hier-multiperf_vel_1bar_tiny", "groovae_4bar", "nade-drums_2bar_full", "hier-mel_16bar"]
)
def test_every_family_of_models_samples_reconstructs_and_interpolates(name):
    trained = untrained(name)
    assert notes(trained.sample(1, seed=0)[0])
    window = one_window(trained)
    assert trained.encode(window).mu.shape == (1, 16)
    (again,) = trained.reconstruct(window)
    assert again.instruments
    assert len(trained.interpolate(window, one_window(trained, 1), 3, seed=0)) == 3


def test_chords_may_be_given_as_symbols_classes_or_values():
    trained = untrained("cat-mel_2bar_med_chords")
    classes = chords_to_controls(["C", "Am"], 32)
    values = torch.nn.functional.one_hot(torch.tensor(classes).long(), 49).float()
    kinds = (["C", "Am"], classes, np.tile(classes, (2, 1)), values, values.expand(2, -1, -1))
    music = [[notes(midi) for midi in trained.sample(2, controls=controls, seed=0)] for controls in kinds]
    assert all(each == music[0] for each in music)
    (midi,) = trained.sample(1, controls=["C", "Am"], seed=0)
    assert [(event.text, event.time) for event in midi.text_events] == [("C", 0), ("Am", 2)]
    assert notes(midi) != notes(trained.sample(1, controls=["F", "G"], seed=0)[0])
    (longer,) = trained.sample(1, controls=["C", "Am", "F", "G"], length=64, seed=0)
    assert [event.text for event in longer.text_events] == ["C", "Am", "F", "G"]


def test_a_reconstruction_follows_the_windows_chords_unless_others_are_given():
    trained = untrained("cat-mel_2bar_med_chords")
    windows = made_songs(trained.config.converter, windows=2, songs=1).windows(range(2))
    own = trained.config.converter.to_tensors(windows).controls
    mu = trained.encode(windows).mu
    wanted = [notes(midi) for midi in trained.decode(mu, controls=own, temperature=0)]
    assert [notes(midi) for midi in trained.reconstruct(windows)] == wanted
    assert [notes(midi) for midi in trained.reconstruct(windows, controls=["F"])] != wanted
    short = trained.reconstruct(windows, length=16)
    assert [notes(midi) for midi in short] == [
        notes(midi) for midi in trained.decode(mu, controls=own[:, :16], temperature=0, length=16)
    ]


def test_a_reconstruction_with_a_seed_draws_nothing_else():
    trained = untrained("cat-mel_2bar_tiny")
    before = torch.random.get_rng_state()
    trained.reconstruct(one_window(trained), seed=1)
    trained.interpolate(one_window(trained), one_window(trained, seed=1), 3, seed=1)
    trained.fit_prior(made_songs(trained.converter, windows=8, songs=2), kind="gaussian")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_several_tracks_take_one_chord():
    trained = untrained("hier-multiperf_vel_1bar_med_chords")
    classes = trained.converter.chord_controls(["Am"])
    both = [[notes(m) for m in trained.sample(1, controls=controls, seed=0)] for controls in (["Am"], classes)]
    assert both[0] == both[1]
    with pytest.raises(ValueError, match="takes one chord, not 4"):
        trained.sample(1, controls=["C", "Am", "F", "G"])


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ([1, 5, 7], "or a tensor or array of numbers, got"),
        (["C", None], "a list of chord symbols"),
        (np.array(["C", "F"]), "chord symbols or numbers"),
        (np.full(32, 49), "must be from -1 to 48"),
    ],
)
def test_other_values_than_controls_are_refused(controls, message):
    with pytest.raises(ValueError, match=message):
        untrained("cat-mel_2bar_med_chords").sample(1, controls=controls)


def test_controls_may_be_of_any_float_type_or_boolean():
    trained = untrained("groovae_2bar_hits_control_tfds")
    hits = (np.arange(32 * 9).reshape(32, 9) % 5 == 0).astype(float)
    music = [[notes(m) for m in trained.sample(1, controls=kind, seed=0)] for kind in (hits, hits.astype("f4"))]
    assert music[0] == music[1]
    assert music[0] == [notes(m) for m in trained.sample(1, controls=hits.astype(bool), seed=0)]


def test_a_model_of_another_length_than_its_config_is_refused(trained):
    longer = replace(trained.model.config, steps=2 * trained.model.config.steps)
    with pytest.raises(ValueError, match="give a config whose converter fits"):
        TrainedModel(MusicVAE(longer), trained.config)


def test_missing_controls_and_those_of_another_shape_or_kind_are_refused():
    with pytest.raises(ValueError, match="med_chords follows chords: give them, such as controls="):
        untrained("cat-mel_2bar_med_chords").sample(2)
    with pytest.raises(ValueError, match=r"controls must be \[1, 32, 49\] for this model, got \[1, 16, 49\]"):
        untrained("cat-mel_2bar_med_chords").sample(1, controls=np.zeros(16, int))
    with pytest.raises(ValueError, match="cat-mel_2bar_tiny takes no controls: omit them"):
        untrained("cat-mel_2bar_tiny").sample(1, controls=np.zeros((32, 49)))
    with pytest.raises(ValueError, match="groovae_2bar_hits_control_tfds does not follow chords"):
        untrained("groovae_2bar_hits_control_tfds").sample(1, controls=["C"])


def test_a_groove_model_takes_hits_as_controls_and_reads_general_midi_drums():
    """The General MIDI drum map is used for files, whatever drum map the model was trained on."""
    trained = untrained("groovae_2bar_hits_control_tfds")
    songs = made_songs(trained.config.converter, windows=1, songs=1)
    (midi,) = trained.reconstruct(songs.windows([0]))
    assert midi.instruments[0].is_drum
    kick = pretty_midi.PrettyMIDI()
    kick.instruments.append(pretty_midi.Instrument(0, is_drum=True))
    kick.instruments[0].notes = [pretty_midi.Note(90, 35, 0.5 * k, 0.5 * k + 0.1) for k in range(8)]
    assert trained.encode(kick).mu.shape == (1, 16)
