"""Keeps freed memory in the process between training steps (glibc)."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
KEPT_BYTES = (2**30, 2**25)  # blocks and free memory up to this size stay with the process; older glibc refuses 1 GiB


def keep_freed_memory():
    """Makes glibc keep freed memory for the next step, where there is glibc.

    By default it returns large blocks to the system. Each step then takes them anew, at a page fault per 4 kB, which
    is up to an eighth of the time of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):  # another C library; Windows
        return
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        for size in KEPT_BYTES:
            if mallopt(parameter, size):  # 1 if it was set
                break
