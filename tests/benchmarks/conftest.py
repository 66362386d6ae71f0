"""A made-up machine and measurement for the tests of results and tables."""

import pytest

from benchmarks.measure import Measurement
from benchmarks.tables import Machine


@pytest.fixture
def machine():
    return Machine("a processor", 2, None, "3.11", "2.13", {"cpu": "bfloat16"}, {"cpu auto": 1e11})


@pytest.fixture
def measured():
    """A function that makes measurements; its arguments are further fields."""

    def make(**fields):
        times = {"seconds": 0.2, "first_seconds": 1.5, "import_seconds": 1.0, "memory": 3 * 10**8}
        return Measurement(**(times | fields))

    return make
