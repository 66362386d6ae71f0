"""Kinds of output: what a frame holds, what it costs given the decoder's logits, and how it is drawn from them.

`ModelConfig.output` names one of the kinds in `OUTPUTS`:

    categorical   one class, by a softmax
    trio          a class each of melody, bass and drums, by three softmaxes that are independent given the logits
    nade          bits, each conditioned on the bits before it (Larochelle & Murray 2011)
    groove        a hit, a velocity in 0..1 and an offset in -1..1 per drum
    notes         a piano's notes from low to high, each conditioned on those below it
    keys          the same notes, each key by itself: the baseline of `notes`

Numbers match Magenta's decoders (lstm_models.py). A new kind is a subclass of `Output` and its entry in `OUTPUTS`.

Axes: D depth of a frame, P parts of a frame, H hidden units of a NADE, N any axes (batch and steps).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.bit_lists import code_lists
from engine.classes import class_indices, one_hot_frames, starts
from engine.list_draws import above, draw_lists, is_predicted, list_units
from engine.softmax import class_nats, draw_classes, likely_classes
from music.labels import NO_NOTE, PIANO_DEPTH, TRIO_DEPTHS, VOICES

NADE_EPSILON = 1e-6  # added to a probability before its logarithm (magenta/common/nade.py)
GROOVE_EPSILON = 1e-7  # the same for the hits of a groove (tf.losses.log_loss)


class Output(ABC):
    """A kind of output. A subclass writes `nats`, `correct` and `draw`, and overrides whatever else differs.

    Instances hold no tensors. A kind with parameters of its own makes them in `make_weights`; the model registers them
    under the name of the kind and passes them as `weights`, which is None for all other kinds.
    """

    parts: tuple[str, ...] = ("all",)  # names of the parts of a frame, whose accuracy is measured separately
    one_hot: bool = False  # whether every part of a frame is one class
    has_hidden_units: bool = False  # whether the kind needs ModelConfig.nade_num_hidden
    index_count: int | None = None  # how many class indices can stand for a frame; None if they cannot
    scheduled_temperature: float = 1.0  # of the draws that scheduled sampling feeds back to the decoder

    def indexed_depth(self, logit_depth: int) -> int:
        """Depth of the frames that class indices stand for, from the number of logits."""
        return logit_depth

    def depths(self, depth: int) -> tuple[int, ...]:
        """Depths of the parts of a frame [D].

        Raises:
            ValueError: frames of this kind never have this depth.
        """
        return (depth,)

    def logit_depth(self, depth: int, hidden: int) -> int:
        """Number of logits that a core decoder writes for a frame, or a part of it, of this depth."""
        return depth

    def make_weights(self, depth: int, hidden: int) -> nn.Module | None:
        """Parameters beside the decoder's, newly initialised; None for a kind without any."""
        return None

    @abstractmethod
    def nats(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        """Negative log-likelihood of each frame: logits [N, logit_depth] and targets [N, D] -> nats [N].

        If `index_count` is not None, targets may also be class indices, int64 [N, P].
        """

    @abstractmethod
    def correct(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        """Whether the most likely frame is the target, 0 or 1 per part, or a share in between: [N, P]."""

    def draws_per_frame(self, depth: int) -> int:
        """How many uniform random numbers `draw` needs for a frame of this depth."""
        return depth

    @abstractmethod
    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: nn.Module | None = None) -> Tensor:
        """Draws a frame in compact form, without waiting for the device.

        Args:
            logits: [N, logit_depth].
            temperature: divides the logits; 0 takes the most likely class or bit.
            uniforms: [N, draws_per_frame], in [0, 1).
        """

    def compact(self, frames: Tensor) -> Tensor:
        """Frames [N, D] in the form that a decoder reads them back one at a time: here unchanged."""
        return frames

    def expand(self, compact: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
        """Frames [N, D] from their compact form."""
        return compact.to(dtype)


class Softmaxes(Output):
    """One class per part, each by a softmax of its own. The compact form is `class_indices`."""

    one_hot = True

    def __init__(self, parts: tuple[str, ...] = ("all",), depths: tuple[int, ...] = ()):
        """Args: depths: classes of each part; a frame is a single part when empty."""
        self.parts, self.part_depths, self.index_count = parts, depths, len(parts)

    def depths(self, depth: int) -> tuple[int, ...]:
        depths = self.part_depths or (depth,)
        if sum(depths) != depth:
            raise ValueError(f"a frame of {', '.join(self.parts)} must have depth {sum(depths)}, got {depth}")
        return depths

    def nats(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        depths = self.depths(logits.shape[-1])
        if not targets.is_floating_point():
            return class_nats(logits.flatten(0, -2), targets.flatten(0, -2), depths).view(targets.shape[:-1])
        parts = zip(logits.split(depths, -1), targets.split(depths, -1), strict=True)
        return sum(-(y * F.log_softmax(x, -1)).sum(-1) for x, y in parts)

    def correct(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        depths = self.depths(logits.shape[-1])
        if targets.is_floating_point():
            targets = torch.stack([part.argmax(-1) for part in targets.split(depths, -1)], -1)
            targets = targets + targets.new_tensor(starts(depths))
        # a part without class counts as its first class, as the arg-max of an all-zero dense target does
        targets = torch.where(targets == logits.shape[-1], targets.new_tensor(starts(depths)), targets)
        return (likely_classes(logits.flatten(0, -2), depths).view(targets.shape) == targets).float()

    def draws_per_frame(self, depth: int) -> int:
        return len(self.depths(depth))

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: nn.Module | None = None) -> Tensor:
        return draw_classes(logits, self.depths(logits.shape[-1]), temperature, uniforms)

    def compact(self, frames: Tensor) -> Tensor:
        return class_indices(frames, self.depths(frames.shape[-1]))

    def expand(self, compact: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
        return one_hot_frames(compact, depth, dtype)


class NadeWeights(nn.Module):
    """Weights of a NADE, whose biases the decoder writes at every step (magenta/common/nade.py): enc, dec = weights."""

    def __init__(self, depth: int, hidden: int):
        super().__init__()
        std = 1 / math.sqrt(depth)
        for name in ("enc", "dec"):  # from each bit to the hidden units, and back
            weight = nn.init.trunc_normal_(torch.empty(depth, hidden), std=std, a=-2 * std, b=2 * std)
            self.register_parameter(name, nn.Parameter(weight))

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.enc, self.dec))


class Nade(Output):
    """Bits, each conditioned on the bits before it in the frame. Logits: biases of the hidden units | of the bits."""

    has_hidden_units = True
    scheduled_temperature = 0.0  # the reference draws no bits here

    def logit_depth(self, depth: int, hidden: int) -> int:
        return hidden + depth

    def make_weights(self, depth: int, hidden: int) -> NadeWeights:
        return NadeWeights(depth, hidden)

    def nats(self, logits: Tensor, targets: Tensor, weights: NadeWeights | None = None) -> Tensor:
        return bit_nats(nade_logits(logits, targets, weights).sigmoid(), targets, NADE_EPSILON).sum(-1)

    def correct(self, logits: Tensor, targets: Tensor, weights: NadeWeights | None = None) -> Tensor:
        bits = nade_logits(logits, targets, weights).sigmoid() >= 0.5
        return (bits == targets.bool()).all(-1, keepdim=True).float()

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: NadeWeights | None = None) -> Tensor:
        enc, dec = weights
        hidden, biases = logits.float().split((enc.shape[1], enc.shape[0]), -1)
        bits = []
        for k in range(len(enc)):
            coupling = (hidden.sigmoid() * dec[k]).sum(-1)  # no matrix product: autocast would lower its precision
            bits.append(draw_bits(biases[:, k] + coupling, temperature, uniforms[:, k]))
            hidden = torch.addcmul(hidden, bits[-1][:, None], enc[k])
        return torch.stack(bits, -1)


def nade_logits(logits: Tensor, bits: Tensor, weights: NadeWeights | tuple[Tensor, Tensor] | None) -> Tensor:
    """Logit of each bit of a frame given the bits before it (Larochelle & Murray 2011; magenta/common/nade.py).

    Args:
        logits: [N, H + D], biases of the hidden units | of the bits.
        bits: [N, D].
        weights: from each bit to the hidden units and back, [D, H] each.

    Returns:
        [N, D].
    """
    if weights is None:
        raise ValueError("output 'nade' needs output_weights, as MusicVAE.output_weights has them")
    enc, dec = weights
    hidden, biases = logits.split((enc.shape[1], enc.shape[0]), -1)
    couplings = []
    for k in range(len(enc)):  # bit by bit: a single call for all of them would need D times the memory
        couplings.append(hidden.sigmoid() @ dec[k])
        hidden = torch.addcmul(hidden, bits[..., k, None], enc[k])
    return biases + torch.stack(couplings, -1)


class Lists(Output):
    """A piano's frames: lists of VOICES codes from low to high, see `PianoConverter`, or held keys | onsets."""

    index_count = VOICES

    def indexed_depth(self, logit_depth: int) -> int:
        return PIANO_DEPTH

    def depths(self, depth: int) -> tuple[int, ...]:
        if depth != PIANO_DEPTH:
            raise ValueError(f"a frame of a piano's keys must have depth {PIANO_DEPTH}, got {depth}")
        return (depth,)

    def compact(self, frames: Tensor) -> Tensor:
        """Lists [N, VOICES] of the outer notes of frames [N, D], as in `code_lists`."""
        return code_lists(frames > 0.5, VOICES)

    def expand(self, compact: Tensor, depth: int, dtype: torch.dtype) -> Tensor:
        return one_hot_frames(compact, depth, dtype)

    def _codes(self, targets: Tensor) -> Tensor:
        """Lists of frames in either form."""
        return self.compact(targets) if targets.is_floating_point() else targets


class Keys(Lists):
    """A bit per held key and per onset, each independent of the others: the baseline of `Notes`."""

    def nats(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits.float(), self._bits(targets), reduction="none").sum(-1)

    def correct(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        return (self.compact((logits > 0).float()) == self._codes(targets)).all(-1, keepdim=True).float()

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: nn.Module | None = None) -> Tensor:
        return self.compact(draw_bits(logits.float(), temperature, uniforms))

    def _bits(self, targets: Tensor) -> Tensor:
        return targets if targets.is_floating_point() else one_hot_frames(targets, PIANO_DEPTH)


class NotesWeights(nn.Module):
    """Weights of `Notes`: from a code to the hidden units, and from these to the next code."""

    def __init__(self, hidden: int):
        super().__init__()
        self.enc = nn.Parameter(torch.randn(PIANO_DEPTH, hidden) / math.sqrt(PIANO_DEPTH))
        self.dec = nn.Linear(hidden, PIANO_DEPTH + 1)

    def rows(self) -> Tensor:
        """What each code adds to the hidden units, float32; NO_NOTE adds nothing."""
        return F.pad(self.enc.float(), (0, 0, 0, 1))

    def scores(self, units: Tensor) -> Tensor:
        """Logits [M, codes] of the next code, float32, without the decoder's bias: from hidden units [M, H]."""
        return self.dec(units.to(self.dec.weight.dtype)).float()


class Notes(Lists):
    """The codes of a list one by one, each given those below it, until NO_NOTE: a NADE over lists.

    Where `Keys` draws each key by itself, this draws a chord note by note, as PianoTree VAE does (Wang et al. 2020).
    PianoTree VAE encodes the lower notes with an RNN; here each adds its row of `enc` to the hidden units, as in a
    NADE. Logits: biases of the hidden units | of the codes.
    """

    has_hidden_units = True

    def logit_depth(self, depth: int, hidden: int) -> int:
        return hidden + depth

    def make_weights(self, depth: int, hidden: int) -> NotesWeights:
        return NotesWeights(hidden)

    def nats(self, logits: Tensor, targets: Tensor, weights: NotesWeights | None = None) -> Tensor:
        frame, scores, codes = self._scores(logits, targets, weights)
        return _summed(F.cross_entropy(scores, codes, reduction="none"), frame, logits.shape[:-1])

    def correct(self, logits: Tensor, targets: Tensor, weights: NotesWeights | None = None) -> Tensor:
        """Share of the codes, NO_NOTE at the end included, that are the most likely ones given those below."""
        frame, scores, codes = self._scores(logits, targets, weights)
        right = (scores.argmax(-1) == codes).float()
        shares = (_summed(values, frame, logits.shape[:-1]) for values in (right, torch.ones_like(right)))
        return torch.div(*shares)[..., None]

    def draws_per_frame(self, depth: int) -> int:
        return VOICES

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: NotesWeights | None = None) -> Tensor:
        hidden, biases = _hidden_and_codes(logits)
        dec = weights.dec
        return draw_lists(hidden, biases + dec.bias.float(), weights.rows(), dec.weight, temperature, uniforms)

    def _scores(self, logits: Tensor, targets: Tensor, weights: NotesWeights) -> tuple[Tensor, Tensor, Tensor]:
        """Of each code of each frame: the frame [M], the logits given the codes below [M, codes], and the code [M]."""
        if weights is None:
            raise ValueError("output 'notes' needs output_weights, as MusicVAE.output_weights has them")
        codes = self._codes(targets).flatten(0, -2)
        frame, place = is_predicted(codes, NO_NOTE).nonzero(as_tuple=True)  # [M] each
        hidden, biases = (part.flatten(0, -2) for part in _hidden_and_codes(logits))
        scores = weights.scores(list_units(hidden, weights.rows(), codes)) + biases[frame]
        below = F.pad(codes, (1, -1), value=-1)
        return frame, above(below[frame, place], scores), codes[frame, place]


