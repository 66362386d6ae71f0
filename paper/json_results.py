"""Results as JSON files."""

import json
import math
import os
import re
from pathlib import Path


def to_json(value) -> str:
    """JSON with named tuples as objects, floats rounded to six digits, and each list of numbers on one line."""
    text = json.dumps(to_plain(value), indent=1, allow_nan=False)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)


def write_json(path: str | os.PathLike, value):
    """Writes `to_json` of a value to a file, in a folder that is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(value) + "\n")


def to_plain(value):
    """Converts named tuples to dictionaries and tuples to lists, rounds floats to six digits; NaN becomes None."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
