"""Parts: NMF and sparse coding, where the code says how much of each part a row has (ledger L1-L2).

    NMF             u >= 0, flat             w_k >= 0       noise Gaussian, or Poisson for counts
    SemiNMF         u >= 0, flat             w_k free       noise Gaussian
    SparseCoding    Laplace, or u >= 0       |w_k| <= 1     noise Gaussian

The max over u is a convex problem, solved exactly; the max over the parts is one too, part by part.
"""

__all__ = ["NMF", "SemiNMF", "SparseCoding"]

import warnings
from dataclasses import KW_ONLY
from typing import Any

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from ..core import Kept, alternate
from ..estimator import Estimator, Iterative
from ..hyper import choice, count, fitted, hyper, number, several, switch
from ..joints.parts import ATOMS, CODES, Parts
from ..parallel import all_sum
from ..rows import Array, Table, real, view
from ..solvers.eigen import far
from ..solvers.entries import Ahead
from ..solvers.starts import SAMPLE, halves, sample_rows, singular

EARLY = 20  # passes over few rows of a large table, before all of it is read again and again


class Onward(Kept):
    """Codes that go on in the direction of their last step as the parts do: neither is behind the other."""

    def __call__(self, joint, x, i=0):
        if i in self.codes and joint.ahead is not None:
            here, last = self.codes[i], (i, "last")
            ahead = here + joint.ahead.taken * (here - self.codes.get(last, here))
            self.codes |= {last: here, i: CODES[joint.code](ahead, 0.0)}
        return super().__call__(joint, x, i)


