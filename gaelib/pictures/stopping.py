"""When a climb of pictures stops without a reference."""

import math

from torch import Tensor

from ..hyper import need_integer

__all__ = ["WindowedVariance"]


class WindowedVariance:
    """Stop without a reference: where the last outputs agree best.

    While the picture emerges its outputs still move; when the noise is being fitted they move again.  Between the two
    the variance over the last ``window`` outputs has its minimum (Wang et al., 2021).  The picture kept is the one
    at the minimum, and the climb stops ``patience`` steps after it.

    Parameters
    ----------
    window, patience : int
        In steps.  The defaults suit the small network without input noise; the authors took 100 and 1000 for the
        large one.

    Examples
    --------
    >>> import torch
    >>> rule = WindowedVariance(window=2, patience=3)
    >>> [rule(torch.tensor([x])) for x in (0.0, 2.0, 2.5, 2.5, 4.0, 7.0)][-1]
    (False, False)
    """

    PIXELS = 2**16  # at most so many values of each output are kept

    def __init__(self, window: int = 30, patience: int = 80):
        need_integer("window", window, at_least=2)
        need_integer("patience", patience)
        self.window, self.patience = window, patience
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self.kept, self.sum, self.squares, self.best, self.since = [], 0, 0, math.inf, 0
        self.history = []  # the variance, NaN until the window is full

    def __call__(self, output: Tensor) -> tuple[bool, bool]:
        """Take the next output; return (is it the best so far, is it time to stop)."""
        values = output.flatten()
        values = values[:: -(-len(values) // self.PIXELS)].double()
        self.kept.append(values)
        self.sum, self.squares = self.sum + values, self.squares + values.square()
        if len(self.kept) > self.window:
            old = self.kept.pop(0)
            self.sum, self.squares = self.sum - old, self.squares - old.square()
        full = len(self.kept) == self.window
        mean = self.sum / self.window
        self.history.append(float((self.squares / self.window - mean.square()).mean()) if full else math.nan)
        better = full and self.history[-1] < self.best
        if better:
            self.best, self.since = self.history[-1], 0
        else:
            self.since += full
        return better, self.since >= self.patience
