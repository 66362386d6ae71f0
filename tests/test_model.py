"""Behaviour of the model: causality, lengths, segments, sampling, errors. tests/test_parity.py compares its numbers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from configs import CONFIGS
from engine.classes import class_indices, one_hot_frames
from engine.softmax import draw_classes
from loss import accuracy, reconstruction_loss, step_mask
from model import ModelConfig, MusicVAE, dropped, parameter_count
from outputs import draw_bits

FLAT = ModelConfig(8, 10, 12, 4, enc_rnn_size=(6,), dec_rnn_size=(7, 5))
HIERARCHICAL = replace(FLAT, segments=4)
TRIO = replace(HIERARCHICAL, input_depth=692, output_depth=692, output="trio")
FLAT_TRIO = replace(TRIO, segments=1)
CONTROLLED = replace(HIERARCHICAL, control_depth=3)
LEVELS = replace(CONTROLLED, encoder_segments=4)
TRACKS = replace(HIERARCHICAL, encoder_segments=4, end_token=2)
DENSE = replace(LEVELS, upper="dense")
NADE = replace(FLAT, output="nade", nade_num_hidden=6)
GROOVE = replace(FLAT, output="groove", control_depth=3)
FLAT_LEVELS = replace(FLAT, encoder_segments=4)
CORES = replace(FLAT_TRIO, core_per_part=True)
EVERY = (FLAT, HIERARCHICAL, TRIO, FLAT_TRIO, CORES, CONTROLLED, LEVELS, FLAT_LEVELS, DENSE, TRACKS, NADE, GROOVE)
ALL = pytest.mark.parametrize("config", EVERY)


def build(config):
    """A model with weights large enough that every input changes its outputs."""
    torch.manual_seed(0)
    model = MusicVAE(config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def frames(config, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, config.steps)
    if config.output in ("nade", "groove"):
        bits = torch.randint(2, (*shape, config.output_depth), generator=generator).float()
        return bits if config.output == "nade" else torch.cat([bits[..., :4], bits[..., 4:] * 0.7], -1)
    return torch.cat(
        [F.one_hot(torch.randint(d, shape, generator=generator), d).float() for d in config.output_depths], -1
    )


def controls_for(config, batch=3):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, config.steps, config.control_depth, generator=generator) if config.control_depth else None


def output_of(model):
    return {"output": model.config.output, "output_weights": model.output_weights}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_preset_fits_its_converter(name):
    """Depths and steps agree, and a model of reduced width encodes, decodes and samples."""
    config, converter = CONFIGS[name].model, CONFIGS[name].converter
    assert (config.input_depth, config.output_depth) == (converter.input_depth, converter.output_depth)
    assert (config.steps, config.control_depth) == (converter.steps, converter.control_depth)
    small = replace(config, z_size=3, enc_rnn_size=(4,) * len(config.enc_rnn_size), dec_rnn_size=(5, 4))
    model, controls = MusicVAE(small), controls_for(small, 2)
    posterior = model.encode(torch.zeros(2, config.steps, config.input_depth), None, controls)
    assert posterior.loc.shape == posterior.scale.shape == (2, 3)
    logits = model.decode(posterior.mean, frames(small, 2), None, controls)
    assert logits.shape == (2, config.steps, config.nade_num_hidden + config.output_depth)
    controls = None if controls is None else controls[:, :17]
    assert model.sample(2, steps=17, controls=controls).shape == (2, 17, config.output_depth)


@ALL
def test_a_target_changes_later_logits_only(config):
    """Changing target t leaves every logit up to and including t as it was, and changes the next one."""
    model, targets, controls = build(config), frames(config), controls_for(config)
    z = torch.randn(3, config.z_size)
    before = model.decode(z, targets, controls=controls)
    for t in range(config.steps - 1):
        changed = targets.clone()
        changed[:, t] = frames(config, seed=9)[:, t].roll(1, -1)
        after = model.decode(z, changed, controls=controls)
        assert torch.equal(before[:, : t + 1], after[:, : t + 1])
        assert not torch.equal(before[:, t + 1], after[:, t + 1])


@ALL
def test_every_trained_parameter_gets_a_gradient(config):
    """All but the weight on the input of a conductor of LSTMs, which is always zero."""
    model, targets, controls = build(config), frames(config), controls_for(config)
    posterior = model.encode(torch.rand(3, config.steps, config.input_depth), None, controls)
    logits = model.decode(posterior.mean + posterior.stddev, targets, controls=controls)
    reconstruction_loss(logits, targets, **output_of(model)).sum().backward()
    idle = {n for n, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0}
    has_idle = config.segments > 1 and config.upper == "lstm"
    assert idle == ({"conductor.layers.0.weight_ih_l0"} if has_idle else set())


def test_the_last_bit_of_a_nade_does_not_change_the_bits_before_it():
    """Its weights to the hidden units are never read: their gradient is zero."""
    model, targets = build(NADE), frames(NADE)
    reconstruction_loss(model.decode(torch.randn(3, 4), targets), targets, **output_of(model)).sum().backward()
    assert not model.nade.enc.grad[-1].any()
    assert model.nade.enc.grad[:-1].all()


@ALL
def test_decoding_step_by_step_equals_decoding_all_at_once(config):
    """Sampling and training compute the same logits: a greedy sample is the arg-max of its own logits."""
    model, controls = build(config), controls_for(config)
    z = torch.randn(3, config.z_size)
    sampled = model.sample(z=z, controls=controls, temperature=0)
    logits = model.decode(z, sampled, controls=controls)
    lengths = sampled.any(-1).unflatten(1, (config.segments, -1)).sum(-1)  # (B, S), up to an end token
    assert (accuracy(logits, sampled, lengths, **output_of(model)) == 1).all()
    if config.output == "groove":
        _, velocities, offsets = logits.chunk(3, -1)
        torch.testing.assert_close(sampled[..., 4:], torch.cat([velocities.sigmoid(), offsets.tanh()], -1))


@ALL
def test_the_encoder_ignores_inputs_past_the_length(config):
    model, controls = build(config), controls_for(config)
    inputs = torch.rand(3, config.steps, config.input_depth)
    lengths = torch.tensor([config.steps, 5, 1])
    noisy = inputs.clone()
    noisy[1, 5:], noisy[2, 1:] = 7, 7
    torch.testing.assert_close(
        model.encode(inputs, lengths, controls).loc, model.encode(noisy, lengths, controls).loc, rtol=0, atol=0
    )
    assert not torch.equal(model.encode(inputs, None, controls).loc[1], model.encode(inputs, lengths, controls).loc[1])


def test_a_flat_decoder_may_have_a_hierarchical_encoder():
    """Twins that differ in the decoder alone: equal encoder weights give equal posteriors."""
    flat, hierarchical = build(FLAT_LEVELS), build(replace(FLAT_LEVELS, segments=4))
    flat.encoder.load_state_dict(hierarchical.encoder.state_dict())
    inputs, lengths = torch.rand(2, 8, 10), torch.tensor([8, 5])
    torch.testing.assert_close(flat.encode(inputs, lengths).loc, hierarchical.encode(inputs, lengths).loc)
    assert flat.conductor is None
    with pytest.raises(ValueError, match="8 steps do not divide into 3 segments"):
        replace(HIERARCHICAL, encoder_segments=3)


@pytest.mark.parametrize("segments", [1, 4])
@pytest.mark.parametrize("parts", [2, 6])
def test_a_model_takes_other_numbers_of_segments(segments, parts):
    """It gives what a model of that length with the same weights gives, with a flat or a hierarchical decoder."""
    model = build(replace(FLAT_LEVELS, segments=segments))
    own = replace(model.config, steps=2 * parts, encoder_segments=parts, segments=parts if segments > 1 else 1)
    other = build(own)
    other.load_state_dict(model.state_dict())
    inputs, targets, z = torch.rand(3, 2 * parts, 10), frames(own), torch.randn(3, own.z_size)
    lengths = torch.tensor([2 * parts, 3, 1])
    assert torch.equal(model.encode(inputs, lengths).loc, other.encode(inputs, lengths).loc)
    assert torch.equal(model.decode(z, targets, lengths), other.decode(z, targets, lengths))
    assert model.encode(inputs[:0]).loc.shape == (0, own.z_size)


def test_dense_layers_read_and_write_each_segment_with_weights_of_its_own():
    """A shorter sequence is one whose last segments are empty; a longer one is refused."""
    model = build(replace(DENSE, control_depth=0))
    inputs, targets, z = torch.rand(3, 8, 10), frames(model.config), torch.randn(3, 4)
    whole, half = (model.encode(inputs, torch.tensor([steps] * 3)).loc for steps in (8, 4))
    torch.testing.assert_close(model.encode(inputs[:, :4]).loc, half)
    assert not torch.isclose(half, whole).any()
    before = model.decode(z, targets)
    torch.testing.assert_close(model.decode(z, targets[:, :4]), before[:, :4])
    model.conductor.dense.weight.data[5:10] += 1  # of the second segment
    changed = (model.decode(z, targets) != before).any(0).any(1)
    assert changed.tolist() == [False, False, True, True, False, False, False, False]
    assert model.sample(z=z, steps=6, temperature=0).shape == (3, 6, 12)
    with pytest.raises(ValueError, match="steps must be at most 8 for dense upper layers, got 10"):
        model.sample(z=z, steps=10)
    with pytest.raises(ValueError, match="or lower multiples of 2 steps, got .3, 10, 10."):
        model.encode(torch.rand(3, 10, 10))


def test_segments_are_encoded_separately_and_an_empty_one_as_zero():
    """One batched call over all segments equals a call per segment; lengths [B] and [B, S] mean the same."""
    model = build(TRACKS)
    inputs = torch.rand(2, 8, 10)
    lengths = torch.tensor([[2, 1, 0, 2], [0, 2, 2, 1]])
    embeddings = torch.zeros(2, 4, 12)
    for b in range(2):
        for s in range(4):
            if lengths[b, s]:
                frame = inputs[b, 2 * s : 2 * s + lengths[b, s]]
                embeddings[b, s] = model.encoder.layers[0](frame[None])[1]
    wanted = model.encoder.mu(model.encoder.upper_layers[0](embeddings)[1])
    torch.testing.assert_close(model.encode(inputs, lengths).loc, wanted)
    torch.testing.assert_close(model.encode(inputs).loc, model.encode(inputs, torch.tensor([8, 8])).loc)
    cut = model.encode(inputs, torch.tensor([8, 5])).loc
    torch.testing.assert_close(cut, model.encode(inputs, torch.tensor([[2, 2, 2, 2], [2, 2, 1, 0]])).loc)


def test_an_empty_sequence_is_encoded_as_zero():
    model = build(FLAT)
    posterior = model.encode(torch.rand(2, 8, 10), torch.tensor([0, 8]))
    assert torch.equal(posterior.loc[0], model.encoder.mu.bias)


def test_logits_of_tracks_are_zero_past_their_lengths():
    lengths = torch.tensor([[2, 1, 0, 2], [1, 2, 2, 1]])
    logits = build(TRACKS).decode(torch.randn(2, 4), frames(TRACKS, 2), lengths)
    assert torch.equal(logits.any(-1), step_mask(lengths, 8))
    assert step_mask(lengths, 8)[0].tolist() == [True, True, True, False, False, False, True, True]


def test_a_track_ends_at_its_end_token():
    """Frames are zero up to the next track, which starts from a zero frame, whatever else is in the batch."""
    config = replace(TRACKS, steps=24)
    model, z = build(config), torch.randn(40, 4)
    model.cores[0].output.bias.data[config.end_token] += 0.7
    sampled = model.sample(z=z, temperature=0)
    tracks = sampled.unflatten(1, (4, 6))  # (B, S, L, D)
    ends = tracks[..., config.end_token]
    after = ends.cumsum(2) - ends > 0
    assert ends.sum(2).max() == 1
    assert 20 < after.any(2).sum() < 160  # some tracks end early, some are full
    assert not tracks[after].any()
    lengths = (~after).sum(2)
    assert accuracy(model.decode(z, sampled, lengths), sampled, lengths, output="categorical") == 1
    assert (tracks[~after].sum(-1) == 1).all()
    for k in range(10):
        assert torch.equal(model.sample(z=z[k : k + 1], temperature=0)[0], tracks[k].flatten(0, 1))


def test_logits_past_the_length_are_zero():
    logits = build(FLAT).decode(torch.randn(2, 4), frames(FLAT, 2), torch.tensor([8, 3]))
    assert (logits[1, 3:] == 0).all()
    assert (logits[1, :3] != 0).all()


def test_z_reaches_a_hierarchical_core_only_through_the_conductor():
    """With the conductor's initial state cut off from z, another z gives the same logits."""
    model = build(HIERARCHICAL)
    z = torch.randn(1, 4)
    before = model.decode(z, frames(HIERARCHICAL, 1))
    for parameter in model.conductor.initial_state.parameters():
        parameter.data.zero_()
    after = model.decode(z, frames(HIERARCHICAL, 1))
    assert not torch.equal(before, after)
    assert torch.equal(after, model.decode(z + 1, frames(HIERARCHICAL, 1)))


