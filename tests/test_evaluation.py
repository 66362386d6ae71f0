"""The measurements give values worked out by hand, and a whole evaluation of small models is consistent."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evaluation
import prior
from checkpoint import save_checkpoint
from corpus import Entry, file_sha1, load_corpus, write_manifest
from evaluation import (
    HELD_OUT,
    STANDARD_NORMAL,
    HeldOut,
    PartSamples,
    PriorSamples,
    TrainingSet,
    attribute_vectors,
    bootstrap,
    choose_prior,
    decode_sampled,
    decode_teacher_forced,
    deviation,
    evaluate,
    first_part,
    fit_chosen_prior,
    fit_ngram,
    is_copy,
    key_invariant,
    main,
    majority_shares,
    make_generator,
    measure_accuracy,
    measure_elbo,
    measure_other_source,
    measure_prior_bits,
    measure_priors,
    measure_windows,
    mix_steps,
    pairs_of_songs,
    part_ngrams,
    read_training_set,
    to_json,
    to_plain,
    window_groups,
    windows_on_grid,
)
from generate import Encoding, TrainedModel
from helpers import BUILT_IN, made_songs, shrink
from loss import accuracy as step_accuracy
from midi_utils import (
    DrumsConverter,
    GrooveConverter,
    MelodyConverter,
    SongDataset,
    SongReport,
    TrioConverter,
    Windows,
    midi_files,
)
from model import MusicVAE
from music.attributes import ATTRIBUTES
from prior import DiffusionPrior, Prior
from train import train


def windows_of(labels):
    labels = np.array(labels)
    return Windows(labels, np.full(len(labels), labels.shape[1], np.int32), None)


def test_bootstrap_draws_songs_not_windows():
    """Song 5 has one window of 0, song 9 three of 1. The four draws of two songs give 0, 0.75 twice, and 1."""
    values, song = np.array([0.0, 1, 1, 1]), np.array([5, 9, 9, 9])
    assert bootstrap(values, song) == (0.75, 0.0, 1.0)
    assert bootstrap(values, np.zeros(4, int)) == (0.75, 0.75, 0.75)
    assert bootstrap(values, song, seed=1) == bootstrap(values, song, seed=1)


def test_accuracy_counts_steps_per_part():
    windows = windows_of([[2, 0, 1, 0], [3, 0, 0, 0]])
    predicted = np.array([[2, 0, 1, 4], [4, 0, 0, 0]])
    found = measure_accuracy(predicted, HeldOut(windows, np.array([0, 1]), {}), ("all",))
    assert found.parts["all"].mean == 6 / 8
    assert found.by_step["all"] == [0.5, 1.0, 1.0, 0.5]
    trio, names = HeldOut(windows_of([[[2, 3, 4], [0, 0, 0]]]), np.array([0]), {}), ("melody", "bass", "drums")
    found = measure_accuracy(np.array([[[2, 9, 4], [0, 9, 1]]]), trio, names)
    assert [found.parts[name].mean for name in names] == [1.0, 0.0, 0.5]


def test_elbo_equals_the_value_worked_out_by_hand():
    """KL of N(m, 1) is m^2 / 2 nats: 0.5 and 2 for the two windows. Only the first dimension's mean varies."""
    mu = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    found = measure_elbo(Encoding(mu, mu, torch.ones(2, 2)), np.array([3.0, 4.5]), np.array([0, 1]), steps=32)
    assert found.nats.mean == pytest.approx((3.5 + 6.5) / 2)
    assert found.reconstruction.mean == pytest.approx(3.75)
    assert found.kl_bits.mean == pytest.approx(1.25 / math.log(2))
    assert found.bits_a_step == pytest.approx(5 / 32 / math.log(2))
    assert (found.active_dimensions, found.dimensions) == (1, 2)


def test_majority_shares_are_those_of_the_most_common_label():
    assert majority_shares(np.array([[0, 0, 0, 5], [0, 2, 0, 5]]), ("all",)) == {"all": 5 / 8}
    assert majority_shares(np.array([[[1, 0, 7], [1, 2, 7]]]), ("a", "b", "c")) == {"a": 1.0, "b": 0.5, "c": 1.0}


