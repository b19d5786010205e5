"""Keep freed picture buffers in the process instead of handing them back to the kernel each time.

glibc gives freed blocks of a picture's size back at once, and the kernel clears every page when it
lends them again; for a camera's small pictures, thirty times a second, that costs more than the
arithmetic on them. Thresholds: mallopt(3). Called by `edge.pipeline.build`.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 64 << 20
LARGEST_BYTES = 32 << 20


def keep_buffers() -> bool:
    """Let this process keep up to 64 MiB of freed memory; return whether its libc can.

    Blocks above 32 MiB, the most glibc allows, go back at once as before. May be called again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES))
