"""The paper's measurements: cases worked by hand, and a whole evaluation of small models."""

import json
import math

import numpy as np
import pytest
import torch

import evaluation
from checkpoint import save_checkpoint
from evaluation import (
    accuracy,
    attribute_vectors,
    bootstrap,
    commonest,
    different_songs,
    evaluate,
    first_part,
    fit_ngram,
    generator_of,
    in_one_key,
    known,
    main,
    measure_elbo,
    measure_priors,
    mixed,
    plain,
    prior_bits,
    sampled,
    teacher_forced,
    to_json,
    window_groups,
)
from generate import Encoding, TrainedModel
from helpers import made_songs, shrink
from loss import accuracy as step_accuracy
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter, Windows
from model import MusicVAE
from music.attributes import ATTRIBUTES
from paper import rate_distortion
from prior import Prior
from train import train


def windows_of(labels):
    labels = np.array(labels)
    return Windows(labels, np.full(len(labels), labels.shape[1], np.int32), None)


def test_an_interval_draws_songs_and_not_windows():
    """Song a has one window of 0, song b three of 1: the four draws of two songs give 0, 0.75 twice, and 1."""
    values, song = np.array([0.0, 1, 1, 1]), np.array([5, 9, 9, 9])
    assert bootstrap(values, song) == (0.75, 0.0, 1.0)
    assert bootstrap(values, np.zeros(4, int)) == (0.75, 0.75, 0.75)
    assert bootstrap(values, song, seed=1) == bootstrap(values, song, seed=1)


def test_accuracy_of_steps_and_parts():
    windows = windows_of([[2, 0, 1, 0], [3, 0, 0, 0]])
    written = np.array([[2, 0, 1, 4], [4, 0, 0, 0]])
    found = accuracy(written, windows, np.array([0, 1]), ("all",), {})
    assert found.parts["all"].mean == 6 / 8
    assert found.by_step["all"] == [0.5, 1.0, 1.0, 0.5]
    trio = windows_of([[[2, 3, 4], [0, 0, 0]]])
    found = accuracy(np.array([[[2, 9, 4], [0, 9, 1]]]), trio, np.array([0]), ("melody", "bass", "drums"), {})
    assert [found.parts[name].mean for name in ("melody", "bass", "drums")] == [1.0, 0.0, 0.5]


def test_the_bound_of_posteriors_worked_by_hand():
    """KL of N(m, 1) is m^2 / 2 nats: 0.5 and 2 of the two windows; only the first dimension's mean varies."""
    mu = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    found = measure_elbo(Encoding(mu, mu, torch.ones(2, 2)), np.array([3.0, 4.5]), np.array([0, 1]), steps=32)
    assert found.nats.mean == pytest.approx((3.5 + 6.5) / 2)
    assert found.reconstruction.mean == pytest.approx(3.75)
    assert found.kl_bits.mean == pytest.approx(1.25 / math.log(2))
    assert found.bits_a_step == pytest.approx(5 / 32 / math.log(2))
    assert (found.active_dimensions, found.dimensions) == (1, 2)


def test_the_likeliest_of_saying_always_the_same():
    assert commonest(np.array([[0, 0, 0, 5], [0, 2, 0, 5]]), ("all",)) == {"all": 5 / 8}
    assert commonest(np.array([[[1, 0, 7], [1, 2, 7]]]), ("a", "b", "c")) == {"a": 1.0, "b": 0.5, "c": 1.0}


def test_the_baseline_takes_each_step_from_either_end():
    rng = np.random.default_rng(0)
    start, end = np.zeros((50, 16), int), np.ones((50, 16), int)
    assert (mixed(start, end, 0.0, rng) == start).all()
    assert (mixed(start, end, 1.0, rng) == end).all()
    assert mixed(start, end, 0.25, rng).mean() == pytest.approx(0.25, abs=0.05)
    trio = mixed(np.zeros((50, 16, 3), int), np.ones((50, 16, 3), int), 0.5, rng)
    assert (trio.min(-1) == trio.max(-1)).all()  # the parts of a step stay together


def test_pairs_are_of_two_songs():
    song = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    pairs = different_songs(song, 20, np.random.default_rng(0))
    assert pairs.shape == (20, 2)
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    with pytest.raises(ValueError, match="two songs"):
        different_songs(np.zeros(9, int), 2, np.random.default_rng(0))


def test_a_pair_for_each_that_is_asked_for():
    """Even where nearly all windows are of one song."""
    song = np.array([0] * 9999 + [1])
    pairs = different_songs(song, 64, np.random.default_rng(0))
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    assert len(pairs) == 64


