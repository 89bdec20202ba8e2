"""Points and flats: finding the nearest one, choosing where to start, and the joint built on them.

A flat is a point mu_k and an orthonormal basis W_k of p directions; with p = 0 it is the point alone.  The
code is k, or (k, u) with x ~ mu_k + W_k u.  K points are k-means, one flat is PCA (LGAE), K flats are LLGAE.
"""

import math

import torch

from .core import Joint
from .noise import gaussian
from .parallel import all_sum, rank_and_size

ROWS = 1024  # compared with points at a time on a CPU: what is computed for them stays in its cache
ENTRIES = 2**22  # of one table of rows x flats: bounds the memory whatever the number of rows


def project(x, means, bases=None):
    """Squared distance of every row to every flat, and where on it: (n, D) -> (n, K), (n, K, p) or None.

    ``||x - mu||^2 - ||W^T (x - mu)||^2``, expanded into one matrix product after all points are moved to the
    middle of the means, so that data far from the origin lose no digits.

    Parameters
    ----------
    x : tensor (n, D)
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Orthonormal columns.
    """
    return projector(means, bases)(x)


def projector(means, bases=None, whole=True):
    """`project` as a function of x alone: what depends only on the flats is computed once.

    Without ``whole`` the squares leave out what is the same for every flat, the row's own square.
    """
    middle = means.mean(0)
    means = means - middle
    weights, bias = -2 * means, means.square().sum(1)
    if bases is not None:
        weights = torch.cat([weights, side_by_side(bases).T])
        bias = torch.cat([bias, -(means[:, None] @ bases).flatten()])
    product = affine(weights, bias)

    def of(x):
        x = x - middle
        products, inside = product(x), None
        squares = products[:, : len(means)]
        if whole:
            squares = squares + x.square().sum(1, keepdim=True)
        if bases is not None:
            inside = products[:, len(means) :].unflatten(1, (len(means), -1))
            squares = squares - inside.square().sum(2)
        return squares.clamp_(min=0) if whole else squares, inside

    return of


def affine(weights, bias):
    """The function x -> x W^T + b.  For large float32 products on a CPU by oneDNN, which is faster than the default."""
    small = weights.is_cuda or weights.dtype != torch.float32 or weights.numel() < 2**14
    if small or not torch.backends.mkldnn.is_available() or torch.is_grad_enabled():
        return lambda x: torch.nn.functional.linear(x, weights, bias)
    packed = weights.to_mkldnn(), bias.to_mkldnn()
    return lambda x: torch.nn.functional.linear(x.to_mkldnn(), *packed).to_dense()


def side_by_side(bases):
    """All directions of all flats as columns: (K, D, p) -> (D, K p)."""
    return bases.transpose(0, 1).flatten(1)


