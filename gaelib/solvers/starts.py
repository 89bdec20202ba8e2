"""Where a fit starts: rows of the data, far from each other, drawn from a sample."""

import math
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning

from ..parallel import all_sum, rank_and_size
from .eigen import gathered, leading
from .sums import gram

SAMPLE, EACH = 2**12, 32  # rows from which a start is drawn: at least so many, and so many for every point


def sample_rows(data, points, generator):
    """A random row of each of max(4096, 32 ``points``) equal shares of all rows; all rows, if they are fewer.

    Shares go by global number, so one process, many batches and many processes draw alike; the data are read once, and
    every process gets the whole sample.

    Parameters
    ----------
    data : with ``len`` and ``take(index) -> (len(index), D)``
    points : int
        How many are to be chosen from the sample.
    generator : torch.Generator
        On the CPU; the same seed in every process.

    Returns
    -------
    tensor (count, D), in the data's dtype and on its device
    """
    rank, size = rank_and_size()
    lengths = torch.zeros(size, dtype=torch.float64)
    lengths[rank] = len(data)
    lengths = all_sum({"lengths": lengths})["lengths"]
    n, before = int(lengths.sum()), int(lengths[:rank].sum())
    index, count = torch.arange(n), max(SAMPLE, EACH * points)
    if n > count:
        places = torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)
        index = (places * (n / count)).long().clamp_(max=n - 1)
    taken = data.take(index[(index >= before) & (index < before + len(data))] - before)
    return taken if size == 1 else gathered(taken.to("cpu", torch.float64)).to(taken)


def spread_rows(x, count, generator):
    """k-means++: rows of x, each drawn in proportion to its squared distance to those before it: (n, D) -> (count, D).

    Every draw proposes ``2 + log(count)`` rows and keeps the one that leaves the least total distance (Arthur
    and Vassilvitskii's greedy variant).
    """
    away = x - x.mean(0)
    sizes, trials = torch.linalg.vecdot(away, away), 2 + int(math.log(count))

    def squares(rows):  # (rows, n): rows outermost, so that each is read in one go
        product = away.index_select(0, rows) @ away.T
        return product.mul_(-2).add_(sizes).add_(sizes[rows, None]).clamp_(min=0)

    chosen = torch.randint(len(x), (1,), generator=generator).to(x.device)
    closest = squares(chosen)[0]
    while len(chosen) < count:
        weights = closest.cumsum(0, dtype=torch.float64)
        places = torch.rand(trials, generator=generator, dtype=torch.float64).to(x.device) * weights[-1]
        proposed = torch.searchsorted(weights, places, right=True).clamp_(max=len(x) - 1)
        closer = torch.minimum(squares(proposed), closest)
        best = closer.sum(1, dtype=torch.float64).argmin()
        chosen, closest = torch.cat([chosen, proposed[best, None]]), closer[best]
    return x.index_select(0, chosen)


def singular(x, count):
    """Leading singular values and right vectors of a sample about the origin: (n, D) -> (r,) and (D, r), float64.

    As many as differ from rounding; products are in the rows' own dtype.
    """
    tall = len(x) >= x.shape[1]
    scatter = gram(x if tall else x.T).to("cpu", torch.float64)
    values, axes = leading(scatter, min(count, len(scatter)))
    kept = values > 64 * torch.finfo(x.dtype).eps * values[0].clamp(min=0)
    values, axes = values[kept].sqrt(), axes[:, kept]
    return values, axes if tall else x.to("cpu", torch.float64).T @ axes / values


def halves(x, count):
    """Positive or negative halves of singular vectors, whichever is larger, by falling singular value: (r, D) float64.

    The parts of nndsvd (Boutsidis and Gallopoulos, 2008).
    """
    values, axes = singular(x, count)
    if not len(values):
        return axes.T
    weights = x.to("cpu", torch.float64) @ axes / values
    sides = [(side * axes).clamp(min=0) for side in (1, -1)]
    sizes = [(side * weights).clamp(min=0).norm(dim=0) * part.norm(dim=0) for side, part in zip((1, -1), sides)]
    larger = torch.where(sizes[0] >= sizes[1], *sides)
    sizes = torch.maximum(*sizes)
    sizes[0], larger[:, 0] = 1.0, axes[:, 0].abs()  # the first has one sign
    larger = torch.where(larger > 1e-7 * larger.amax(0), larger, 0.0)  # rounding is no part
    return ((values * sizes).sqrt() * larger / larger.norm(dim=0)).T


def warn_if_alike(name, data, count, used):
    """Say so when the data have fewer distinct rows than ``count`` clusters; ``used`` (count,) rows each got here."""
    used = all_sum({"used": used.to("cpu", torch.float64)})["used"]
    if (used > 0).all():
        return
    distinct = torch.empty(0, data.width, dtype=torch.float64)
    for x in data:
        distinct = torch.cat([distinct, x.to("cpu", torch.float64).unique(dim=0)]).unique(dim=0)[:count]
    distinct = len(gathered(distinct).unique(dim=0))
    if distinct < count:
        warnings.warn(
            f"{name} got {distinct} distinct row{'s' * (distinct != 1)} for n_clusters={count}, so some clusters are "
            "copies or empty: pass fewer clusters",
            ConvergenceWarning,
            stacklevel=5,
        )
