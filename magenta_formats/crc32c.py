"""CRC-32C, the checksum of TensorFlow's files, in NumPy (RFC 3720, appendix B.4).

A CRC is the remainder of the data, read as a polynomial over GF(2), divided by a fixed polynomial P. Instead of a table
lookup per byte, long data is first reduced modulo a multiple of P that has four terms. This takes three XORs per byte,
on whole arrays. Squaring a polynomial over GF(2) doubles every exponent, so the same four terms also work in units of
2^k bits.

The first byte is the highest power, and so is the lowest bit of each byte.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # P without its highest term, the lowest bit first
DEGREE, *LOWER = 5685, 1362, 426, 0  # exponents of a multiple of P with four terms; the gap below the highest is wide
STEP = DEGREE - LOWER[0]  # units that are reduced at a time
UNITS = (64, 8, 1)  # bytes; a state of 64 * DEGREE bytes fits the processor's cache
BEFORE = np.frombuffer(
    (0x54641F64).to_bytes(4, "big"), np.uint8
)  # four bytes that turn register 0 into the initial one
ALL_BITS = 0xFFFFFFFF
MASK_DELTA = 0xA282EAD8


def crc32c(data: np.ndarray) -> int:
    """The CRC-32C of bytes: [n] uint8."""
    before = BEFORE
    for unit in UNITS:
        if len(data) > DEGREE * unit:
            data, before = _reduce(data, unit, before), before[:0]
    bits = np.unpackbits(np.concatenate([before, data]), bitorder="little")
    if len(bits) > DEGREE:
        bits = _reduce(bits, 1, bits[:0])
    return int(np.bitwise_xor.reduce(_remainders()[DEGREE - len(bits) :][bits == 1])) ^ ALL_BITS


def masked_crc32c(data: np.ndarray) -> int:
    """The CRC-32C as TensorFlow stores it, so that data may hold its own checksum (LevelDB's crc32c.h)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & ALL_BITS


def _reduce(data: np.ndarray, unit: int, before: np.ndarray) -> np.ndarray:
    """An array of DEGREE * unit elements with the remainder of `before` and `data`, in the order of the data."""
    size, step = DEGREE * unit, STEP * unit
    state, first = np.zeros(size, np.uint8), len(data) % step
    state[size - first - len(before) : size - first] = before
    state[size - first :] = data[:first]
    for start in range(first, len(data), step):
        top = state[:step].copy()
        state[: size - step] = state[step:]
        state[size - step :] = data[start : start + step]
        for exponent in LOWER:
            end = size - exponent * unit
            state[end - step : end] ^= top
    return state


@cache
def _remainders() -> np.ndarray:
    """The CRC of each single bit: [DEGREE] uint32, for the bits of the data from the first to the last."""
    remainders = [POLYNOMIAL]
    for _ in range(DEGREE - 1):
        remainders.append(remainders[-1] >> 1 ^ POLYNOMIAL * (remainders[-1] & 1))
    return np.array(remainders[::-1], np.uint32)
