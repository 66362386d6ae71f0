"""Batches: the order of the windows, transposition, mixing, other keys and the curriculum."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.rng import seeded
from helpers import made_songs, shrink, untrained
from midi_utils import Windows
from music.labels import FIRST_PITCH
from training.batches import batch_indices, batch_tensors, labels_on, rearranged, step_batch
from training.updates import compute_loss


def test_every_epoch_visits_every_window_once():
    visited = torch.cat([batch_indices(step, 4, 10, seed=3) for step in range(5)])
    assert visited[:10].sort().values.tolist() == visited[10:].sort().values.tolist() == list(range(10))
    assert visited[:10].tolist() != visited[10:].tolist()
    assert len(batch_indices(0, 25, 10, seed=0)) == 25  # a batch may be larger than the set


def test_transposition_moves_whole_windows(tiny):
    """Each window is transposed by its own draw, which differs between epochs."""
    config, songs = tiny
    config = replace(config, training=replace(config.training, batch_size=24, transpose_range=(-5, 6)))
    data = labels_on("cpu", songs)
    moves = []
    for step in (0, 1):
        batch = step_batch(data, config, step, 0, seeded("cpu", "step", step))
        labels = (
            batch.targets.argmax(-1)[:, ::2]
            - torch.as_tensor(songs.labels.astype(int))[batch_indices(step, 24, 24, 0), ::2]
        )
        assert (labels == labels[:, :1]).all()
        moves.append(labels[:, 0].tolist())
    assert len(set(moves[0])) > 4
    assert min(moves[0]) >= -5
    assert max(moves[0]) <= 6
    assert moves[0] != moves[1]


def test_mixing_takes_drums_from_the_window_before():
    """In the given share of windows, some drums come from another window, over all bars."""
    config = shrink("cat-drums_2bar_tiny", bars=2)
    config = replace(config, training=replace(config.training, batch_size=400, mixed=0.5))
    labels = torch.as_tensor(np.random.default_rng(1).integers(0, 512, (400, config.model.steps)))
    data = Windows(labels, None)
    batch = step_batch(data, config, 0, 0, seeded("cpu", "step", 0))
    order = batch_indices(0, 400, 400, 0)
    hits = [labels[k][..., None] >> torch.arange(9) & 1 for k in (order, order.roll(1))]
    own, other = ((batch.inputs[..., :9] == h).unflatten(1, (2, 16)).all(2) for h in hits)  # [window, bar, drum]
    assert (own ^ other).all()
    chosen = other.flatten(1).any(1)
    assert 0.4 < chosen.float().mean() < 0.6
    assert 0.45 < other[chosen].float().mean() < 0.55
    assert torch.equal(other[chosen, 0], other[chosen, 1])


@pytest.mark.parametrize("voices", [(), (3,)])
def test_a_rearranged_window_has_the_bars_of_another_and_the_form_of_its_own(voices):
    letters = torch.arange(1, 7).reshape(6, *[1] * (1 + len(voices))).expand(6, 4, *voices)  # bars of four steps
    bars = dict(zip("ABCDEF", letters, strict=True))

    def song(form):
        return torch.cat([bars[letter] for letter in form])[None]

    changed = rearranged(song("AABA"), song("CDEF"), 4, 1.0, seeded("cpu", "step", 0))
    assert torch.equal(changed, song("CCEC"))


def test_the_given_share_of_windows_is_rearranged():
    config = shrink("hier-mel_16bar_tiny", bars=2, transpose_range=(0, 0), rearranged=0.5)
    config = replace(config, training=replace(config.training, batch_size=400))
    labels = torch.arange(400)[:, None].expand(400, config.model.steps) % 90  # one label throughout
    batch = step_batch(Windows(labels, None), config, 0, 0, seeded("cpu", "step", 0))
    order = batch_indices(0, 400, 400, 0)
    found = batch.inputs.argmax(-1)
    from_others = (found == labels[order.roll(-1)]).all(1)
    assert ((found == labels[order]).all(1) | from_others).all()
    assert 0.4 < from_others.float().mean() < 0.6


def test_rekeyed_windows_are_decoded_in_another_key_with_their_chords():
    config = shrink("cat-mel_2bar_chords_tiny", transpose_range=(0, 0), rekeyed=0.5)
    config = replace(config, training=replace(config.training, batch_size=200))
    songs = made_songs(config.converter, 200)
    batch, order = (
        step_batch(labels_on("cpu", songs), config, 0, 0, seeded("cpu", "step", 0)),
        batch_indices(0, 200, 200, 0),
    )
    plain = config.converter.to_tensors(songs.windows(order))
    assert torch.equal(batch.inputs, plain.inputs)
    assert torch.equal(batch.controls, plain.controls)
    labels, own = batch.targets.argmax(-1), plain.targets.argmax(-1)
    moves = torch.where(own >= FIRST_PITCH, labels - own, 0)
    moves = moves.amax(1) + moves.amin(1)  # of each window: all of its notes move alike
    assert torch.equal(labels, torch.where(own >= FIRST_PITCH, own + moves[:, None], own))
    chords = [controls.argmax(-1) for controls in (batch.target_controls, plain.controls)]
    roots = (chords[0] - chords[1]) % 12
    assert torch.equal(torch.where(chords[1] > 0, roots, 0), torch.where(chords[1] > 0, moves[:, None] % 12, 0))
    assert 0.4 < (moves != 0).float().mean() < 0.6
    assert set(moves.tolist()) == set(range(-5, 7))


def test_the_chords_of_the_targets_are_the_decoders_alone():
    trained = untrained("cat-mel_2bar_chords_tiny")
    batch = batch_tensors(labels_on("cpu", made_songs(trained.converter, 8)), trained.converter)
    plain, moved = (
        compute_loss(trained.model, one, beta=1.0, free_bits=0.0, source=seeded("cpu", "z"))[0]
        for one in (batch, batch._replace(target_controls=batch.controls.roll(1, -1)))
    )
    assert plain.kl_nats == moved.kl_nats
    assert plain.reconstruction != moved.reconstruction


def test_a_curriculum_cuts_the_windows_of_a_batch_into_bars():
    """The windows and their transpositions are those of a run without a curriculum."""
    config = shrink("hier-mel_16bar_tiny", bars=4, transpose_range=(-2, 3), curriculum=4)
    data = labels_on("cpu", made_songs(config.converter))
    plain = replace(config, training=replace(config.training, curriculum=0))
    for step, pieces in enumerate((4, 4, 2, 2, 1)):
        batch, whole = (step_batch(data, c, step, 0, seeded("cpu", "step", step)) for c in (config, plain))
        assert batch.inputs.shape == (8 * pieces, 64 // pieces, 90)
        assert torch.equal(batch.inputs.reshape(whole.inputs.shape), whole.inputs)
        assert torch.equal(batch.targets.reshape(whole.targets.shape), whole.targets)