def known_in(converter, labels, training):
    return known(converter, labels, set(in_one_key(converter, training)))


def test_windows_known_in_another_key():
    """A melody moved by a tone is known; one with an interval changed is not, nor one with a rest for a held note."""
    tune, rest = np.array([41, 0, 45, 0, 41, 1, 0, 0]), np.zeros(8, int)
    moved, changed, rested = tune.copy(), tune.copy(), tune.copy()
    moved[tune > 1] += 2
    changed[2], rested[1] = 46, 1
    training = np.stack([tune, rest]).astype(np.uint8)
    labels = np.stack([moved, changed, rested, rest, tune]).astype(np.uint8)
    assert known_in(MelodyConverter(), labels, training).tolist() == [True, False, False, True, True]


def test_drums_have_no_key_and_a_trios_melody_and_bass_have_one():
    beat = np.array([[1, 0, 4, 0, 2, 0, 4, 0]], np.uint16)
    assert known_in(DrumsConverter(), beat, beat).all()
    assert not known_in(DrumsConverter(), beat << 1, beat).any()
    trio = np.stack([beat + 40, beat + 20, beat], -1)
    up, apart = trio + np.array([3, 3, 0]), trio + np.array([3, 2, 0])
    found = known_in(TrioConverter(), np.concatenate([up, apart]).astype(np.uint16), trio.astype(np.uint16))
    assert found.tolist() == [True, False]


def test_groups_of_windows_by_hand():
    """Two right steps of four in the window that is new, four of four in the known one."""
    training = made_songs(MelodyConverter(), 4)
    labels = np.stack([training.labels[0], 91 - training.labels[1]])
    names, known_windows = np.array(["a/b/x.mid", "y.mid"]), set(in_one_key(training.converter, training.labels))
    groups = window_groups(training.converter, Windows(labels, np.full(2, 32)), names, known_windows)
    assert {name: mask.tolist() for name, mask in groups.items()} == {"new": [False, True], "a/b": [True, False]}
    written = labels.copy()
    written[1, ::2] = 99
    found = accuracy(written, Windows(labels, None), np.arange(2), ("all",), groups | {"none": np.zeros(2, bool)})
    assert found.by_group == {"new": {"all": 0.5}, "a/b": {"all": 1.0}}


def test_attribute_vectors_by_hand():
    """Windows of 1, 2, 3 and 4 notes in 8 steps: the denser quartile is the last alone, the other the first."""
    labels = np.zeros((4, 8), np.uint8)
    for notes in range(4):
        labels[notes, : 2 * notes + 1 : 2] = 41  # C major's C, on the eighths
    mu = np.array([[0.0, 1], [5, 5], [7, 7], [10, -1]])
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(labels, mu), strict=True))
    assert vectors["note_density"].tolist() == [10, -2]
    assert vectors["c_diatonic"].tolist() == [0, 0]  # the same in all: no direction
    syncopated = labels.copy()
    syncopated[3] = [0, 41, 0, 0, 0, 0, 0, 0]
    vectors = dict(zip(ATTRIBUTES, attribute_vectors(syncopated, mu), strict=True))
    assert vectors["syncopation_16th"].tolist() == [10 - 4, -1 - 13 / 3]  # against all those that have none


FAMILIES = ["cat-mel_2bar_tiny", "cat-drums_2bar_tiny", "hierdec-mel_16bar_tiny", "hierdec-trio_16bar_tiny"]


@pytest.fixture(params=FAMILIES)
def trained(request):
    torch.manual_seed(0)
    config = shrink(request.param, bars=4 if "16bar" in request.param else 2)
    return TrainedModel(MusicVAE(config.model), config)


def test_bits_of_a_fitted_prior_by_hand():
    """Two priors that are standard normal but for one dimension.

    Of mean 1 and variance 4 there: (4 + 1 - 1 - ln 4) / 2 nats. At -9 or at 9: 81 / 2 less the ln 2 that say which.
    """
    config = shrink("cat-mel_2bar_tiny")
    trained = TrainedModel(MusicVAE(config.model), config)
    assert prior_bits(trained) is None
    first, second = torch.eye(config.model.z_size)[:2]
    trained.prior = Prior(first[None], torch.diag(1 + first), torch.ones(1))
    assert prior_bits(trained) == pytest.approx((4 - math.log(4)) / 2 / math.log(2), rel=0.03)
    trained.prior = Prior(9 * torch.stack([second, -second]), torch.eye(len(first)), torch.full((2,), 0.5))
    assert prior_bits(trained) == pytest.approx((81 / 2 - math.log(2)) / math.log(2), rel=0.01)


