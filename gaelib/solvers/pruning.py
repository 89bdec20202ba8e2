"""The nearest of many points or flats without visiting them all (ledger E2, H7): a memory of known rows, and a screen.

Two bounds tell what need not be computed.  A row whose two nearest points are d1 < d2 away keeps its point as long as
the points together have moved less than d2 - d1 (Hamerly, 2010): its slack.  And a shadow is never longer than what
throws it: with orthonormal columns G and the lengths of what the shadow misses, x_rest = x - G G^T x,

    || x - mu ||^2  >=  || G^T x - G^T mu ||^2 + ( ||x_rest|| - ||mu_rest|| )^2

(Cauchy and Schwarz; Bottesch, Bühler and Kächele, 2016), and for every flat

    min_u || x - mu - W u ||  >=  min_u || G^T (x - mu - W u) ||.

The right sides live in few dimensions; only points and flats whose bound leaves a doubt are compared in full.
"""

import warnings
from functools import cache

import numpy as np
import torch

from .nearest import affine, project, rounding, settle, settle_pairs
from .sums import by_code, total
from .threads import each, pools

AXES = 48  # columns of G, at most
PART = 2**22  # entries of a block of the rows, or of its table: the cache holds them, and few calls do all rows
SCREENED = 2**24  # entries of the rows that are screened at a time: few calls, and bounded memory
READ = 2048  # rows whose squares and shadows are found at a time
TABLE = 2**17  # bounds found at a time: a core's own cache holds them
MOST = 0.75  # of a block's rows: if more are to be compared all are, where they lie
LOOSE = 4  # times the rounding of a square: of a bound, whose axes are rounded, too
PASSES = 4  # for which a row's slack should last, ...
FAR = 16  # ... if the points move so many times less than the row is away
TIGHT = 64  # a squared error so many times smaller than what it is a difference of is read from the rows instead


def worth_it(means):
    """Whether bounds from shadows are faster than the full table: for many points (K, D) with many columns."""
    return len(means) > 64 and means.shape[1] >= 64


@cache
def quiet():
    """Let torch say once that its CSR tensors are a beta, where nobody hears it: these live for one call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor([0, 0], torch.zeros(0, dtype=torch.int64), torch.zeros(0), (1, 1))


class _Batch:
    """What is remembered of a batch: of each row its square, shadow, point and slack; the sums of points' rows."""

    def __init__(self, x, sizes, codes):
        self.x, self.sizes, self.codes = x, sizes, codes
        self.k, self.slack = torch.zeros(len(x), dtype=torch.int64), torch.full_like(sizes, -torch.inf)
        self.joint, self.seen, self.sums = None, None, None


