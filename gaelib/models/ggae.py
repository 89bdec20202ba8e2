"""Gaussian-kernel codes: a point in a plane, or in R^E, mixes the components (ledger F1-F4).

    u_k(z) = exp(-||z - w_k||^2) / (b(z) + sum_j exp(-||z - w_j||^2)),    u_0(z) = 1 - sum_k u_k(z)
    log q_w(z) = log(1 - u_0(z)) + c
    log q_r(x|z) = log sum_k softmax_k(-||z - w_k||^2) N(x; mu_k, variance I)

Their sum is ``log sum_k u_k(z) p(x|k)``.  The absorbing component b takes what lies far from every prototype w_k
and explains no data: it keeps the codes from running away.
"""

__all__ = ["GGAE"]

import math
import numbers
from dataclasses import KW_ONLY

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from ..estimator import Estimator, Iterative
from ..hyper import checked, count, fitted, hyper, is_word, need_samples, number
from ..joints.kernels import KernelMixture
from ..rows import Array, Table
from ..solvers.starts import sample_rows, spread_rows


def need_absorption(name: str, value: object) -> None:
    """Refuse a b that does not keep the codes from running away."""
    if not is_word(value, "exp") and not (isinstance(value, numbers.Real) and 0 < value < math.inf):
        why = "must be a finite number above 0; without it codes run away"
        raise ValueError(f"{name}={value!r} {why}: pass {name}=1.0 or 'exp'")


@hyper
class GGAE(ClassNamePrefixFeaturesOutMixin, Estimator, Iterative):
    """Gaussian-kernel generative autoencoder: a mixture whose weights are read off a point in code space.

    Parameters
    ----------
    n_clusters : int
        K, the number of components.
    n_components : int
        E, the length of the code.
    absorb : float above 0 or "exp"
        The absorbing component b: a constant, or ``exp(z^T z)``, which also holds the prototypes near the origin.
    variance : float above 0
        sigma^2 of the noise, in the data's units squared.  Small values make every code a corner: the gates then
        choose, as in k-means; larger ones blend.
    n_init, max_iter, tol, random_state, warm_start, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    cluster_centers_ : (K, D)
    prototypes_ : (K, E)
        w_k, the place of every component in code space.
    joint_ : KernelMixture
    history_, n_iter_
        As in `KMeans`.

    Notes
    -----
    `score_samples` is ``max_z log sum_k u_k(z) p(x|k)``: the prior's constant, which depends on the prototypes, is
    left out as in the document, so scores of different models are not evidences.  Ledger F1-F4.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> model = GGAE(n_clusters=2, n_components=1, tol=1e-3, random_state=0).fit(X)
    >>> sorted(model.cluster_centers_.ravel().round(2).tolist())
    [0.5, 9.5]
    """

    _chapter = "cases/gaussian-kernel-codes"
    _moves = "closed forms for the means, a bounded step for the prototypes"

    n_clusters: int = count(8)
    n_components: int = count(2)
    _: KW_ONLY
    absorb: float | str = checked(1.0, need_absorption)
    variance: float = number(0.5, "variance=1.0")
    n_init: int = count(1)
    max_iter: int = count(1000)
    tol: float = number(1e-5, "tol=0 to run to the end", closed=True)
    joint_: KernelMixture = fitted()
    cluster_centers_: Array = fitted()
    prototypes_: Array = fitted()

    @property
    def _n_features_out(self):
        return self.joint_.prototypes.shape[1]

    def _check(self, n, width):
        need_samples("n_clusters", self.n_clusters, n, self.n_clusters, "fewer clusters")

    def _start(self, data, generator):
        means = spread_rows(sample_rows(data, self.n_clusters, generator), self.n_clusters, generator)
        return KernelMixture(means, self._places(means, generator), self.absorb, self.variance)

    def _places(self, means, generator):
        """Prototypes at the means' principal coordinates, of size 1, and a little apart."""
        K, E = self.n_clusters, self.n_components
        places = 0.01 * torch.randn(K, E, generator=generator, dtype=torch.float64)
        left, size, _ = torch.linalg.svd((means - means.mean(0)).to("cpu", torch.float64), full_matrices=False)
        main = (left * size)[:, :E]
        places[:, : main.shape[1]] += main / main.square().sum(1).mean().sqrt().clamp(min=1e-300)
        return places.to(means)

    def _finish(self, data):
        self.cluster_centers_ = data.like(self.joint_.means)
        self.prototypes_ = data.like(self.joint_.prototypes)

    def transform(self, X: Table) -> Array:
        """The code z: (n, D) -> (n, E)."""
        return self._open(X).map(self.joint_.argmax)

    def inverse_transform(self, Z: Table) -> Array:
        """Decode sum_k softmax_k(-||z - w_k||^2) mu_k: codes (n, E) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, self.joint_.decode)
