"""The codes of the consecutive windows of a piece.

Most of what makes the form of a song is that windows come back, exactly or varied. So `SequencePrior` chooses for each
window whether to repeat an earlier one, to vary one, to rest, or to draw a new code near those before. These choices
are ours.

Axes: n windows, K Gaussians, Z size of z, L lags, H hidden units, M windows remembered, O features of a choice, C
features of a place.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from engine.adam import minimise
from engine.checks import checked_count, checked_generator, checked_non_negative
from engine.rng import integers, normal, seeded
from prior.mixture import MixturePrior, checked_posteriors, fit_gaussian, fit_mixture

LAGS = 32  # L: how many windows back a window can repeat another
REMEMBERED = 4  # M: last windows, whose choices weigh in the next one
PHASES = 8  # windows of a group, in which every place has a habit of its own: 16 bars, for windows of 2
OWN_FEATURES = 2 * REMEMBERED + 2  # O
PLACE_FEATURES = OWN_FEATURES + PHASES + 3  # C
HIDDEN = 64  # H
ALIKE = 0.3  # largest squared distance of a variation from its original, as a share of that of any two windows
SAME = 1e-5  # the same, of a repetition; codes of equal windows differ by rounding
CODE_SPREAD = 0.3  # standard deviation of a code about its posterior's mean, as a share of the posterior's
SEQUENCE_WIDTH = 0.58  # factor on the standard deviation of drawn codes; chosen on the songs of the valid split
SEQUENCE_ROWS = 24_576  # most new windows that the mixture of a sequence prior is fitted to
CHOICE_UPDATES = 1500  # of the training of the choice
CHOICE_BATCH = 512  # most windows per update
CHOICE_RATE = 5e-3  # learning rate at its highest
BETA2 = 0.99  # of Adam
WARM_UP = 200  # updates in which the learning rate rises; it falls to 0 by a cosine
MIDDLES = 16  # candidates drawn between a start and an end; the one after which the end is most likely is taken
CONTINUATIONS = 3  # candidates drawn after a start alone; the one whose mean code is nearest to the start's is taken


class Codes(NamedTuple):
    """The codes of consecutive windows."""

    z: Tensor  # [n, Z]
    sounds: Tensor  # [n] bool: whether the window has an onset; the code of one without means nothing

    def then(self, z: Tensor, sounds: bool) -> "Codes":
        """These windows and one more, of the code z [Z]."""
        return Codes(torch.cat([self.z, z[None]]), torch.cat([self.sounds, self.sounds.new_tensor([sounds])]))

    def after(self, before: "Codes") -> "Codes":
        """The windows that follow those of `before`, with which these begin."""
        return Codes(*(part[len(before.z) :] for part in self))

    def summary(self) -> Tensor | None:
        """The last code and the mean code of the windows that sound, [2 Z]; None if none does."""
        heard = self.z[self.sounds]
        return torch.cat([heard[-1], heard.mean(0)]) if len(heard) else None


class SequencePrior(NamedTuple):
    """Codes of the windows of a piece: each repeats or varies one of the L windows before it, rests, or is new.

    An MLP weighs these choices by how the last windows chose. A new code comes from a mixture of Gaussians, given the
    code before it and the mean of all before it. A variation comes from a Gaussian, given the code that it varies.
    """

    means: Tensor  # [K, 3 Z], of the code before, the mean code and the new code
    scale: Tensor  # [3 Z, 3 Z], as in `MixturePrior`
    weights: Tensor  # [K], sum to 1
    varied_means: Tensor  # [1, 2 Z], of a code and its variation
    varied_scale: Tensor  # [2 Z, 2 Z]
    apart: Tensor  # [1], mean squared distance of the codes of any two windows
    lags: Tensor  # [L + 1, H], biases of the MLP's first layer, by lag; lag 0 stands for no earlier window
    own: Tensor  # [O, H], its weights of which of the last M windows chose this lag, and of the share of all that did
    place: Tensor  # [C, H], its weights of the place in the piece
    choose: Tensor  # [H, 2], second layer: logits of varying and of repeating; at lag 0, of a rest and of a new code

    @property
    def z_size(self) -> int:
        """Z."""
        return self.means.shape[-1] // 3

    def wanted_shapes(self, z_size: int) -> tuple[list[int], ...]:
        """The shapes that the fields must have, in order, in a model with this size of z."""
        count, units = self.means.shape[:1].numel(), self.lags.shape[1:].numel()
        new = [count, 3 * z_size], [3 * z_size, 3 * z_size], [count]
        choice = [LAGS + 1, units], [OWN_FEATURES, units], [PLACE_FEATURES, units], [units, 2]
        return *new, [1, 2 * z_size], [2 * z_size, 2 * z_size], [1], *choice

    def __repr__(self) -> str:
        return f"sequence prior of {sum(part.numel() for part in self):,} parameters over z of size {self.z_size}"

    @torch.no_grad()
    def draw(
        self,
        n: int,
        generator: Generator | None = None,
        width: float = SEQUENCE_WIDTH,
        start: Codes | None = None,
        end: Codes | None = None,
    ) -> Codes:
        """Draws the codes of n windows.

        Args:
            n: number of windows.
            generator: random numbers, on the prior's device.
            width: factor on the standard deviations; less than 1 stays nearer to what is typical.
            start: the windows before. Without an end, the one of CONTINUATIONS draws is taken whose mean code is
                nearest to that of `start`.
            end: the windows after, which are also taken to lie before `start`, so that the new windows can repeat
                them. The one of MIDDLES draws is taken after which `end` is most likely.

        Raises:
            ValueError: n is below 1 or width below 0.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_non_negative("width", width)
        nothing = Codes(self.means.new_zeros(0, self.z_size), self.means.new_zeros(0, dtype=torch.bool))
        start, end = start or nothing, end or nothing
        before, length = Codes(*map(torch.cat, zip(end, start, strict=True))), len(start.z) + n + len(end.z)
        count = MIDDLES if end.sounds.any() else CONTINUATIONS if start.sounds.any() else 1
        draws = [self._longer(before, n, length, len(end.z), generator, width) for _ in range(count)]
        if end.sounds.any():
            return max(draws, key=lambda codes: self._fits(codes, end)).after(before)
        return min((codes.after(before) for codes in draws), key=lambda codes: mean_distance(codes, start))

    def _longer(
        self, before: Codes, n: int, length: int, shift: int, generator: Generator | None, width: float
    ) -> Codes:
        """The codes `before` and those of n windows that are drawn after them."""
        codes = before
        for _ in range(n):
            codes = codes.then(*self._next(codes, length, shift, generator, width))
        return codes

    def _next(
        self, codes: Codes, length: int, shift: int, generator: Generator | None, width: float
    ) -> tuple[Tensor, bool]:
        """The code [Z] of the window after `codes`, and whether it sounds."""
        choices = self._choices(codes, length, shift, width).flatten()
        lag, second = divmod(int(torch.multinomial(choices, 1, generator=generator)), 2)
        if lag and second:
            return codes.z[-lag], bool(codes.sounds[-lag])
        if lag:
            varied = MixturePrior(self.varied_means, self.varied_scale, self.weights.new_ones(1))
            return varied.given(codes.z[-lag]).draw(1, generator, width)[0], True
        if second:
            return self._new_code(codes).draw(1, generator, width)[0, -self.z_size :], True
        return codes.z.new_zeros(self.z_size), False

    def _choices(self, codes: Codes, length: int, shift: int, width: float) -> Tensor:
        """The probability of each choice for the window after `codes`: [L + 1, 2], as in `choose`."""
        past = likeness(codes, width * self.apart)  # narrower draws lie closer, so the threshold scales with the width
        features = choice_features(torch.cat([past, past.new_zeros(1, LAGS + 1)]), length, shift)
        logits = choice_logits(*(part[-1:] for part in features), self.lags, self.own, self.place, self.choose)[0]
        logits[len(codes.z) + 1 :] = -torch.inf
        if not codes.sounds.any():
            logits[0, 0] = -torch.inf  # a piece starts with a note
        logits[1:, 0][: len(codes.z)].masked_fill_(~codes.sounds.flip(0)[:LAGS], -torch.inf)  # nothing to vary
        return logits.flatten().softmax(0).reshape(-1, 2)

    def _new_code(self, codes: Codes) -> MixturePrior:
        """The mixture that a new code after `codes` comes from; the first one has no code before it to be given."""
        joint, summary = MixturePrior(self.means, self.scale, self.weights), codes.summary()
        return joint if summary is None else joint.given(summary)

    def _fits(self, codes: Codes, end: Codes) -> float:
        """How well the end goes on: the log density of its first code that sounds, as a new one."""
        return float(self._new_code(codes).log_prob(end.z[end.sounds][:1]))