DROPPED = replace(HIERARCHICAL, encoder_segments=4, dropout_keep_prob=0.5)


def test_dropout_keeps_a_share_of_the_inputs_and_their_mean():
    inputs = dropped(torch.ones(100, 1000), 0.3, torch.Generator().manual_seed(0))
    assert inputs.unique().tolist() == pytest.approx([0, 1 / 0.3])
    assert inputs.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("upper", "name"),
    [
        ("lstm", "encoder.layers.1"),
        ("lstm", "encoder.upper_layers.1"),
        ("lstm", "conductor.layers.1"),
        ("lstm", "cores.0.layers.1"),
        ("dense", "encoder.mu"),
        ("dense", "conductor.dense"),
    ],
)
def test_dropout_reaches_every_layer_in_training_mode_only(upper, name):
    """Some of the layer's inputs are zero in training. The generator is the only source of random numbers."""
    model = build(replace(DROPPED, enc_rnn_size=(6, 6), upper=upper))
    inputs, targets, seen = torch.rand(3, 8, 10), frames(DROPPED), []
    layer = model.get_submodule(name)
    layer.register_forward_hook(lambda _, given, __: seen.append(getattr(given[0], "data", given[0])))

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        z = model.encode(inputs, torch.tensor([8, 7, 8]), None, generator).loc
        logits = model.decode(z, targets, generator=generator)
        return logits, seen.pop()

    state = torch.get_rng_state()
    (first, dry), (again, _), (other, _) = run(0), run(0), run(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.2 < (dry == 0).float().mean() < 0.8
    model.eval()
    (first, wet), (other, _) = run(0), run(1)
    assert torch.equal(first, other)
    assert (wet != 0).all()
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_are_drawn_without_dropout():
    model, z = build(DROPPED), torch.randn(3, 4)
    assert torch.equal(model.sample(z=z, temperature=0), model.eval().sample(z=z, temperature=0))


def test_scheduled_sampling_follows_its_generator_and_keeps_the_first_input():
    model, targets, z = build(HIERARCHICAL), frames(HIERARCHICAL), torch.randn(3, 4)
    half = [model.decode(z, targets, None, None, 0.5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(half[0], half[1])
    assert not torch.equal(half[0], half[2])
    teacher = model.decode(z, targets)
    assert torch.equal(half[0][:, 0], teacher[:, 0])  # the first input is never a draw


@pytest.mark.parametrize("probability", [0.0, 0.5])
@pytest.mark.parametrize("lengths", [None, [8, 3, 0]])
@pytest.mark.parametrize("config", [config for config in EVERY if config.output_kind.one_hot])
def test_class_indices_are_read_as_one_hot_frames(config, lengths, probability):
    config = replace(config, input_depth=config.output_depth)
    model, dense, controls = build(config), frames(config), controls_for(config)
    dense[0, 2] = 0  # a frame without a class
    indices = class_indices(dense, config.output_depths)
    lengths, z = lengths and torch.tensor(lengths), torch.randn(3, config.z_size)
    torch.testing.assert_close(model.encode(indices, lengths, controls).loc, model.encode(dense, lengths, controls).loc)
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    of_indices, of_dense = (
        model.decode(z, targets, lengths, controls, probability, next(generators)) for targets in (indices, dense)
    )
    torch.testing.assert_close(of_indices, of_dense)


@pytest.mark.parametrize("index", [-1, 13])
def test_class_indices_beyond_the_depth_are_refused(index):
    indices = torch.full((3, 8, 1), index)
    with pytest.raises(ValueError, match=f"targets must be class indices from 0 to 12, got {index} to {index}"):
        build(FLAT).decode(torch.zeros(3, 4), indices)


def test_one_seed_gives_one_sample():
    model = build(TRIO)
    one, same, other = (model.sample(4, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_samples_are_one_hot_in_each_part():
    sample = build(TRIO).sample(5, temperature=2.0)
    assert all(
        (part.sum(-1) == 1).all() and (part.max(-1).values == 1).all() for part in sample.split(TRIO.output_depths, -1)
    )


def test_bits_are_drawn_with_their_probability():
    logits = torch.tensor([-1.0, 0.0, 2.0]).expand(40_000, 3)
    drawn = draw_bits(logits, 2.0, torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(drawn.mean(0), (logits[0] / 2).sigmoid(), atol=0.01, rtol=0)
    assert draw_bits(logits[0], 0, torch.rand(3)).tolist() == [0, 1, 1]
    assert draw_bits(logits[0], 1e-30, torch.rand(3)).tolist()[::2] == [0, 1]


@pytest.fixture(params=[True, False], ids=["kernel", "plain"])
def either_way(request, monkeypatch):
    """Draws with the compiled kernel, where it is available, and without it."""
    if not request.param:
        monkeypatch.setattr("engine.kernels.compiled_kernels", lambda: None)


def test_classes_are_drawn_with_their_probability(either_way):
    logits, depths = torch.tensor([0.0, 1.0, -1.0, 0.5, 0.5]).expand(40_000, 5), (3, 2)
    drawn = draw_classes(logits, depths, 0.5, torch.rand(40_000, 2, generator=torch.Generator().manual_seed(0)))
    frames = one_hot_frames(drawn, 5, torch.float32)
    wanted = torch.cat([(2 * part).softmax(-1) for part in logits[0].split(depths)])
    torch.testing.assert_close(frames.mean(0), wanted, atol=0.01, rtol=0)
    assert draw_classes(logits[:1], depths, 0, torch.rand(1, 2)).tolist() == [[1, 3]]
    assert draw_classes(logits[:1], depths, 1e-30, torch.rand(1, 2))[0, 0] == 1


def test_a_class_of_probability_zero_is_never_drawn(either_way):
    """Not by the smallest uniform number nor by the largest, and no number falls past the last class."""
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    ends = torch.tensor([[0.0], [1 - 2**-24]])
    assert draw_classes(logits.expand(2, -1), (5,), 1.0, ends)[0].tolist() == [1]
    assert draw_classes(torch.zeros(2, 5), (5,), 1.0, ends).tolist() == [[0], [4]]


def test_a_nade_draws_each_frame_with_the_probability_that_its_loss_gives():
    """Checked by the share of each pattern of bits among many draws."""
    config = replace(NADE, steps=1, output_depth=3)
    model, z = build(config), torch.randn(1, 4).expand(30_000, -1)
    drawn = model.sample(z=z, generator=torch.Generator().manual_seed(0))
    patterns, counts = drawn[:, 0].unique(dim=0, return_counts=True)
    targets = patterns[:, None]
    nats = reconstruction_loss(model.decode(z[: len(targets)], targets), targets, **output_of(model))
    torch.testing.assert_close(counts / 30_000, (-nats).exp(), atol=0.01, rtol=0)
    assert len(patterns) > 3


def test_a_sampled_groove_has_hits_velocities_and_offsets_in_their_ranges():
    sample = build(GROOVE).sample(3, controls=controls_for(GROOVE), temperature=2.0)
    hits, velocities, offsets = sample.chunk(3, -1)
    assert set(hits.unique().tolist()) == {0, 1}
    assert ((velocities > 0) & (velocities < 1)).all()
    assert (offsets.abs() < 1).all()
    assert (offsets < 0).any()


def test_a_higher_temperature_gives_more_different_samples():
    """A model with nearly equal logits: one sample at temperature 0, and more at higher temperatures."""
    model, z = build(FLAT), torch.zeros(64, 4)
    kinds = [len(model.sample(z=z, temperature=t).argmax(-1).unique(dim=0)) for t in (0, 0.05, 1.0)]
    assert kinds[0] == 1
    assert kinds[0] < kinds[1] < kinds[2]


def test_a_conductor_writes_segments_past_the_trained_length():
    model, z = build(HIERARCHICAL), torch.randn(2, 4)
    longer, own = model.sample(z=z, temperature=0, steps=13), model.sample(z=z, temperature=0)
    assert longer.shape[1] == 13
    assert torch.equal(longer[:, :8], own)
    assert torch.equal(model.sample(z=z, temperature=0, steps=3), own[:, :3])


def test_forget_gates_start_open_and_second_biases_are_not_trained():
    model = MusicVAE(FLAT)
    layer = model.cores[0].layers[0]
    assert layer.bias_ih_l0.view(4, -1)[1].eq(1).all()
    assert layer.bias_ih_l0.sum() == layer.hidden_size
    assert not layer.bias_hh_l0.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode(torch.zeros(2, 7, 10)), r"inputs must be \[batch, 8, 10\], got \[2, 7, 10\]"),
        (lambda m: m.encode(torch.zeros(8, 10)), r"inputs must be"),
        (lambda m: m.encode(torch.zeros(2, 8, 10), None, torch.zeros(2, 8, 3)), r"controls must be \[2, 8, 0\]"),
        (lambda m: m.decode(torch.zeros(2, 4), torch.zeros(2, 9, 12)), r"targets must be \[batch, 8, 12\]"),
        (lambda m: m.decode(torch.zeros(2, 5), torch.zeros(2, 8, 12)), r"z must be \[batch, 4\], got \[2, 5\]"),
        (lambda m: m.encode(torch.zeros(2, 8, 10), torch.ones(3)), r"lengths must be \[2\] for this .*, got \[3\]"),
        (lambda m: m.encode(torch.zeros(2, 8, 10), torch.ones(2, 4)), r"lengths must be \[2\] for this"),
        (lambda m: m.encode(torch.zeros(2, 16, 10)), r"inputs must be \[batch, 8, 10\], got \[2, 16, 10\]"),
        (lambda m: m.encode(torch.zeros(2, 0, 10)), r"inputs must be \[batch, 8, 10\], got \[2, 0, 10\]"),
        (lambda m: m.sample(1, temperature=-0.1), r"temperature must be 0 .* got -0.1"),
        (lambda m: m.sample(1, temperature=float("nan")), r"temperature must be 0"),
        (lambda m: m.sample(0), r"n must be a whole number of at least 1, got 0"),
        (lambda m: m.sample(1, steps=0), r"steps must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_shapes_and_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(build(FLAT))


def test_errors_name_parts_of_segments_and_lengths_of_other_numbers_of_segments():
    model = build(HIERARCHICAL)
    with pytest.raises(ValueError, match=r"\[batch, 8, 12\] or other multiples of 2 steps, got \[2, 3, 12\]"):
        model.decode(torch.zeros(2, 4), torch.zeros(2, 3, 12))
    with pytest.raises(ValueError, match=r"lengths must be \[2\] or \[2, 2\] for this model, got \[2, 4\]"):
        model.decode(torch.zeros(2, 4), torch.zeros(2, 4, 12), torch.ones(2, 4))


def test_missing_controls_are_named():
    with pytest.raises(ValueError, match=r"controls must be \[2, 8, 3\] for this model, got None"):
        build(CONTROLLED).sample(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": 3}, "8 steps do not divide into 3 segments"),
        ({"z_size": 0}, "z_size must be an int of at least 1, got 0"),
        ({"enc_rnn_size": ()}, "enc_rnn_size must be a tuple of ints, each of at least 1, got"),
        ({"output": "trio"}, "a frame of melody, bass, drums must have depth 692, got 12"),
        ({"output": "fugue"}, "output must be one of categorical, trio, nade, groove, notes, keys, got 'fugue'"),
        ({"output": "nade"}, "nade_num_hidden 0 does not fit output 'nade'"),
        ({"nade_num_hidden": 3}, "nade_num_hidden 3 does not fit output 'categorical'"),
        ({"output": "groove", "output_depth": 10}, "a groove frame must have .* per drum, got depth 10"),
        ({"dropout_keep_prob": 0.0}, "dropout_keep_prob must be above 0"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(FLAT, **change)


def test_frozen_parameters_are_counted_and_second_biases_are_not():
    model = MusicVAE(FLAT)
    before = parameter_count(model)
    assert before == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.encoder.requires_grad_(False)
    assert parameter_count(model) == before
