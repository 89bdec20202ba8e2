"""Locally linear embedding: points as sums of their neighbours, then the map that keeps the sums (ledger L5, L5b, L5c).

    weights    min ||x_i - sum_j w_ij x_j||^2,  sum_j w_ij = 1          a small least squares for each point
    map        min sum_i ||y_i - sum_j w_ij y_j||^2,  Y^T Y = I,        bottom eigenvectors of (I - W)^T (I - W)
               the columns of Y centred

The weights look like a code and the map like parameters, but the first step is a score and no likelihood: the points
explain each other.
"""

__all__ = ["LocallyLinearEmbedding"]

import warnings
from dataclasses import KW_ONLY
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh, splu
from torch import Tensor

from ..core import Joint
from ..hyper import count, fitted, hyper, need_samples, number, several
from ..maps import Map
from ..noise import gaussian
from ..rows import Array
from ..solvers.eigen import upright
from ..solvers.neighbours import neighbours

ENTRIES = 2**18  # of neighbours' rows held at a time
FEW = 200  # points whose eigenvectors a dense solver finds sooner
SHIFT = 1e-12  # the matrix is singular, and weights have no unit


class Barycentre(Joint):
    """-||x_i - sum_j z_ij x_j||^2 - (D/2) log pi: points rebuilt from neighbours by weights z (n, k).

    A score, no density of all points: its normaliser holds log |det(I - W)|, and that is minus infinity (ledger L5c).

    Parameters
    ----------
    points : tensor (n, D)
    index : tensor (n, k) int64
        The neighbours of each point.
    reg : float
        What is added to the diagonal of each Gram matrix, as a part of its trace: it decides where weights are free.

    Examples
    --------
    >>> points = torch.tensor([[0.0], [1.0], [4.0]], dtype=torch.float64)
    >>> joint = Barycentre(points, torch.tensor([[1, 2], [0, 2], [0, 1]]), reg=1e-9)
    >>> joint
    Barycentre(points=3, neighbours=2, features=1)
    >>> joint.argmax(points)[1].round(decimals=3)
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """

    def __init__(self, points: Tensor, index: Tensor, reg: float = 1e-3):
        super().__init__()
        self.register_buffer("points", points.clone())
        self.register_buffer("index", index.clone())
        self.reg = reg

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        D = self.points.shape[1]
        return (
            f"the weights of {several(self.index.shape[1], 'neighbour')}, of sum 1",
            "flat",
            f"the weighted sum of the neighbours and Gaussian noise, {several(D, 'feature')}",
        )

    def extra_repr(self) -> str:
        return f"points={len(self.points)}, neighbours={self.index.shape[1]}, features={self.points.shape[1]}"

    def decode(self, z: Tensor) -> Tensor:
        """The weighted sums of the neighbours: (n, k) -> (n, D)."""
        parts = zip(z.split(self._rows), self.index.split(self._rows))
        return torch.cat([torch.einsum("nk,nkd->nd", w, self.points[i]) for w, i in parts])

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return gaussian(x, self.decode(z))

    def argmax(self, x: Tensor) -> Tensor:
        """The best weights of sum 1, float64: x (n, D), the points themselves -> (n, k)."""
        weights = []
        for point, i in zip(x.split(self._rows), self.index.split(self._rows)):
            away = (self.points[i] - point[:, None]).double()
            gram = away @ away.mT
            trace = gram.diagonal(dim1=1, dim2=2).sum(1)
            ridge = self.reg * torch.where(trace > 0, trace, 1.0)
            gram.diagonal(dim1=1, dim2=2).add_(ridge[:, None])
            w = torch.linalg.solve(gram, torch.ones_like(gram[:, :, :1]))[..., 0]
            weights.append(w / w.sum(1, keepdim=True))
        return torch.cat(weights)

    @property
    def _rows(self):
        return max(1, ENTRIES // (self.index.shape[1] * self.points.shape[1]))


def bottom(W: Any, p: int) -> tuple[np.ndarray, np.ndarray]:
    """The p eigenvectors of (I - W)^T (I - W) above the constant one, (n, p), and their eigenvalues (p,).

    By shift and invert: one sparse factorisation, then Lanczos steps.
    """
    n = W.shape[0]
    one = scipy.sparse.csr_array(scipy.sparse.identity(n, format="csr"))  # eye_array came with SciPy 1.12
    rest = one - W
    M = (rest.T @ rest).tocsc()
    if n <= max(FEW, 4 * p):
        values, vectors = scipy.linalg.eigh(M.toarray(), subset_by_index=(0, p))
    else:
        shifted = (M + SHIFT * one).tocsc()
        factors = splu(shifted, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        inverse, start = LinearOperator((n, n), factors.solve), np.random.default_rng(0).uniform(-1, 1, n)
        values, vectors = eigsh(M, p + 1, sigma=-SHIFT, OPinv=inverse, v0=start)
    # Of flat data the other values are zero too, and the constant can be in any of the vectors.
    rest = scipy.linalg.null_space(vectors.sum(0)[None])
    values, turn = scipy.linalg.eigh(rest.T * values @ rest)
    return vectors @ (rest @ turn), values


@hyper
class LocallyLinearEmbedding(Map):
    """A map in which every point is the same weighted sum of its neighbours as in the data.

    Parameters
    ----------
    n_neighbors : int
        k, the neighbours that rebuild a point.
    n_components : int
        d, the map's dimensions.
    reg : float
        Added to the diagonal of each point's Gram matrix, as a part of its trace.
    device
        As in `KMeans`; of the neighbours and weights. The eigenvectors are SciPy's, on the CPU.

    Attributes
    ----------
    embedding_ : (n, d)
        The map, with orthonormal columns.
    weights_ : scipy.sparse.csr_array (n, n)
        W, rows of sum 1.
    reconstruction_error_ : float
        sum_i ||y_i - sum_j w_ij y_j||^2.
    history_ : list of float
        The mean score of the points under their weights, nats; see `Barycentre`.
    n_iter_ : int
        1.
    joint_ : Barycentre

    Warns
    -----
    UserWarning
        Where the neighbours fall into groups with none in common: the map shows each group as one place.

    Notes
    -----
    scikit-learn's "standard" method; weights in float64.  Other rows have no place in the map: there is no
    ``transform``.  All rows are compared, so several processes are refused.  Source: Roweis and Saul
    (2000).  Ledger L5, L5b, L5c.

    Examples
    --------
    >>> t = np.linspace(0, 3, 40)
    >>> y = LocallyLinearEmbedding(4, 1).fit_transform(np.column_stack([np.cos(t), np.sin(t)]))[:, 0]
    >>> bool((np.diff(y) > 0).all() or (np.diff(y) < 0).all())  # the arc is unrolled
    True
    """

    _chapter = "family/maps"
    _moves = "eigenvectors, at once"

    n_neighbors: int = count(5)
    n_components: int = count(2)
    _: KW_ONLY
    reg: float = number(1e-3, "reg=1e-3")
    joint_: Barycentre = fitted()
    embedding_: Array = fitted()
    weights_: Any = fitted()
    reconstruction_error_: float = fitted()
    random_state, verbose = 0, 0  # nothing is drawn, nothing is waited for

    def _check(self, n, width):
        super()._check(n, width)
        need_samples("n_neighbors", self.n_neighbors, n, self.n_neighbors + 1, "fewer neighbours")
        need_samples("n_components", self.n_components, n, self.n_components + 1, "fewer components")

    def _start(self, data, generator):
        x = torch.cat(list(data))
        return Barycentre(x, neighbours(x, self.n_neighbors)[1], self.reg)

    def _learn(self, joint, data, history):
        z = joint.argmax(joint.points)
        n, k = joint.index.shape
        where, ends = joint.index.cpu().numpy().ravel(), np.arange(0, n * k + 1, k)
        table = (z.cpu().numpy().ravel(), where.astype(np.intc), ends.astype(np.intc))  # SciPy 1.11 wants such
        data.memo["weights"] = scipy.sparse.csr_array(table, (n, n))
        history.append(float(joint.log_joint(joint.points.double(), z.to(joint.points)).mean()))
        return True

    def _finish(self, data):
        self.weights_ = data.memo["weights"]
        groups = connected_components(self.weights_, directed=False, return_labels=False)
        if groups > 1:
            warnings.warn(
                f"with n_neighbors={self.n_neighbors} the {len(data)} rows fall into {groups} groups that share no "
                "neighbour, and each is one place in the map: pass more neighbours, or one group at a time",
                stacklevel=4,
            )
        vectors, values = bottom(self.weights_, self.n_components)
        self.reconstruction_error_ = float(values.sum())
        self.embedding_ = data.like(upright(torch.from_numpy(vectors.copy())).to(data.device, data.dtype))
