"""Near a song: versions of a clip at a distance that grows, and models that are trained on a few songs."""

from functools import cache

import numpy as np
import pytest
import torch

import prior
from generate import TrainedModel
from helpers import BAR, made_clip, made_songs, untrained
from music.clips import Clip
from prior import PersonalPrior, fit_personal, mixed
from studio import near
from studio.near import MIN_WINDOWS

PRESETS = {
    "melody": "cat-mel_2bar_tiny",
    "drums": "cat-drums_2bar_tiny",
    "trio": "hierdec-trio_16bar_tiny",
    "chords": "cat-mel_2bar_chords_tiny",
    "hits": "groovae_2bar_hits_control",
    "piano": "piano_2bar_tiny",
}


@cache
def model(kind):
    return untrained(PRESETS[kind])


@cache
def clip_of(kind, bars=5):
    """A clip of different windows; the last one may not be full."""
    return made_clip(model(kind).config.converter, bars)


def notes(midi):
    return [(n.pitch, round(n.start, 4), round(n.end, 4), n.velocity) for one in midi.instruments for n in one.notes]


@pytest.fixture
def decoded(monkeypatch):
    """The z that the melody model decodes, one [n, Z] per call."""
    network, seen = model("melody").model, []
    sample = network.sample
    monkeypatch.setattr(network, "sample", lambda n, **options: seen.append(options["z"]) or sample(n, **options))
    return seen


# ---- Versions ----


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", PRESETS)
def test_a_version_at_amount_0_is_the_reconstruction(kind, temperature):
    trained, clip = model(kind), clip_of(kind, bars=5 if kind != "trio" else 32)
    (version,) = trained.vary(clip, 0, temperature=temperature, seed=3)
    again = trained.reconstruct_clip(clip, temperature=temperature, seed=3)
    assert notes(version) == notes(again) != []
    assert version.get_tempo_changes()[1].tolist() == again.get_tempo_changes()[1].tolist()


def test_z_lies_farther_from_the_clip_the_larger_the_amount(decoded):
    trained, clip = model("melody"), clip_of("melody")
    for amount in (0, 0.1, 0.25, 0.5, 0.75, 1):
        trained.vary(clip, amount, seed=0)
    start = decoded[0]
    away = torch.stack([(z - start).norm(dim=1) for z in decoded])
    assert (away.diff(dim=0) > 0).all()
    draws = trained.draw_z(len(start), seed=0)
    assert sorted(decoded[-1].norm(dim=1).tolist()) == pytest.approx(sorted(draws.norm(dim=1).tolist()), rel=1e-5)
    ends = torch.stack([decoded[0].norm(dim=1), decoded[-1].norm(dim=1)])
    assert (decoded[3].norm(dim=1) > 0.9 * ends.min(0).values).all()  # where a mean of both would be shorter


def test_windows_that_come_back_in_a_clip_come_back_in_its_version():
    trained, clip = model("melody"), clip_of("melody", bars=4)
    twice = clip._replace(labels=np.tile(clip.labels, 2))
    (version,) = trained.vary(twice, 0.7, seed=0)
    half = 4 * 4 * 60 / 90
    first, second = ([n for n in notes(version) if (n[1] >= half) == late] for late in (False, True))
    assert [(pitch, round(start - half, 2)) for pitch, start, *_ in second] == [(p, round(s, 2)) for p, s, *_ in first]
    assert notes(trained.reconstruct_clip(twice)) != notes(version)


def test_versions_differ_and_a_seed_repeats_them():
    trained, clip = model("melody"), clip_of("melody")
    one, two = trained.vary(clip, 0.8, 2, seed=5)
    assert notes(one) != notes(two)
    assert [notes(midi) for midi in trained.vary(clip, 0.8, 2, seed=5)] == [notes(one), notes(two)]


