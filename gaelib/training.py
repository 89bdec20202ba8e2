"""Minibatches for networks: a new order in every epoch, one cycle of step sizes, and the best state kept."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .core import ascend
from .parallel import all_sum, average
from .progress import progress
from .solvers.sums import total
from .solvers.threads import shared

SMALL = 2**24  # weights times rows of a step, up to which threads wait for one another more than they gain


def centre_and_scale(data):
    """The mean row (D,) and the standard deviation about it of all entries, over all processes; float64."""

    def mean(f):
        sums = {"n": torch.tensor(float(len(data)), dtype=torch.float64), "x": sum(f(x.double()).cpu() for x in data)}
        sums = all_sum(sums)
        return sums["x"] / sums["n"]

    centre = mean(total)
    scale = mean(lambda x: total((x - centre.to(x)).square())).mean().sqrt()
    return centre, float(scale) or 1.0


@dataclass
class Shuffled:
    """Batches of ``take(numbers)`` in a new order each time they are read; what fills no batch is left out.

    Examples
    --------
    >>> batches = Shuffled(lambda i: i, torch.arange(5), 2, torch.Generator().manual_seed(0))
    >>> [len(x) for x in batches]
    [2, 2]
    """

    take: Callable[[Tensor], Tensor]
    rows: Tensor
    size: int
    generator: torch.Generator

    def __len__(self) -> int:
        return len(self.rows) // self.size

    def __iter__(self) -> Iterator[Tensor]:
        order = self.rows[torch.randperm(len(self.rows), generator=self.generator)]
        return map(self.take, order[: len(self) * self.size].split(self.size))


def one_cycle(lr: float, steps: int, rise: float = 0.1) -> Callable[[int], float]:
    """Step sizes that rise in a line for a tenth of the steps, then fall like a cosine to a thousandth.

    Examples
    --------
    >>> rate = one_cycle(1.0, 101)
    >>> [round(rate(step), 3) for step in (0, 10, 100)]
    [0.001, 1.0, 0.001]
    """

    def rate(step: int) -> float:
        share = step / max(steps - 1, 1)
        falling = 0.5 + 0.5 * math.cos(math.pi * (share - rise) / (1 - rise))
        return lr * max(1e-3, share / rise if share < rise else falling)

    return rate


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether this is a CPU with instructions for products in bfloat16, and torch may use them."""
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def adam(params: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam in one pass over the parameters, with the shorter memory that one cycle wants."""
    return torch.optim.Adam(params, lr=lr, betas=(0.9, 0.99), fused=True)


@dataclass
class Epochs:
    """Steps of a network up ``score(x) -> scalar``, epoch by epoch; it ends in the state of its best epoch.

    Parameters
    ----------
    module : Module
        In training mode during the steps alone.
    score : callable
        The mean objective of a batch, nats.
    judge : callable, optional
        The mean objective of rows held out; without it the last epoch is the best.
    patience : int
        Epochs without a better judgement after which the steps end.
    wait : int
        Epochs before the first judgement that counts: while a variance still moves.
    on_step : callable
        Hears the number of every step.
    """

    module: nn.Module
    score: Callable[[Tensor], Tensor]
    judge: Callable[[], float] | None = None
    patience: int = 10
    wait: int = 0
    on_step: Callable[[int], None] = lambda step: None
    best: float = -math.inf
    epoch: int = 0
    state: dict[str, Tensor] | None = field(default=None, repr=False)

    def climb(self, batches: Shuffled, epochs: int, lr: float, history: list[float], verbose: int = 0) -> None:
        """Take the steps; ``history`` gets the objective of every epoch, held out where there is a judge."""
        steps, each, seen = epochs * len(batches), len(batches), []
        params = [part for part in self.module.parameters() if part.requires_grad]
        small = sum(part.numel() for part in params) * batches.size <= SMALL
        with shared(1) if small else nullcontext(), progress(total=epochs, verbose=verbose, unit="epoch") as bar:

            def heard(step, value):
                seen.append(value)
                self.on_step(step)
                if len(seen) < each:
                    return False
                history.append(sum(seen) / each if self.judge is None else self._judged())
                seen.clear()
                bar.set_postfix_str(f"{history[-1]:.5g} nats")
                bar.update()
                return self._over(history)

            self.module.train()
            try:
                ascend(self.score, params, steps, one_cycle(lr, steps), adam, heard, batches, average)
            finally:  # interrupted or not
                if self.state is not None:
                    self.module.load_state_dict(self.state)
                self.module.eval()

    def _judged(self) -> float:
        self.module.eval()
        with torch.no_grad():
            value = self.judge()
        self.module.train()
        return value

    def _over(self, history: list[float]) -> bool:
        """Keep what is best; whether nothing better has come for too long."""
        if len(history) > self.wait and (self.judge is None or history[-1] > self.best):
            self.best, self.epoch, self.state = history[-1], len(history), copy.deepcopy(self.module.state_dict())
        return self.judge is not None and len(history) - max(self.epoch, self.wait) >= self.patience
