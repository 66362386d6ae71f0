"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource
import torch
from engine.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = min(faults() for _ in range(3))
keep_freed_memory()
torch.ones(2**24 + 2**12)  # an aligned block fits into a larger one that was freed
print(returned, min(faults() for _ in range(3)))
"""


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(HUGE_PAGES.exists() and "[always]" in HUGE_PAGES.read_text(), reason="pages of 2 MB: few faults")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_freed_block_is_used_again_without_page_faults():
    run = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    returned, kept = map(int, run.stdout.split())
    assert kept < 100 < returned