def mean_distance(one: Codes, other: Codes) -> float:
    """The distance of the mean codes of two stretches, of their windows that sound; infinite if one has none."""
    if not (one.sounds.any() and other.sounds.any()):
        return math.inf
    return float((one.z[one.sounds].mean(0) - other.z[other.sounds].mean(0)).norm())


def likeness(codes: Codes, apart: Tensor) -> Tensor:
    """Which windows come back: [n, L + 1], of each window and lag 2 for a repetition, 1 for a variation, else 0.

    At lag 0 it is 2 for a window that is new, and 1 for the first one that rests. `apart`: see `SequencePrior`.
    """
    z, sounds = codes
    found = z.new_zeros(len(z), LAGS + 1)
    for lag in range(1, min(LAGS, len(z) - 1) + 1):
        distance = (z[lag:] - z[:-lag]).square().sum(1)
        both, neither = sounds[lag:] & sounds[:-lag], ~(sounds[lag:] | sounds[:-lag])
        found[lag:, lag] = both * ((distance <= ALIKE * apart).to(z) + (distance <= SAME * apart)) + 2 * neither
    found[:, 0] = (found == 0).all(1) * (1 + sounds.to(z))
    return found


def choice_logits(own: Tensor, place: Tensor, *weights: Tensor) -> Tensor:
    """The MLP of the choice: [n, L + 1, 2], of what `choice_features` returns and the last fields of a prior."""
    of_lag, of_own, of_place, choose = weights
    return F.silu(of_lag + own @ of_own + (place @ of_place)[:, None]) @ choose


