"""k-means on a table that a core's cache holds: all rows beside all points, of one start or several, in one product.

Bounds, which save reading elsewhere, would cost more here than the product does.
"""

import numpy as np
import torch

from ..parallel import all_sum
from .nearest import rounding, settle
from .pruning import Known, known_sums
from .sums import added, total

TABLE = 2**18  # entries of the rows, and of the table of rows and points, up to which one start is answered like this
RACE = 2**23  # products of entries in a pass, up to which all starts run side by side
PART = 2**18  # entries of a table of rows and all starts' points: it stays in the cache of one core


def remembering(joint, batches):
    """Who answers the max for the points of `Flats` about batches that come again, on the CPU."""
    if len(batches) == 1 and len(batches[0]) * max(joint.means.shape) <= TABLE:
        return Together(batches[0])
    return Known(joint, batches)


class Together:
    """`Exact` for the points of `Flats` (p = 0) and one small table, with ``stats`` of its own; for the CPU.

    Parameters
    ----------
    x : tensor (n, D)
        The very tensor that will be asked about.

    Examples
    --------
    >>> from gaelib.joints.flats import Flats
    >>> x = torch.tensor([[0.0], [1.0], [5.0]])
    >>> Together(x)(Flats(torch.tensor([[0.0], [4.0]])), x)[0]
    tensor([0, 0, 1])
    """

    def __init__(self, x):
        (n, D), rows = x.shape, x.double()
        self.x, self.bonus, self.origin = x, x.new_zeros(n), total(rows) / n
        self.summed = rows.new_empty(n, 2 + D)  # 1, square and row: what `stats` adds
        self.rows = torch.sub(rows, self.origin, out=self.summed[:, 2:])
        self.sizes = torch.linalg.vecdot(self.rows, self.rows)
        self.summed[:, 0], self.summed[:, 1] = 1, self.sizes
        self.turned = x.new_empty(D, n).copy_(self.rows.T).mul_(-2).numpy()
        self.blur, self.most = (2 * rounding(x) * self.sizes).to(x.dtype), float(self.sizes.max())
        self.last = torch.full((n,), -1), self.summed[:0]  # the codes that `stats` was asked about, and their sums

    def __call__(self, joint, x):
        """The nearest point of each row, k (n,), the first of equals; and a bonus of 0."""
        self.joint = joint
        if x is not self.x:
            return joint.argmax(x), x.new_zeros(len(x))
        self.points, limits = joint.means.double() - self.origin, torch.finfo(x.dtype)
        self.lengths = torch.linalg.vecdot(self.points, self.points)
        largest = max(float(self.lengths.max()), limits.tiny / limits.eps)
        with np.errstate(over="ignore", invalid="ignore"):
            table = np.dot(self.points.to(x).numpy(), self.turned)  # (K, n)
            table += self.lengths.to(x)[:, None].numpy()
        limit = torch.from_numpy(table.min(0)).add_(self.blur).add_(2 * rounding(x) * largest)
        hits = table <= limit.numpy()
        if self.most + largest > limits.max / 4:
            hits[:] = True  # squares may overflow
        numbers = np.arange(len(hits), dtype=np.min_scalar_type(len(hits)))[:, None]
        k = (hits * numbers).max(0).astype(np.int64)  # without a branch, as an argmin has: of one hit its number
        if np.count_nonzero(hits) > len(k):
            i = np.flatnonzero(hits.sum(0, dtype=numbers.dtype) > 1)
            k[i] = self._settle(torch.from_numpy(i), largest)
        return torch.from_numpy(k), self.bonus

    def _settle(self, i, largest):
        """These rows again in float64, and where that leaves a doubt, by residuals."""
        rows, blur = self.rows.index_select(0, i), rounding(self.points) * (self.sizes[i] + largest)
        squares = torch.addmm(self.lengths, rows, self.points.T, alpha=-2)
        return settle(rows, squares, blur, self.points)[0]

    def stats(self, x, z):
        """As of the joint, from what is kept of the rows."""
        if x is not self.x:
            return self.joint.stats(x, z)
        was, sums = self.last
        changed = (z != was).nonzero()[:, 0]
        if 2 * len(changed) < len(z) and len(sums) == len(self.lengths):
            went, k, was = (part.index_select(0, changed) for part in (self.summed, z, was))
            sums = sums.index_add(0, k, went).index_add_(0, was, went, alpha=-1)
            sums *= sums[:, :1] > 0  # of a point that all have left no rounding stays
        else:
            sums = self.rows.new_zeros(len(self.lengths), self.summed.shape[1]).index_add_(0, z, self.summed)
        self.last = z, sums
        return known_sums(self.joint, x, z, self.origin, *sums.split_with_sizes((1, 1, x.shape[1]), 1))


