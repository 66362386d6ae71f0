"""Priors are measured as by hand, and the choice follows its rule."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import prior
from generate import TrainedModel
from helpers import made_songs, shrink
from midi_utils import (
    DrumsConverter,
)
from model import MusicVAE
from paper import prior_choice
from paper.measured_songs import (
    TrainingSet,
    first_part,
    fit_ngram,
    is_copy,
    key_invariant,
    make_generator,
    read_training_set,
)
from paper.prior_choice import (
    HELD_OUT,
    STANDARD_NORMAL,
    PartSamples,
    PriorSamples,
    choose_prior,
    deviation,
    fit_chosen_prior,
    measure_prior_bits,
    measure_priors,
    measure_windows,
    part_ngrams,
)
from paper.reconstruction import (
    decode_sampled,
)
from prior import DiffusionPrior, MixturePrior


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
    trained.prior = MixturePrior(first[None], torch.diag(1 + first), torch.ones(1))
    assert measure_prior_bits(trained) == pytest.approx((4 - math.log(4)) / 2 / math.log(2), rel=0.03)
    trained.prior = MixturePrior(9 * torch.stack([second, -second]), torch.eye(len(first)), torch.full((2,), 0.5))
    assert measure_prior_bits(trained) == pytest.approx((81 / 2 - math.log(2)) / math.log(2), rel=0.01)


def test_each_prior_gives_its_own_samples(trained):
    """A prior without spread around the origin gives the samples of z = 0 at every scale."""
    for parameter in trained.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that the output depends on z
    songs, count = made_songs(trained.converter, 40), 6
    training = read_training_set(trained, songs)
    assert list(measure_priors(trained, training, count, seed=0)) == ["standard normal"]
    size = trained.model.config.z_size
    trained.prior = MixturePrior(torch.zeros(1, size), torch.zeros(size, size), torch.ones(1))
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
    monkeypatch.setattr(prior.diffusion, "UPDATES", 2)
    for name, width in (("diffusion", 0.6), ("mixture", 1.0), ("gaussian", 0.8)):
        monkeypatch.setattr(prior_choice, "choose_prior", lambda found, name=name, width=width: f"{name} width {width}")
        songs = made_songs(trained.converter, 80)
        found = fit_chosen_prior(trained, songs, made_songs(trained.converter, 20, seed=1), count=2)
        assert list(found)[:3] == [HELD_OUT, STANDARD_NORMAL, "mixture width 1.0"]
        assert len(found) == 2 + 3 * 3
        assert trained.prior_width == width
        assert isinstance(trained.prior, DiffusionPrior if name == "diffusion" else MixturePrior)
    monkeypatch.setattr(prior_choice, "choose_prior", lambda found: STANDARD_NORMAL)
    fit_chosen_prior(trained, songs, songs, count=2)
    assert trained.prior is None