def test_a_silent_window_stays_silent():
    labels = clip_of("melody", bars=6).labels.copy()
    labels[2 * BAR : 4 * BAR] = 0
    (version,) = model("melody").vary(Clip(labels), 1, seed=0)
    bars = {int(start / 2 + 1e-6) for _, start, *_ in notes(version)}
    assert bars & {2, 3} == set()
    assert bars & {0, 1, 4, 5}


@pytest.mark.parametrize("amount", [-0.1, 1.5, "far", None, float("nan")])
def test_an_amount_out_of_range_is_named(amount):
    with pytest.raises(ValueError, match=f"amount must be a number from 0 .*{amount}"):
        model("melody").vary(clip_of("melody"), amount)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_the_end_gives_its_share_of_the_variance(share):
    start, end = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [2.0, 0.0]])
    torch.testing.assert_close(mixed(start, end, share), (1 - share) ** 0.5 * start + share**0.5 * end)


# ---- Personal models ----


@pytest.fixture
def short(monkeypatch):
    """A small VAE that trains in an instant."""
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 20)
    monkeypatch.setattr(near, "OWN_DRAWS", 64)


def is_one_of(z, others):
    return (z[:, None] - others).abs().amax(-1).amin(1) < 1e-5


def test_draws_lie_near_the_songs_at_dial_0_and_are_the_priors_at_1(monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 150)
    size, generator = 8, torch.Generator().manual_seed(0)
    mu = 3 + torch.randn(12, size, generator=generator)
    others = torch.randn(50, size, generator=generator)
    fitted = fit_personal(mu, torch.full_like(mu, 0.2), others)
    nearest = [
        torch.cdist(fitted.draw(64, torch.Generator().manual_seed(1), dial), mu).min(1).values.mean()
        for dial in (0.0, 0.5, 1.0)
    ]
    assert nearest[0] < nearest[1] < nearest[2]
    assert nearest[0] < torch.cdist(mu, mu).fill_diagonal_(torch.inf).min(1).values.mean()
    far = fitted.draw(64, torch.Generator().manual_seed(1), 1.0)
    assert is_one_of(far, others).all()


def test_draws_spread_as_the_songs_do(monkeypatch):
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 150)
    centres = torch.tensor([[4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 4.0, 0]])
    mu = centres.repeat_interleave(4, 0) + 0.1 * torch.arange(4.0).repeat(3)[:, None]
    fitted = fit_personal(mu, torch.full_like(mu, 0.3), mu)
    z = fitted.draw(300, torch.Generator().manual_seed(0))
    share = torch.bincount(torch.cdist(z, centres).argmin(1), minlength=3) / 300
    assert share.min() > 0.15


@pytest.mark.parametrize("unit", [0.1, 1.0])
def test_draws_vary_as_the_means_of_the_posteriors_do(monkeypatch, unit):
    """As probabilistic PCA has it: what all windows share, the width of their posteriors, is left to the decoder."""
    monkeypatch.setattr(prior.personal, "PERSONAL_UPDATES", 200)
    mu = torch.zeros(32, 4)
    mu[:, 0] = torch.special.ndtri((torch.arange(32) + 0.5) / 32)
    fitted = fit_personal(unit * mu, torch.full_like(mu, 0.8 * unit), mu)
    along, *across = (fitted.draw(2000, torch.Generator().manual_seed(0)).std(0) / unit).tolist()
    assert 0.7 < along < 1.3
    assert max(across) < 0.5


@pytest.mark.parametrize("kind", PRESETS)
def test_a_personal_model_makes_pieces_and_the_model_stays_as_it_is(kind, short):
    trained = model(kind)
    before = trained.prior, trained.prior_width
    personal = trained.personalize(clip_of(kind, bars=12 if kind != "trio" else 32), dial=0.25)
    assert isinstance(personal.prior, PersonalPrior)
    assert (personal.prior_width, personal.model) == (0.25, trained.model)
    assert (trained.prior, trained.prior_width) == before
    chords = {"chords": "C | F"} if kind == "chords" else {}
    assert len(personal.draw_z(3, seed=0)) == 3
    if kind != "hits":
        (piece,) = personal.sample_clips(1, 3, seed=0, **chords)
        assert notes(piece)


