"""Lower bounds on the time of a row: the matrix products that its model needs, at the rates of this machine.

A product is a weight matrix [outputs, inputs] times a vector; it takes two operations per weight. What counts:

- A product with a one-hot frame is a look-up and does not count. Neither does the conductor's input, which is zero.
- The share of z, or of the conductor's embedding, in the core decoder's gates counts once per segment.
- The first step of an encoder has no state, so its state product does not count.
- A NADE's own products, activations, the loss and Adam do not count.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from engine.precision import autocast
from model import ModelConfig

MATRIX_SIZE = 2048  # rows and columns of the product that is timed on a processor
CUDA_MATRIX_SIZE = 8192
REPEATS = 5  # timings per rate; the best one counts
STREAMED_BYTES = 2e8  # least number of bytes that one timing of the read rate reads, in rounds over the buffer


class Product(NamedTuple):
    """A weight matrix, and how many times a sequence is multiplied with it."""

    times: int
    inputs: int
    outputs: int
    input_gradient: bool = True  # whether training needs the gradient of its input


def frame_width(depth: int, one_hot: bool, controls: int = 0) -> int:
    """The number of a frame's values that have to be multiplied."""
    return controls + (0 if one_hot else depth)


def lstm_products(steps: int, width: int, sizes: tuple[int, ...], directions: int, first_state: bool) -> list[Product]:
    """Products of stacked LSTM layers; the input of the first layer needs no gradient."""
    products = []
    for layer, size in enumerate(sizes):
        products += directions * [Product(steps, width, 4 * size, layer > 0)]
        products += directions * [Product(steps if first_state else steps - 1, size, 4 * size)]
        width = directions * size
    return products


def encoder_products(config: ModelConfig) -> list[Product]:
    """Products of encoding one sequence."""
    one_hot = config.output_kind.one_hot and config.input_depth == config.output_depth
    width = frame_width(config.input_depth, one_hot, config.control_depth)
    sizes, last, segments = config.enc_rnn_size, 2 * config.enc_rnn_size[-1], config.encoder_segments
    products = lstm_products(config.steps // segments, width, sizes, 2, first_state=False)
    products = [p._replace(times=p.times * segments) for p in products]
    if config.upper == "dense":
        last *= segments
    elif segments > 1:
        upper = lstm_products(segments, last, sizes, 2, first_state=False)
        products += [p._replace(input_gradient=True) for p in upper]
    return [*products, Product(1, last, 2 * config.z_size)]


def conductor_products(config: ModelConfig) -> list[Product]:
    """Products of computing the segments' embeddings; none for a flat decoder."""
    if config.segments == 1:
        return []
    if config.upper == "dense":
        return [Product(1, config.z_size, config.segments * config.dec_rnn_size[-1])]
    layers = lstm_products(config.segments, 0, config.dec_rnn_size, 1, first_state=True)
    return [Product(1, config.z_size, 2 * sum(config.dec_rnn_size)), *layers]


def core_products(config: ModelConfig, depth: int) -> list[Product]:
    """Products of one core decoder over a whole sequence."""
    flat, sizes = config.segments == 1, config.dec_rnn_size
    embedding = config.z_size if flat else sizes[-1]
    width = frame_width(depth, config.output_kind.one_hot, config.control_depth)
    steps = lstm_products(config.steps, width, sizes, 1, first_state=True)
    start = Product(config.segments, embedding, 2 * sum(sizes) + 4 * sizes[0])
    logits = config.output_kind.logit_depth(depth, config.nade_num_hidden)
    return [start, *steps, Product(config.steps, sizes[-1], logits)]


def decoder_products(config: ModelConfig) -> list[Product]:
    """Products of decoding one sequence, teacher-forced or sampled."""
    cores = [product for depth in config.core_depths for product in core_products(config, depth)]
    return conductor_products(config) + cores


def forward_flops(products: list[Product]) -> int:
    """Operations of one forward pass over one sequence."""
    return sum(2 * p.times * p.inputs * p.outputs for p in products)


def training_flops(config: ModelConfig) -> int:
    """Operations of a training step per sequence: forward, gradients of weights, and of inputs where needed.

    Scheduled sampling adds none, because its draws come from the same products.
    """
    products = encoder_products(config) + decoder_products(config)
    return sum((3 if p.input_gradient else 2) * forward_flops([p]) for p in products)


def sampling_bytes(config: ModelConfig, itemsize: int) -> int:
    """Bytes of weights that sampling one batch reads, for a batch of any size."""
    return itemsize * sum(p.times * p.inputs * p.outputs for p in decoder_products(config))


def stepped_bytes(config: ModelConfig, itemsize: int) -> int:
    """Bytes of the weights that every step of sampling reads again; a cache has to hold these."""
    products = decoder_products(config)
    return itemsize * sum(p.inputs * p.outputs for p in products if p.times == config.steps)


def training_bytes(config: ModelConfig, parameters: int, batch: int, itemsize: int) -> int:
    """Bytes that a training step holds at once.

    These are the weights, their gradients, Adam's two moments, and the gates, cell and output of every LSTM unit at
    every step, which the backward pass needs.

    Args:
        itemsize: bytes per activation, in the precision of the products.
    """
    units = config.steps * (2 * sum(config.enc_rnn_size) + len(config.core_depths) * sum(config.dec_rnn_size))
    return 16 * parameters + 6 * itemsize * batch * units


def product_type(device: torch.device, precision: str) -> torch.dtype:
    """The data type of matrix products in this precision on this device."""
    with autocast(device, precision):
        half = torch.is_autocast_enabled(device.type)
        return torch.get_autocast_dtype(device.type) if half else torch.float32


def synchronize(device: torch.device):
    """Waits until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, until the device has finished."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of REPEATS calls, after one call to warm up."""
    work()
    return min(seconds_of(work, device) for _ in range(REPEATS))


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """FLOP/s of a large square product; on a processor, the better of torch's and oneDNN's with packed weights."""
    size = size or (CUDA_MATRIX_SIZE if device.type == "cuda" else MATRIX_SIZE)
    a, b = torch.randn(2, size, size, device=device).to(dtype).unbind()
    calls = [lambda: a @ b]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(b, size)
        calls.append(lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], ""))
    return 2 * size**3 / min(best_seconds(call, device) for call in calls)


def read_rate(device: torch.device, size: int) -> float:
    """Bytes per second of summing a buffer of `size` bytes repeatedly; a small buffer is read from a cache."""
    buffer: Tensor = torch.zeros(max(size // 4, 1), device=device)
    rounds = max(int(STREAMED_BYTES // buffer.nbytes), 1)
    return rounds * buffer.nbytes / best_seconds(lambda: [buffer.sum() for _ in range(rounds)], device)
