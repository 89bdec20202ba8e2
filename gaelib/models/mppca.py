"""Mixtures at temperature 1: of Gaussians, and of probabilistic PCA, the proper twin of K flats (ledger H8).

    log q_w(k) = log pi_k        log q_r(x|k) = log N(x; mu_k, W_k W_k^T + sigma_k^2 I)

The position u ~ N(0, I) on a flat is integrated out, so the code is k alone and F_1 is the log evidence.  A
flat thereby gets ends: far along it costs nats too.  At p = 0 this is k-means at T = 1.
"""

__all__ = ["MPPCA", "GaussianMixture"]

import math
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from ..aside import aside
from ..core import Exact, Soft, alternate
from ..estimator import Estimator, Iterative
from ..hyper import (
    Seed,
    checked,
    choice,
    count,
    draw_seed,
    fitted,
    hyper,
    need_integer,
    need_number,
    need_samples,
    number,
)
from ..joints.flats import Flats
from ..joints.mixture import Expect, Mixture
from ..parallel import all_sum, from_first
from ..rows import Array, Rows, Table
from ..solvers.eigen import upright
from ..solvers.starts import sample_rows, spread_rows, warn_if_alike
from ..solvers.sums import total
from ..solvers.together import remembering


def need_variance(name: str, value: object) -> None:
    """Nothing, or a finite number above 0."""
    if value is not None:
        need_number(name, value, 0.0, False, True, "such a number")


