"""CRC-32C against published values and against its definition."""

import time

import numpy as np
import pytest

from magenta_formats.crc32c import DEGREE, LOWER, STEP, UNITS, crc32c, masked_crc32c

POLYNOMIAL = 0x82F63B78  # reflected (RFC 3720)


def divide_byte(register: int) -> int:
    for _ in range(8):
        register = register >> 1 ^ POLYNOMIAL * (register & 1)
    return register


TABLE = [divide_byte(byte) for byte in range(256)]


def divide(data: bytes) -> int:
    """The CRC by its definition, one byte at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ TABLE[(register ^ byte) & 255]
    return register ^ 0xFFFFFFFF


def as_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_the_published_ones(data, checksum):
    """Of RFC 3720, appendix B.4, and the common check value."""
    assert crc32c(as_array(data)) == checksum


def test_the_reduction_holds_for_lengths_around_each_of_its_limits():
    limits = {DEGREE // 8, STEP, DEGREE, STEP * UNITS[1], DEGREE * UNITS[1]}
    random = np.random.default_rng(0)
    for length in (1, 2, 3, 4, 5, 100, *(limit + step for limit in limits for step in range(-5, 3))):
        data = random.integers(0, 256, length, np.uint8)
        assert crc32c(data) == divide(data.tobytes()), length


def test_the_reduction_holds_for_data_of_several_of_the_largest_units():
    data = np.random.default_rng(1).integers(0, 256, (DEGREE + STEP) * UNITS[0] + 77, np.uint8)
    assert crc32c(data) == divide(data.tobytes())


def test_the_four_terms_are_a_multiple_of_the_polynomial():
    """x^DEGREE + x^a + x^b + 1 leaves no remainder."""
    polynomial = 0x11EDC6F41  # the highest term first
    remainder = 1 << DEGREE | sum(1 << exponent for exponent in LOWER)
    while remainder.bit_length() > 32:
        remainder ^= polynomial << remainder.bit_length() - 33
    assert remainder == 0


def test_a_masked_checksum_is_the_one_that_tensorflow_stores():
    """crc32c.h of LevelDB: rotated right by 15 bits, plus a constant."""
    assert masked_crc32c(as_array(b"123456789")) == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32


def test_a_hundred_megabytes_take_less_than_a_second_of_processor_time():
    data = np.ones(100_000_000, np.uint8)
    start = time.process_time()
    crc32c(data)
    assert time.process_time() - start < 1