def test_mixing_takes_each_step_from_one_of_the_two_ends():
    rng = np.random.default_rng(0)
    start, end = np.zeros((50, 16), int), np.ones((50, 16), int)
    assert (mix_steps(start, end, 0.0, rng) == start).all()
    assert (mix_steps(start, end, 1.0, rng) == end).all()
    assert mix_steps(start, end, 0.25, rng).mean() == pytest.approx(0.25, abs=0.05)
    trio = mix_steps(np.zeros((50, 16, 3), int), np.ones((50, 16, 3), int), 0.5, rng)
    assert (trio.min(-1) == trio.max(-1)).all()  # all parts of a step come from one end


def test_pairs_come_from_two_songs():
    song = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    pairs = pairs_of_songs(song, 20, np.random.default_rng(0))
    assert pairs.shape == (20, 2)
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    with pytest.raises(ValueError, match="two songs"):
        pairs_of_songs(np.zeros(9, int), 2, np.random.default_rng(0))


def test_all_requested_pairs_are_drawn():
    """Even if nearly all windows are from one song."""
    song = np.array([0] * 9999 + [1])
    pairs = pairs_of_songs(song, 64, np.random.default_rng(0))
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    assert len(pairs) == 64


def copies_in(converter, labels, training):
    return is_copy(converter, labels, set(key_invariant(converter, training)))


def test_copies_are_found_in_any_key():
    """A transposed melody is a copy. A melody with a changed interval or with a rest for a held note is not."""
    tune, rest = np.array([41, 0, 45, 0, 41, 1, 0, 0]), np.zeros(8, int)
    moved, changed, rested = tune.copy(), tune.copy(), tune.copy()
    moved[tune > 1] += 2
    changed[2], rested[1] = 46, 1
    training = np.stack([tune, rest]).astype(np.uint8)
    labels = np.stack([moved, changed, rested, rest, tune]).astype(np.uint8)
    assert copies_in(MelodyConverter(), labels, training).tolist() == [True, False, False, True, True]


def test_drums_have_no_key_and_a_trios_melody_and_bass_share_one():
    beat = np.array([[1, 0, 4, 0, 2, 0, 4, 0]], np.uint16)
    assert copies_in(DrumsConverter(), beat, beat).all()
    assert not copies_in(DrumsConverter(), beat << 1, beat).any()
    trio = np.stack([beat + 40, beat + 20, beat], -1)
    up, apart = trio + np.array([3, 3, 0]), trio + np.array([3, 2, 0])
    found = copies_in(TrioConverter(), np.concatenate([up, apart]).astype(np.uint16), trio.astype(np.uint16))
    assert found.tolist() == [True, False]


def test_accuracy_by_group_is_a_mean_over_the_groups_windows():
    """The new window has every second step right, the copy has all of them right."""
    training = made_songs(MelodyConverter(), 4)
    labels = np.stack([training.labels[0], 91 - training.labels[1]])
    names, copied = np.array(["a/b/x.mid", "y.mid"]), set(key_invariant(training.converter, training.labels))
    windows = Windows(labels, np.full(2, 32))
    groups = window_groups(training.converter, windows, names, copied)
    assert {name: mask.tolist() for name, mask in groups.items()} == {"new": [False, True], "a/b": [True, False]}
    predicted = labels.copy()
    predicted[1, ::2] = 99
    held_out = HeldOut(windows, np.arange(2), groups | {"empty": np.zeros(2, bool)})
    found = measure_accuracy(predicted, held_out, ("all",))
    assert found.by_group == {"new": {"all": 0.5}, "a/b": {"all": 1.0}}


def test_attribute_vectors_equal_the_values_worked_out_by_hand():
    """Windows of 1, 2, 3 and 4 notes in 8 steps: the top quartile is the last window, the bottom one the first."""
    labels = np.zeros((4, 8), np.uint8)
    for notes in range(4):
        labels[notes, : 2 * notes + 1 : 2] = 41  # C major's C, on the eighths
    mu = np.array([[0.0, 1], [5, 5], [7, 7], [10, -1]])
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(labels, mu), strict=True))
    assert vectors["note_density"].tolist() == [10, -2]
    assert vectors["c_diatonic"].tolist() == [0, 0]  # equal in all windows: no direction
    syncopated = labels.copy()
    syncopated[3] = [0, 41, 0, 0, 0, 0, 0, 0]
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(syncopated, mu), strict=True))
    assert vectors["syncopation_16th"].tolist() == [
        10 - 4,
        -1 - 13 / 3,
    ]  # minus the mean of all windows without syncopation


FAMILIES = ["cat-mel_2bar_tiny", "cat-drums_2bar_tiny", "hierdec-mel_16bar_tiny", "hierdec-trio_16bar_tiny"]


