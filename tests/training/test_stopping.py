"""Requests to stop: interrupts, time limits, and the cases in which an interrupt is left to others."""

import signal
import threading

import pytest

from training.stopping import stop_requests


def test_without_an_interrupt_or_a_limit_nothing_stops():
    with stop_requests() as reason:
        assert reason() is None
    with stop_requests(minutes=60) as reason:
        assert reason() is None


def test_a_first_interrupt_is_a_request_and_a_second_one_raises():
    with stop_requests() as reason:
        signal.raise_signal(signal.SIGINT)
        assert reason() == "interrupt"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_limit_that_is_over_is_a_request():
    with stop_requests(minutes=1e-9) as reason:
        assert reason() == "time"


def test_a_handler_of_the_caller_stays(monkeypatch):
    received = []
    before = signal.signal(signal.SIGINT, lambda *signal_and_frame: received.append(signal_and_frame))
    try:
        with stop_requests() as reason:
            signal.raise_signal(signal.SIGINT)
            assert reason() is None
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(received) == 1


def test_another_thread_than_the_main_one_sees_the_time_limit_only():
    """Python sets handlers in the main thread alone."""
    reasons = []

    def run():
        with stop_requests(minutes=1e-9) as reason:
            reasons.append(reason())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert reasons == ["time"]
