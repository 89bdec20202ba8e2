"""Progress bars: on a terminal and in a notebook, and nowhere else, so that logs stay clean."""

import sys
from typing import Any

from tqdm import tqdm


def watched() -> bool:
    """Whether somebody sees what is overwritten: on a terminal, or in a notebook, whose stream calls itself none."""
    stream = sys.stderr
    return stream is not None and (stream.isatty() or type(stream).__module__.startswith("ipykernel"))


def progress(*rows: Any, verbose: int, **options: Any) -> Any:
    """tqdm's bar over these rows, or to a ``total``, which goes when it is full; hidden with ``verbose=0``.

    Examples
    --------
    >>> list(progress("ab", verbose=0))
    ['a', 'b']
    """
    return tqdm(*rows, disable=not (verbose and watched()), leave=False, **options)