@pytest.fixture(params=FAMILIES)
def trained(request):
    torch.manual_seed(0)
    config = shrink(request.param, bars=2)
    return TrainedModel(MusicVAE(config.model), config)


def test_prior_bits_equal_the_values_worked_out_by_hand():
    """Two priors that are standard normal in all dimensions but one.

    With mean 1 and variance 4 there: (4 + 1 - 1 - ln 4) / 2 nats. As a mixture of means -9 and 9: 81 / 2 - ln 2 nats.
    """
    config = shrink("cat-mel_2bar_tiny")
    trained = TrainedModel(MusicVAE(config.model), config)
    assert measure_prior_bits(trained) is None
    trained.prior = SimpleNamespace(draw=None)  # a prior without a density
    assert measure_prior_bits(trained) is None
    first, second = torch.eye(config.model.z_size)[:2]
    trained.prior = Prior(first[None], torch.diag(1 + first), torch.ones(1))
    assert measure_prior_bits(trained) == pytest.approx((4 - math.log(4)) / 2 / math.log(2), rel=0.03)
    trained.prior = Prior(9 * torch.stack([second, -second]), torch.eye(len(first)), torch.full((2,), 0.5))
    assert measure_prior_bits(trained) == pytest.approx((81 / 2 - math.log(2)) / math.log(2), rel=0.01)


def test_each_prior_gives_its_own_samples(trained):
    """A prior without spread around the origin gives the samples of z = 0 at every scale."""
    for parameter in trained.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that the output depends on z
    songs, count = made_songs(trained.converter, 40), 6
    training = read_training_set(trained, songs)
    assert list(measure_priors(trained, training, count, seed=0)) == ["standard normal"]
    size = trained.model.config.z_size
    trained.prior = Prior(torch.zeros(1, size), torch.zeros(size, size), torch.ones(1))
    normals, *fitted = measure_priors(trained, training, count, seed=0).values()
    samples = decode_sampled(trained, torch.zeros(count, size), make_generator(trained, 1))
    cost = float(np.nanmean(training.ngram.cost(first_part(samples))))
    assert normals.cost != cost
    assert [prior.cost for prior in fitted] == [cost] * 3
    assert [prior.copies for prior in fitted] == [0.0] * 3
    learned = TrainingSet(songs, set(key_invariant(trained.converter, samples)), fit_ngram(trained, songs))
    assert measure_priors(trained, learned, count, seed=0)["width 1.0"].copies == 1.0


def test_real_windows_are_measured_beside_the_priors(trained):
    songs, held_out = (made_songs(trained.converter, 40, seed=k) for k in range(2))
    training = read_training_set(trained, songs)
    found = measure_priors(trained, training, 6, seed=0, data=held_out.labels[:])
    assert list(found) == [HELD_OUT, STANDARD_NORMAL]
    real, kind = found[HELD_OUT], trained.model.config.output_kind
    assert list(real.parts) == list(kind.parts)
    assert real.cost == next(iter(real.parts.values())).cost
    assert real.cost == pytest.approx(training.ngram.cost(first_part(held_out.labels[:])).mean())
    assert real.copies == is_copy(trained.converter, held_out.labels[:], training.windows).mean()
    assert real.repetition_8 is None
    for name, part in real.parts.items():
        assert (part.range is None) == (name == "drums" or isinstance(trained.converter, DrumsConverter))
    assert measure_priors(trained, read_training_set(trained, held_out), 6, 0, held_out.labels[:])[HELD_OUT].copies == 1


def test_windows_are_measured_as_by_hand():
    """Two melodies of two bars: one with four notes that span 7 semitones, one without a note."""
    config = shrink("cat-mel_2bar_tiny")
    trained = TrainedModel(MusicVAE(config.model), config)
    labels = np.zeros((2, 32), np.uint8)
    labels[0, ::8] = [41, 48, 41, 48]
    training = read_training_set(trained, made_songs(trained.converter, 40))
    found = measure_windows(trained, training, part_ngrams(trained, training), labels)
    assert found.parts["all"] == (training.ngram.cost(labels).mean(), 4 / 64, 7.0)
    assert (found.repetition, found.copies) == (1.0, 0.0)
    silent = measure_windows(trained, training, part_ngrams(trained, training), labels[1:])
    assert silent.parts["all"][1:] == (0.0, 0.0)


def samples_of(cost, notes, span, copies=0.0):
    return PriorSamples(cost, 0.0, copies, None, {"all": PartSamples(cost, notes, span)})


