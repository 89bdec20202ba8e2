"""Probabilistic PCA: the linear code with a proper prior, at temperature 1 (ledger G8, R4).

    log q_w(u) = log N(u; 0, I)    log q_r(x|u) = log N(x; mu + W u, sigma^2 I)

The posterior over u is Gaussian, so F_1 is the log evidence, log N(x; mu, W W^T + sigma^2 I), exactly.
"""

__all__ = ["PPCA"]

from dataclasses import KW_ONLY

import torch
from sklearn.utils.validation import check_is_fitted

from ..aside import aside
from ..core import Soft
from ..estimator import Iterative
from ..hyper import Seed, choice, count, draw_seed, fitted, hyper, need_integer, need_samples, number
from ..joints.linear import LinearGaussian
from ..rows import Array, Table
from ..solvers.eigen import FAINT, by_eigenvectors, upright
from .lgae import LinearCode


@hyper
class PPCA(LinearCode, Iterative):
    """Probabilistic PCA: evidence, sampling and imputation for a linear code.

    Parameters
    ----------
    n_components : int
        p, less than the number of columns.
    solver : "eigh" or "em"
        The closed form from the covariance's eigenvectors, or EM.
    max_iter, tol
        Of "em": steps at most, and the relative rise of the evidence at which to stop.
    random_state, warm_start, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    components_ : (p, D)
        Principal axes: orthonormal rows; the largest entry of each is positive.
    mean_ : (D,)
    explained_variance_ : (p,)
        Eigenvalues of the covariance divided by n (maximum likelihood; scikit-learn divides by n - 1).
    noise_variance_ : float
        sigma^2, the mean of the other eigenvalues.
    joint_ : LinearGaussian
    history_, n_iter_
        As in `KMeans`.

    Notes
    -----
    Tipping and Bishop (1999).  Ledger G8.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 3)) * [3, 1, 1]
    >>> PPCA(n_components=1).fit(X).explained_variance_.round(0)
    array([9.])
    """

    infer = Soft(1.0)

    n_components: int = count(2)
    _: KW_ONLY
    solver: str = choice("eigh", "em")
    max_iter: int = count(2000)
    tol: float = number(1e-9, "tol=0 to run to the end", closed=True)
    joint_: LinearGaussian = fitted()
    noise_variance_: float = fitted()

    def _check(self, n, width):
        super()._check(n, width)
        p = self.n_components
        if p >= width:
            raise ValueError(f"n_components={p} leaves no noise in {width} feature(s): pass at most {width - 1}")
        need_samples("n_components", p, n, p + 2, "fewer components", " to tell signal from noise")

    def _start(self, data, generator):
        p, D = self.n_components, data.width
        mean, axes, values, left = by_eigenvectors(data, p)
        variance = left / (D - p)
        if variance <= FAINT * torch.finfo(torch.float64).eps * values[0]:
            raise ValueError(
                f"the data lie in a flat of {p} dimensions (of the other {D - p} variances {variance:.2g} are left, "
                f"rounding beside {values[0]:.2g}), so their density is unbounded: pass fewer components, or LGAE"
            )
        if self.solver == "eigh":
            weights = axes * (values - variance).clamp(min=0).sqrt()
        else:
            variance = (values.sum() + left) / D
            weights = torch.randn(D, p, generator=generator, dtype=torch.float64) * variance.sqrt()
        variance = torch.as_tensor(variance, dtype=torch.float64)
        return LinearGaussian(*(part.to(data.device, data.dtype) for part in (mean, weights, variance)))

    def _learn(self, joint, data, history):
        if self.solver == "em":
            return super()._learn(joint, data, history)
        history.append(self._objective(joint, data))
        return True

    def _finish(self, data):
        joint = self.joint_  # the evidence does not see a rotation of u: choose the principal axes
        axes, scale, _ = torch.linalg.svd(joint.weights.to("cpu", torch.float64), full_matrices=False)
        axes = upright(axes)
        joint.weights.copy_(axes * scale)
        self.components_ = data.like(axes.T.contiguous().to(joint.weights))
        self.mean_ = data.like(joint.mean)
        self.noise_variance_ = float(joint.variance)
        self.explained_variance_ = data.like(scale.to(joint.weights) ** 2 + joint.variance)

    def transform(self, X: Table) -> Array:
        """The posterior mean of the code: (n, D) -> (n, p)."""
        return self._open(X).map(self.joint_.argmax)

    def inverse_transform(self, Z: Table) -> Array:
        """Decode mu + W u: codes (n, p) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, self.joint_.decode)

    @aside(grad=False)
    def sample(self, n_samples: int = 1, random_state: Seed = None) -> Array:
        """Draw from the model: (n_samples, D), of the kind of ``mean_``."""
        check_is_fitted(self)
        need_integer("n_samples", n_samples)
        generator, joint = torch.Generator().manual_seed(draw_seed(random_state)), self.joint_
        u, noise = (
            torch.randn(n_samples, width, generator=generator, dtype=joint.mean.dtype).to(joint.mean)
            for width in reversed(joint.weights.shape)
        )
        x = joint.decode(u) + joint.variance.sqrt() * noise
        return x if torch.is_tensor(getattr(self, "mean_", None)) else x.cpu().numpy()

    def impute(self, X: Table) -> Array:
        """Fill missing entries (NaN) by their expectation given the present ones: (n, D) -> (n, D).

        `fit` itself needs complete rows.
        """
        return self._open(X, holes=True).map(self._fill)

    def _fill(self, x):
        joint, there = self.joint_, ~x.isnan()
        W = joint.weights.double() * there[:, :, None]  # (n, D, p): a missing entry says nothing
        precision = W.mT @ W + joint.variance.double() * torch.eye(W.shape[2]).to(W)
        known = torch.where(there, x - joint.mean, 0.0).double()
        u = torch.linalg.solve(precision, (W.mT @ known[:, :, None])).squeeze(2)
        return torch.where(there, x, joint.decode(u))
