"""Where a fit starts: rows of the data, far from each other, drawn from a sample."""

import math
import warnings

import torch
from scipy.linalg import eigh
from sklearn.exceptions import ConvergenceWarning

from ..parallel import all_sum, rank_and_size
from .eigen import gathered
from .sums import added, products, total

SMALL = 2**23  # products of entries in a pass, up to which all starts of k-means run side by side
PART = 2**18  # entries of a table of rows and points: it stays in the cache of one core
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
    scatter = (x.T @ x if tall else x @ x.T).to("cpu", torch.float64).numpy()
    first = max(len(scatter) - count, 0)
    values, axes = eigh(scatter, subset_by_index=(first, len(scatter) - 1), driver="evr")
    values, axes = torch.from_numpy(values.copy()).flip(0), torch.from_numpy(axes.copy()).flip(1)
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


def ahead(data, starts, passes, tol):
    """Which of several starts (S, K, D) Lloyd's algorithm takes farthest, or None where that is better tried in turn.

    On a small table all starts stand side by side in one product, so that a pass of all costs hardly more than one.
    Sums are in the data's dtype: this tells the winner, which then runs exactly.  Each start stops by the rule of
    `core.alternate`; a point that loses all its rows ends the race, since it would have to restart.

    Parameters
    ----------
    data : re-iterable of tensors (n_b, D), with ``len`` rows
        This process's shard.
    starts : tensor (S, K, D)
    passes : int
        At most.
    tol : float

    Returns
    -------
    int or None
    """
    S, K, D = starts.shape
    n = all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"]
    if n * K * D > SMALL:
        return None
    middle = starts.mean((0, 1))
    points, racing, errors = starts - middle, torch.arange(S), [[] for _ in range(S)]
    for _ in range(passes):
        sums = all_sum(claims(data, middle, points))
        if (sums["n"] == 0).any():
            return None
        for start, error in zip(racing.tolist(), sums["error"].tolist()):
            errors[start].append(error)
        points = (sums["x"] / sums["n"][:, :, None]).to(points)
        on = torch.tensor([_falls(errors[start], tol) for start in racing.tolist()])
        racing, points = racing[on], points[on.to(points.device)]
        if not len(racing):
            break
    last = [each[-1] for each in errors]
    return last.index(min(last))


def _falls(errors, tol):
    """Whether another pass is worth it."""
    return len(errors) < 2 or errors[-2] - errors[-1] > tol * (errors[1] - errors[-1])


def claims(data, middle, points):
    """What the rows seen from the middle give each point of each start: numbers and sums, and the squared error."""
    S, K, D = points.shape
    flat = points.flatten(0, 1)

    def found():
        for part in (part for x in data for part in (x - middle).split(max(1, PART // (S * K)))):
            squares = torch.addmm(flat.square().sum(1)[:, None], flat, part.T, alpha=-2).view(S, K, -1)
            least = squares.amin(1)
            mine = (squares <= least[:, None]).to(part)
            error = total(least.T) + total(torch.linalg.vecdot(part, part))
            yield {"n": mine.sum(2), "x": products(mine.flatten(0, 1).T, part).view(S, K, D), "error": error}

    return added(found())


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