@pytest.mark.parametrize(
    "samples, wanted",
    [
        (samples_of(2.0, 0.5, 10.0), 0.0),
        (samples_of(2.2, 0.5, 10.0), 0.1),
        (samples_of(1.0, 0.5, 11.0), 0.5),  # plainer than music deviates as well
        (samples_of(2.0, 0.0, 10.0), 1.0),
        (samples_of(2.0, 0.5, 13.0), 0.3),
    ],
)
def test_the_deviation_is_the_largest_on_both_sides(samples, wanted):
    assert deviation(samples, samples_of(2.0, 0.5, 10.0)) == pytest.approx(wanted)


def test_the_deviation_of_a_trio_is_that_of_its_worst_part():
    real = PriorSamples(
        2.0, 0.0, 0.0, 0.0, {"melody": PartSamples(2.0, 0.5, 10.0), "drums": PartSamples(1.0, 1.0, None)}
    )
    samples = real._replace(parts=real.parts | {"drums": PartSamples(1.0, 1.25, None)})
    assert deviation(samples, real) == 0.25


def test_the_choice_is_the_prior_with_the_fewest_copies_near_real_windows():
    real = samples_of(2.0, 0.5, 10.0, 0.3)
    found = {
        HELD_OUT: real,
        STANDARD_NORMAL: samples_of(4.0, 0.5, 10.0, 0.0),
        "mixture width 0.8": samples_of(2.0, 0.5, 10.0, 0.2),
        "diffusion width 1.0": samples_of(2.1, 0.5, 10.0, 0.1),
        "diffusion width 0.8": samples_of(1.95, 0.52, 10.0, 0.1),
    }
    assert choose_prior(found) == "diffusion width 0.8"
    del found["diffusion width 0.8"]
    assert choose_prior(found) == "diffusion width 1.0"
    del found["diffusion width 1.0"]
    assert choose_prior(found) == "mixture width 0.8"
    found["mixture width 0.8"] = samples_of(1.5, 0.5, 10.0, 0.2)
    found["plain"] = samples_of(1.4, 0.5, 10.0, 0.0)
    assert choose_prior(found) == "mixture width 0.8"  # none is near: the least deviation, whatever the copies


@pytest.mark.parametrize("found", [{}, {HELD_OUT: samples_of(1, 1, 1)}, {STANDARD_NORMAL: samples_of(1, 1, 1)}])
def test_a_choice_without_real_windows_or_without_priors_is_refused(found):
    with pytest.raises(ValueError, match="the choice needs held-out music and at least one prior"):
        choose_prior(found)


def test_the_model_keeps_the_prior_that_was_chosen(trained, monkeypatch):
    monkeypatch.setattr(prior, "UPDATES", 2)
    for name, width in (("diffusion", 0.6), ("mixture", 1.0), ("gaussian", 0.8)):
        monkeypatch.setattr(evaluation, "choose_prior", lambda found, name=name, width=width: f"{name} width {width}")
        songs = made_songs(trained.converter, 80)
        found = fit_chosen_prior(trained, songs, made_songs(trained.converter, 20, seed=1), count=2)
        assert list(found)[:3] == [HELD_OUT, STANDARD_NORMAL, "mixture width 1.0"]
        assert len(found) == 2 + 3 * 3
        assert trained.prior_width == width
        assert isinstance(trained.prior, DiffusionPrior if name == "diffusion" else Prior)
    monkeypatch.setattr(evaluation, "choose_prior", lambda found: STANDARD_NORMAL)
    fit_chosen_prior(trained, songs, songs, count=2)
    assert trained.prior is None


def test_a_whole_evaluation_is_reproducible_and_consistent(trained):
    songs, held_out = (made_songs(trained.converter, 16, seed=k) for k in range(2))
    found = evaluate(trained, songs, held_out)
    assert to_json(found) == to_json(evaluate(trained, songs, held_out))
    assert json.loads(to_json(found)) == to_plain(found)
    assert found.reconstruction != evaluate(trained, songs, held_out, seed=1).reconstruction
    assert found.windows == 16
    assert found.elbo.nats.mean == pytest.approx(
        found.elbo.reconstruction.mean + found.elbo.kl_bits.mean * math.log(2), rel=1e-5
    )
    for part, interval in found.reconstruction.sampled.parts.items():
        assert 0 <= interval.low <= interval.mean <= interval.high <= 1
        assert np.mean(found.reconstruction.sampled.by_step[part]) == pytest.approx(interval.mean, abs=1e-4)
    ends = found.interpolation
    assert ends.mixed_to_start[0] == ends.mixed_to_end[-1] == 0
    assert np.diff(ends.mixed_to_start).min() >= 0
    assert (found.attributes is None) == ("drums_" in found.preset)


