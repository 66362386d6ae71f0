"""What commands print, in any language, and how they end at an error."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent


def say(*values, sep: str = " ", flush: bool = False):
    """Prints values on standard output. Characters that it cannot encode become escapes, such as \\u266b."""
    print(encodable(sep.join(map(str, values)), sys.stdout), flush=flush)


def tell(text: str):
    """Prints a line on standard error, as `say` does on standard output."""
    print(encodable(text, sys.stderr), file=sys.stderr, flush=True)


def encodable(text: str, stream: TextIO | None) -> str:
    """Returns text with escapes in place of the characters that a stream cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def errors_in_a_line(*kinds: type[Exception]) -> Iterator[None]:
    """Ends a command with a line that states the error, without a traceback.

    Args:
        kinds: types of the errors; ValueError if none is given. An error that no `raise` statement of this project
            raised is a fault in the program and keeps its traceback.
    """
    meant = kinds or (ValueError,)
    try:
        yield
    except meant as fault:
        if not is_meant(fault):
            raise
        raise SystemExit(encodable(f"error: {fault.args[0]}", sys.stderr)) from None


def is_meant(fault: Exception) -> bool:
    """Whether a `raise` statement of this project, and not a library or the interpreter, raised an error."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    path = Path(frame.filename).resolve()
    return path.is_relative_to(ROOT) and "site-packages" not in path.parts and frame.line.startswith("raise ")
