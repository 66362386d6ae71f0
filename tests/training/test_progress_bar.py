"""The progress bar fits a line, and a run says how long it will take."""

import re

import pytest

from configs import CONFIGS
from training.history import Metrics
from training.progress_bar import ProgressBar, duration, updates_left
from training.stopping import Durations


def durations(steps, minutes=None):
    return Durations(steps, minutes, eval_every=100, patience=None)


def test_a_bar_of_a_long_run_fits_100_characters(monkeypatch):
    monkeypatch.setenv("COLUMNS", "101")  # older versions of tqdm leave the last column free
    monkeypatch.setenv("LINES", "25")
    with ProgressBar(max(CONFIGS, key=len), 199_990, durations(200_000), 0, True) as progress:
        progress.bar.start_t -= 99 * 3600  # seconds: a run of four days
        progress.show(Metrics(12345.67, 12000.0, 1234.5, 0.9876))
        text = str(progress.bar)
    assert text.startswith("training: 100%|")
    assert text.endswith("99:00:00<?, loss 12345.7, KL 1234 bits, acc 98.8%]")
    assert len(text) <= 100


def test_after_ten_updates_a_line_says_how_long_the_rest_takes(capsys):
    with ProgressBar("cat-mel_2bar_tiny", 20, durations(5000), 3, True) as progress:
        for _ in range(9):
            progress.advance()
        assert capsys.readouterr().out == ""
        for _ in range(9):
            progress.advance()
    assert re.fullmatch(r"cat-mel_2bar_tiny: about \S+ seconds to step 5,000\n", capsys.readouterr().out)


def test_a_hidden_bar_prints_nothing(capsys):
    with ProgressBar("cat-mel_2bar_tiny", 0, durations(20), 0, False) as progress:
        for _ in range(20):
            progress.advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("step", "steps", "wanted"),
    [
        (10, 100, 90 + 4),  # one measurement, after the last step
        (10, 250, 240 + 3 * 4),  # after 100, 200 and 250 steps
        (150, 250, 100 + 2 * 4),
        (99, 100, 1 + 4),
    ],
)
def test_the_work_left_counts_held_out_batches_as_a_third_of_an_update(step, steps, wanted):
    assert updates_left(step, durations(steps), valid_batches=12) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.123, "0.12 seconds"),
        (45, "45 seconds"),
        (150, "2.5 minutes"),
        (5399, "90 minutes"),
        (43_200, "12 hours"),
        (400_000, "111 hours"),
    ],
)
def test_a_duration_has_a_fitting_unit(seconds, text):
    assert duration(seconds) == text


def test_the_forecast_names_a_time_limit_that_ends_the_call_before_the_last_step():
    with ProgressBar("cat-mel_2bar_tiny", 0, durations(5000, minutes=1.5), 0, False) as progress:
        assert progress.forecast(60.0) == "cat-mel_2bar_tiny: about 60 seconds to step 5,000"
        assert progress.forecast(600.0).endswith("about 10 minutes to step 5,000; this call ends after 1.5 minutes")