def _summed(values: Tensor, frame: Tensor, shape: torch.Size) -> Tensor:
    """Sums of values [M] by frame, in the shape of the frames."""
    return values.new_zeros(shape.numel()).index_add(0, frame, values).view(shape)


def _hidden_and_codes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Biases of the hidden units, and of the codes with NO_NOTE, in float32."""
    hidden, codes = logits.float().split((logits.shape[-1] - PIANO_DEPTH, PIANO_DEPTH), -1)
    return hidden, F.pad(codes, (0, 1))


class Groove(Output):
    """Hits | velocities | offsets of all drums: log loss of the hits, squared error of the rest (GrooveLstmDecoder)."""

    def depths(self, depth: int) -> tuple[int, ...]:
        if depth % 3:
            raise ValueError(f"a groove frame must have a hit, a velocity and an offset per drum, got depth {depth}")
        return (depth,)

    def nats(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        return sum(groove_losses(logits, targets))

    def correct(self, logits: Tensor, targets: Tensor, weights: nn.Module | None = None) -> Tensor:
        """Share of the drums whose hit is right; the reference has no such number."""
        hits = logits.chunk(3, -1)[0].sigmoid() >= 0.5
        return (hits == targets.chunk(3, -1)[0].bool()).float().mean(-1, keepdim=True)

    def draws_per_frame(self, depth: int) -> int:
        return depth // 3

    def draw(self, logits: Tensor, temperature: float, uniforms: Tensor, weights: nn.Module | None = None) -> Tensor:
        """Draws the hits. Velocities and offsets are the decoder's own, whether or not there is a hit."""
        hits, velocities, offsets = logits.float().chunk(3, -1)
        return torch.cat([draw_bits(hits, temperature, uniforms), velocities.sigmoid(), offsets.tanh()], -1)


