"""k-means: the code is the number of a centre (ledger E1, E2).

    log q_w(k) = -log K            log q_r(x|k) = -||x - mu_k||^2 - (D/2) log pi

The max over k is the nearest centre; the max over the centres is the mean of what each one was given.
Repeating the two is Lloyd's algorithm.
"""

__all__ = ["KMeans"]

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from ..estimator import Estimator, Iterative
from ..hyper import count, fitted, hyper, need_samples
from ..joints.flats import Flats
from ..parallel import all_sum
from ..rows import Array, Table, real, view
from ..solvers.starts import sample_rows, spread_rows, warn_if_alike
from ..solvers.sums import in_order
from ..solvers.together import ahead, remembering


class Codebook(ClassNamePrefixFeaturesOutMixin, Estimator):
    """What models share whose code is the number of a stored point, a row of ``joint_.means``."""

    joint_: Flats
    _chapter = "cases/discrete-codes"

    @property
    def _n_features_out(self):
        return len(self.joint_.means)

    def predict(self, X: Table) -> Array:
        """The nearest centre of each row: (n, D) -> (n,) int64."""
        return self._open(X).map(self.joint_.argmax)

    def transform(self, X: Table) -> Array:
        """The one-hot code: (n, D) -> (n, K), so that decoding is one matrix product."""
        data, width = self._open(X), self._n_features_out
        one_hot = torch.nn.functional.one_hot
        return data.map(lambda x: one_hot(self.joint_.argmax(x), width).to(self.joint_.means))

    def inverse_transform(self, Z: Table) -> Array:
        """Decode: codes (n, K) -> (n, D).  A one-hot code gives its centre, weights give a mixture of centres."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, lambda codes: codes @ self.joint_.means)


@hyper
class KMeans(ClusterMixin, Codebook, Iterative):
    """K-means clustering by Lloyd's algorithm, exact, on arrays, batches or many processes.

    Parameters
    ----------
    n_clusters : int
        K.
    init : "k-means++" or array (K, D)
        Where the centres start.
    n_init : int
        Starts, of which the best is kept; one when ``init`` is an array.
    max_iter : int
        Passes over the data, at most, for each start.
    tol : float
        Stop when a pass raises the objective by no more than this part of all that it has risen since the second; 0
        runs until nothing moves.
    random_state : None, int, RandomState or Generator
        Seeds a local generator.
    warm_start : bool
        Whether a second `fit` goes on from the first's end, or from a `checkpoint`, instead of starting anew; what
        shapes the model must then be as it was.
    device : str
        "auto" (CUDA if there is one, else the CPU) or a torch device's name.
    verbose : 0 or 1
        1 shows progress, on a terminal or in a notebook.

    Attributes
    ----------
    cluster_centers_ : (K, D)
        Of X's kind, like all fitted attributes.
    labels_ : (n,) int64
        The nearest centre of each training row (of this process's shard).
    inertia_ : float
        Sum of squared distances to the nearest centre, in the data's units squared.
    n_iter_ : int
        Passes of the start that was kept.
    history_ : list of float
        The objective before each pass, nats per sample.
    joint_ : Flats

    Notes
    -----
    Differs from scikit-learn's: `transform` gives the one-hot code, not distances; `score` is in nats per
    sample, not minus the inertia; ``tol`` is a part of the rise since the second pass; a centre left without samples
    restarts beside the one with the largest error.

    "k-means++" draws from a random sample of max(4096, 32 K) rows.  Rows that lie in a computer's memory are not read
    again while the centres have moved too little for them to change sides; with more than 64 centres and at least 64
    columns their shadows are compared first: the same labels from a few of the distances, for 3 to 54 numbers a row
    (`gaelib.solvers.pruning`).

    Ledger E1, E2; Lloyd (1982), Arthur and Vassilvitskii (2007).

    Examples
    --------
    >>> import numpy as np
    >>> from gaelib import KMeans
    >>> km = KMeans(n_clusters=2, random_state=0).fit(np.array([[0.0], [1.0], [9.0], [10.0]]))
    >>> sorted(km.cluster_centers_.ravel().tolist())
    [0.5, 9.5]
    """

    _small, _in_blocks = 2**18, True

    n_clusters: int = count(8)
    _: KW_ONLY
    init: Any = "k-means++"
    n_init: int = count(1)
    max_iter: int = count(300)
    cluster_centers_: Array = fitted()
    labels_: Array = fitted()
    inertia_: float = fitted()

    if TYPE_CHECKING:  # scikit-learn's has no types

        def fit_predict(self, X: Table, y: Any = None) -> Array: ...

    def _starts(self, data, generator):
        joints = [self._start(data, generator) for _ in range(self._count())]
        if len(joints) > 1:
            best = ahead(data, torch.stack([joint.means for joint in joints]), self.max_iter, self.tol)
            joints = joints if best is None else [joints[best]]
        return joints

    def _count(self):
        return self.n_init if isinstance(self.init, str) else 1

    def _check(self, n, width):
        need_samples("n_clusters", self.n_clusters, n, self.n_clusters, "fewer clusters")
        if isinstance(self.init, str):
            if self.init != "k-means++":
                raise ValueError(f"init={self.init!r} is unknown: pass 'k-means++' or an array of centres")
            return
        centres = real(self.init, "init")
        if tuple(centres.shape) != (self.n_clusters, width):
            raise ValueError(
                f"init has shape {tuple(centres.shape)}, but {self.n_clusters} clusters of {width} columns need "
                f"({self.n_clusters}, {width}): pass one row per cluster"
            )

    def _start(self, data, generator):
        sample = sample_rows(data, self.n_clusters, generator) if isinstance(self.init, str) else None
        return self._points(sample, data, generator)

    def _points(self, sample, data, generator):
        """Where the centres start: spread over the sample, or given."""
        if isinstance(self.init, str):
            means = spread_rows(sample, self.n_clusters, generator)
        else:
            means = view(real(self.init, "init")).to(data.device, data.dtype)
        seed = int(torch.randint(2**31, (), generator=generator))
        return Flats(means, seed=seed)

    def _reading(self, joint, data):
        if data.views is None or joint.bases.shape[2]:
            return self.infer, data
        if "known" not in data.memo:  # one for all starts
            data.memo["known"] = remembering(joint, data.views)
        return data.memo["known"], data.views

    def _finish(self, data):
        joint, (infer, batches) = self.joint_, self._reading(self.joint_, data)
        labels, error, used = [], torch.zeros((), dtype=torch.float64), 0

        def last(_, x):
            z = infer(joint, x)[0]
            return z if torch.is_tensor(z) else z[0], getattr(infer, "stats", joint.stats)(x, z)

        with torch.no_grad():
            for k, sums in in_order(last, batches):
                labels.append(k)
                error += sums["error"].sum().cpu()
                used += sums["n"].cpu()
        warn_if_alike(type(self).__name__, data, len(joint.means), used)
        self.cluster_centers_ = data.like(joint.means)
        self.labels_ = data.like(torch.cat(labels))
        self.inertia_ = float(all_sum({"error": error})["error"])
