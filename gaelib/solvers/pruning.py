"""Exact screening: the nearest of many flats or points without visiting them all (ledger H7).

A shadow is never longer than what throws it.  Let G (D, q) have orthonormal columns; then for every flat

    min_u || x - mu_k - W_k u ||  >=  min_u || G^T (x - mu_k - W_k u) ||

and the right side lives in q dimensions.  A flat whose shadow is farther than the best flat found so far
cannot win, and its full distance is never computed.  For points also the lengths of what the shadow misses,
x_rest = x - G G^T x, tell them apart (Cauchy and Schwarz; Bottesch, Bühler and Kächele, 2016):

    || x - mu ||^2  >=  || G^T x - G^T mu ||^2 + ( ||x_rest|| - ||mu_rest|| )^2
"""

import warnings
from itertools import repeat

import numpy as np
import torch

from ..joints.flats import Flats
from .nearest import project
from .sums import by_code

AXES = 48  # columns of G for points, at most
ROWS = 2048  # screened at a time: their bounds stay in the CPU's cache


class Screen:
    """`flats.nearest` by full distances only where a lower bound leaves a doubt.

    What depends on the flats alone is computed once.

    Parameters
    ----------
    means, bases : tensors (K, D), (K, D, p)
    axes : tensor (D, q)
        Orthonormal columns, q > p: the leading principal axes of the data screen well.

    Attributes
    ----------
    asked : int
        Full distances computed so far; without screening it would be n K.

    Examples
    --------
    >>> means, bases = torch.tensor([[0.0, 0.0, 0.0], [0.0, 9.0, 9.0]]), torch.eye(3)[:, :1].expand(2, 3, 1)
    >>> screen = Screen(means, bases, torch.eye(3)[:, :2])
    >>> screen.nearest(torch.tensor([[5.0, 1.0, 0.0]]))
    (tensor([0]), tensor([[5.]]))
    >>> screen.asked
    1
    """

    def __init__(self, means, bases, axes):
        self.axes, self.asked, self.middle = axes, 0, means.mean(0)
        self.shadows = means @ axes, torch.linalg.qr(axes.T @ bases).Q
        away = means - self.middle
        self.plates = torch.cat([bases, away[:, :, None]], 2)  # (K, D, p + 1): one product for both parts
        self.offset, self.norms = (away[:, None] @ bases)[:, 0], away.square().sum(1)

    def bound(self, shadows):
        """A lower bound on the squared distance of every row to every flat: (n, q) -> (n, K)."""
        return project(shadows, *self.shadows)[0]

    def nearest(self, x, shadows=None):
        """The nearest flat of every row, and where on it: (n, D) -> k (n,) int64, u (n, p).

        ``shadows``, x @ axes, do not depend on the flats: computed once, they serve every pass of a fit.
        """
        bound = self.bound(x @ self.axes if shadows is None else shadows)
        x = x - self.middle
        k, norms = bound.argmin(1), x.square().sum(1)
        best, u = torch.full_like(norms, torch.inf), x.new_zeros(len(x), self.offset.shape[1])

        def ask(all_rows, flats):  # sorted by flat
            counts = torch.bincount(flats, minlength=bound.shape[1]).tolist()
            for j, rows in enumerate(all_rows.split(counts)):
                products = x[rows] @ self.plates[j]
                inside = products[:, :-1] - self.offset[j]
                squares = norms[rows] - 2 * products[:, -1] + self.norms[j] - inside.square().sum(1)
                won = squares < best[rows]
                best[rows[won]], k[rows[won]], u[rows[won]] = squares[won], j, inside[won]
                self.asked += len(rows)

        promising, first = k.sort(stable=True)
        ask(first, promising)
        slack = 8 * torch.finfo(x.dtype).eps * norms  # rounding alone rules nobody out
        doubt = bound <= (best + slack)[:, None]  # a farther shadow cannot win
        doubt[torch.arange(len(x)), k] = False
        flats, rows = doubt.T.nonzero(as_tuple=True)
        ask(rows, flats)
        return k, u


