"""Several processes that serve as one node: started, watched and restarted by a parent that speaks for all of them."""

from __future__ import annotations

import signal
from typing import Final

PARENTS: Final = (signal.SIGINT, signal.SIGHUP)
"""Signals that the parent heeds for all, and no worker."""