def ahead(data, starts, passes, tol):
    """Which of several starts (S, K, D) Lloyd's algorithm takes farthest, or None where that is better tried in turn.

    On a small table all starts stand side by side in one product, so that a pass of all costs hardly more than one.
    Products are in the data's dtype: this tells the winner, which then runs exactly.  Each start stops by the rule of
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
    if n * K * D > RACE:
        return None
    middle = starts.mean((0, 1))
    runners = [Runners(part, S, K) for x in data for part in (x - middle).split(max(1, PART // (S * K)))]
    points, racing, errors = starts - middle, torch.arange(S), [[] for _ in range(S)]
    for _ in range(passes):
        sums = all_sum(added(each(points) for each in runners))
        count, x = sums["x"].split([1, D], 2)
        if (count == 0).any():
            return None
        for start, error in zip(racing.tolist(), sums["error"].tolist()):
            errors[start].append(error)
        points = (x / count).to(points)
        on = torch.tensor([_falls(errors[start], tol) for start in racing.tolist()])
        if not on.any():
            break
        if not on.all():
            racing, on = racing[on], on.to(points.device)
            points = points[on]
            for each in runners:
                each.keep(on)
    last = [each[-1] for each in errors]
    return last.index(min(last))


def _falls(errors, tol):
    """Whether another pass is worth it."""
    return len(errors) < 2 or errors[-2] - errors[-1] > tol * (errors[1] - errors[-1])


class Runners:
    """Rows (n, D), and which point of each of S starts claims them; sums take in only what changed sides."""

    def __init__(self, rows, S, K):
        self.rows, self.error = rows, total(torch.linalg.vecdot(rows, rows))
        self.mine = rows.new_zeros((S, K, len(rows)), dtype=torch.bool)
        wide = {"dtype": torch.float64, "device": rows.device}
        self.sums, self.counted = torch.zeros(S * K, 1 + rows.shape[1], **wide), torch.ones(len(rows), 1, **wide)
        self.counted = torch.cat([self.counted, rows], 1)  # float64

    def keep(self, on):
        """Go on with these starts (S,) alone."""
        K = self.mine.shape[1]
        self.mine, self.sums = self.mine[on], self.sums.unflatten(0, (-1, K))[on].flatten(0, 1)

    def __call__(self, points):
        """Of each start the squared error (S,), and of each point the number and sum of its rows (S, K, 1 + D)."""
        flat = points.flatten(0, 1)
        lengths = torch.linalg.vecdot(flat, flat)
        squares = torch.addmm(lengths[:, None], flat, self.rows.T, alpha=-2).view(self.mine.shape)
        least = squares.amin(1, keepdim=True)
        mine = squares <= least
        place = (mine ^ self.mine).flatten().nonzero()[:, 0]
        point = place // len(self.rows)
        sign = mine.flatten().index_select(0, place).to(self.sums).mul_(2).sub_(1)
        self.sums.index_add_(0, point, self.counted.index_select(0, place - point * len(self.rows)).mul_(sign[:, None]))
        self.mine = mine
        return {"x": self.sums.unflatten(0, mine.shape[:2]), "error": total(least[:, 0].T) + self.error}