def test_each_way_to_draw_z_has_its_samples(trained):
    """A prior of no spread about the origin: at every width the same samples, which are those of z = 0."""
    for parameter in trained.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that z is heard
    songs, count = made_songs(trained.converter, 40), 6
    ngram, training = fit_ngram(trained, songs), set(in_one_key(trained.converter, songs.labels))
    assert list(measure_priors(trained, training, ngram, count, seed=0)) == ["standard normal"]
    size = trained.model.config.z_size
    trained.prior = Prior(torch.zeros(1, size), torch.zeros(size, size), torch.ones(1))
    normals, *fitted = measure_priors(trained, training, ngram, count, seed=0).values()
    samples = sampled(trained, torch.zeros(count, size), generator_of(trained, 1))
    cost = float(np.nanmean(ngram.cost(first_part(samples))))
    assert normals.cost != cost
    assert [way.cost for way in fitted] == [cost] * 3
    assert [way.copies for way in fitted] == [0.0] * 3
    everything = set(in_one_key(trained.converter, samples))
    assert measure_priors(trained, everything, ngram, count, seed=0)["width 1.0"].copies == 1.0


def test_a_whole_evaluation(trained):
    songs, held_out = (made_songs(trained.converter, 40, seed=k) for k in range(2))
    found = evaluate(trained, songs, held_out)
    assert to_json(found) == to_json(evaluate(trained, songs, held_out))
    assert json.loads(to_json(found)) == plain(found)
    assert found.reconstruction != evaluate(trained, songs, held_out, seed=1).reconstruction
    assert found.windows == 40
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


def test_the_teacher_forced_labels_are_the_losss(trained):
    """One draw of z: accuracy and nats as the training loop counts them."""
    songs = made_songs(trained.converter, 12)
    windows = songs.windows(slice(None))
    z = trained.encode(windows, 0).z
    labels, nats = teacher_forced(trained, windows, z)
    tensors = trained.converter.to_tensors(windows)
    with torch.no_grad():
        logits = trained.model.decode(z, tensors.targets)
    wanted = step_accuracy(logits, tensors.targets, output=trained.model.config.output)
    right = (labels == windows.labels).reshape(*labels.shape[:2], -1).mean((0, 1))
    assert right == pytest.approx(wanted.numpy(), abs=1e-6)
    assert nats.shape == (12,)


def test_a_model_that_has_learned_is_told_from_one_that_has_not(tmp_path):
    """It reconstructs better, its bound is lower, and its samples are nearer to music."""
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


def test_a_limit_makes_do_with_fewer_windows_pairs_and_samples(trained, monkeypatch):
    asked = []

    def noted(of):
        return lambda *arguments: asked.append(arguments[1]) or of(*arguments)

    monkeypatch.setattr(TrainedModel, "draw_z", noted(TrainedModel.draw_z))
    monkeypatch.setattr(evaluation, "different_songs", noted(different_songs))
    songs = made_songs(trained.converter, 40)
    assert evaluate(trained, songs, songs, limit=12).windows == 12
    assert len(asked) > 1
    assert set(asked) == {12}


@pytest.mark.parametrize(
    "name", ["groovae_2bar_humanize_tiny", "hier-multiperf_vel_1bar_tiny", "cat-mel_2bar_chords_tiny"]
)
def test_other_models_are_refused(name):
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


def test_the_command_says_what_is_missing(corpus_arguments, tmp_path):
    with pytest.raises(SystemExit, match="no checkpoint at"):
        main(["--checkpoint", str(tmp_path / "none.pt"), *corpus_arguments])


def test_points_of_rate_and_distortion(corpus_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_distortion, "PAIRS", ((0.0, 1.0), (48.0, 0.0)))
    monkeypatch.setitem(rate_distortion.CONFIGS, "cat-mel_2bar_tiny", shrink("cat-mel_2bar_tiny"))
    out = tmp_path / "points.json"
    rate_distortion.main(
        [*corpus_arguments, "--steps", "40", "--device", "cpu", "--runs", str(tmp_path / "runs"), "--out", str(out)]
    )
    dear, free = json.loads(out.read_text())
    assert (dear["beta"], free["free_bits"]) == (1.0, 48.0)
    assert dear["kl_bits"] < free["kl_bits"]