@hyper
class Summed(ClassNamePrefixFeaturesOutMixin, Estimator, Iterative):
    """What the models of this file share: ``components_`` (K, D), and codes kept from pass to pass."""

    n_components: int = count(2)
    _: KW_ONLY
    init: Any = "random"
    max_iter: int = count(200)
    extrapolate: bool = switch(True)
    components_: Array = fitted()
    reconstruction_err_: float = fitted()
    joint_: Parts = fitted()

    _chapter = "family/parts"
    _answers = "each row's code, by rounds over its entries"
    _moves = "rounds over the parts, from sums, a pass over the data at a time"
    starts = ("random",)  # the words that ``init`` may be
    positive = False  # whether X may have no negative entry

    @property
    def _n_features_out(self):
        return len(self.joint_.parts)

    def _terms(self):
        joint, (K, D) = self.joint_, self.joint_.parts.shape
        noise = "Poisson noise" if joint.counts else "Gaussian noise of variance 0.5"
        return (
            f"u, {several(K, 'weight')} " + ("at least 0" if joint.code == "positive" else "of either sign"),
            f"exponential: {joint.penalty:g} nats a unit" if joint.penalty else "flat",
            f"the weighted sum of the parts and {noise}, {several(D, 'feature')}",
        )

    def _rows(self, X, y):
        data = self._allowed(super()._rows(X, y))
        data.given, data.dtype = data.dtype, torch.float64 if far(data) else data.dtype
        return data

    def _open(self, X, holes=False):
        return self._allowed(super()._open(X, holes))

    def _allowed(self, data):
        start = 0
        for x in data if self.positive else ():
            if x.amin() < 0:
                row, column = (x < 0).nonzero()[0].tolist()
                raise ValueError(
                    f"Negative values in data passed to {type(self).__name__}: the first is {float(x[row, column]):g}, "
                    f"at row {start + row}, column {column}: pass numbers of at least 0, or use SemiNMF"
                )
            start += len(x)
        return data

    def _check(self, n, width):
        if isinstance(self.init, str):
            if self.init not in self.starts:
                known = ", ".join(map(repr, self.starts))
                raise ValueError(f"init={self.init!r} is unknown: pass {known} or an array of parts")
            return
        parts, shape = view(real(self.init, "init")), (self.n_components, width)
        if parts.shape != shape:
            raise ValueError(
                f"init has shape {tuple(parts.shape)}, but {shape[0]} parts of {width} columns need {shape}: "
                "pass one row per part"
            )
        if self.positive and (below := int((parts < 0).sum())):
            raise ValueError(f"init has {below} of {parts.numel()} entries below 0: pass numbers of at least 0")

    def _start(self, data, generator):
        if isinstance(self.init, str):
            n = all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"]
            sample = sample_rows(data, self.n_components, generator)
            few = [rows for rows in (sample[::4], sample) if len(sample) >= SAMPLE and 2 * len(rows) <= n]
            parts, data.memo["few"] = self._parts((few or [sample])[0], generator), few
        else:
            parts = view(real(self.init, "init"))
        joint = Parts(parts.to(data.device, data.dtype), ahead=self.extrapolate, **self._joint())
        joint.parts.copy_(ATOMS[joint.atom](joint.parts, None))
        return joint

    def _joint(self):
        """What the joint is told beside the parts."""
        return {}

    def _gone_on(self, data, was):
        joints, history = super()._gone_on(data, was)
        for joint in joints:
            joint.to(data.dtype).ahead = Ahead() if self.extrapolate else None
        return joints, history

    def _reading(self, joint, data):
        on = self.warm_start and hasattr(self, "joint_")  # codes are not stored: exact ones are no worse
        data.memo["codes"] = Onward(Parts.better, Parts.argmax if on else Parts.guess)
        return data.memo["codes"], data

    def _learn(self, joint, data, history):
        with warnings.catch_warnings():
            if self.extrapolate:  # a step too far is taken back by the next pass
                warnings.filterwarnings("ignore", "the objective fell", RuntimeWarning)
            for rows in data.memo.pop("few", ()):
                alternate(joint, [rows], Onward(Parts.better, Parts.guess), EARLY)
            return super()._learn(joint, data, history)

    def _finish(self, data):
        joint, codes, lost = self.joint_, data.memo["codes"], torch.zeros((), dtype=torch.float64)
        if joint.ahead is not None and joint.ahead.plain is not None:
            joint.parts.copy_(joint.ahead.plain)
        joint.ahead = None
        with torch.no_grad():
            for i, x in enumerate(data):
                lost += self._lost(x, joint.decode(codes(joint, x, i)[0])).sum().to("cpu", torch.float64)
        self.components_ = data.like(joint.to(data.given).parts)
        self.reconstruction_err_ = float(all_sum({"lost": lost})["lost"].sqrt())

    def _lost(self, x, mean):
        return torch.linalg.vector_norm(x - mean, dim=1).square()

    def transform(self, X: Table) -> Array:
        """The exact code, the largest ``log_joint``: (n, D) -> (n, K)."""
        return self._open(X).map(self.joint_.argmax)

    def inverse_transform(self, Z: Table) -> Array:
        """Decode ``Z @ components_``: codes (n, K) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, self.joint_.decode)


@hyper
class NMF(Summed):
    """Non-negative matrix factorisation: rows as sums of parts, nothing of them negative.

    Parameters
    ----------
    n_components : int
        K, the number of parts.
    init : "nndsvda", "nndsvd", "random" or array (K, D)
        The positive or negative halves of singular vectors of a sample, their zeros filled with the part's mean in
        "nndsvda"; random numbers; or the parts themselves.  Beyond the sample's rank: random.
    beta_loss : "frobenius" or "kullback-leibler"
        Gaussian noise, or Poisson, for counts.
    extrapolate : bool
        Steps that go on in the direction of the last one: about twice as fast, but the objective may fall for a pass.
    max_iter, tol, random_state, warm_start, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    components_ : (K, D)
        The parts.  Their scale is free: twice a part and half its codes are the same model.
    reconstruction_err_ : float
        Frobenius norm of X - U W at the last codes of the fit, as in scikit-learn; `transform` finds codes that are at
        least as good.  For counts the root of twice the Kullback-Leibler divergence.
    joint_ : Parts
    history_, n_iter_
        As in `KMeans`.

    Notes
    -----
    Codes and parts go entry by entry to their best (HALS), and codes are kept from pass to pass: n K numbers, which no
    file holds: who goes on with a fit begins with exact codes for its parts, and not at the same digit.  Unless
    ``init`` is an array, parts for a large table begin with 20 passes over 1024 of its rows or more, and 20 over four
    times as many, which ``n_iter_`` does not count.  Differs from scikit-learn's: `transform` gives the exact code, and
    ``tol`` is a part of the rise.  Zero error does not mean that the parts are the true ones.  Ledger L1, L1b-L1d; Lee
    and Seung (2001), Cichocki and Phan (2009), Ang and Gillis (2019), Boutsidis and Gallopoulos (2008).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0], [2.0, 3.0, 3.0]])
    >>> model = NMF(n_components=2, max_iter=500, tol=0, random_state=0).fit(X)
    >>> bool(abs(model.inverse_transform(model.transform(X)) - X).max() < 1e-6)
    True
    """

    _: KW_ONLY
    init: Any = "nndsvda"
    beta_loss: str = choice("frobenius", "kullback-leibler")

    starts = ("nndsvda", "nndsvd", "random")
    positive = True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _parts(self, sample, generator):
        K, level = self.n_components, float(sample.mean())
        parts = torch.randn(K, sample.shape[1], generator=generator, dtype=torch.float64).abs() * (level / K) ** 0.5
        if self.init != "random":
            found = halves(sample, K)
            fill = found.mean(1, keepdim=True) if self.init == "nndsvda" else 0.0
            parts[: len(found)] = torch.where(found == 0, fill, found)
        return parts

    def _joint(self):
        return {"counts": self.beta_loss == "kullback-leibler"}

    def _lost(self, x, mean):
        if self.beta_loss == "frobenius":
            return super()._lost(x, mean)
        return 2 * (torch.special.xlogy(x, x / mean.clamp(min=1e-30)) - x + mean).sum(1)


@hyper
class SemiNMF(Summed):
    """Semi-NMF: sums of parts, in which the codes alone must not be negative.

    Parameters
    ----------
    n_components : int
        K, the number of parts.
    init : "random" or array (K, D)
        Random rows of a sample, or the parts themselves.
    extrapolate, max_iter, tol, random_state, warm_start, device, verbose
        As in `NMF`.

    Attributes
    ----------
    components_, reconstruction_err_, joint_, history_, n_iter_
        As in `NMF`.

    Notes
    -----
    With one-hot codes it would be k-means; Ding, Li and Jordan (2010).  Ledger L1.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[2.0, -1.0], [0.0, 1.0], [4.0, -2.0]])
    >>> SemiNMF(n_components=2, random_state=0).fit(X).reconstruction_err_ < 1e-3
    True
    """

    def _parts(self, sample, generator):
        return rows_of(sample, self.n_components, generator)

    def _joint(self):
        return {"atom": "free"}


@hyper
class SparseCoding(Summed):
    """Sparse coding, or dictionary learning: sums of few parts out of many.

    Parameters
    ----------
    n_components : int
        K, the number of parts (atoms); more than D make an overcomplete dictionary.
    alpha : float
        The price of a code, ``||x - u W||^2 / 2 + alpha |u|_1`` as in scikit-learn: the objective is minus twice that,
        and lambda = 2 alpha.
    positive_code, positive_dict : bool
        Whether codes, and parts, must not be negative.
    init : "svd", "random" or array (K, D)
        Singular vectors of a sample, and random rows of it beyond its rank; random rows, scaled to length 1; or the
        parts themselves, which are shortened to length 1.
    extrapolate, max_iter, tol, random_state, warm_start, device, verbose
        As in `NMF`.

    Attributes
    ----------
    components_ : (K, D)
        The parts, no longer than 1: without that bound, longer parts would make ``alpha`` void (L2d).
    reconstruction_err_, joint_, history_, n_iter_
        As in `NMF`.

    Notes
    -----
    X is not centred.  Differs from scikit-learn's `DictionaryLearning`: `transform` gives the exact code for the
    ``alpha`` of the fit.  A Laplace prior makes the *mode* sparse, and no posterior (L2c).  Ledger L2, L2b-L2d;
    Olshausen and Field (1996), Mairal et al. (2010).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.1]])
    >>> model = SparseCoding(n_components=2, alpha=0.5, random_state=0).fit(X)
    >>> (np.abs(model.transform(X)) > 0).sum(1)
    array([1, 1, 1])
    """

    _: KW_ONLY
    alpha: float = number(1.0, "alpha=1.0 or another positive price")
    init: Any = "svd"
    positive_code: bool = switch(False)
    positive_dict: bool = switch(False)

    starts = ("svd", "random")

    def _parts(self, sample, generator):
        parts = rows_of(sample, self.n_components, generator)
        if self.init == "svd":
            axes = singular(sample, self.n_components)[1].T
            parts[: len(axes)] = axes.abs() if self.positive_dict else axes
        return parts

    def _joint(self):
        code = "positive" if self.positive_code else "signed"
        return {"penalty": 2 * self.alpha, "code": code, "atom": "positive " * bool(self.positive_dict) + "ball"}


def rows_of(sample, count, generator):
    """Random rows of a sample (n, D), each of length 1 unless it is 0, as far as there are any; then random ones."""
    parts = torch.randn(count, sample.shape[1], generator=generator, dtype=torch.float64)
    rows = sample[torch.randperm(len(sample), generator=generator)[:count].to(sample.device)].to("cpu", torch.float64)
    parts[: len(rows)] = torch.where(rows.any(1, keepdim=True), rows, parts[: len(rows)])
    return parts / torch.linalg.vector_norm(parts, dim=1, keepdim=True)
