"""The codes of the consecutive windows of a piece."""

import numpy as np
import pytest
import torch

from checkpoint import save_checkpoint
from generate import TrainedModel
from helpers import shrink
from model import MusicVAE
from prior.sequence import (
    LAGS,
    OWN_FEATURES,
    PHASES,
    PLACE_FEATURES,
    Codes,
    SequencePrior,
    choice_features,
    fit_sequence,
    likeness,
    mean_distance,
    summaries,
)


def forms(form, songs, z_size=24):
    """Songs in a form such as 'AABA', '-' for rests, of codes about a centre of each: mu, sigma, sounds and song."""
    generator = torch.Generator().manual_seed(1)
    letters = sorted(set(form) - {"-"})
    z = torch.randn(songs, len(letters) + 1, z_size, generator=generator)
    z = z[:, 1:] + 0.7 * z[:, :1]
    index = [letters.index(letter) if letter != "-" else 0 for letter in form]
    mu = z[:, index].reshape(-1, z_size)
    sounds = torch.tensor([letter != "-" for letter in form]).repeat(songs)
    return mu, torch.full_like(mu, 0.1), sounds, torch.arange(songs).repeat_interleave(len(form))


def letters_of(codes):
    """The form of codes: a letter for each different code, in order; '-' for a rest."""
    names, text = [], ""
    for z, sounds in zip(codes.z.tolist(), codes.sounds.tolist(), strict=True):
        if sounds and z not in names:
            names.append(z)
        text += "ABCDEFGHIJKLMNOP"[names.index(z)] if sounds else "-"
    return text


def test_likeness_finds_repetitions_variations_rests_and_new_windows():
    z = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 5.0]])
    sounds = torch.tensor([True, True, True, True, False, False])
    found = likeness(Codes(z, sounds), torch.tensor([10.0]))
    assert found[:, :5].int().tolist() == [
        [2, 0, 0, 0, 0],
        [2, 0, 0, 0, 0],
        [0, 0, 2, 0, 0],
        [0, 1, 0, 1, 0],
        [1, 0, 0, 0, 0],
        [0, 2, 0, 0, 0],
    ]


def test_a_choice_depends_on_earlier_windows_only():
    mu, _, sounds, _ = forms("ABACABAD", songs=1)
    past = likeness(Codes(mu, sounds), torch.tensor([10.0]))
    changed = torch.cat([past[:5], 2 - past[5:]])
    for whole, other in zip(choice_features(past, 8), choice_features(changed, 8), strict=True):
        assert torch.equal(whole[:6], other[:6])
        assert not torch.equal(whole[6:], other[6:])


def test_summaries_are_those_of_the_windows_before():
    mu, _, sounds, _ = forms("AB-CA", songs=1)
    found = summaries(Codes(mu, sounds))
    for k in range(1, 5):
        torch.testing.assert_close(found[k], Codes(mu[:k], sounds[:k]).summary())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Sequence priors whose forms a test does not look at train in a moment."""
    monkeypatch.setattr("prior.sequence.CHOICE_UPDATES", 20)


@pytest.fixture(scope="module")
def sequence():
    """A prior of songs AABA, whose parts are of two windows, and two rests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prior.sequence.CHOICE_UPDATES", 600)
        return fit_sequence(*forms("ABABCDAB--", songs=30))


def test_drawn_pieces_have_the_form_of_the_songs(sequence):
    generator = torch.Generator().manual_seed(0)
    drawn = [letters_of(sequence.draw(10, generator, width=1.0)) for _ in range(20)]
    assert sum(form == "ABABCDAB--" for form in drawn) >= 18, drawn


def test_new_codes_lie_near_those_before(monkeypatch):
    """The codes of one song have a variance of 1, those of all of 1.49."""
    monkeypatch.setattr("prior.sequence.CHOICE_UPDATES", 100)
    prior, generator = fit_sequence(*forms("AB", songs=400)), torch.Generator().manual_seed(0)
    drawn = [prior.draw(2, generator, width=1.0) for _ in range(100)]
    pieces = torch.stack([codes.z for codes in drawn if letters_of(codes) == "AB"])
    assert len(pieces) > 60
    assert pieces.var(1).mean() < 0.8 * pieces.flatten(0, 1).var(0).mean()


def test_a_piece_goes_on_from_its_start(sequence):
    start = sequence.draw(4, torch.Generator().manual_seed(1), width=1.0)
    more = sequence.draw(6, torch.Generator().manual_seed(2), width=1.0, start=start)
    assert letters_of(Codes(*(torch.cat(part) for part in zip(start, more, strict=True)))) == "ABABCDAB--"