def test_a_personal_model_goes_on_near_its_songs_not_as_other_songs_do(short):
    trained = untrained(PRESETS["melody"])
    trained.sequence_prior = "of other songs"
    personal = trained.personalize(clip_of("melody", bars=12))
    assert (personal.sequence_prior, trained.sequence_prior) == (None, "of other songs")


def test_a_personal_model_is_kept_by_a_file(short, tmp_path):
    personal = model("melody").personalize(clip_of("melody", bars=12), dial=0.25)
    personal.save(tmp_path / "me.pt")
    kept = TrainedModel.load(tmp_path / "me.pt")
    assert (str(kept.prior), kept.prior_width) == (str(personal.prior), 0.25)
    assert [notes(midi) for midi in kept.sample_clips(2, 3, seed=0)] == [
        notes(midi) for midi in personal.sample_clips(2, 3, seed=0)
    ]


def test_songs_train_a_personal_model_together_and_a_second_one_is_the_same(short):
    trained, one, two = model("melody"), clip_of("melody", bars=12), clip_of("melody", bars=6)
    draws = [trained.personalize(songs).draw_z(4, seed=0) for songs in ([one, two], [one, two], one)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_personal_model_is_personalised_again(short):
    personal = model("melody").personalize(clip_of("melody", bars=12), dial=1)
    again = personal.personalize(clip_of("melody", bars=12), dial=1)
    assert is_one_of(again.draw_z(8, seed=0), personal.prior.others).all()


def test_too_few_windows_are_counted_and_the_bars_that_it_takes_are_named(short):
    loop = clip_of("melody", bars=4)
    for songs in (loop, [loop, loop], loop._replace(labels=np.tile(loop.labels, 9))):
        with pytest.raises(
            ValueError, match=f"takes {MIN_WINDOWS} different windows of 2 bars .* are [34]: give 9 bars"
        ):
            model("melody").personalize(songs)
    silent = Clip(np.zeros(20 * BAR, np.uint8))
    with pytest.raises(ValueError, match="and there are 0: give 9 bars or more that differ, or more songs"):
        model("melody").personalize(silent)


def test_the_bars_that_the_message_names_are_enough(short):
    clip = clip_of("melody", bars=MIN_WINDOWS + 1)
    assert model("melody").personalize(clip).prior.others.shape == (64, 16)
    with pytest.raises(ValueError, match="and there are 7"):
        model("melody").personalize(clip._replace(labels=clip.labels[:-BAR]))


def test_a_song_that_the_model_does_not_read_is_named(short):
    drums = model("drums").converter.from_arrays(made_songs(model("drums").config.converter).labels[0])
    with pytest.raises(ValueError, match="the song has drums alone, so take a model of drums"):
        model("melody").personalize(drums)


@pytest.mark.parametrize("dial", [-0.1, 2, "near"])
def test_a_dial_out_of_range_is_named(dial, short):
    with pytest.raises(ValueError, match=f"dial must be a number from 0 .*{dial}"):
        model("melody").personalize(clip_of("melody", bars=12), dial)


def test_a_width_of_a_personal_model_out_of_range_is_named(short):
    personal = model("melody").personalize(clip_of("melody", bars=12))
    personal.prior_width = 1.5
    with pytest.raises(ValueError, match="the dial of a personal model, its prior_width, must be .*1.5"):
        personal.sample(1, seed=0)


def test_a_personal_prior_draws_near_its_songs_by_default(short):
    trained = model("melody")
    personal = trained.personalize(clip_of("melody", bars=12), 0.25)
    assert TrainedModel(trained.model, trained.config, prior=personal.prior).prior_width == 0