def choice_features(past: Tensor, length: int, shift: int = 0) -> tuple[Tensor, Tensor]:
    """What the choice of each window depends on, all of it earlier: [n, L + 1, O] and [n, C].

    Args:
        past: `likeness` of n windows.
        length: number of windows of the piece.
        shift: windows before the piece's first one.
    """
    n = len(past)
    padded = torch.cat([past.new_zeros(REMEMBERED, LAGS + 1), past])
    last = torch.stack([padded[REMEMBERED - k :][:n] for k in range(1, REMEMBERED + 1)], 2)  # (n, L + 1, M)
    index, made = torch.arange(n, device=past.device), torch.stack([past >= 1, past == 2], 2).to(past)
    shares = (made.cumsum(0) - made) / index.clamp(min=1)[:, None, None]
    own = torch.cat([last >= 1, last == 2, shares], 2).to(past)
    at = index - shift
    place = [(at.clamp(min=0) + 1).log(), (length - at).clamp(min=1).log(), torch.ones_like(past[:, 0])]
    return own, torch.cat([own[:, 0], one_hot(at % PHASES, PHASES).to(past), torch.stack(place, 1)], 1)


def fit_sequence(mu: Tensor, sigma: Tensor, sounds: Tensor, song: Tensor) -> SequencePrior:
    """Fits a sequence prior to the windows of whole songs, end to end. A second fit gives the same.

    Args:
        mu, sigma: as in `fit_mixture`, song by song.
        sounds: [n] bool, whether a window has an onset.
        song: [n] whole numbers that rise, the song of each window.

    Raises:
        ValueError: as in `fit_mixture`, or no song has a new window after its first.
    """
    mu, sigma = (part.float() for part in checked_posteriors(mu, sigma))
    both = mu, CODE_SPREAD * sigma
    counts = torch.unique_consecutive(song, return_counts=True)[1].tolist()
    songs, spreads = (list(map(Codes, part.split(counts), sounds.split(counts))) for part in both)
    apart = 2 * mu[sounds].var(0, correction=0).sum().reshape(1)
    past = [likeness(codes, apart) for codes in songs]
    new, (original, variation) = _new_windows(songs, past), _variations(songs, past)
    before = (torch.cat(list(map(summaries, part))) for part in (songs, spreads))
    joint = fit_mixture(*(torch.cat([a[new], z[new]], 1) for a, z in zip(before, both, strict=True)))
    varied = fit_gaussian(*(torch.cat([z[original], z[variation]], 1) for z in both))
    return SequencePrior(*joint, *varied[:2], apart, *_fit_choice(past))


