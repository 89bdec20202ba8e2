"""Mixtures at temperature 1: of Gaussians, and of probabilistic PCA, the proper twin of K flats (ledger H8).

    log q_w(k) = log pi_k        log q_r(x|k) = log N(x; mu_k, W_k W_k^T + sigma_k^2 I)

The position u ~ N(0, I) on a flat is integrated out, so the code is k alone and F_1 is the log evidence.  A
flat thereby gets ends: far along it costs nats too.  At p = 0 this is k-means at T = 1.
"""

import math

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from ..core import Exact, Joint, Soft, alternate
from ..eigen import upright
from ..estimator import Estimator, draw_seed, need_integer
from ..flats import ENTRIES, Flats, projector, side_by_side, spread_rows
from ..parallel import all_sum

LEAST = 1e-30  # rows that weigh less than this together support no component


class Mixture(Joint):
    """log pi_k + log N(x; mu_k, W_k W_k^T + sigma_k^2 I) with W_k = Q_k diag(s_k) and orthonormal Q_k.

    The covariance is never formed: across the flat it is sigma^2, along its axes s^2 + sigma^2, and
    `flats.projector` splits a point into the two.

    Parameters
    ----------
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Q, orthonormal columns; p = 0 if left out: spherical Gaussians.
    scales : float or tensor (K, p)
        s, the standard deviation that u contributes along each axis.
    variance : float or tensor (K,)
        sigma^2.
    weights : tensor (K,), optional
        pi; equal if left out.
    shared : bool
        One sigma^2 for all components, or one for each.
    fixed : bool
        Keep ``scales`` as they are: a fixed prior variance on an orthonormal flat.
    floor : float
        The least sigma^2 that `update` gives.

    Examples
    --------
    >>> joint = Mixture(torch.tensor([[0.0], [4.0]]), variance=1.0)
    >>> joint.argmax(torch.tensor([[1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(
        self,
        means,
        bases=None,
        scales=1.0,
        variance=0.5,
        weights=None,
        *,
        shared=True,
        fixed=False,
        floor=0.0,
    ):
        super().__init__()
        bases = means.new_zeros(*means.shape, 0) if bases is None else bases
        K, D, p = bases.shape
        wide = {"means": (means, (K, D)), "bases": (bases, (K, D, p)), "scales": (scales, (K, p))}
        wide |= {"variance": (variance, (K,)), "weights": (1 / K if weights is None else weights, (K,))}
        for name, (value, shape) in wide.items():
            self.register_buffer(
                name, torch.as_tensor(value, dtype=means.dtype, device=means.device).expand(shape).clone()
            )
        self.shared, self.fixed, self.floor = shared, fixed, floor

    @property
    def _along(self):
        """The variance along each axis, s^2 + sigma^2: (K, p)."""
        return self.scales.square() + self.variance[:, None]

    def _rows(self):
        K, _, p = self.bases.shape
        return max(1, ENTRIES // (K * max(1, p)))

    def _parts(self, x):
        """In chunks of bounded memory: rows (n, D), squared distances (n, K), where on the flats (n, K, p)."""
        K, _, p = self.bases.shape
        of = projector(self.means, self.bases if p else None)
        for part in x.split(self._rows()):
            squares, inside = of(part)
            yield part, squares, inside if p else part.new_zeros(len(part), K, 0)

    def decode(self, z):
        """The mean of component k: (n,) -> (n, D)."""
        return self.means[z]

    def log_joints(self, x):
        """The log joint of every k: (n, D) -> (n, K), nats."""
        return torch.cat([self._nats(squares, inside) for _, squares, inside in self._parts(x)])

    def _nats(self, squares, inside):
        _, D, p = self.bases.shape
        weights = self.weights.clamp(min=torch.finfo(squares.dtype).tiny).log()
        volume = (D - p) * self.variance.log() + self._along.log().sum(1) + D * math.log(2 * math.pi)
        return weights - 0.5 * (squares / self.variance + (inside.square() / self._along).sum(2) + volume)

    def log_joint(self, x, z):
        """(n,) nats at z = k, or expected under the weights z = (r,) with r (n, K)."""
        return (self._weights(x, z) * self.log_joints(x)).sum(1)

    def _weights(self, x, z):
        return z[0] if isinstance(z, tuple) else torch.nn.functional.one_hot(z, len(self.means)).to(x)

    def argmax(self, x):
        """The likeliest component, the first of equals: (n, D) -> (n,) int64."""
        return self.log_joints(x).argmax(1)

    def posterior(self, x, T):
        """Weights r (n, K) = softmax(l/T) over the components, and T times their entropy."""
        r = (self.log_joints(x) / T).softmax(1)
        return (r,), T * torch.special.entr(r).sum(1)

    def code(self, x):
        """The posterior mean of e_k (x) [u, 1], block by block: (n, D) -> (n, K (p + 1))."""
        r, gain, parts = self.posterior(x, 1.0)[0][0], self.scales / self._along, self._parts(x)
        u = torch.cat([inside * gain for _, _, inside in parts])
        return (torch.cat([u, torch.ones_like(r)[:, :, None]], 2) * r[:, :, None]).flatten(1)

    def decoder(self):
        """The matrix (K (p + 1), D) that takes `code` back: W_k^T above mu_k, block by block."""
        return side_by_side(torch.cat([self.bases * self.scales[:, None], self.means[:, :, None]], 2)).T

    def stats(self, x, z):
        """Sums per component under the weights: 1, x, where on the flat, their product, squared distance; the log joint.

        x is measured from the middle of the means, so that data far from the origin lose no digits.
        """
        sums, middle = {}, self.means.mean(0)
        for (part, squares, inside), r in zip(self._parts(x), self._weights(x, z).split(self._rows())):
            weighted, part = inside * r[:, :, None], part - middle
            found = {
                "n": r.sum(0),
                "x": r.T @ part,
                "u": weighted.sum(0),
                "xu": (part.T @ weighted.flatten(1)).unflatten(1, inside.shape[1:]).transpose(0, 1),
                "square": (r * (squares + inside.square().sum(2))).sum(0),
                "objective": (r * self._nats(squares, inside)).sum(),
            }
            sums = {name: value + sums.get(name, 0) for name, value in found.items()}
        return sums

    @torch.no_grad()
    def update(self, sums):
        """The M-step of EM: the best weights and means, then W from the regression of x on u, then sigma^2.

        The evidence cannot fall: sigma^2 is the best one not below the floor (its likelihood has one peak).
        A component that no row supports loses its weight, so it may move: it waits in the middle of the data.
        """
        means, bases, scales, variance = (
            part.to("cpu", torch.float64) for part in (self.means, self.bases, self.scales, self.variance)
        )
        full, D = sums["n"] > LEAST, means.shape[1]
        n, x, u, xu, square = (
            sums[name][full] / sums["n"][full].view(-1, *[1] * (sums[name].ndim - 1))
            for name in ("n", "x", "u", "xu", "square")
        )
        n, middle = sums["n"][full], self.means.mean(0).to("cpu", torch.float64)
        shift = x + middle - means[full]
        total = square - shift.square().sum(1)  # trace of the component's covariance S
        xu = xu - x[:, :, None] * u[:, None]  # S Q
        along = scales[full] ** 2 + variance[full, None]
        gain = scales[full] / along
        uu = gain[:, :, None] * (bases[full].mT @ xu) * gain[:, None]
        uu = uu + torch.diag_embed(variance[full, None] / along)  # the posterior's second moment of u
        xu = xu * gain[:, None]
        if self.fixed:  # the best orthonormal Q (Procrustes)
            left, _, right = torch.linalg.svd(xu, full_matrices=False)
            bases[full] = left @ right
            W = bases[full] * scales[full][:, None]
        else:
            W = torch.linalg.solve(uu, xu.mT).mT
            bases[full], scales[full], _ = torch.linalg.svd(W, full_matrices=False)
        error = total - 2 * (W * xu).sum((1, 2)) + (W.mT @ W * uu).sum((1, 2))
        error = (n @ error / n.sum()).expand(len(means)) if self.shared else error
        variance[full if not self.shared else slice(None)] = (error / D).clamp(min=self.floor)
        means[full], means[~full] = x + middle, n @ x / n.sum() + middle
        weights = sums["n"] / sums["n"].sum()
        for name, value in zip(
            ("means", "bases", "scales", "variance", "weights"), (means, bases, scales, variance, weights)
        ):
            getattr(self, name).copy_(value)

    def fill(self, x):
        """Missing entries (NaN) by their expectation given the present ones: (n, D) -> (n, D)."""
        K, _, p = self.bases.shape
        W, middle = self.bases * self.scales[:, None], self.means.mean(0)
        means, pairs = self.means - middle, (W[:, :, :, None] * W[:, :, None]).transpose(0, 1).flatten(1)
        offsets = side_by_side(W * means[:, :, None])
        noise, filled = self.variance[:, None, None] * torch.eye(p).to(x), []
        for part in x.split(max(1, ENTRIES // (K * (p + 1) ** 2))):
            there = ~part.isnan()
            here, known = there.to(x), torch.where(there, part - middle, 0.0)
            precision = (here @ pairs).unflatten(1, (K, p, p)) + noise
            pull = (known @ side_by_side(W) - here @ offsets).unflatten(1, (K, p))
            u = torch.linalg.solve(precision, pull[..., None])[..., 0]
            squares = known.square().sum(1, keepdim=True) - 2 * known @ means.T + here @ means.square().T
            count = here.sum(1, keepdim=True)
            volume = (count - p) * self.variance.log() + torch.logdet(precision)
            r = (self.weights.log() - 0.5 * ((squares - (pull * u).sum(2)) / self.variance + volume)).softmax(
                1
            )
            code = torch.cat([u, torch.ones_like(r)[:, :, None]], 2) * r[:, :, None]
            filled.append(torch.where(there, part, code.flatten(1) @ self.decoder()))
        return torch.cat(filled)


class MPPCA(ClassNamePrefixFeaturesOutMixin, ClusterMixin, Estimator):
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
    n_init, max_iter, tol, random_state, device, verbose
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

    infer = Soft(1.0)

    def __init__(
        self,
        n_clusters=8,
        n_components=2,
        *,
        noise="shared",
        prior_variance=None,
        floor=1e-6,
        n_init=1,
        max_iter=500,
        tol=1e-6,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.noise = noise
        self.prior_variance = prior_variance
        self.floor = floor
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _check(self, n, width):
        K, p = self.n_clusters, self.n_components
        need_integer("n_clusters", K)
        need_integer("n_components", p, at_least=0)
        if p >= width:
            raise ValueError(
                f"n_components={p} leaves no noise in {width} feature(s): pass at most {width - 1}"
            )
        if n < max(K, 2):
            raise ValueError(
                f"n_clusters={K} needs at least {max(K, 2)} samples, got {n} sample{'s' * (n != 1)}: "
                "pass more data or fewer clusters"
            )
        if self.noise not in ("shared", "own"):
            raise ValueError(f"noise={self.noise!r} is not one of shared, own: pass one of these")
        for name, value in (("floor", self.floor), ("prior_variance", self.prior_variance)):
            if not (name == "prior_variance" and value is None) and not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r} must be a finite number above 0: pass such a number")

    def _start(self, data, generator):
        K, p, D = self.n_clusters, self.n_components, data.width
        spread = column_variance(data)
        if spread == 0:
            raise ValueError(
                "all rows are equal (variance 0), so their density is unbounded: pass rows that differ"
            )
        points = Flats(spread_rows(data, K, generator))
        error = -alternate(points, data, Exact(), 10, 1e-3, all_sum)[-1]
        error = error - math.log(K) - 0.5 * D * math.log(math.pi)  # the squared distance to the nearest mean
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

    def _finish(self, data):
        joint = self.joint_
        joint.bases.copy_(torch.stack([upright(axes) for axes in joint.bases]))
        self.weights_, self.means_, self.noise_variance_ = map(
            data.like, (joint.weights, joint.means, joint.variance)
        )
        self.components_ = data.like(joint.bases.mT.contiguous())
        self.explained_variance_ = data.like(joint._along)
        self.labels_ = data.map(joint.argmax)

    @property
    def _n_features_out(self):
        return len(self.joint_.means) * (self.joint_.bases.shape[2] + 1)

    def predict(self, X):
        """The likeliest component of each row: (n, D) -> (n,) int64."""
        return self._open(X).map(self.joint_.argmax)

    def predict_proba(self, X):
        """The posterior weight of each component: (n, D) -> (n, K)."""
        return self._open(X).map(lambda x: self.joint_.posterior(x, 1.0)[0][0])

    def transform(self, X):
        """The posterior mean of the code, block by block r_k [u_k, 1]: (n, D) -> (n, K (p + 1))."""
        return self._open(X).map(self.joint_.code)

    def inverse_transform(self, Z):
        """Decode sum_k r_k (mu_k + W_k u_k), one matrix product: codes (n, K (p + 1)) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, lambda codes: codes @ self.joint_.decoder())

    def impute(self, X):
        """Fill missing entries (NaN) by their expectation given the present ones: (n, D) -> (n, D).

        `fit` itself needs complete rows.
        """
        return self._open(X, holes=True).map(self.joint_.fill)

    def sample(self, n_samples=1, random_state=None):
        """Draw from the model: (n_samples, D), of the kind of ``means_``."""
        check_is_fitted(self)
        need_integer("n_samples", n_samples)
        generator, joint = torch.Generator().manual_seed(draw_seed(random_state)), self.joint_
        k = torch.multinomial(joint.weights.cpu(), n_samples, True, generator=generator).to(
            joint.means.device
        )
        _, D, p = joint.bases.shape
        u, noise = (
            torch.randn(n_samples, width, generator=generator, dtype=joint.means.dtype).to(joint.means)
            for width in (p, D)
        )
        x = Flats(joint.means, joint.bases).decode((k, u * joint.scales[k])) if p else joint.decode(k)
        x = x + joint.variance[k, None].sqrt() * noise
        return x if torch.is_tensor(self.means_) else x.cpu().numpy()


class GaussianMixture(MPPCA):
    """Spherical Gaussians by EM: `KMeans` at temperature 1, with learned weights and sigma^2.

    Parameters
    ----------
    n_clusters : int
        K.
    noise, floor, n_init, max_iter, tol, random_state, device, verbose
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

    n_components, prior_variance = 0, None

    def __init__(
        self,
        n_clusters=8,
        *,
        noise="shared",
        floor=1e-6,
        n_init=1,
        max_iter=500,
        tol=1e-6,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.noise = noise
        self.floor = floor
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose


def column_variance(data):
    """The mean variance of a column, over all batches and processes; two passes."""
    n = torch.tensor(float(len(data)), dtype=torch.float64)
    sums = all_sum({"n": n, "x": sum(x.sum(0).to("cpu", torch.float64) for x in data)})
    mean = sums["x"] / sums["n"]
    square = sum((x - mean.to(x)).square().sum().to("cpu", torch.float64) for x in data)
    return float(all_sum({"square": square})["square"] / sums["n"] / data.width)
