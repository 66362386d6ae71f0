"""Training and reading survive kills and full disks."""

import os
import sys

import pytest

from benchmarks.kills import full_disk_caching, full_disk_training, killed_reading, killed_training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and watched as on Linux"),
]

KILLS, DISKS = 20, 12
can_mount = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts a disk")


def test_killed_runs_end_with_the_bits_of_one_that_nothing_killed(tmp_path):
    counts = killed_training(tmp_path, KILLS)
    assert counts["kills"] >= KILLS
    assert counts["same"] == counts["runs"] > 0


def test_killed_reading_loses_no_window_and_leaves_no_worker(tmp_path):
    counts = killed_reading(tmp_path, KILLS)
    assert counts["same"] == counts["kills"] == KILLS
    assert counts["workers left"] == 0


@can_mount
def test_a_run_on_a_full_disk_is_refused_or_stopped_and_continues_once_there_is_room(tmp_path):
    counts = full_disk_training(tmp_path, DISKS)
    assert counts["same"] == DISKS
    assert min(counts[outcome] for outcome in ("refused", "stopped", "finished")) > 0


@can_mount
def test_a_full_cache_disk_costs_the_cache_and_no_window(tmp_path):
    counts = full_disk_caching(tmp_path, DISKS)
    assert counts["same"] == DISKS
    assert min(counts[outcome] for outcome in ("cached", "not cached")) > 0
