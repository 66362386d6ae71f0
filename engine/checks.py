"""Checks of what a caller gives, and of the fields of frozen dataclasses.

A check raises a ValueError that names the argument, what it must be, and what was given. A function `checked_...` also
returns the value in the type that the code uses. They are called where a value enters, once per call and never in a
loop over steps.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from textwrap import indent

import numpy as np
import torch
from torch import Generator, Tensor

SEEDS = range(2**63)  # what PyTorch's generators and NumPy's both take
MAX_LETTERS = 60  # of a value that a message shows


def described(value) -> str:
    """The value as a message shows it; an array by its type and shape, and what is long by its type."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return f"{type(value).__name__} of {value.dtype}, shape {list(value.shape)}"
    text = repr(value)
    return text if len(text) <= MAX_LETTERS and "\n" not in text else f"a value of type {type(value).__name__}"


def checked_type(name: str, value, kinds: type | tuple[type, ...], wanted: str):
    """The value, an instance of one of these types."""
    if not isinstance(value, kinds):
        raise ValueError(f"{name} must be {wanted}, got {described(value)}")
    return value


def plain(value):
    """A tensor or an array of a single value, without axes, as a Python number; any other value as it is."""
    return value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value


def is_whole(value) -> bool:
    """Whether a value of `plain` is a whole number; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def checked_count(name: str, value, least: int = 1) -> int:
    """A whole number of at least `least`."""
    number = plain(value)
    if not is_whole(number) or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {described(value)}")
    return int(number)


def checked_number(name: str, value, wanted: str = "a number", low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from low to high, which `wanted` describes."""
    number = plain(value)
    is_number = isinstance(number, Real) and not isinstance(number, bool | np.bool_)
    if not (is_number and math.isfinite(number) and low <= number <= high):
        raise ValueError(f"{name} must be {wanted}, got {described(value)}")
    return float(number)


def checked_non_negative(name: str, value) -> float:
    """A number of at least 0."""
    return checked_number(name, value, "a number of at least 0", low=0)


def checked_positive(name: str, value) -> float:
    """A number above 0."""
    return checked_number(name, value, "a number above 0", low=math.nextafter(0, 1))


def checked_share(name: str, value) -> float:
    """A number from 0 to 1."""
    return checked_number(name, value, "a number from 0 to 1", low=0, high=1)


def checked_temperature(value) -> float:
    """The temperature of a draw, at least 0."""
    return checked_number("temperature", value, "0 (the most likely class) or a larger number", low=0)


def checked_seed(value) -> int:
    """A seed of random numbers."""
    number = plain(value)
    if not is_whole(number) or int(number) not in SEEDS:
        raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, got {described(value)}")
    return int(number)


def checked_generator(value) -> Generator | None:
    """A source of random numbers: a generator, or None for PyTorch's global one."""
    return checked_type("generator", value, Generator | None, "a torch.Generator or None")


def checked_path(name: str, value) -> Path:
    """A path; an empty text is none, although `Path` takes it for the current folder."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{name} must be a path, got {described(value)}")
    return Path(value)


def whole_numbers(name: str, values) -> np.ndarray:
    """Integers of any shape as an int64 array, from integers or from floats without a fraction."""
    try:
        array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
        with np.errstate(invalid="ignore"):  # NaN, which no whole number equals
            whole = array.astype(np.int64) if array.dtype.kind in "iuf" else None
    except (TypeError, ValueError, RuntimeError):  # ragged lists, and what is no number
        whole = None
    if whole is None or (array.dtype.kind == "f" and not np.array_equal(whole, array)):
        raise ValueError(f"{name} must be whole numbers, got {described(values)}")
    return whole


def check_whole(name: str, values, shape: tuple[int, ...], least: int, most: Sequence[int]):
    """Checks whole numbers of a shape, from `least` to `most`: one number, or one for each index of the last axis."""
    array = whole_numbers(name, values)
    parts = array.reshape(-1, len(most)) if array.size % len(most) == 0 else array
    if array.shape != shape or array.min(initial=least) < least or (parts.max(0, initial=least) > most).any():
        found = f"{list(array.shape)}" + (f" from {array.min()} to {array.max()}" if array.size else "")
        bounds = f"from {least} to {', '.join(map(str, most))}"
        raise ValueError(f"{name} must be {list(shape)} whole numbers {bounds}, got {found}")


def finite_floats(name: str, values, wanted: str, like: Tensor) -> Tensor:
    """Finite numbers of any shape as a tensor with the type and device of `like`.

    Args:
        name: of the argument.
        values: a tensor, an array, a list of numbers, or a list of tensors of one shape.
        wanted: what the message asks for, such as "[n, 256]".
        like: any tensor, such as a weight.
    """
    try:
        if isinstance(values, list | tuple) and all(isinstance(value, Tensor) for value in values):
            values = torch.stack(tuple(values))
        tensor = torch.as_tensor(values)
        floats = None if tensor.is_complex() else tensor.to(like)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, and what is no number
        floats = None
    if floats is None:
        raise ValueError(f"{name} must be {wanted}, got {described(values)}")
    if not floats.is_meta and not floats.isfinite().all():  # tensors of the meta device have no values
        raise ValueError(f"{name} must be finite, but holds NaN or infinity")
    return floats


def finite_array(name: str, values, axes: int) -> np.ndarray:
    """Finite numbers as a float64 array with this many axes, from an array, a tensor or a list."""
    like = torch.zeros((), dtype=torch.float64)
    array = finite_floats(name, values, f"numbers of {axes} axes", like).detach().numpy()
    if array.ndim != axes:
        raise ValueError(f"{name} must be numbers of {axes} axes, got {described(array)}")
    return array


# ---- Frozen dataclasses of sizes and recipes ----


def one_field_per_line(config) -> str:
    """A dataclass as Python code, one field per line."""
    lines = [f"{field.name}={getattr(config, field.name)!r}," for field in fields(config)]
    return "\n".join([f"{type(config).__name__}(", *(indent(line, "    ") for line in lines), ")"])


def check_integers(config, names: Iterable[str], least: int):
    """Checks fields of a dataclass, each an int or, by its annotation, a tuple of ints, of at least `least`."""
    annotations = {field.name: field.type for field in fields(config)}
    for name in names:
        value, is_tuple = getattr(config, name), annotations[name] is not int
        values = value if is_tuple and isinstance(value, tuple) else (value,)
        fits = is_tuple == isinstance(value, tuple) and values
        if not (fits and all(type(one) is int and one >= least for one in values)):
            kind = "a tuple of ints, each" if is_tuple else "an int"
            raise ValueError(f"{name} must be {kind} of at least {least}, got {value!r}")


def check_numbers(config):
    """Raises ValueError if a field of a dataclass that is a float by its annotation holds something else."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{field.name} must be a number, got {value!r}")