def test_of_several_continuations_the_nearest_is_taken(sequence, monkeypatch):
    start = sequence.draw(4, torch.Generator().manual_seed(1))
    found = {}
    for count in (1, 8):
        monkeypatch.setattr("prior.sequence.CONTINUATIONS", count)
        draws = [sequence.draw(3, torch.Generator().manual_seed(k), start=start) for k in range(20)]
        found[count] = [mean_distance(codes, start) for codes in draws]
    assert np.mean(found[8]) < 0.9 * np.mean(found[1])
    assert np.isfinite(found[8]).all()


def test_the_distance_of_stretches_is_that_of_their_means_where_they_sound():
    codes = Codes(torch.tensor([[0.0, 0.0], [4.0, 0.0], [50.0, 50.0]]), torch.tensor([True, True, False]))
    assert mean_distance(codes, Codes(torch.tensor([[2.0, 3.0]]), torch.tensor([True]))) == 3
    assert mean_distance(codes, Codes(torch.zeros(1, 2), torch.tensor([False]))) == np.inf


def test_a_middle_leads_from_its_start_to_its_end(sequence):
    """Between two parts that lie far apart, new codes are nearer to the end than those of a continuation."""
    start = Codes(torch.eye(24)[:2] - 1, torch.ones(2, dtype=torch.bool))
    end = Codes(-start.z, start.sounds)
    middles = [sequence.draw(4, torch.Generator().manual_seed(k), start=start, end=end) for k in range(10)]
    plain = [sequence.draw(4, torch.Generator().manual_seed(k), start=start) for k in range(10)]
    assert all(middle.z.shape == (4, 24) for middle in middles)
    to_end = [torch.stack([codes.z[codes.sounds].mean() for codes in own]).mean() for own in (middles, plain)]
    assert to_end[0] > to_end[1] + 0.3


