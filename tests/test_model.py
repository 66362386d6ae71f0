"""The model's behaviour beside the reference's numbers: causality, lengths, segments, sampling, errors."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from configs import CONFIGS
from loss import TRIO_DEPTHS
from model import ModelConfig, MusicVAE

FLAT = ModelConfig(8, 10, 12, 4, enc_rnn_size=(6,), dec_rnn_size=(7, 5))
HIERARCHICAL = replace(FLAT, segments=4)
TRIO = replace(HIERARCHICAL, input_depth=692, output_depth=692, output="trio")
FLAT_TRIO = replace(TRIO, segments=1)
CONTROLLED = replace(HIERARCHICAL, control_depth=3)
ALL = pytest.mark.parametrize("config", [FLAT, HIERARCHICAL, TRIO, FLAT_TRIO, CONTROLLED])


def build(config):
    """A model whose weights are large enough that everything matters."""
    torch.manual_seed(0)
    model = MusicVAE(config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def frames(config, batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, config.steps)
    return torch.cat(
        [F.one_hot(torch.randint(d, shape, generator=generator), d).float() for d in config.output_depths], -1
    )


def controls_for(config, batch=3):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, config.steps, config.control_depth, generator=generator) if config.control_depth else None


@pytest.mark.parametrize("name", CONFIGS)
def test_every_preset_fits_its_converter(name):
    """Depths and steps agree; built at a reduced width, data goes all the way through."""
    config, converter = CONFIGS[name].model, CONFIGS[name].converter
    assert (config.input_depth, config.output_depth) == (converter.input_depth, converter.output_depth)
    assert (config.steps, config.control_depth) == (converter.steps, converter.control_depth)
    small = replace(config, z_size=3, enc_rnn_size=(4,) * len(config.enc_rnn_size), dec_rnn_size=(5, 4))
    model = MusicVAE(small)
    posterior = model.encode(torch.zeros(2, config.steps, config.input_depth))
    assert posterior.loc.shape == posterior.scale.shape == (2, 3)
    targets = frames(small, 2)
    assert model.decode(posterior.mean, targets).shape == targets.shape
    assert model.sample(2, steps=17).shape == (2, 17, config.output_depth)


def test_trio_depths_are_the_converters():
    import midi_utils

    assert midi_utils.TRIO_DEPTHS == TRIO_DEPTHS


@ALL
def test_causality(config):
    """Changing target t leaves every logit up to and including t as it was, and changes a later one."""
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
def test_every_weight_takes_part(config):
    """Each parameter that is trained gets a gradient; the conductor's weight on its zero input gets none by design."""
    model, targets, controls = build(config), frames(config), controls_for(config)
    posterior = model.encode(torch.rand(3, config.steps, config.input_depth), None, controls)
    model.decode(posterior.mean + posterior.stddev, targets, controls=controls).square().sum().backward()
    idle = {n for n, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0}
    assert idle == ({"conductor.layers.0.weight_ih_l0"} if config.segments > 1 else set())


@ALL
def test_one_step_at_a_time_equals_all_at_once(config):
    """The path that samples and the path that trains compute the same logits: a greedy sample is its own arg-max."""
    model, controls = build(config), controls_for(config)
    z = torch.randn(3, config.z_size)
    sampled = model.sample(z=z, controls=controls, temperature=0)
    logits = model.decode(z, sampled, controls=controls)
    parts = zip(logits.split(config.output_depths, -1), sampled.split(config.output_depths, -1))
    assert all(torch.equal(x.argmax(-1), y.argmax(-1)) for x, y in parts)


@ALL
def test_encoder_ignores_what_lies_past_the_length(config):
    model, controls = build(config), controls_for(config)
    inputs = torch.rand(3, config.steps, config.input_depth)
    lengths = torch.tensor([config.steps, 5, 1])
    noisy = inputs.clone()
    noisy[1, 5:], noisy[2, 1:] = 7, 7
    torch.testing.assert_close(
        model.encode(inputs, lengths, controls).loc, model.encode(noisy, lengths, controls).loc, rtol=0, atol=0
    )
    assert not torch.equal(model.encode(inputs, None, controls).loc[1], model.encode(inputs, lengths, controls).loc[1])


def test_logits_past_the_length_are_zero():
    logits = build(FLAT).decode(torch.randn(2, 4), frames(FLAT, 2), torch.tensor([8, 3]))
    assert (logits[1, 3:] == 0).all()
    assert (logits[1, :3] != 0).all()


def test_z_reaches_a_hierarchical_core_only_through_the_conductor():
    """The conductor's embedding of a segment is all that the core learns of z: the first logits follow it."""
    model = build(HIERARCHICAL)
    z = torch.randn(1, 4)
    before = model.decode(z, frames(HIERARCHICAL, 1))
    for parameter in model.conductor.initial_state.parameters():
        parameter.data.zero_()
    after = model.decode(z, frames(HIERARCHICAL, 1))
    assert not torch.equal(before, after)
    assert torch.equal(after, model.decode(z + 1, frames(HIERARCHICAL, 1)))


def test_scheduled_sampling_at_zero_and_between():
    model, targets, z = build(HIERARCHICAL), frames(HIERARCHICAL), torch.randn(3, 4)
    half = [model.decode(z, targets, None, None, 0.5, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(half[0], half[1])
    assert not torch.equal(half[0], half[2])
    teacher = model.decode(z, targets)
    assert torch.equal(half[0][:, 0], teacher[:, 0])  # the first input is no draw


def test_one_seed_one_sample():
    model = build(TRIO)
    one, same, other = (model.sample(4, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_samples_are_one_hot_in_each_part():
    sample = build(TRIO).sample(5, temperature=2.0)
    assert all((part.sum(-1) == 1).all() and (part.max(-1).values == 1).all() for part in sample.split(TRIO_DEPTHS, -1))


def test_temperature_sharpens():
    """The warmer, the more classes: a model with near-even logits repeats itself when cold."""
    model, z = build(FLAT), torch.zeros(64, 4)
    kinds = [len(model.sample(z=z, temperature=t).argmax(-1).unique(dim=0)) for t in (0, 0.05, 1.0)]
    assert kinds[0] == 1
    assert kinds[0] < kinds[1] < kinds[2]


def test_a_conductor_goes_on_past_the_trained_length():
    model, z = build(HIERARCHICAL), torch.randn(2, 4)
    longer, own = model.sample(z=z, temperature=0, steps=13), model.sample(z=z, temperature=0)
    assert longer.shape[1] == 13
    assert torch.equal(longer[:, :8], own)
    assert torch.equal(model.sample(z=z, temperature=0, steps=3), own[:, :3])


def test_forget_gates_start_open_and_second_biases_stay():
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
        (lambda m: m.sample(1, temperature=-0.1), r"temperature must be 0 .* got -0.1"),
        (lambda m: m.sample(1, temperature=float("nan")), r"temperature must be 0"),
        (lambda m: m.sample(0), r"n=0"),
        (lambda m: m.sample(1, steps=0), r"steps=0"),
    ],
)
def test_wrong_shapes_and_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(build(FLAT))


def test_controls_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"controls must be \[2, 8, 3\] for this model, got None"):
        build(CONTROLLED).sample(2)


@pytest.mark.parametrize(
    "change",
    [{"segments": 3}, {"z_size": 0}, {"enc_rnn_size": ()}, {"output": "trio"}, {"output": "fugue"}],
)
def test_configs_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=r"must|segments|trio|positive"):
        replace(FLAT, **change)