def nearest(x, means, bases=None):
    """The nearest flat of every row, the first of equals, and where on it; in chunks of bounded memory.

    Returns
    -------
    k (n,) int64, or with bases (k, u) with u (n, p)
    """
    width = len(means) * (1 if bases is None else bases.shape[2])
    rows = min(ENTRIES // width, len(x) if bases is not None or x.is_cuda else ROWS)
    found, of = [], projector(means, bases, whole=False)
    for part in x.split(max(1, rows)):
        squares, inside = of(part)
        k = squares.argmin(1)
        found.append((k,) if inside is None else (k, inside[torch.arange(len(k)), k]))
    found = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return found if len(found) == 2 else found[0]


def spread_rows(data, count, generator):
    """k-means++: rows of the data, each drawn in proportion to its squared distance to those before it.

    Every draw proposes ``2 + log(count)`` rows and keeps the one that leaves the least total distance (Arthur
    and Vassilvitskii's greedy variant).  Rows are drawn by their global number, so that one process, many
    batches and many processes start alike.

    Parameters
    ----------
    data : re-iterable of tensors (n_b, D), with ``take(index) -> (len(index), D)``
    count : int
    generator : torch.Generator
        On the CPU; the same seed in every process.

    Returns
    -------
    tensor (count, D), in the data's dtype and on its device
    """
    trials = 2 + int(math.log(count))
    closest = torch.cat([torch.ones(len(x), dtype=torch.float64) for x in data])
    chosen = draw_rows(data, closest, 1, generator)
    closest = _closer(data, chosen, closest * math.inf)[:, 0]
    while len(chosen) < count:
        proposed = draw_rows(data, closest, trials, generator)
        closer = _closer(data, proposed, closest)
        best = int(all_sum({"left": closer.sum(0)})["left"].argmin())
        chosen, closest = torch.cat([chosen, proposed[best : best + 1]]), closer[:, best]
    return chosen


def _closer(data, rows, closest):
    """(n, len(rows)): the distance to the closest chosen row, if each of ``rows`` were chosen too."""
    squares = torch.cat([project(x, rows)[0].to("cpu", torch.float64) for x in data])
    return torch.minimum(squares, closest[:, None])


def draw_rows(data, weights, count, generator):
    """``count`` rows drawn in proportion to ``weights`` (this process's (n,), float64), over all processes."""
    rank, size = rank_and_size()
    shares = torch.zeros(size, dtype=torch.float64)
    shares[rank] = weights.sum()
    shares = all_sum({"shares": shares})["shares"]
    if shares.sum() == 0:  # fewer distinct rows than asked for: any row is as good as another
        return draw_rows(data, torch.ones_like(weights), count, generator)
    places = torch.rand(count, generator=generator, dtype=torch.float64) * shares.sum()
    places = places - shares[:rank].sum()
    here = (places >= 0) & (places < shares[rank])
    index = torch.searchsorted(weights.cumsum(0), places[here], right=True).clamp(
        max=max(len(weights) - 1, 0)
    )
    taken = data.take(index)
    rows = torch.zeros(count, taken.shape[1], dtype=torch.float64)
    rows[here] = taken.to("cpu", torch.float64)
    return all_sum({"rows": rows})["rows"].to(taken)


class Flats(Joint):
    """K equally likely points or flats with Gaussian noise: ``-log K + log N(x; mu_k + W_k u, variance I)``.

    The prior is uniform over k and flat over u, so with p > 0 this is no density over (k, u): there is no
    sampling from it.  Ledger E2 (p = 0), G1 (K = 1), H6.

    Parameters
    ----------
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Orthonormal columns; p = 0 if left out.
    variance : float
        sigma^2 of the noise; 1/2 makes the log joint the squared error plus a constant.
    seed : int
        Of the small step that restarts an empty component.

    Examples
    --------
    >>> import torch
    >>> joint = Flats(torch.tensor([[0.0], [4.0]]))
    >>> joint.argmax(torch.tensor([[1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(self, means, bases=None, variance=0.5, seed=0):
        super().__init__()
        self.register_buffer("means", means.clone())
        self.register_buffer("bases", means.new_zeros(*means.shape, 0) if bases is None else bases.clone())
        self.variance, self.seed = variance, seed

    @property
    def _bases(self):  # None for points: the projection is skipped
        return self.bases if self.bases.shape[2] else None

    def _groups(self, k):
        """(component, its rows) for every component that has any: what is done flat by flat costs no more than one."""
        rows = k.argsort(stable=True).split(torch.bincount(k, minlength=len(self.means)).tolist())
        return [(c, i) for c, i in enumerate(rows) if len(i)]

    def decode(self, z):
        """The point of the flat at z: k (n,), or (k, u) with u (n, p) -> (n, D)."""
        if torch.is_tensor(z):
            return self.means[z]
        k, u = z
        return self._by_flat(k, u, lambda c, u: self.means[c] + u @ self.bases[c].T)

    def inside(self, x, k):
        """Where each row is on flat k, at its projection: (n, D), (n,) -> u (n, p)."""
        return self._by_flat(k, x, lambda c, x: (x - self.means[c]) @ self.bases[c])

    def _by_flat(self, k, rows, f):
        """``f(component, its rows)`` of every component, put back in the rows' order."""
        groups = self._groups(k)
        done = torch.cat([f(c, rows[i]) for c, i in groups])
        return torch.zeros_like(done).index_copy(0, torch.cat([i for _, i in groups]), done)

    def log_joints(self, x):
        """The log joint of every k, with the best u for each: (n, D) -> (n, K), nats."""
        K, D = self.means.shape
        constant = math.log(K) + 0.5 * D * math.log(2 * math.pi * self.variance)
        return -project(x, self.means, self._bases)[0] / (2 * self.variance) - constant

    def log_joint(self, x, z):
        """(n,) nats at z = k, at z = (k, u), or expected under weights z = (r,) with r (n, K)."""
        if isinstance(z, tuple) and len(z) == 1:
            return (z[0] * self.log_joints(x)).sum(1)
        return gaussian(x, self.decode(z), self.variance) - math.log(len(self.means))

    def argmax(self, x):
        """The nearest flat, and where on it: k (n,), or (k, u)."""
        return nearest(x, self.means, self._bases)

    def posterior(self, x, T):
        """Weights r (n, K) = softmax(l/T) over the points, and T times their entropy.  Only for p = 0."""
        if self._bases is not None:
            raise TypeError("Flats has a posterior over points only (p = 0): with p > 0 use Exact()")
        r = (self.log_joints(x) / T).softmax(1)
        return (r,), T * torch.special.entr(r).sum(1)

    def stats(self, x, z):
        """Sums per component: weight n, sum of x, squared error; with p > 0 also of u and x u^T."""
        if isinstance(z, tuple) and len(z) == 1:
            r = z[0]
            return {"n": r.sum(0), "x": r.T @ x, "error": (r * project(x, self.means)[0]).sum(0)}
        sums = {"n": torch.zeros_like(self.means[:, 0]), "x": torch.zeros_like(self.means)}
        sums["error"] = torch.zeros_like(sums["n"])
        if torch.is_tensor(z):
            step = max(1, len(x) if x.is_cuda else ROWS)
            for rows, k in zip(x.split(step), z.split(step)):
                residuals = self.means.index_select(0, k).sub_(rows)
                sums["x"].index_add_(0, k, rows)
                sums["error"].index_add_(0, k, torch.linalg.vecdot(residuals, residuals))
            sums["n"] += torch.bincount(z, minlength=len(self.means))
        else:
            k, u = z
            sums |= {"u": torch.zeros_like(self.bases[:, 0]), "xu": torch.zeros_like(self.bases)}
            for c, i in self._groups(k):
                rows, code = x[i], u[i]
                sums["n"][c], sums["x"][c], sums["u"][c] = len(i), rows.sum(0), code.sum(0)
                sums["xu"][c] = rows.T @ code
                sums["error"][c] = (rows - self.means[c] - code @ self.bases[c].T).square().sum()
        return self._with_objective(sums, x)

    def _with_objective(self, sums, x):
        """The sums and the log joint's, which follows from the squared error."""
        constant = math.log(len(self.means)) + 0.5 * x.shape[1] * math.log(2 * math.pi * self.variance)
        objective = -sums["error"].double().sum() / (2 * self.variance) - len(x) * constant
        return sums | {"objective": objective}

    @torch.no_grad()
    def update(self, sums):
        """The best means for these codes, and one subspace step for the bases (QR of their covariance with u).

        A component without samples restarts beside the one with the largest error: a copy plus a small step.
        Only the empty one moves there, so the objective cannot fall.
        """
        n, error = sums["n"], sums["error"].clone()
        means, bases = self.means.to("cpu", torch.float64), self.bases.to("cpu", torch.float64)
        full = n > 0
        means[full] = sums["x"][full] / n[full, None]
        if self._bases is not None:
            spread = sums["xu"][full] - means[full][:, :, None] * sums["u"][full][:, None]
            bases[full] = torch.linalg.qr(spread).Q
        generator = torch.Generator().manual_seed(self.seed)
        for empty in (~full).nonzero()[:, 0]:
            worst = error.argmax()
            step = torch.randn(means.shape[1], generator=generator, dtype=torch.float64)
            size = 1e-3 * (error[worst] / n[worst].clamp(min=1) / len(step)).sqrt()
            means[empty], bases[empty] = means[worst] + size * step, bases[worst]
            error[worst] /= 2  # so that the next empty one looks elsewhere
        self.means.copy_(means)
        self.bases.copy_(bases)