def test_a_draw_repeats_with_its_seed_and_a_fit_with_its_songs(sequence):
    fits = [fit_sequence(*forms("ABAC", songs=8)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*fits, strict=True))
    a, b = (sequence.draw(9, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.z, b.z)
    assert torch.equal(a.sounds, b.sounds)


def chooser(hidden):
    """A prior of z of size 1 whose MLP has so many units and no weights: new codes about 100, variations about -100."""
    joint = torch.full((1, 3), 100.0), torch.eye(3), torch.ones(1)
    varied, apart = (torch.full((1, 2), -100.0), torch.eye(2)), torch.tensor([10.0])
    shapes = (LAGS + 1, hidden), (OWN_FEATURES, hidden), (PLACE_FEATURES, hidden), (hidden, 2)
    return SequencePrior(*joint, *varied, apart, *map(torch.zeros, shapes))


def sounding(*z):
    return Codes(torch.tensor(z)[:, None], torch.ones(len(z), dtype=torch.bool))


@pytest.mark.parametrize("sounds", [(True, False), (False, True)])
def test_a_window_is_varied_only_if_it_sounds(sounds):
    """The MLP wants to vary the last window, and else a new code."""
    prior = chooser(hidden=2)
    prior.lags[1, 0], prior.lags[0, 1] = 60, 30
    prior.choose[:] = torch.eye(2)
    drawn = prior.draw(1, torch.Generator().manual_seed(0), start=Codes(torch.zeros(2, 1), torch.tensor(sounds)))
    assert drawn.sounds.tolist() == [True]
    assert (float(drawn.z) < -50) == sounds[-1]


@pytest.mark.parametrize(("width", "repeated"), [(1.0, True), (0.5, False)])
def test_narrow_draws_must_lie_nearer_to_be_alike(width, repeated):
    """The MLP wants what the last window chose. That is a variation, unless its squared distance of 2 is too far."""
    prior = chooser(hidden=1)
    prior.own[0], prior.choose[0, 1] = 50, 1
    drawn = prior.draw(1, torch.Generator().manual_seed(0), width=width, start=sounding(0.0, 2**0.5))
    assert (float(drawn.z) == pytest.approx(2**0.5)) == repeated
    assert (float(drawn.z) > 50) == (not repeated)


@pytest.mark.parametrize("end", [None, sounding(7.0, 8.0, 9.0)])
def test_the_place_in_a_piece_does_not_count_the_end(end, monkeypatch):
    """The MLP wants a new code at the start of each group of PHASES windows, and the last code again elsewhere."""
    monkeypatch.setattr("prior.sequence.MIDDLES", 2)
    prior = chooser(hidden=2)
    prior.lags[:] = -200
    prior.lags[0, 0], prior.lags[1, 1] = -50, 20
    prior.place[OWN_FEATURES, 0], prior.choose[:, 1] = 100, 1
    start = sounding(1.0, 2.0)
    drawn = prior.draw(PHASES, torch.Generator().manual_seed(0), start=start, end=end)
    changes = torch.cat([start.z[-1:], drawn.z])[:, 0].diff().nonzero()[:, 0]
    assert changes.tolist() == [PHASES - len(start.z)]


def test_lags_beyond_the_songs_are_not_trained(monkeypatch):
    fits = []
    for updates in (1, 20):
        monkeypatch.setattr("prior.sequence.CHOICE_UPDATES", updates)
        fits.append(fit_sequence(*forms("ABAC", songs=8)).lags)
    assert torch.equal(fits[0][4:], fits[1][4:])
    assert (fits[0][:4] != fits[1][:4]).any(1).all()


def test_a_window_that_repeats_one_and_varies_another_counts_as_a_repetition(monkeypatch):
    """The songs are A, a variation of it, A again, and B."""
    monkeypatch.setattr("prior.sequence.WARM_UP", 10)
    monkeypatch.setattr("prior.sequence.CHOICE_UPDATES", 100)
    mu, *others = forms("AAAB", songs=20)
    mu[1::4] += 0.3
    prior, start = fit_sequence(mu, *others), Codes(mu[:2], torch.ones(2, dtype=torch.bool))
    drawn = [prior.draw(1, torch.Generator().manual_seed(k), width=1.0, start=start).z for k in range(40)]
    assert sum(torch.equal(z, start.z[:1]) for z in drawn) >= 36


def test_codes_spread_by_a_share_of_their_posteriors():
    """A standard deviation of 0.3 of the posterior's, in new codes and in variations."""
    mu, _, *others = forms("ABAC", songs=8, z_size=3)
    fits = [fit_sequence(mu, torch.full_like(mu, sigma), *others) for sigma in (1.0, 2.0)]
    for field in ("scale", "varied_scale"):
        one, two = (getattr(fit, field) @ getattr(fit, field).T for fit in fits)
        want = torch.eye(3) * 0.3**2 * (2**2 - 1**2)
        torch.testing.assert_close((two - one)[-3:, -3:], want, rtol=0, atol=1e-4)


def test_songs_of_one_window_give_no_sequence():
    with pytest.raises(ValueError, match="no song has two windows that sound and differ"):
        fit_sequence(*forms("A", songs=5))


@pytest.mark.parametrize(("n", "width", "name"), [(0, 1.0, "n"), (2, -1.0, "width")])
def test_a_sequence_of_no_windows_or_of_negative_width_is_refused(sequence, n, width, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        sequence.draw(n, width=width)


def test_a_checkpoint_keeps_the_prior_of_sequences(tmp_path):
    config = shrink("cat-mel_2bar_tiny")
    prior = fit_sequence(*forms("ABAC", songs=8, z_size=16))
    TrainedModel(MusicVAE(config.model), config, sequence_prior=prior).save(tmp_path / "a.pt")
    again = TrainedModel.load(tmp_path / "a.pt").sequence_prior
    assert isinstance(again, SequencePrior)
    assert all(torch.equal(a, b) for a, b in zip(prior, again, strict=True))


def test_a_prior_of_sequences_that_does_not_fit_is_refused(tmp_path):
    config, path = shrink("cat-mel_2bar_tiny"), tmp_path / "a.pt"
    prior = fit_sequence(*forms("ABAC", songs=8, z_size=16))
    wrong = prior._replace(choose=prior.choose[:, :1])
    with pytest.raises(ValueError, match=r"choose should be \[64, 2\], but is \[64, 1\]; nothing is written"):
        save_checkpoint(path, MusicVAE(config.model), config, sequence_prior=wrong)
    save_checkpoint(path, MusicVAE(config.model), config, sequence_prior=prior)
    content = torch.load(path, weights_only=True)
    content["sequence_prior"]["choose"] = wrong.choose
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"choose should be \[64, 2\], but is \[64, 1\]"):
        TrainedModel.load(path)
    del content["sequence_prior"]["lags"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="its sequence_prior should have the fields means, "):
        TrainedModel.load(path)
