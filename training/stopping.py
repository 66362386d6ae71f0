"""Stops a run between two updates: at the user's interrupt or at a time limit."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from training.processes import is_shared

StopReason = Literal["interrupt", "time", "patience"]


@contextmanager
def stop_requests(minutes: float | None = None) -> Iterator[Callable[[], StopReason | None]]:
    """Yields a function that returns why the run should stop now, or None if it should continue.

    Within the context, an interrupt (Ctrl-C, or the stop button of a notebook) does not raise: the run learns of it
    from the function and can complete the current update first. A second interrupt raises KeyboardInterrupt at once.

    Args:
        minutes: time limit, from the entry of the context; no limit when None.
    """
    deadline = float("inf") if minutes is None else time.monotonic() + 60 * minutes
    interrupted = threading.Event()

    def reason() -> StopReason | None:
        return "interrupt" if interrupted.is_set() else "time" if time.monotonic() >= deadline else None

    if not can_defer_interrupts():
        yield reason
        return

    def defer(signal_number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    signal.signal(signal.SIGINT, defer)
    try:
        yield reason
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def can_defer_interrupts() -> bool:
    """Whether this process alone makes the run, and an interrupt would raise KeyboardInterrupt in this thread."""
    main_thread = threading.current_thread() is threading.main_thread()
    return not is_shared() and main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
