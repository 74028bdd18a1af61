"""Keep the garbage collector off what stays."""

from __future__ import annotations

import gc

YOUNG = 10_000
"""New objects after which the garbage collector looks at them."""


def rest() -> None:
    """Collect nothing while the server is loaded and built: all of that stays. :func:`spare` ends it."""
    gc.disable()


def spare() -> None:
    """Keep the garbage collector away from what stays: modules, the path, and the lists that memory keeps answers in.

    Those lists are empty yet and will be long. To walk over a million answers takes a tenth of a second, in which
    nobody would be served. What is young is collected less often than is usual: a query leaves next to no cycles.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
    gc.enable()


def tidy() -> None:
    """Free what a path leaves behind that was closed: circles, which nothing else frees.

    A full collection hardly ever comes by itself here. This one does not walk over what stays, nor over answers.
    """
    gc.collect()