def with_off_grid(songs, *names):
    """A set whose report names these songs as off the grid."""
    report = SongReport("made", songs.converter, 6, 6, len(songs), 0, (), (), (), (), (), ())
    songs.report = report._replace(off_grid=tuple((name, "31 %") for name in names))
    return songs


def test_songs_off_the_grid_are_left_out():
    songs = with_off_grid(made_songs(MelodyConverter(), 24, songs=6), "song_1.mid", "song_4.mid", "song_9.mid")
    assert windows_on_grid(songs).tolist() == [k for k in range(24) if k % 6 not in (1, 4)]


def test_another_source_is_measured_as_a_test_set_of_its_songs_on_the_grid_is(trained):
    songs, held_out = (made_songs(trained.converter, 16, seed=k) for k in range(2))
    other = with_off_grid(made_songs(trained.converter, 18, seed=2), "song_0.mid", "song_3.mid")
    kept = np.flatnonzero(other.song % 3 != 0)
    on_grid = SongDataset(other.windows(kept), other.song[kept], other.names, other.converter, None)
    sources = {"other_sources": {"game": other}, "without_sources": ["tunes", "game"]}
    found, alone = evaluate(trained, songs, held_out, **sources), evaluate(trained, songs, on_grid)
    row = found.other_sources["game"]
    assert (row.songs, row.off_grid, row.windows) == (alone.songs, 2, alone.windows) == (4, 2, 12)
    assert row.reconstruction == alone.reconstruction
    assert row.elbo == alone.elbo
    assert row.still == alone.still
    assert found.without_sources == ["game", "tunes"]
    assert json.loads(to_json(found))["other_sources"]["game"]["still"] == pytest.approx(row.still, abs=1e-6)
    plain = evaluate(trained, songs, held_out)
    assert (plain.other_sources, plain.without_sources) == ({}, [])
    assert to_json(found._replace(other_sources={}, without_sources=[])) == to_json(plain)
    limited = measure_other_source(trained, other, read_training_set(trained, songs), limit=8)
    assert limited.windows == 8
    with pytest.raises(ValueError, match="all songs with windows lie off the grid"):
        evaluate(trained, songs, held_out, other_sources={"game": with_off_grid(other, *other.names)})
    wrong = made_songs(GrooveConverter(), 4)
    with pytest.raises(ValueError, match="other_sources.*must be windows of"):
        evaluate(trained, songs, held_out, other_sources={"game": wrong})


def test_teacher_forced_accuracy_equals_that_of_the_loss(trained):
    """For the same z, both count the same labels as correct."""
    songs = made_songs(trained.converter, 12)
    windows = songs.windows(slice(None))
    z = trained.encode(windows, 0).z
    labels, nats = decode_teacher_forced(trained, windows, z)
    tensors = trained.converter.to_tensors(windows)
    with torch.no_grad():
        logits = trained.model.decode(z, tensors.targets)
    wanted = step_accuracy(logits, tensors.targets, output=trained.model.config.output)
    share = (labels == windows.labels).reshape(*labels.shape[:2], -1).mean((0, 1))
    assert share == pytest.approx(wanted.numpy(), abs=1e-6)
    assert nats.shape == (12,)


def test_a_trained_model_measures_better_than_an_untrained_one(tmp_path):
    """It reconstructs better, its -ELBO is lower, and its samples are closer to the training songs."""
    config = shrink("cat-mel_2bar_tiny", transpose_range=(0, 0))
    songs = made_songs(config.converter, 64)
    result = train(config, songs, out_dir=tmp_path, steps=150, progress=False, device="cpu")
    torch.manual_seed(0)
    found, fresh = (
        evaluate(TrainedModel(model, config), songs, songs) for model in (result.model, MusicVAE(config.model))
    )
    assert found.reconstruction.sampled.parts["all"].mean > fresh.reconstruction.sampled.parts["all"].mean + 0.2
    assert found.elbo.nats.mean < fresh.elbo.nats.mean / 2
    assert found.samples.nearest.samples < fresh.samples.nearest.samples - 0.2
    assert found.samples.copies.data == 1.0
    cost = found.samples.statistics["n-gram cost, nats a step"]
    assert cost.data < cost.samples < fresh.samples.statistics["n-gram cost, nats a step"].samples


