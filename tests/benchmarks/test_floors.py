"""Floors count the operations and bytes that a model needs, and measure plausible rates."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import floors
from configs import CONFIGS
from engine.lstm import supports_bfloat16
from engine.precision import bfloat16_is_faster
from helpers import needs_bfloat16
from model import ModelConfig

FLAT = ModelConfig(steps=4, input_depth=5, output_depth=5, z_size=3, enc_rnn_size=(7,), dec_rnn_size=(11, 13))
CPU = torch.device("cpu")


def test_flops_of_a_flat_model_equal_a_count_by_hand():
    encoder = 2 * (3 * 7 * 28) + 14 * 6  # two directions whose first step has no state; mu and sigma
    start = 3 * 2 * (11 + 13) + 3 * 44  # z to the states, and to the gates once
    decoder = start + 4 * (11 * 44 + 11 * 52 + 13 * 52) + 4 * 13 * 5
    assert floors.forward_flops(floors.encoder_products(FLAT)) == 2 * encoder
    assert floors.forward_flops(floors.decoder_products(FLAT)) == 2 * decoder
    assert floors.training_flops(FLAT) == 3 * 2 * (encoder + decoder)
    assert floors.sampling_bytes(FLAT, 4) == 4 * decoder
    assert floors.stepped_bytes(FLAT, 4) == 4 * (11 * 44 + 11 * 52 + 13 * 52 + 13 * 5)


def test_flops_of_a_hierarchical_model_equal_a_count_by_hand():
    config = replace(FLAT, segments=2, dec_rnn_size=(11,), encoder_segments=2)
    lower = 2 * 2 * (1 * 7 * 28)  # segments, directions; only the second of two steps has a state
    upper = 2 * (2 * 14 * 28 + 1 * 7 * 28) + 14 * 6
    assert floors.forward_flops(floors.encoder_products(config)) == 2 * (lower + upper)
    conductor = 3 * 22 + 2 * 11 * 44
    core = 2 * (11 * 22 + 11 * 44) + 4 * (11 * 44 + 11 * 5)
    assert floors.forward_flops(floors.decoder_products(config)) == 2 * (conductor + core)
    dense = replace(config, upper="dense")
    assert floors.forward_flops(floors.encoder_products(dense)) == 2 * (lower + 2 * 14 * 6)
    assert floors.forward_flops(floors.decoder_products(dense)) == 2 * (3 * 2 * 11 + core)


def test_frames_that_are_not_one_hot_count():
    dense = replace(FLAT, input_depth=2)  # not the decoder's one-hot frame, but bits
    extra = floors.forward_flops(floors.encoder_products(dense)) - floors.forward_flops(floors.encoder_products(FLAT))
    assert extra == 2 * 2 * 4 * 2 * 28
    assert floors.training_flops(dense) - floors.training_flops(FLAT) == 2 * extra  # the frames need no gradient
    controls = replace(FLAT, control_depth=2)
    more = floors.forward_flops(floors.decoder_products(controls)) - floors.forward_flops(floors.decoder_products(FLAT))
    assert more == 2 * 4 * 2 * 44


@pytest.mark.parametrize("name", ["hierdec-trio_16bar_tiny", "trio_2bar_tiny"])
def test_a_trio_counts_three_core_decoders(name):
    model = CONFIGS[name].model
    cores = [floors.forward_flops(floors.core_products(model, depth)) for depth in model.core_depths]
    assert len(cores) == 3
    logits = 2 * model.steps * 160
    assert cores[2] - cores[0] == logits * (512 - 90)
    conductor = floors.forward_flops(floors.conductor_products(model))
    assert floors.forward_flops(floors.decoder_products(model)) == conductor + sum(cores)


@pytest.mark.parametrize("directions", [1, 2])
def test_the_count_of_a_layer_equals_that_of_its_matrix_products(directions):
    """PyTorch's counter finds the same operations in the layer's matrix products, gradients included."""
    products = floors.lstm_products(6, 5, (7,), directions, first_state=True)
    batch = 3
    with FlopCounterMode(display=False) as counter:
        for product in products:
            read = torch.randn(batch * product.times, product.inputs, requires_grad=product.input_gradient)
            weight = torch.randn(product.outputs, product.inputs, requires_grad=True)
            F.linear(read, weight).sum().backward()
    counted = sum((3 if p.input_gradient else 2) * floors.forward_flops([p]) for p in products)
    assert counter.get_total_flops() == batch * counted


def test_measured_rates_are_plausible():
    assert 1e8 < floors.matrix_rate(CPU, torch.float32, size=256) < 1e14
    assert 1e8 < floors.read_rate(CPU, 1 << 16) < 1e13


def test_auto_is_bfloat16_where_the_device_supports_it_and_is_faster():
    assert floors.product_type(CPU, "float32") == torch.float32
    faster = supports_bfloat16(CPU) and bfloat16_is_faster(CPU)
    assert floors.product_type(CPU, "auto") == (torch.bfloat16 if faster else torch.float32)


@needs_bfloat16
def test_bfloat16_is_used_on_request():
    assert floors.product_type(CPU, "bfloat16") == torch.bfloat16
