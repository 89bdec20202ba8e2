"""Linear codes: one flat, and it is the one of principal component analysis (ledger G1-G7).

    log q_w(u) = 0 (flat)          log q_r(x|u) = -||x - mu - W u||^2 - (D/2) log pi,    W^T W = I

The max over u is a projection, W^T (x - mu).  The max over mu and W is the mean and the leading eigenvectors.
"""

__all__ = ["LGAE"]

import math
from dataclasses import KW_ONLY
from typing import Any

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from ..core import objective
from ..estimator import Estimator, Iterative
from ..hyper import choice, count, fitted, hyper, number
from ..joints.flats import Flats
from ..joints.network import seeded
from ..parallel import all_sum
from ..rows import Array, Table
from ..solvers.eigen import by_eigenvectors, by_singular_vectors, moments, upright


def check_components(estimator: Any, n: int, width: int) -> None:
    """Refuse more directions than rows or columns can span."""
    p, least = estimator.n_components, min(n, width)
    if p > least:
        what = "samples" if n < width else "features"
        raise ValueError(
            f"n_components={p} needs at least {p} {what}, got {least} {what if least != 1 else what[:-1]}: "
            "pass more data or fewer components"
        )


class LinearCode(ClassNamePrefixFeaturesOutMixin, Estimator):
    """What models with a linear decoder share: ``components_`` (p, D), ``mean_`` (D,), decoding by one product."""

    _chapter = "cases/linear-codes"
    _small = 2**18

    components_: Array
    mean_: Array
    explained_variance_: Array

    @property
    def _goes_on(self):
        return self.solver in ("alternate", "em")

    @property
    def _in_blocks(self):
        return self.solver == "eigh"

    @property
    def _moves(self):
        solver = self._of_fit("solver")
        return "the covariance's eigenvectors, at once" if solver == "eigh" else f"the solver {solver!r}"

    @property
    def _n_features_out(self):
        joint = self.joint_
        return (joint.weights if hasattr(joint, "weights") else joint.bases).shape[-1]

    def _check(self, n, width):
        check_components(self, n, width)


@hyper
class LGAE(LinearCode, Iterative):
    """Linear generative autoencoder: principal component analysis as the maximum of the objective.

    Parameters
    ----------
    n_components : int
        p, the length of the code.
    solver : "eigh", "svd", "alternate" or "gradient"
        Eigenvectors of the covariance (singular vectors where n < D); singular vectors of the rows; the two maxima in
        turn, with a QR step that keeps W orthonormal; gradient ascent on an orthogonal parametrisation.
    max_iter, tol
        Of "alternate" and "gradient": steps at most, and the relative rise of the objective at which to stop; 0
        runs until rounding ends the climb.
    random_state, warm_start, device, verbose
        As in `KMeans`; the seed starts "alternate" and "gradient".

    Attributes
    ----------
    components_ : (p, D)
        Orthonormal rows, by falling variance; the largest entry of each is positive.
    mean_ : (D,)
    explained_variance_ : (p,)
        Variance of each entry of the code, divided by n - 1 as in scikit-learn.
    joint_ : Flats
    history_, n_iter_
        As in `KMeans`.

    Notes
    -----
    The prior on u is flat: there is a score, but no sampling; `PPCA` is the probabilistic twin.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.2]])
    >>> LGAE(n_components=1).fit(X).inverse_transform([[0.0]]).round(2)
    array([[1.5 , 1.55]])
    """

    n_components: int = count(2)
    _: KW_ONLY
    solver: str = choice("eigh", "svd", "alternate", "gradient")
    max_iter: int = count(1000)
    tol: float = number(0.0, "tol=0 to run to the end", closed=True)
    joint_: Flats = fitted()

    def _start(self, data, generator):
        mean = moments(data)[1] if self.solver == "gradient" else data.first[0]
        axes = torch.randn(data.width, self.n_components, generator=generator, dtype=torch.float64)
        mean, axes = (part.to(data.device, data.dtype) for part in (mean, torch.linalg.qr(axes).Q))
        return Flats(mean[None], axes[None])

    def _learn(self, joint, data, history):
        learn = {"alternate": super()._learn, "gradient": self._climb}.get(self.solver, self._solve)
        return learn(joint, data, history)

    def _solve(self, joint, data, history):
        """The closed form; what the flat does not catch is the objective."""
        solve = by_eigenvectors if self.solver == "eigh" else by_singular_vectors
        mean, axes, variance, left = solve(data, self.n_components)
        joint.means.copy_(mean[None])
        joint.bases.copy_(upright(axes)[None])
        self._explain(data, variance)
        history.append(-left - 0.5 * data.width * math.log(math.pi))
        return True

    def _explain(self, data, variance):
        """Variances divided by n - 1 instead of n, for n rows of all processes."""
        n = float(all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"])
        self.explained_variance_ = data.like((variance * n / max(n - 1, 1)).to(data.dtype))

    def _climb(self, joint, data, history):
        """Gradient ascent on W, kept orthonormal by Cayley's map; whole data, one process."""
        x = torch.cat(list(data))
        free = Flats(joint.means)
        del free.bases  # a parameter instead of a buffer
        free.bases = nn.Parameter(joint.bases.contiguous())
        with seeded(0):  # it completes the axes to a basis by draws
            orthogonal(free, "bases", orthogonal_map="cayley")
        for weight in free.parameters():
            weight.register_hook(torch.Tensor.contiguous)  # LBFGS flattens gradients by view
        try:
            return self._ascend(lambda: objective(free, x, self.infer).mean(), free.parameters(), history)
        finally:
            joint.bases.copy_(free.bases.detach())

    def _finish(self, data):
        if self.solver not in ("eigh", "svd"):
            # The subspace is found; its axes are chosen to be those along which the code varies most.
            variance, turn = torch.linalg.eigh(moments([self.joint_.argmax(x)[1] for x in data])[2])
            axes = upright(self.joint_.bases[0].to("cpu", torch.float64) @ turn.flip(1))
            self.joint_.bases.copy_(axes[None])
            self._explain(data, variance.flip(0).clamp(min=0))
        self.components_ = data.like(self.joint_.bases[0].T.contiguous())
        self.mean_ = data.like(self.joint_.means[0])

    def transform(self, X: Table) -> Array:
        """The code u = W^T (x - mu): (n, D) -> (n, p)."""
        return self._open(X).map(lambda x: self.joint_.argmax(x)[1])

    def inverse_transform(self, Z: Table) -> Array:
        """Decode mu + W u: codes (n, p) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, lambda u: self.joint_.means + u @ self.joint_.bases[0].T)
