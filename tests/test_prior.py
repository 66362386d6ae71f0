"""The distributions that samples are drawn from: mixtures of Gaussians and diffusion models."""

import math

import pytest
import torch

import prior as prior_module
from checkpoint import read_checkpoint, save_checkpoint, stored_prior
from configs import CONFIGS
from generate import TrainedModel
from helpers import shrink
from model import MusicVAE
from prior import (
    LAGS,
    OWN_FEATURES,
    PHASES,
    PLACE_FEATURES,
    WINDOWS_PER_GAUSSIAN,
    Codes,
    DiffusionPrior,
    Prior,
    SequencePrior,
    choice_features,
    fit_diffusion,
    fit_gaussian,
    fit_prior,
    fit_sequence,
    likeness,
    summaries,
)

MOST_PARAMETERS = 2_000_000  # of a learned prior


def clusters(centres: torch.Tensor, each: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shuffled posteriors about some centres: mu and sigma [n, Z], and the covariance of their draws about a centre."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.5, 0.0], [0.4, 0.2]])
    noise = torch.randn(len(centres) * each, 2, generator=generator) @ turn.T
    mu = (centres.repeat(each, 1) + noise)[torch.randperm(len(noise), generator=generator)]
    return mu, torch.full_like(mu, 0.3), turn @ turn.T + 0.09 * torch.eye(2)


def test_the_fit_finds_clusters():
    """Three distant clusters of unequal size: the fit has their centres, their shares and their covariance."""
    centres = torch.tensor([[6.0, 0.0], [-6.0, 0.0], [-6.0, 0.0], [0.0, 9.0]])
    mu, sigma, covariance = clusters(centres, each=16 * WINDOWS_PER_GAUSSIAN)
    prior = fit_prior(mu, sigma)
    assert len(prior.means) == 64
    nearest = torch.cdist(prior.means, centres[[0, 1, 3]]).argmin(1)
    shares = torch.zeros(3).index_add(0, nearest, prior.weights)
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.5, 0.25]), rtol=0, atol=1e-4)
    drawn = prior.draw(40_000, torch.Generator().manual_seed(0))
    about = drawn - centres[torch.cdist(drawn, centres).argmin(1)]
    torch.testing.assert_close(about.T.cov(), covariance, rtol=0, atol=0.02)


