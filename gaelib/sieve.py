"""The nearest of many points by a sieve: short codes rule out most points, what passes is compared in full.

For orthonormal columns W, and what they leave over, x_rest = x - W W^T x, Cauchy and Schwarz give

    ||x - mu||^2 >= ||W^T x - W^T mu||^2 + (||x_rest|| - ||mu_rest||)^2,

the squared distance of the short codes (W^T x, ||x_rest||).  A point whose bound is above the distance to a
point already found cannot be nearer.  The answer is that of the full table, for far fewer products (Bottesch,
Bühler and Kächele, 2016; ledger E2).
"""

import warnings

import numpy as np
import torch

from .core import Exact
from .flats import ROWS

AXES = 48  # columns of W, at most


def worth_it(joint):
    """Whether a sieve is faster than the full table: for many points with many columns."""
    return min(joint.means.shape) >= 64


class Sieve(Exact):
    """`Exact` for the points of a `Flats` (p = 0), faster on batches that come again; for the CPU.

    Parameters
    ----------
    joint : Flats
        Its means as they are now give the axes W; they may move afterwards.
    batches : iterable of tensors (n_b, D)
        The very tensors that will be asked about: the short code of each row is kept, ``AXES + 2`` numbers.

    Examples
    --------
    >>> from gaelib.flats import Flats
    >>> x = torch.randn(500, 200, generator=torch.Generator().manual_seed(0))
    >>> joint = Flats(x[:150])
    >>> code, _ = Sieve(joint, [x])(joint, x)
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
        """Short codes (n, AXES + 1) and squares (n,) of rows, seen from the middle."""
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
            found.append(self._sift(*rows, *self.points))
            if found[-1] is None:  # the sieve holds too little back here
                del self.kept[id(x)]
                return super().__call__(joint, x)
        return torch.cat(found), x.new_zeros(len(x))

    def _sift(self, x, codes, sizes, points, point_codes, point_sizes):
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
