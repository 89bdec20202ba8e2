"""Locally linear codes: K flats, and the code says which one and where on it (ledger H0-H9).

    log q_w(k, u) = -log K (flat in u)
    log q_r(x|k, u) = -||x - mu_k - W_k u||^2 - (D/2) log pi,    W_k^T W_k = I

The max over u is a projection; the max over k compares K of them, all in one matrix product.  One flat is LGAE,
and with p = 0 directions this is k-means: the joint is the same `Flats`.
"""

__all__ = ["LLGAE"]

from dataclasses import KW_ONLY

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..core import alternate, sums
from ..hyper import count, fitted, hyper
from ..joints.flats import Flats
from ..parallel import all_sum
from ..rows import Array, Table
from ..solvers.eigen import upright
from ..solvers.nearest import nearest
from ..solvers.starts import sample_rows
from ..solvers.sums import added, in_order, products, tally
from .kmeans import KMeans
from .lgae import check_components

WARM_UP = 10  # passes in which the nearest mean claims a row: flats that know no data yet could claim anything

RACE = 3  # passes that every start gets before the one ahead goes on alone


def by_means(joint: Flats, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The code of the flat with the nearest mean, as an answer to the max: a start, not the best flat."""
    k = nearest(x, joint.means)
    return (k, joint.inside(x, k)), x.new_zeros(len(x))


@hyper
class LLGAE(KMeans):
    """Locally linear generative autoencoder: K flats of p dimensions, each row on the one nearest to it.

    Parameters
    ----------
    n_clusters : int
        K, the number of flats.
    n_components : int
        p, their dimension; 0 gives k-means.
    init : "k-means++" or array (K, D)
        Where the means start; the directions start from the rows nearest to them.
    n_init : int
        Starts; after three passes each, the best goes on alone.  One when ``init`` is an array.
    max_iter, tol, random_state, warm_start, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    cluster_centers_ : (K, D)
        A point of each flat: the mean of its rows.
    components_ : (K, p, D)
        Orthonormal rows, by falling variance within the component; the largest entry of each is positive.
    explained_variance_ : (K, p)
        Variance of the rows of each component along them, divided by the number of those rows.
    labels_, inertia_, history_, n_iter_
        As in `KMeans`: ``inertia_`` is the sum of squared distances to the nearest flat.
    joint_ : Flats

    Notes
    -----
    A flat has no ends, and the prior on u is flat: there is a score, but no sampling, and a far row can be
    claimed by a flat that merely points at it (H8); `MPPCA` is the probabilistic twin.  Each pass moves the
    directions by one step of subspace iteration, so it costs one reading of the data and cannot lower the
    objective.  Ledger H4-H6.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.linspace(-1, 1, 50)[:, None]
    >>> X = np.vstack([np.hstack([t, 0 * t + 3]), np.hstack([0 * t + 3, t])])  # two segments
    >>> lines = LLGAE(n_clusters=2, n_components=1, n_init=3, random_state=0).fit(X)
    >>> lines.inertia_ < 1e-9
    True
    """

    _chapter = "cases/locally-linear-codes"

    n_components: int = count(2, least=0)
    _: KW_ONLY
    max_iter: int = count(100)
    components_: Array = fitted()
    explained_variance_: Array = fitted()

    @property
    def _n_features_out(self):
        K, _, p = self.joint_.bases.shape
        return p if K == 1 and p else K * (p + 1)

    def _check(self, n, width):
        super()._check(n, width)
        check_components(self, n, width)

    def _starts(self, data, generator):
        starts = [self._start(data, generator) for _ in range(self._count())]
        if len(starts) == 1:
            return starts
        ahead = [alternate(joint, data, self.infer, RACE, all_sum=all_sum)[-1] for joint in starts]
        return [starts[ahead.index(max(ahead))]]

    def _start(self, data, generator):
        """A start: k-means for a few passes over a sample, and directions of the rows that are nearest to each mean."""
        p, sample = self.n_components, sample_rows(data, self.n_clusters, generator)
        points = self._points(sample, data, generator)
        bases = torch.randn(self.n_clusters, data.width, p, generator=generator, dtype=torch.float64)
        joint = Flats(points.means, torch.linalg.qr(bases).Q.to(points.means), seed=points.seed)
        for _ in range(WARM_UP if p else 0):  # what the means claim is not the flats' best: their objective may fall
            joint.update(sums(joint, [sample], by_means))
        return joint

    def _finish(self, data):
        super()._finish(data)
        joint = self.joint_
        K, _, p = joint.bases.shape

        def squares(_, x):
            k, u = self._code(x)
            n, uu = tally(k, K), u.new_zeros(K, p, p, dtype=torch.float64)
            for c, rows in joint._groups(k):
                inside = u.index_select(0, rows).double()
                uu[c] = products(inside, inside)
            return {"n": n, "uu": uu}

        none = {"n": torch.zeros(K, dtype=torch.float64), "uu": torch.zeros(K, p, p, dtype=torch.float64)}
        n, uu = all_sum(added(in_order(squares, data)) if p else none).values()
        # The flats are found; their axes are chosen to be those along which their rows vary most.
        variance, turn = torch.linalg.eigh(uu / n.clamp(min=1)[:, None, None])
        axes = joint.bases.to("cpu", torch.float64) @ turn.flip(2)
        joint.bases.copy_(torch.stack([upright(each) for each in axes]))
        self.components_ = data.like(joint.bases.transpose(1, 2).contiguous())
        self.explained_variance_ = data.like(variance.flip(1).clamp(min=0).to(joint.means))

    def predict(self, X: Table) -> Array:
        """The nearest flat of each row: (n, D) -> (n,) int64."""
        return self._open(X).map(lambda x: self._code(x)[0])

    def _code(self, x):
        """(k, u), with an empty u when the flats are points."""
        z = self.joint_.argmax(x)
        return (z, x.new_zeros(len(x), 0)) if torch.is_tensor(z) else z

    def transform(self, X: Table) -> Array:
        """The code, ``[u, 1]`` in the block of its flat and zeros elsewhere: (n, D) -> (n, K (p + 1)).

        So decoding is one matrix product.  One flat has u alone, (n, p); flats that are points, the one-hot k.
        """
        return self._open(X).map(self._blocks)

    def _blocks(self, x):
        k, u = self._code(x)
        if self._n_features_out == u.shape[1]:
            return u
        blocks = x.new_zeros(len(x), len(self.joint_.means), u.shape[1] + 1)
        blocks[torch.arange(len(x)), k] = torch.cat([u, u.new_ones(len(u), 1)], 1)
        return blocks.flatten(1)

    def inverse_transform(self, Z: Table) -> Array:
        """Decode: codes as `transform` gives them -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, self._point)

    def _point(self, codes):
        means, bases = self.joint_.means, self.joint_.bases
        if codes.shape[1] == bases.shape[2]:
            return means + codes @ bases[0].T
        return codes @ torch.cat([bases, means[:, :, None]], 2).transpose(1, 2).flatten(0, 1)
