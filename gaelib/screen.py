"""Exact screening: the nearest of many flats or points without visiting them all (ledger H7).

A shadow is never longer than what throws it.  Let G (D, q) have orthonormal columns; then for every flat

    min_u || x - mu_k - W_k u ||  >=  min_u || G^T (x - mu_k - W_k u) ||

and the right side lives in q dimensions.  A flat whose shadow is farther than the best flat found so far
cannot win, and its full distance is never computed.  For points also the lengths of what the shadow misses,
x_rest = x - G G^T x, tell them apart (Cauchy and Schwarz; Bottesch, Bühler and Kächele, 2016):

    || x - mu ||^2  >=  || G^T x - G^T mu ||^2 + ( ||x_rest|| - ||mu_rest|| )^2
"""

import warnings

import numpy as np
import torch

from .core import Exact
from .flats import ROWS, projector

AXES = 48  # columns of G for points, at most


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
        self.shadow_bound = projector(means @ axes, torch.linalg.qr(axes.T @ bases).Q)
        away = means - self.middle
        self.plates = torch.cat([bases, away[:, :, None]], 2)  # (K, D, p + 1): one product for both parts
        self.offset, self.norms = (away[:, None] @ bases)[:, 0], away.square().sum(1)

    def bound(self, shadows):
        """A lower bound on the squared distance of every row to every flat: (n, q) -> (n, K)."""
        return self.shadow_bound(shadows)[0]

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


def worth_it(joint):
    """Whether screening points is faster than the full table: for many points with many columns."""
    return min(joint.means.shape) >= 64 and joint.means.numel() >= 2**15


class Screened(Exact):
    """`Exact` for the points of a `Flats` (p = 0), faster on batches that come again; for the CPU.

    Parameters
    ----------
    joint : Flats
        Its means as they are now give the axes G; they may move afterwards.
    batches : iterable of tensors (n_b, D)
        The very tensors that will be asked about: kept of each row are its shadow and two lengths, ``AXES + 2`` numbers at most.

    Examples
    --------
    >>> from gaelib.flats import Flats
    >>> x = torch.randn(500, 200, generator=torch.Generator().manual_seed(0))
    >>> joint = Flats(x[:150])
    >>> code, _ = Screened(joint, [x])(joint, x)
    >>> bool((code == joint.argmax(x)).all())
    True
    """

    def __init__(self, joint, batches):
        self.middle = joint.means.mean(0)
        some = joint.means[:: -(-len(joint.means) // 512)] - self.middle
        axes = torch.linalg.svd(some.double(), full_matrices=False).Vh[: min(AXES, len(joint.means) // 4)]
        self.axes = axes.T.to(some).contiguous()
        self.rounding = 4 * len(self.middle) * torch.finfo(some.dtype).eps  # of a product, relative; never less
        self.means = self.points = None
        self.kept = {id(x): (x, *self._shorten(x)) for x in batches}

    def _shorten(self, x):
        """Shadows with the length of what they miss (n, q + 1), and squares (n,), of rows seen from the middle."""
        codes, sizes = [], []
        for part in x.split(ROWS):
            part = part - self.middle
            inside, size = part @ self.axes, torch.linalg.vecdot(part, part)
            rest = (size - inside.square().sum(1)).clamp_(min=0) + self.rounding * size  # rounded up: still a bound
            codes.append(torch.cat([inside, rest.sqrt_()[:, None]], 1))
            sizes.append(size)
        return torch.cat(codes), torch.cat(sizes)

    def __call__(self, joint, x):
        kept = self.kept.get(id(x))
        if kept is None:
            return super().__call__(joint, x)
        if self.means is None or not torch.equal(self.means, joint.means):  # once per pass
            codes, sizes = self._shorten(joint.means)
            self.means, self.points = joint.means.clone(), ((joint.means - self.middle).T, codes.T * -2, sizes)
        found = []
        for rows in zip(*(part.split(ROWS) for part in kept)):
            found.append(self._screen(*rows, *self.points))
            if found[-1] is None:  # too little is ruled out here
                del self.kept[id(x)]
                return super().__call__(joint, x)
        return torch.cat(found), x.new_zeros(len(x))

    def _screen(self, x, codes, sizes, points, point_codes, point_sizes):
        """The nearest point of each row (n,), or None if more than an eighth of all pairs pass."""
        x, n, K = x - self.middle, len(x), points.shape[1]
        bounds = torch.addmm(point_sizes, codes, point_codes)  # all squares here leave out the row's own
        guess = torch.from_numpy(bounds.numpy().argmin(1))  # NumPy's argmin and nonzero use vectors
        best = self._squares(x, points, torch.arange(n + 1), guess, point_sizes)
        limits = best + self.rounding * (sizes + point_sizes.max())
        bounds.scatter_(1, guess[:, None], torch.inf)
        passed = torch.from_numpy(np.flatnonzero((bounds <= limits[:, None]).numpy()))
        if len(passed) > n * K // 8 or not limits.isfinite().all():
            return None
        rows = passed // K
        columns = passed - rows * K
        squares = self._squares(x, points, torch.searchsorted(rows, torch.arange(n + 1)), columns, point_sizes)
        least = best.scatter_reduce(0, rows, squares, "amin")
        hits = squares == least[rows]
        first = torch.where(best == least, guess, K)  # of equals the first, as in the full table
        return first.scatter_reduce_(0, rows[hits], columns[hits], "amin")

    @staticmethod
    def _squares(x, points, starts, columns, point_sizes):
        """``|mu|^2 - 2 x mu`` for chosen pairs only: row i with ``columns[starts[i]:starts[i + 1]]``."""
        shape = len(x), len(point_sizes)
        with warnings.catch_warnings():  # torch calls its CSR tensors a beta; these live for one call
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            pairs = torch.sparse_csr_tensor(
                starts, columns, point_sizes[columns], shape, check_invariants=False
            )
        return torch.sparse.sampled_addmm(pairs, x, points, alpha=-2).values()