def worth_it(means):
    """Whether screening points (K, D) is faster than the full table: for many points with many columns."""
    return min(means.shape) >= 64 and means.numel() >= 2**15


class _Batch:
    """What is remembered of a batch: each row's size and code, and from its last visit its point and square."""

    def __init__(self, x, sizes, codes):
        self.x, self.sizes, self.codes = x, sizes, codes
        self.forget()

    def forget(self):
        self.k = self.squares = self.counted = self.sums = None


class Screened(Flats):
    """The points of a `Flats` (p = 0), faster on batches that come again; for the CPU.

    It is the same joint: ``update`` moves the means of both.  Known batches are screened for the nearest points,
    and their sums take in and give back only the rows that changed sides.

    Parameters
    ----------
    joint : Flats
        Its means as they are now give the axes G; they may move afterwards.
    batches : iterable of tensors (n_b, D)
        The very tensors that will be asked about.  Kept of each row are its shadow, the length of what that misses,
        its size, its point and its square, ``AXES + 5`` numbers at most; of each batch, the sums of its rows.

    Examples
    --------
    >>> x = torch.randn(500, 200, generator=torch.Generator().manual_seed(0))
    >>> joint = Flats(x[:150])
    >>> bool((Screened(joint, [x]).argmax(x) == joint.argmax(x)).all())
    True
    """

    def __init__(self, joint, batches):
        super().__init__(joint.means, variance=joint.variance)
        self.middle = joint.means.mean(0)
        self.axes = self._leading(batches, min(AXES, len(joint.means) // 4))
        self.rounding = 4 * len(self.middle) * torch.finfo(self.middle.dtype).eps  # of a product, relative; never less
        self.kept = {id(x): _Batch(x, *self._shorten(x)) for x in batches}
        # Rows are moved to the middle before a product only if they are so far away that it would cost digits.
        away, spread = self.middle.square().sum(), sum(b.sizes.mean() for b in self.kept.values()) / len(self.kept)
        self.far = not bool(away <= 16 * spread)
        self.away = torch.zeros_like(away) if self.far else away
        self.follow(joint)

    def _leading(self, batches, q):
        """About the leading principal axes of the rows (D, q): three steps of subspace iteration on some of them."""
        step = max(1, sum(map(len, batches)) // 2048)
        rows = torch.cat([x[::step] for x in batches]) - self.middle
        axes = rows[:q].T
        for _ in range(3):
            axes = torch.linalg.qr(rows.T @ (rows @ axes)).Q
        return axes.contiguous()

    def follow(self, joint):
        """Share the means of this joint from now on."""
        self.means, self.seed, self.seen = joint.means, joint.seed, None
        for batch in self.kept.values():
            batch.forget()
        return self

    def _shorten(self, x):
        """Squares (n,) of rows seen from the middle; and shadows with the length of what they miss (n, q + 1)."""
        sizes, codes = [], []
        for part in x.split(ROWS):
            part = part - self.middle
            inside, size = part @ self.axes, torch.linalg.vector_norm(part, dim=1).square()
            rest = (size - inside.square().sum(1)).clamp_(min=0) + self.rounding * size  # rounded up: still a bound
            codes.append(torch.cat([inside, rest.sqrt_()[:, None]], 1))
            sizes.append(size)
        return torch.cat(sizes), torch.cat(codes)

    def _look(self):
        """What depends on the means alone, once per pass."""
        if self.seen is not None and torch.equal(self.seen, self.means):
            return
        self.point_sizes, codes = self._shorten(self.means)
        self.seen, self.points = self.means.clone(), (self.means - self.middle).T
        self.point_codes = codes.T * -2
        # |x - mu|^2 without what is the same for all mu, of x seen from the middle or from the origin
        self.constants = self.point_sizes if self.far else self.point_sizes + 2 * self.middle @ self.points

    def argmax(self, x):
        """The nearest point of each row, k (n,), the first of equals."""
        batch = self.kept.get(id(x))
        if batch is None:
            return super().argmax(x)
        self._look()
        found, guesses = [], repeat(None) if batch.k is None else batch.k.split(ROWS)
        with warnings.catch_warnings():  # torch calls its CSR tensors a beta; these live for one call
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            for part in zip(*(rows.split(ROWS) for rows in (x, batch.codes, batch.sizes)), guesses):
                found.append(self._screen(*part))
                if found[-1] is None:  # too little is ruled out here
                    del self.kept[id(x)]
                    return super().argmax(x)
        batch.k, batch.squares = (torch.cat(parts) for parts in zip(*found))
        batch.squares += batch.sizes
        return batch.k

    def _screen(self, x, codes, sizes, guess):
        """The nearest point of each row and its square, both (n,), or None if more than an eighth of all pairs pass."""
        x, n, K = x - self.middle if self.far else x, len(x), len(self.means)
        bounds = torch.addmm(self.point_sizes, codes, self.point_codes)  # all squares here leave out the row's own
        if guess is None:
            guess = torch.from_numpy(bounds.numpy().argmin(1))  # NumPy's argmin and nonzero use vectors
        best = self._squares(x, torch.arange(n + 1), guess)
        limits = best + self.rounding * (sizes + (self.point_sizes.max() + self.away))
        bounds.scatter_(1, guess[:, None], torch.inf)
        passed = torch.from_numpy(np.flatnonzero((bounds <= limits[:, None]).numpy()))
        if len(passed) > n * K // 8 or not limits.sum().isfinite():
            return None
        rows = passed // K
        columns = passed - rows * K
        squares = self._squares(x, torch.searchsorted(rows, torch.arange(n + 1)), columns)
        better = (squares <= best[rows]).nonzero()[:, 0]
        rows, columns, squares = rows[better], columns[better], squares[better]
        least = best.scatter_reduce(0, rows, squares, "amin")
        hits = squares == least[rows]
        first = torch.where(best == least, guess, K)  # of equals the first, as in the full table
        return first.scatter_reduce_(0, rows[hits], columns[hits], "amin"), least

    def _squares(self, x, starts, columns):
        """For chosen pairs only: row i with ``columns[starts[i]:starts[i + 1]]``."""
        pairs = torch.sparse_csr_tensor(
            starts, columns, self.constants[columns], (len(x), len(self.means)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pairs, x, self.points, alpha=-2).values()

    def stats(self, x, z):
        """As of `Flats`; of a known batch, at the codes just found, without reading the rows that stayed."""
        batch = self.kept.get(id(x))
        if batch is None or z is not batch.k or not torch.equal(self.seen, self.means):
            return super().stats(x, z)
        K = len(self.means)
        if batch.counted is None:
            batch.sums = sum(by_code(k, K, rows - self.middle) for k, rows in zip(z.split(ROWS), x.split(ROWS)))
        else:
            for i in (z != batch.counted).nonzero()[:, 0].split(ROWS):
                rows = x[i] - self.middle
                batch.sums += by_code(z[i], K, rows) - by_code(batch.counted[i], K, rows)
        batch.counted = z
        blurred = (64 * batch.squares < batch.sizes + self.away).nonzero()[:, 0]  # a difference of large numbers
        for i in blurred.split(ROWS):
            batch.squares[i] = torch.linalg.vector_norm(x[i] - self.means[z[i]], dim=1).square()
        n, error = torch.bincount(z, minlength=K).double(), torch.bincount(z, batch.squares.double(), K)
        sums = {"n": n, "x": batch.sums - n[:, None] * (self.means - self.middle).double(), "error": error}
        return sums | self.scored(error, len(x))