def test_a_limit_applies_to_windows_pairs_and_samples(trained, monkeypatch):
    counts = []

    def recorded(function):
        return lambda *arguments, **options: counts.append(arguments[1]) or function(*arguments, **options)

    monkeypatch.setattr(TrainedModel, "draw_z", recorded(TrainedModel.draw_z))
    monkeypatch.setattr(evaluation, "pairs_of_songs", recorded(pairs_of_songs))
    songs = made_songs(trained.converter, 40)
    assert evaluate(trained, songs, songs, limit=12).windows == 12
    assert len(counts) > 1
    assert set(counts) == {12}


@pytest.mark.parametrize(
    "name", ["groovae_2bar_humanize_tiny", "hier-multiperf_vel_1bar_tiny", "cat-mel_2bar_chords_tiny"]
)
def test_models_of_other_music_are_refused(name):
    config = shrink(name)
    songs = made_songs(config.converter)
    with pytest.raises(ValueError, match=f"{name} cannot be measured"):
        evaluate(TrainedModel(MusicVAE(config.model), config), songs, songs)


def test_the_command_writes_the_same_file_twice(corpus_arguments, tmp_path, capsys):
    config = shrink("cat-mel_2bar_tiny")
    save_checkpoint(tmp_path / "x.pt", MusicVAE(config.model), config, {"step": 7, "seconds": 90.0, "seed": 3})
    for name in "ab":
        main(
            [
                "--checkpoint",
                str(tmp_path / "x.pt"),
                *corpus_arguments,
                "--limit",
                "20",
                "--out",
                str(tmp_path / name / "x.json"),
            ]
        )
    texts = [(tmp_path / name / "x.json").read_text() for name in "ab"]
    assert texts[0] == texts[1]
    found = json.loads(texts[0])
    assert (found["steps"], found["minutes"], found["seed"], found["split"]) == (7, 1.5, 3, "test")
    assert "sampled" in capsys.readouterr().out


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A corpus of two sources, and a run that was trained without one of them."""
    folder, config = tmp_path_factory.mktemp("sources"), shrink("cat-mel_2bar_tiny")
    entries = []
    for k, song in enumerate(sorted(midi_files(BUILT_IN))[:16]):
        path = folder / "songs" / ("tunes", "game")[k // 8] / song.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(song.read_bytes())
        name, split = path.relative_to(folder / "songs").as_posix(), ("train", "train", "valid", "test")[k % 4]
        entries.append(Entry(name, file_sha1(path), split, name))
    write_manifest(folder / "corpus.csv", entries)
    place = ["--data", str(folder / "songs"), "--manifest", str(folder / "corpus.csv")]
    songs = load_corpus(place[1], "train", config.converter, place[3], progress=False, without=["game"])
    train(config, songs, out_dir=folder / "run", steps=2, progress=False, device="cpu")
    return ["--checkpoint", str(folder / "run"), *place, "--limit", "20"]


def test_the_command_measures_sources_that_were_left_out(sources, tmp_path, capsys, recwarn):
    main([*sources, "--other-sources", "game", "--out", str(tmp_path / "x.json")])
    found = json.loads((tmp_path / "x.json").read_text())
    game = found["other_sources"]["game"]
    assert found["without_sources"] == ["game"]
    assert set(found["groups"]) == {"new", "tunes"}
    assert set(game["reconstruction"]["sampled"]["by_group"]) == {"new", "game"}
    assert 0 < game["songs"] <= 6  # of its eight, those of the train and valid splits
    assert "game, not trained on: 20 windows of" in capsys.readouterr().out
    assert not [w for w in recwarn if "trained on other windows" in str(w.message)]


def test_the_command_warns_of_a_model_that_was_trained_on_other_songs(sources):
    with pytest.warns(UserWarning, match="the model was trained on other windows than those of the train split here"):
        main([*sources, "--other-sources", "tunes"])
    with pytest.raises(SystemExit, match="the manifest has no source 'gam'; it has game, tunes"):
        main([*sources, "--other-sources", "gam"])


def test_the_command_names_a_missing_checkpoint(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match="no checkpoint at"):
        main(["--checkpoint", str(tmp_path / "none.pt"), *corpus_arguments])


def test_the_command_names_a_file_that_cannot_be_written_before_it_measures(corpus_arguments, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="cannot be written"):
        main(["--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path / "file" / "x.json"), *corpus_arguments])