def test_half_the_width_draws_half_as_far_from_the_means():
    mu, sigma, _ = clusters(torch.tensor([[6.0, 0.0], [-6.0, 0.0]]), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_prior(mu, sigma)
    whole, half, none = (prior.draw(50, torch.Generator().manual_seed(0), width) for width in (1.0, 0.5, 0.0))
    assert (torch.cdist(none, prior.means).amin(1) == 0).all()
    torch.testing.assert_close(half - none, (whole - none) / 2)
    assert (whole != none).all()


def test_few_windows_get_one_gaussian_with_their_mean_and_covariance():
    mu, sigma, _ = clusters(torch.zeros(1, 2), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_prior(mu, sigma)
    torch.testing.assert_close(prior.means, mu.mean(0, keepdim=True))
    torch.testing.assert_close(prior.scale @ prior.scale.T, mu.T.cov(correction=0) + 0.09 * torch.eye(2))
    assert prior.weights.tolist() == [1]


def test_the_fit_is_a_local_maximum_of_the_likelihood():
    """Moving the means, the scale or the weights a little makes draws from the posteriors less likely."""
    mu, _, _ = clusters(torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), each=WINDOWS_PER_GAUSSIAN)
    prior = fit_prior(mu, torch.zeros_like(mu))
    best = prior.log_prob(mu).mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        means, scale, weights = (part + 0.05 * torch.randn(part.shape, generator=generator) for part in prior)
        for other in (prior._replace(means=means), prior._replace(scale=scale.tril()), prior._replace(weights=weights)):
            assert other.log_prob(mu).mean() < best


def test_posteriors_that_are_not_finite_are_refused():
    mu = torch.full((3, 2), math.nan)
    with pytest.raises(ValueError, match="not finite: the model's training has diverged"):
        fit_prior(mu, torch.ones_like(mu))


def test_the_density_of_two_gaussians_is_the_one_computed_by_hand():
    """Half of the mass at 0 and half at 3, standard deviation 2."""
    prior = Prior(torch.tensor([[0.0], [3.0]]), torch.tensor([[2.0]]), torch.tensor([0.5, 0.5]))
    want = math.log((0.5 + 0.5 * math.exp(-9 / 8)) / (2 * math.sqrt(2 * math.pi)))
    assert prior.log_prob(torch.zeros(1, 1)).item() == pytest.approx(want, rel=1e-6)


def test_a_checkpoint_keeps_its_prior(tmp_path):
    config = shrink("cat-mel_2bar_tiny")
    z_size = config.model.z_size
    prior = Prior(torch.randn(3, z_size), torch.eye(z_size), torch.tensor([0.5, 0.25, 0.25]))
    for name, given in (("with.pt", prior), ("without.pt", None)):
        save_checkpoint(tmp_path / name, MusicVAE(config.model), config, prior=given)
    kept = stored_prior(read_checkpoint(tmp_path / "with.pt"))
    assert all(map(torch.equal, kept, prior))
    assert stored_prior(read_checkpoint(tmp_path / "without.pt")) is None


def test_a_prior_says_what_it_is():
    prior = Prior(torch.zeros(384, 160), torch.eye(160), torch.full((384,), 1 / 384))
    assert repr(prior) == f"{prior}" == "mixture of 384 Gaussians over z of size 160"
    assert repr(prior._replace(means=torch.zeros(1, 160))) == "mixture of 1 Gaussian over z of size 160"


def test_a_single_gaussian_has_the_mean_and_covariance_of_all_posteriors():
    mu, sigma, _ = clusters(torch.tensor([[6.0, 0.0], [-6.0, 0.0]]), each=2 * WINDOWS_PER_GAUSSIAN)
    gaussian = fit_gaussian(mu, sigma)
    torch.testing.assert_close(gaussian.means, mu.mean(0, keepdim=True))
    torch.testing.assert_close(gaussian.scale @ gaussian.scale.T, mu.T.cov(correction=0) + 0.09 * torch.eye(2))
    assert gaussian.weights.tolist() == [1]


# ---- The diffusion model ----


@pytest.fixture
def small_mlp(monkeypatch):
    """Wide enough for two dimensions."""
    monkeypatch.setattr(prior_module, "MLP_WIDTH", 32)


def ring(count):
    """Posteriors on a circle, which Gaussians do not describe well: mu and sigma [n, 2]."""
    angle = torch.linspace(0, 2 * math.pi, count + 1)[:-1]
    mu = 3 * torch.stack([angle.cos(), angle.sin()], 1)[torch.randperm(count, generator=seeded())]
    return mu, torch.full_like(mu, 0.1)


def seeded():
    return torch.Generator().manual_seed(0)


def test_an_untrained_diffusion_model_draws_a_gaussian(small_mlp):
    """The MLP adds nothing yet, and so few windows give a single Gaussian, which the sampler has to reproduce."""
    mu, sigma, _ = clusters(torch.tensor([[2.0, 5.0]]), each=WINDOWS_PER_GAUSSIAN)
    prior, gaussian = fit_diffusion(mu, sigma, updates=1), fit_gaussian(mu, sigma)
    prior = prior._replace(write=torch.zeros_like(prior.write))
    drawn = prior.draw(10_000, seeded())
    torch.testing.assert_close(drawn.mean(0), gaussian.means[0], rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.T.cov(), gaussian.scale @ gaussian.scale.T, rtol=0.05, atol=0.01)
    half = prior.draw(10_000, seeded(), width=0.5)
    torch.testing.assert_close(half - gaussian.means, (drawn - gaussian.means) / 2, rtol=0, atol=1e-4)


def test_the_mixture_alone_denoises_as_bayes_has_it(small_mlp):
    """Against the mean of z over a fine grid, for two Gaussians on a line; the MLP is silent."""
    mu = torch.tensor([-2.0, 2.0]).repeat_interleave(WINDOWS_PER_GAUSSIAN)[:, None]
    prior = fit_diffusion(mu, torch.full_like(mu, 0.5), updates=1)
    prior = prior._replace(write=torch.zeros_like(prior.write))
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    density = sum((-((grid - centre) ** 2) / (2 * 0.5**2)).exp() for centre in (-2, 2))
    scale, level = prior.scale.item(), 0.4
    for x in (-1.0, 0.1, 0.7):
        posterior = density * (-((x - grid / scale) ** 2) / (2 * level**2)).exp()
        want = (posterior * grid / scale).sum() / posterior.sum()
        found = prior.denoised(torch.tensor([[x]]), torch.tensor([[level]]))
        assert found.item() == pytest.approx(want.item(), abs=1e-4)


def test_training_draws_nearer_to_the_songs_than_the_mixture_does(small_mlp):
    """Songs on a ring, which four Gaussians describe badly."""
    mu, sigma = ring(4 * WINDOWS_PER_GAUSSIAN)
    off = [
        (prior.draw(1000, seeded()).norm(dim=1) - 3).abs().mean()
        for prior in (fit_diffusion(mu, sigma, updates=800), fit_prior(mu, sigma))
    ]
    assert off[0] < off[1] / 2


def test_a_diffusion_model_is_repeatable(small_mlp):
    mu, sigma = ring(256)
    one, two = (fit_diffusion(mu, sigma, updates=3) for _ in range(2))
    assert all(map(torch.equal, one, two))
    assert torch.equal(one.draw(5, seeded()), two.draw(5, seeded()))
    assert not torch.equal(one.draw(5, seeded()), one.draw(5, seeded().manual_seed(1)))
    assert one.draw(5, seeded(), 0.5).shape == (5, 2)


def test_without_noise_all_draws_about_a_centre_are_equal(small_mlp):
    mu, sigma = ring(WINDOWS_PER_GAUSSIAN)
    drawn = fit_diffusion(mu, sigma, updates=20).draw(6, seeded(), width=0)
    torch.testing.assert_close(drawn, drawn[:1].expand(6, -1))


@pytest.mark.parametrize("z_size", sorted({config.model.z_size for config in CONFIGS.values()}))
def test_a_diffusion_model_has_at_most_two_million_parameters(z_size):
    """With as many Gaussians as a prior has at most."""
    mu = torch.randn(300, z_size, generator=seeded())
    prior = fit_diffusion(mu, torch.ones_like(mu), updates=1)
    most = prior._replace(centres=torch.zeros(384, z_size), weights=torch.zeros(384))
    assert sum(part.numel() for part in most) <= MOST_PARAMETERS
    assert [list(part.shape) for part in prior] == list(prior.wanted_shapes(z_size))


def test_a_diffusion_model_says_what_it_is(small_mlp):
    mu, sigma = ring(WINDOWS_PER_GAUSSIAN)
    prior = fit_diffusion(mu, sigma, updates=1)
    count = sum(part.numel() for part in prior)
    assert repr(prior) == f"diffusion model of {count:,} parameters over z of size 2"


def test_a_checkpoint_keeps_a_diffusion_model_and_its_width(tmp_path, small_mlp):
    config = shrink("cat-mel_2bar_tiny")
    mu = torch.randn(100, config.model.z_size, generator=seeded())
    prior = fit_diffusion(mu, torch.ones_like(mu), updates=2)
    trained = TrainedModel(MusicVAE(config.model), config, prior=prior, prior_width=0.9)
    trained.save(tmp_path / "model.pt")
    again = TrainedModel.load(tmp_path / "model.pt")
    assert isinstance(again.prior, DiffusionPrior)
    assert all(map(torch.equal, again.prior, prior))
    assert again.prior_width == 0.9
    assert torch.equal(again.draw_z(4, seed=0), prior.draw(4, seeded(), 0.9))
    assert read_checkpoint(tmp_path / "model.pt")["prior"]["kind"] == "diffusion"


# ---- Sequences of codes ----


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


def test_a_mixture_given_the_first_numbers_has_the_conditional_density():
    generator = torch.Generator().manual_seed(0)
    scale = torch.randn(5, 5, generator=generator).tril() + 3 * torch.eye(5)
    prior = Prior(torch.randn(3, 5, generator=generator), scale, torch.tensor([0.2, 0.5, 0.3]))
    first, others = torch.randn(2, generator=generator), torch.randn(4, 3, generator=generator)
    both = torch.cat([first.expand(4, 2), others], 1)
    margin = Prior(prior.means[:, :2], scale[:2, :2], prior.weights).log_prob(first[None])
    torch.testing.assert_close(prior.given(first).log_prob(others), prior.log_prob(both) - margin)


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
    """Priors of sequences whose forms a test does not look at train in a moment."""
    monkeypatch.setattr(prior_module, "CHOICE_UPDATES", 20)


@pytest.fixture(scope="module")
def sequence():
    """A prior of songs AABA, whose parts are of two windows, and two rests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_module, "CHOICE_UPDATES", 600)
        return fit_sequence(*forms("ABABCDAB--", songs=30))


def test_drawn_pieces_have_the_form_of_the_songs(sequence):
    generator = torch.Generator().manual_seed(0)
    drawn = [letters_of(sequence.draw(10, generator, width=1.0)) for _ in range(20)]
    assert sum(form == "ABABCDAB--" for form in drawn) >= 18, drawn


def test_new_codes_lie_near_those_before(monkeypatch):
    """The codes of one song have a variance of 1, those of all of 1.49."""
    monkeypatch.setattr(prior_module, "CHOICE_UPDATES", 100)
    prior, generator = fit_sequence(*forms("AB", songs=400)), torch.Generator().manual_seed(0)
    drawn = [prior.draw(2, generator, width=1.0) for _ in range(100)]
    pieces = torch.stack([codes.z for codes in drawn if letters_of(codes) == "AB"])
    assert len(pieces) > 60
    assert pieces.var(1).mean() < 0.8 * pieces.flatten(0, 1).var(0).mean()


def test_a_piece_goes_on_from_its_start(sequence):
    start = sequence.draw(4, torch.Generator().manual_seed(1), width=1.0)
    more = sequence.draw(6, torch.Generator().manual_seed(2), width=1.0, start=start)
    assert letters_of(Codes(*(torch.cat(part) for part in zip(start, more, strict=True)))) == "ABABCDAB--"


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
    drawn = prior.draw(1, seeded(), start=Codes(torch.zeros(2, 1), torch.tensor(sounds)))
    assert drawn.sounds.tolist() == [True]
    assert (float(drawn.z) < -50) == sounds[-1]


@pytest.mark.parametrize(("width", "repeated"), [(1.0, True), (0.5, False)])
def test_narrow_draws_must_lie_nearer_to_be_alike(width, repeated):
    """The MLP wants what the last window chose. That is a variation, unless its squared distance of 2 is too far."""
    prior = chooser(hidden=1)
    prior.own[0], prior.choose[0, 1] = 50, 1
    drawn = prior.draw(1, seeded(), width=width, start=sounding(0.0, 2**0.5))
    assert (float(drawn.z) == pytest.approx(2**0.5)) == repeated
    assert (float(drawn.z) > 50) == (not repeated)


@pytest.mark.parametrize("end", [None, sounding(7.0, 8.0, 9.0)])
def test_the_place_in_a_piece_does_not_count_the_end(end, monkeypatch):
    """The MLP wants a new code at the start of each group of PHASES windows, and the last code again elsewhere."""
    monkeypatch.setattr(prior_module, "MIDDLES", 2)
    prior = chooser(hidden=2)
    prior.lags[:] = -200
    prior.lags[0, 0], prior.lags[1, 1] = -50, 20
    prior.place[OWN_FEATURES, 0], prior.choose[:, 1] = 100, 1
    start = sounding(1.0, 2.0)
    drawn = prior.draw(PHASES, seeded(), start=start, end=end)
    changes = torch.cat([start.z[-1:], drawn.z])[:, 0].diff().nonzero()[:, 0]
    assert changes.tolist() == [PHASES - len(start.z)]


def test_lags_beyond_the_songs_are_not_trained(monkeypatch):
    fits = []
    for updates in (1, 20):
        monkeypatch.setattr(prior_module, "CHOICE_UPDATES", updates)
        fits.append(fit_sequence(*forms("ABAC", songs=8)).lags)
    assert torch.equal(fits[0][4:], fits[1][4:])
    assert (fits[0][:4] != fits[1][:4]).any(1).all()


def test_a_window_that_repeats_one_and_varies_another_counts_as_a_repetition(monkeypatch):
    """The songs are A, a variation of it, A again, and B."""
    monkeypatch.setattr(prior_module, "WARM_UP", 10)
    monkeypatch.setattr(prior_module, "CHOICE_UPDATES", 100)
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
    save_checkpoint(path, MusicVAE(config.model), config, sequence_prior=prior._replace(choose=prior.choose[:, :1]))
    with pytest.raises(ValueError, match=r"choose should be \[64, 2\], but is \[64, 1\]"):
        TrainedModel.load(path)
    content = torch.load(path, weights_only=True)
    del content["sequence_prior"]["lags"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="its sequence_prior should have the fields means, "):
        TrainedModel.load(path)
