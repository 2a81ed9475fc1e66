"""Sleep by waiting: what every Python does first on a moved clock, where this folder is on its path.

faketime moves the time of day alone if it is told to, but takes the move off the end of every sleep as well: the kernel
finds a time before the first one there was, and refuses. Locks wait as they should.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    if float(seconds) < 0:
        raise ValueError("sleep length must be non-negative")
    threading.Event().wait(float(seconds))


time.sleep = _sleep