def summaries(codes: Codes) -> Tensor:
    """`Codes.summary` of the windows before each one: [n, 2 Z]; without meaning before the second one that sounds."""
    z, sounds = codes
    index = torch.arange(len(z), device=z.device) * sounds
    last = torch.cat([index[:1], index.cummax(0).values[:-1]])
    heard, count = z * sounds[:, None], sounds.cumsum(0) - sounds.long()
    return torch.cat([z[last], (heard.cumsum(0) - heard) / count.clamp(min=1)[:, None]], 1)


def _new_windows(songs: list[Codes], past: list[Tensor]) -> Tensor:
    """Indices of windows that are new and follow one that sounds, at most SEQUENCE_ROWS, evenly spaced."""
    parts = [(own[:, 0] == 2) & (codes.sounds.cumsum(0) > 1) for own, codes in zip(past, songs, strict=True)]
    rows = torch.nonzero(torch.cat(parts))[:, 0]
    if not len(rows):
        raise ValueError("no song has two windows that sound and differ: give whole songs, of several windows each")
    count = min(len(rows), SEQUENCE_ROWS)
    return rows[torch.linspace(0, len(rows) - 1, count, dtype=torch.float64).round().long().to(rows.device)]


def _variations(songs: list[Codes], past: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Indices of originals and their variations, the nearest of each; every window and itself if there are none."""
    pairs, first = [], 0
    for codes, own in zip(songs, past, strict=True):
        for k in torch.nonzero((own[:, 1:] == 1).any(1) & ~(own[:, 1:] == 2).any(1))[:, 0].tolist():
            originals = k - 1 - torch.nonzero(own[k, 1:] == 1)[:, 0]
            nearest = originals[(codes.z[originals] - codes.z[k]).square().sum(1).argmin()]
            pairs.append((first + int(nearest), first + k))
        first += len(codes.z)
    return torch.tensor(pairs or [(k, k) for k in range(first)]).unbind(1)


def _fit_choice(past: list[Tensor]) -> list[Tensor]:
    """Trains the MLP of the choice on `likeness` of songs: lags, own, place and choose of a `SequencePrior`.

    A window that repeats several windows, or varies several and repeats none, may choose any of them.
    """
    own, place = map(torch.cat, zip(*(choice_features(song, len(song)) for song in past), strict=True))
    chosen = torch.cat([torch.stack([song == 1, song == 2], 2) for song in past])  # (n, L + 1, 2)
    chosen[..., 0] &= ~chosen[:, 1:, 1].any(1, keepdim=True)
    known = torch.cat([torch.arange(LAGS + 1) <= torch.arange(len(song))[:, None] for song in past]).to(own.device)
    source = seeded(own.device, "sequence prior")
    shapes = [LAGS + 1, HIDDEN], [OWN_FEATURES, HIDDEN], [PLACE_FEATURES, HIDDEN]
    first = [0.3 * normal(shape, source, source.device) for shape in shapes]
    weights = nn.ParameterList([*first, torch.zeros(HIDDEN, 2, device=source.device)])

    def loss() -> Tensor:
        rows = integers(0, len(own), (min(CHOICE_BATCH, len(own)),), source, own.device)
        logits = choice_logits(own[rows], place[rows], *weights)
        logits = logits.masked_fill(~known[rows][..., None], -torch.inf).flatten(1)
        return (logits.logsumexp(1) - logits.masked_fill(~chosen[rows].flatten(1), -torch.inf).logsumexp(1)).mean()

    minimise(weights, loss, CHOICE_UPDATES, CHOICE_RATE, warm_up=WARM_UP, beta2=BETA2)
    return [part.detach() for part in weights]