@hyper
class _Mixtures(ClassNamePrefixFeaturesOutMixin, ClusterMixin, Estimator, Iterative):
    """What both mixtures share; without directions these are spherical Gaussians."""

    infer = Soft(1.0)
    _chapter = "cases/locally-linear-codes"
    _small = 2**18
    n_components, prior_variance = 0, None

    n_clusters: int = count(8)
    _: KW_ONLY
    noise: str = choice("shared", "own")
    floor: float = number(1e-6, "such a number")
    n_init: int = count(1)
    max_iter: int = count(500)
    joint_: Mixture = fitted()
    weights_: Array = fitted()
    means_: Array = fitted()
    components_: Array = fitted()
    explained_variance_: Array = fitted()
    noise_variance_: Array = fitted()
    labels_: Array = fitted()

    if TYPE_CHECKING:  # scikit-learn's has no types

        def fit_predict(self, X: Table, y: Any = None) -> Array: ...

    def _check(self, n, width):
        K, p = self.n_clusters, self.n_components
        if p >= width:
            raise ValueError(f"n_components={p} leaves no noise in {width} feature(s): pass at most {width - 1}")
        need_samples("n_clusters", K, n, max(K, 2), "fewer clusters")

    def _start(self, data, generator):
        K, p, D = self.n_clusters, self.n_components, data.width
        spread = column_variance(data)
        if spread == 0:
            raise ValueError("all rows are equal (variance 0), so their density is unbounded: pass rows that differ")
        sample = sample_rows(data, K, generator)
        points = Flats(spread_rows(sample, K, generator), variance=spread / 2)  # so that no unit is seen
        infer = remembering(points, [sample]) if sample.device.type == "cpu" else Exact()
        value = alternate(points, [sample], infer, 10, 1e-3)[-1]
        error = (points.constant - value) * spread  # the squared distance to the nearest mean
        axes = torch.linalg.qr(torch.randn(K, D, p, generator=generator, dtype=torch.float64)).Q
        return Mixture(
            points.means,
            axes,
            math.sqrt(self.prior_variance or spread),
            max(error / D, self.floor * spread),
            shared=self.noise == "shared",
            fixed=self.prior_variance is not None,
            floor=self.floor * spread,
        )

    def _reading(self, joint, data):
        return Expect(), data.views or data

    def _finish(self, data):
        joint = self.joint_
        joint.bases.copy_(torch.stack([upright(axes) for axes in joint.bases]))
        self.weights_, self.means_, self.noise_variance_ = map(data.like, (joint.weights, joint.means, joint.variance))
        self.components_ = data.like(joint.bases.mT.contiguous())
        self.explained_variance_ = data.like(joint._along.to(joint.means))
        self.labels_ = data.map(joint.argmax)
        used = torch.bincount(torch.as_tensor(self.labels_), minlength=len(joint.means))
        warn_if_alike(type(self).__name__, data, len(joint.means), used)

    @property
    def _n_features_out(self):
        return len(self.joint_.means) * (self.joint_.bases.shape[2] + 1)

    def predict(self, X: Table) -> Array:
        """The likeliest component of each row: (n, D) -> (n,) int64."""
        return self._open(X).map(self.joint_.argmax)

    def predict_proba(self, X: Table) -> Array:
        """The posterior weight of each component: (n, D) -> (n, K)."""
        return self._open(X).map(lambda x: self.joint_.posterior(x, 1.0)[0][0].to(x.dtype))

    def transform(self, X: Table) -> Array:
        """The posterior mean of the code, block by block r_k [u_k, 1]: (n, D) -> (n, K (p + 1))."""
        return self._open(X).map(self.joint_.code)

    def inverse_transform(self, Z: Table) -> Array:
        """Decode sum_k r_k (mu_k + W_k u_k), one matrix product: codes (n, K (p + 1)) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, lambda codes: codes @ self.joint_.decoder())

    def impute(self, X: Table) -> Array:
        """Fill missing entries (NaN) by their expectation given the present ones: (n, D) -> (n, D).

        `fit` itself needs complete rows.
        """
        return self._open(X, holes=True).map(self.joint_.fill)

    @aside(grad=False)
    def sample(self, n_samples: int = 1, random_state: Seed = None) -> Array:
        """Draw from the model: (n_samples, D), of the kind of ``means_``."""
        check_is_fitted(self)
        need_integer("n_samples", n_samples)
        generator, joint = torch.Generator().manual_seed(draw_seed(random_state)), self.joint_
        k = torch.multinomial(joint.weights.cpu(), n_samples, True, generator=generator).to(joint.means.device)
        _, D, p = joint.bases.shape
        u, noise = (
            torch.randn(n_samples, width, generator=generator, dtype=joint.means.dtype).to(joint.means)
            for width in (p, D)
        )
        x = Flats(joint.means, joint.bases).decode((k, u * joint.scales[k])) if p else joint.decode(k)
        x = x + joint.variance[k, None].sqrt() * noise
        return x if torch.is_tensor(getattr(self, "means_", None)) else x.cpu().numpy()


@hyper
class MPPCA(_Mixtures):
    """Mixture of probabilistic PCA by EM: K flats that are densities, with evidence, sampling and imputation.

    Parameters
    ----------
    n_clusters : int
        K.
    n_components : int
        p, less than the number of columns; 0 makes the components spherical Gaussians.
    noise : "shared" or "own"
        One sigma^2 for all components, or one for each.
    prior_variance : float, optional
        Fix the variance that u contributes along every axis, in the data's units squared; learned if left out.
    floor : float
        The least sigma^2, as a part of the mean variance of a column.  It bounds the evidence where a component
        has no more than p + 1 distinct rows; lower it for data with a huge outlier.
    n_init, max_iter, tol, random_state, warm_start, device, verbose
        As in `KMeans`; a start is a few passes of k-means, and random directions.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
    components_ : (K, p, D)
        Orthonormal rows, by falling variance; the largest entry of each is positive.
    explained_variance_ : (K, p)
        Variance along each axis, noise included.
    noise_variance_ : (K,)
        sigma^2.
    labels_ : (n,) int64
        The likeliest component of each training row (of this process's shard).
    joint_ : Mixture
    history_, n_iter_
        As in `KMeans`; the objective is the log evidence.

    Notes
    -----
    Tipping and Bishop (1999, Neural Computation).  Ledger H8.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(400, 3)) * [9, 1, 1]
    >>> X[:200, 1] += 40
    >>> MPPCA(2, 1, random_state=0).fit(X).noise_variance_.round()
    array([1., 1.])
    """

    n_components: int = count(2, least=0)
    _: KW_ONLY
    prior_variance: float | None = checked(None, need_variance)


class GaussianMixture(_Mixtures):
    """Spherical Gaussians by EM: `KMeans` at temperature 1, with learned weights and sigma^2.

    Parameters
    ----------
    n_clusters : int
        K.
    noise, floor, n_init, max_iter, tol, random_state, warm_start, device, verbose
        As in `MPPCA`, whose attributes and methods it has.  ``transform`` gives the posterior weights.

    Notes
    -----
    With ``noise="own"`` this is scikit-learn's ``GaussianMixture(covariance_type="spherical")``, except for the
    start, and for a floor under sigma^2 in place of a number added to it.  Ledger E1.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [9.0], [10.0]])
    >>> GaussianMixture(2, random_state=0).fit(X).noise_variance_.round(3)
    array([0.25, 0.25])
    """

    _chapter = "cases/discrete-codes"


def column_variance(data: Rows) -> float:
    """The mean variance of a column, over all batches and processes; two passes."""
    n, first = torch.tensor(float(len(data)), dtype=torch.float64), from_first(data.first)
    sums = all_sum({"n": n, "x": sum(total(x - first.to(x)).cpu() for x in data)})  # from there equal rows are 0
    mean = sums["x"] / sums["n"]
    square = sum(total((x - first.to(x) - mean.to(x)).square()).sum().cpu() for x in data)
    return float(all_sum({"square": square})["square"] / sums["n"] / data.width)