class Known:
    """`Exact` for the points of `Flats` (p = 0), faster on batches that come again; for the CPU.

    An answer to the max with ``stats`` of its own: they take in and give back only the rows that changed sides.

    Parameters
    ----------
    joint : Flats
        Its means as they are now give the axes G; they may move afterwards.
    batches : list of tensors (n_b, D)
        The very tensors that will be asked about.  Kept of each row are its square, point and slack, and, with many
        points, its shadow of ``AXES + 3`` numbers.

    Examples
    --------
    >>> from gaelib.joints.flats import Flats
    >>> x = torch.randn(500, 200, generator=torch.Generator().manual_seed(0))
    >>> joint = Flats(x[:150])
    >>> bool((Known(joint, [x])(joint, x)[0] == joint.argmax(x)).all())
    True
    """

    def __init__(self, joint, batches):
        means = joint.means
        step = max(1, sum(map(len, batches)) // 2048)
        rows = torch.cat([x[::step] for x in batches])
        self.middle = total(rows).div_(len(rows)).to(rows)
        spread = (rows - self.middle).square().sum(1).mean()
        # Rows are moved to the middle before a product only if they are so far away that it would cost digits.
        self.far = not bool(self.middle.square().sum() <= 16 * spread)
        if not self.far:
            self.middle.zero_()
        self.origin = self.middle.double() if self.far else None
        if worth_it(means):
            quiet()
        self.axes = self._leading(rows - self.middle, min(AXES, len(means) // 2)) if worth_it(means) else None
        self.rounding = rounding(means)
        self.rows = max(1, PART // max(means.shape) if self.axes is None else SCREENED // means.shape[1])
        self.joint, self.seen, self.kept = joint, None, {}
        for x in batches:
            sizes, codes = x.new_empty(len(x)), x.new_empty(len(x), 0 if self.axes is None else self.axes.shape[1] + 3)

            def shorten(here, x=x, sizes=sizes, codes=codes):  # into its place: what stays would part the heap
                sizes[here], codes[here] = self._shorten(x[here])

            each(shorten, map(slice, range(0, len(x), READ), range(READ, len(x) + READ, READ)))
            finite = self.axes is not None and bool(codes.isfinite().all())  # squares may overflow
            self.kept[id(x)] = _Batch(x, sizes, codes if finite else None)

    @staticmethod
    def _leading(rows, q):
        """About the leading principal axes of the rows (D, q): three steps of subspace iteration."""
        axes = rows[:q].T
        for _ in range(3):
            axes = torch.linalg.qr(rows.T @ (rows @ axes)).Q
        return axes.contiguous()

    def _shorten(self, x):
        """Squares (n,) of rows seen from the middle; and (n, q + 3) shadows, the length of what they miss, 1 and 0."""
        x = x - self.middle if self.far else x
        sizes = torch.linalg.vecdot(x, x)
        if self.axes is None:
            return sizes, x[:, :0]
        inside = torch.from_numpy(x.numpy() @ self.axes.numpy())
        rest = (sizes - inside.square().sum(1)).clamp_(min=0) + LOOSE * self.rounding * sizes  # up: still a bound
        return sizes, torch.cat([inside, rest.sqrt_()[:, None], x.new_tensor([1.0, 0.0]).expand(len(x), 2)], 1)

    def __call__(self, joint, x):
        """The nearest point of each row, k (n,), the first of equals; and a bonus of 0."""
        batch, self.joint = self.kept.get(id(x)), joint
        if batch is None:
            return joint.argmax(x), x.new_zeros(len(x))
        if first := batch.joint is not joint:  # a start of its own
            self.kept[id(x)] = batch = _Batch(x, batch.sizes, batch.codes)
        else:
            self._move(batch)
        batch.joint, batch.seen = None, joint.means.clone()  # who is interrupted here begins anew
        self._look(joint)
        threads = 1 + pools.helpers
        size = -(-len(x) // (threads * -(-len(x) // (threads * self.rows))))  # as many for each thread
        blocks = map(slice, range(0, len(x), size), range(size, len(x) + size, size))
        changed, was = map(torch.cat, zip(*each(lambda block: self._ask(batch, block, first), blocks)))
        if first:
            batch.sums = by_code(batch.k, len(batch.seen), x, origin=self.origin)
        elif len(changed):
            k = batch.k.index_select(0, changed)
            batch.sums += by_code(k, len(batch.seen), x, changed, was, self.origin)
        batch.joint = joint
        return batch.k, x.new_zeros(len(x))

    def _move(self, batch):
        """How far points have moved: of each the slack that its rows lose to it, and to the farthest of the others."""
        moved = torch.linalg.vector_norm(self.joint.means - batch.seen, dim=1)
        largest = moved.topk(min(2, len(moved))).values
        self.farthest, second = largest[0], largest[-1]
        self.lost = (moved + torch.where(moved == self.farthest, second, self.farthest)).mul_(1 + self.rounding)

    def _look(self, joint):
        """What depends on the means alone, once per pass."""
        if self.seen is not None and torch.equal(self.seen, joint.means):
            return
        self.seen, points = joint.means.clone(), joint.means - self.middle if self.far else joint.means
        self.sizes, self.points = points.double().square().sum(1).to(points), points.T
        self.largest, self.product = self.sizes.max(), affine(-2 * points, self.sizes)
        if self.axes is not None:
            shadows = self._shorten(joint.means)[1].mul_(-2)
            shadows[:, -2], shadows[:, -1] = self.sizes, -1
            self.shadows = shadows.T.contiguous().numpy()

    def _ask(self, batch, block, first):
        """Compare those rows of a block that have no slack with the points: who changed sides, and from where."""
        x, sizes, k, slack = (part[block] for part in (batch.x, batch.sizes, batch.k, batch.slack))
        if not first:
            slack.sub_(self.lost.index_select(0, k)).mul_(1 - 2 * torch.finfo(slack.dtype).eps)
        i = (slack <= 0).nonzero()[:, 0]
        some = len(i) <= MOST * len(k)
        taken = (lambda part: part.index_select(0, i)) if some else (lambda part: part)
        x, was, size = map(taken, (x, k, sizes))
        away, blur, found = x - self.middle if self.far else x, self.rounding * (size + self.largest), None
        if batch.codes is not None:
            found = self._screen(x, away, taken(batch.codes[block]), size, blur, None if first else was)
            if found is None:  # too little is ruled out here
                batch.codes = None
        new, least, gap = settle(x, self.product(away), blur, self.joint.means) if found is None else found
        least += size
        lower = (gap + least).add_(blur).clamp_(min=0).sqrt_()
        lower.sub_(least.add_(blur).clamp_(min=0).sqrt_())
        changed = (new != was).nonzero()[:, 0]
        was = was.index_select(0, changed)
        for kept, fresh in ((k, new), (slack, lower)):
            kept.index_copy_(0, i, fresh) if some else kept.copy_(fresh)
        return (i.index_select(0, changed) if some else changed) + block.start, was

    def _screen(self, x, away, codes, size, blur, guess):
        """`settle`, by the squares of only those points whose bounds leave a doubt; None if most of them do."""
        n, K, farthest = len(x), len(self.sizes), torch.inf
        if guess is None:
            guess = torch.from_numpy(np.concatenate([table.argmin(1) for _, table in self._bounds(codes)]))
        else:
            farthest = self.farthest
        best = self._squares(away, torch.arange(n + 1), guess)
        length = (best + size).clamp_(min=0).sqrt_()
        reach = torch.where(length > FAR * farthest, PASSES * farthest, 0.0)
        beyond = reach * (2 * length + reach)  # of squares: what is farther does not hang on bounds
        codes[:, -1] = best + beyond + 2 * LOOSE * blur
        passed, own = [], torch.arange(n).mul_(K).add_(guess).numpy()
        for start, table in self._bounds(codes):
            hits = (table <= 0).ravel()
            hits[own[start : start + len(table)] - start * K] = False
            passed.append(np.flatnonzero(hits) + start * K)
        passed = torch.from_numpy(np.concatenate(passed))
        if len(passed) > n * K // 8 or not bool(best.sum().isfinite()):
            return None
        rows = passed // K
        columns = passed - rows * K
        starts = torch.bincount(rows + 1, minlength=n + 1).cumsum(0)
        squares = self._squares(away, starts, columns)
        k, least, gap = settle_pairs(x, (guess, best), (rows, columns, squares), blur, self.joint.means)
        return k, least, torch.minimum(gap, beyond - 2 * blur)

    def _bounds(self, codes):
        """Bounds on squares less the rows' last numbers, some rows at a time: (n, q + 3) -> (first row, table)s."""
        step = max(1, TABLE // len(self.sizes))
        room = np.empty((step, len(self.sizes)), self.shadows.dtype)
        for start in range(0, len(codes), step):
            part = codes[start : start + step].numpy()
            yield start, np.dot(part, self.shadows, out=room[: len(part)])

    def _squares(self, x, starts, columns):
        """Of chosen pairs, without the rows' own: row i with ``columns[starts[i]:starts[i + 1]]``."""
        pairs = torch.sparse_csr_tensor(
            starts, columns, self.sizes[columns], (len(x), len(self.sizes)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pairs, x, self.points, alpha=-2).values()

    def stats(self, x, z):
        """As of the joint; of a known batch, at the codes just found, without reading the rows that stayed."""
        batch = self.kept.get(id(x))
        if batch is None or z is not batch.k:  # found last: the sums are of these codes, whatever the means are now
            return self.joint.stats(x, z)
        K = len(batch.sums)
        n, sizes = torch.bincount(z, minlength=K).double(), by_code(z, K, batch.sizes)
        return known_sums(self.joint, x, z, self.middle, n[:, None], sizes[:, None], batch.sums)


def known_sums(joint, x, k, origin, n, sizes, sums):
    """``joint.stats(x, k)`` for points, from sums of each one's rows, seen from an origin.

    Parameters
    ----------
    n, sizes, sums : tensors (K, 1), (K, 1), (K, D) float64
        The number of rows, and the sums of their squared lengths and of the rows themselves.
    """
    points = joint.means.double() - origin
    away = sums - n * points  # no fused product: of equal rows nothing is left
    error = sizes[:, 0] - torch.linalg.vecdot(points, sums + away)
    blurred = TIGHT / 2 * error < sizes[:, 0]
    if blurred.any():
        error[blurred] = 0
        for i in blurred[k].nonzero()[:, 0].split(max(1, PART // x.shape[1])):
            left = joint.residual(x.index_select(0, i), k.index_select(0, i))
            error += by_code(k.index_select(0, i), len(sums), torch.linalg.vecdot(left, left))
    return joint.scored({"n": n[:, 0], "x": away, "error": error}, x)


class Screen:
    """`solvers.nearest.nearest` of flats, by full distances only where the bound of their shadows leaves a doubt.

    What depends on the flats alone is computed once.

    Parameters
    ----------
    means, bases : tensors (K, D), (K, D, p)
    axes : tensor (D, q)
        Orthonormal columns, q > p: the leading principal axes of the data screen well.

    Attributes
    ----------
    asked : int
        Full distances computed so far; without screening it would be n K.

    Examples
    --------
    >>> means, bases = torch.tensor([[0.0, 0.0, 0.0], [0.0, 9.0, 9.0]]), torch.eye(3)[:, :1].expand(2, 3, 1)
    >>> screen = Screen(means, bases, torch.eye(3)[:, :2])
    >>> screen.nearest(torch.tensor([[5.0, 1.0, 0.0]]))
    (tensor([0]), tensor([[5.]]))
    >>> screen.asked
    1
    """

    def __init__(self, means, bases, axes):
        self.axes, self.asked, self.middle = axes, 0, means.mean(0)
        self.shadows = means @ axes, torch.linalg.qr(axes.T @ bases).Q
        away = means - self.middle
        self.plates = torch.cat([bases, away[:, :, None]], 2)  # (K, D, p + 1): one product for both parts
        self.offset, self.norms = (away[:, None] @ bases)[:, 0], away.square().sum(1)

    def bound(self, shadows):
        """A lower bound on the squared distance of every row to every flat: (n, q) -> (n, K)."""
        return project(shadows, *self.shadows)[0]

    def nearest(self, x, shadows=None):
        """The nearest flat of every row, and where on it: (n, D) -> k (n,) int64, u (n, p).

        ``shadows``, x @ axes, do not depend on the flats: computed once, they serve every pass of a fit.
        """
        bound = self.bound(x @ self.axes if shadows is None else shadows)
        x = x - self.middle
        k, norms = bound.argmin(1), x.square().sum(1)
        best, u = torch.full_like(norms, torch.inf), x.new_zeros(len(x), self.offset.shape[1])

        def ask(all_rows, flats):  # sorted by flat
            counts = torch.bincount(flats, minlength=bound.shape[1]).tolist()
            for j, rows in enumerate(all_rows.split(counts)):
                products = x[rows] @ self.plates[j]
                inside = products[:, :-1] - self.offset[j]
                squares = norms[rows] - 2 * products[:, -1] + self.norms[j] - inside.square().sum(1)
                won = squares < best[rows]
                best[rows[won]], k[rows[won]], u[rows[won]] = squares[won], j, inside[won]
                self.asked += len(rows)

        promising, first = k.sort(stable=True)
        ask(first, promising)
        slack = 8 * torch.finfo(x.dtype).eps * norms  # rounding alone rules nobody out
        doubt = bound <= (best + slack)[:, None]  # a farther shadow cannot win
        doubt[torch.arange(len(x)), k] = False
        flats, rows = doubt.T.nonzero(as_tuple=True)
        ask(rows, flats)
        return k, u