def groove_losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of hits, velocities and offsets, summed over the drums: [N, D] -> [N] each."""
    hits, velocities, offsets = logits.chunk(3, -1)
    hit_targets, velocity_targets, offset_targets = targets.chunk(3, -1)
    return (
        bit_nats(hits.sigmoid(), hit_targets, GROOVE_EPSILON).sum(-1),
        (velocities.sigmoid() - velocity_targets).square().sum(-1),
        (offsets.tanh() - offset_targets).square().sum(-1),
    )


def bit_nats(probabilities: Tensor, bits: Tensor, epsilon: float) -> Tensor:
    """Negative log-likelihood of each bit; epsilon keeps it finite where a probability is 0 or 1."""
    return -(bits * (probabilities + epsilon).log() + (1 - bits) * (1 - probabilities + epsilon).log())


def draw_bits(logits: Tensor, temperature: float, uniforms: Tensor) -> Tensor:
    """Bits drawn from sigmoids with uniform numbers of the same shape; temperature 0 takes the more likely value."""
    if temperature == 0:
        return (logits.sigmoid() >= 0.5).to(logits.dtype)
    return (uniforms < (logits / temperature).sigmoid()).to(logits.dtype)


OUTPUTS: dict[str, Output] = {
    "categorical": Softmaxes(),
    "trio": Softmaxes(("melody", "bass", "drums"), TRIO_DEPTHS),
    "nade": Nade(),
    "groove": Groove(),
    "notes": Notes(),
    "keys": Keys(),
}


def output_kind(name: str) -> Output:
    """The kind of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in OUTPUTS:
        raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {name!r}")
    return OUTPUTS[name]
