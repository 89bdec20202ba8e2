"""Exact screening: the nearest of many flats without visiting them all (ledger H7).

A shadow is never longer than what throws it.  Let G (D, q) have orthonormal columns; then for every flat

    min_u || x - mu_k - W_k u ||  >=  min_u || G^T (x - mu_k - W_k u) ||

and the right side lives in q dimensions.  A flat whose shadow is farther than the best flat found so far
cannot win, and its full distance is never computed.
"""

import torch

from .nearest import project


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
