"""t-SNE: the data are pairs of points, and the map is the parameter (ledger L4).

    P    which pairs are neighbours:  p_j|i a softmax of -beta_i ||x_i - x_j||^2 whose entropy is log(perplexity)
    Q    log q_ij = -log(1 + ||y_i - y_j||^2) - log Z(y),    Z the sum over all pairs

There is no code: E_P log q_ij = -KL(P||Q) - H(P) is climbed in y itself.  Its slope pulls neighbours together and
pushes all pairs apart; the push is a field that a grid holds, so a step costs O(n).
"""

__all__ = ["TSNE"]

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY
from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ..core import Joint
from ..hyper import Seed, checked, choice, count, fitted, hyper, is_word, need_number, need_samples, number
from ..maps import Map
from ..progress import progress
from ..rows import Array, real, view
from ..solvers.eigen import by_eigenvectors, upright
from ..solvers.field import Grid, every_pair
from ..solvers.neighbours import neighbours

FEW = 250  # points up to which all pairs are as fast as a grid
EARLY, CALM = 250, 100  # steps with exaggeration; steps after it in which momentum grows, or few points fly apart
WATCH = 50  # steps between two looks at the objective
START = 1e-4  # the start's standard deviation along its first axis: so small that Q starts uniform
EDGES = 2**16  # pairs at a time: what a CPU's cache holds


def conditional(squares: Tensor, perplexity: float) -> Tensor:
    """p_j|i over the k neighbours of each row, from squared distances (n, k): entropies log(perplexity), rows of sum 1.

    Newton's method on the log precision of all rows at once, within a bracket that bisection keeps.
    """
    d = squares.double() - squares.double().amin(1, keepdim=True)
    d = d / d.mean(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)  # no unit
    log_beta = d.new_zeros(len(d), 1)
    low, high, goal = log_beta - 40, log_beta + 40, math.log(perplexity)
    for _ in range(100):
        beta = log_beta.exp()
        p = (-beta * d).exp_()
        size, weighted = p.sum(1, keepdim=True), p * d
        mean = weighted.sum(1, keepdim=True) / size
        variance = weighted.mul_(d).sum(1, keepdim=True) / size - mean.square()
        excess = size.log() + beta * mean - goal
        low, high = torch.where(excess > 0, log_beta, low), torch.where(excess > 0, high, log_beta)
        if not ((high - low > 1e-12) & (excess.abs() > 1e-12)).any():
            break
        newton = log_beta + excess / (beta.square() * variance)
        within = (newton >= low) & (newton <= high)  # a row that has ended stays
        log_beta = torch.where(within, newton, (low + high) / 2)
    return p / size


class Affinities:
    """P: for each pair of neighbours p_ij = (p_j|i + p_i|j) / 2n, kept as the rows of a sparse symmetric matrix.

    Parameters
    ----------
    x : tensor (n, D)
    perplexity : float
    k : int
        Neighbours of each row.
    dtype : torch.dtype
        The map's; P is found in float64.
    """

    def __init__(self, x: Tensor, perplexity: float, k: int, dtype: torch.dtype):
        n, x = len(x), x - x.mean(0)
        squares, index = neighbours(x / x.abs().amax().clamp(min=torch.finfo(x.dtype).tiny), k)  # in no unit
        each, starts = conditional(squares, perplexity).cpu().numpy().ravel(), np.arange(0, n * k + 1, k)
        table = scipy.sparse.csr_array((each, index.cpu().numpy().ravel(), starts), (n, n))
        table = (table + table.T).tocsr()
        p = torch.from_numpy(table.data / table.data.sum())
        self.entropy = float(torch.special.entr(p).sum())
        self.p = p.to(x.device, dtype)
        self.weights = torch.empty_like(self.p)  # of a step: memory that is kept costs no time
        self.starts, self.columns = (
            torch.from_numpy(part).to(x.device).int() for part in (table.indptr, table.indices)
        )
        numbers = torch.arange(n, dtype=torch.int32, device=x.device)
        self.rows = numbers.repeat_interleave(self.starts.diff())

    def squares(self, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """||y_i - y_j||^2 of all pairs in order, some at a time: (which, squares)."""
        step = EDGES if y.device.type == "cpu" else len(self.p)
        even = torch.nn.functional.pad(y, (0, y.shape[1] % 2)).view(len(y), -1, 2)
        planes = torch.view_as_complex(even).T.contiguous()  # two axes in one number: one look-up for both
        for start in range(0, len(self.p), step):
            part = slice(start, start + step)
            i, j = self.rows[part], self.columns[part]
            away = (plane.index_select(0, i).sub_(plane.index_select(0, j)) for plane in planes)
            yield part, reduce(Tensor.add_, (torch.add(*torch.view_as_real(z).square_().unbind(1)) for z in away))

    def pull(self, y: Tensor) -> Tensor:
        """sum_j p_ij (y_i - y_j) / (1 + ||y_i - y_j||^2): (n, d) -> (n, d)."""
        for part, squares in self.squares(y):
            torch.div(self.p[part], squares.add_(1), out=self.weights[part])
        table = torch.cat([y, torch.ones_like(y[:, :1])], 1)
        options = {"per_sample_weights": self.weights, "mode": "sum", "include_last_offset": True}
        sums = torch.nn.functional.embedding_bag(self.columns, table, self.starts, **options)
        return y * sums[:, -1:] - sums[:, :-1]

    def spread(self, y: Tensor) -> float:
        """E_P log(1 + ||y_i - y_j||^2), nats."""
        return sum(float(self.p[part] @ squares.log1p_()) for part, squares in self.squares(y))


class PointMap(Joint):
    """log q_ij of pairs of points of a map: x (m, 2) int64 -> (m,), nats; the map is the parameter.

    Parameters
    ----------
    map : tensor (n, d)
        y, a place for each point.

    Examples
    --------
    >>> joint = PointMap(torch.tensor([[0.0], [1.0], [2.0]]))
    >>> joint
    PointMap(points=3, dimensions=1)
    >>> joint.log_joint(torch.tensor([[0, 1], [0, 2]])).exp().detach()
    tensor([0.2083, 0.0833])
    """

    def __init__(self, map: Tensor):
        super().__init__()
        self.register_buffer("map", map.clone(memory_format=torch.contiguous_format))

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        n, d = self.map.shape
        return (
            "none: a row of data is a pair of neighbours",
            "none",
            f"Student's kernel of a map of {n:,} points in {d} dimensions",
        )

    def extra_repr(self) -> str:
        return "points={}, dimensions={}".format(*self.map.shape)

    def log_joint(self, x: Tensor, z: None = None) -> Tensor:
        away = self.map[x[:, 0]] - self.map[x[:, 1]]
        return -away.square().sum(1).log1p() - log_volume(every_pair(self.map))

    @torch.no_grad()
    def slope(self, P: Affinities, sums: Tensor, exaggeration: float = 1.0) -> Tensor:
        """The slope of E_P log q in the map, with P times the exaggeration: (n, d).

        ``sums`` are those of `every_pair` or of a `Grid`.
        """
        return 4 * (sums[:, 1:] / log_volume(sums).exp() - exaggeration * P.pull(self.map))


def log_volume(sums: Tensor) -> Tensor:
    """log Z = log sum_i,j!=i 1 / (1 + ||y_i - y_j||^2)."""
    return (sums[:, 0] - 1).sum(dtype=torch.float64).log().to(sums.dtype)


def need_rate(name: str, value: object) -> None:
    """Refuse a step size that is neither a number above 0 nor "auto"."""
    if not is_word(value, "auto"):
        need_number(name, value, 0.0, False, True, f"{name}='auto'")


def need_start(name: str, value: object) -> None:
    """Refuse a start that is neither a table nor "pca"."""
    if isinstance(value, str) and value != "pca":
        raise ValueError(f"{name}={value!r} is no start: pass 'pca', or an array of one place a row")


@hyper
class TSNE(Map):
    """A map of rows in which neighbours stay neighbours: t-distributed stochastic neighbour embedding.

    Parameters
    ----------
    n_components : int
        d, the map's dimensions.  A grid works in the plane; with other d all pairs are summed, O(n^2) a step.
    perplexity : float, at least 1
        How many neighbours a row looks at, in effect: exp of the entropy of p_j|i.
    early_exaggeration : float
        What P is multiplied by during the first 250 steps, or half of them: clusters form while they can still pass.
    learning_rate : float or "auto"
        In scikit-learn's units; "auto" is n / 4, during the exaggeration n / 4 / early_exaggeration, at least 50.
    init : "pca" or array (n, d)
        The start: the leading principal axes shrunk to a standard deviation of 1e-4, or any map, taken as it is.
    method : {"auto", "exact"}
        "auto" looks at 3 perplexity + 1 neighbours and sums more than 250 points on a grid.  "exact" looks at all
        pairs for both: n^2 work and memory.
    max_iter : int
        Steps; 900 take the objective below what scikit-learn's 1000 reach.
    random_state
        Draws what "pca" leaves open where the rows have fewer directions than the map.
    device, verbose
        As in `KMeans`.

    Attributes
    ----------
    embedding_ : (n, d)
        The map.
    kl_divergence_ : float
        KL(P||Q), nats.
    history_ : list of float
        The objective, E_P log Q, at the start and every 50 steps, nats; P is not exaggerated here.
    n_iter_ : int
        Steps taken.
    joint_ : PointMap

    Notes
    -----
    It has no code, so other rows have no place in the map: there is no ``transform``.  Nearest neighbours are exact,
    O(n^2 D) work in memory O(n).  A grid's map is computed in float32, and the objective on a finer grid at the end.
    Ctrl-C keeps the map as it is.  All rows are compared, so several processes are refused.  Source: van der Maaten and
    Hinton (2008); the grid: Linderman et al. (2019).  Ledger L4.

    Examples
    --------
    >>> X = np.repeat([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]], 5, axis=0) + np.arange(10)[:, None] % 5
    >>> Y = TSNE(perplexity=3, random_state=0).fit_transform(X)
    >>> Y.shape, bool(np.ptp(Y[:5], axis=0).max() < abs(Y[:5].mean(0) - Y[5:].mean(0)).max())
    ((10, 2), True)
    """

    _chapter = "family/maps"
    _answers = "nobody: there is no code"
    _moves = "gradient steps with momentum"

    n_components: int = count(2)
    _: KW_ONLY
    perplexity: float = number(30.0, "perplexity=30", above=1.0, closed=True)
    early_exaggeration: float = number(12.0, "early_exaggeration=12", above=1.0, closed=True)
    learning_rate: float | str = checked("auto", need_rate)
    init: Any = checked("pca", need_start)
    method: str = choice("auto", "exact")
    max_iter: int = count(900)
    random_state: Seed = None
    verbose: int = 0
    joint_: PointMap = fitted()
    embedding_: Array = fitted()
    kl_divergence_: float = fitted()

    def _check(self, n, width):
        super()._check(n, width)
        need_samples("perplexity", f"{self.perplexity:g}", n, math.ceil(self.perplexity) + 1, "a lower perplexity")
        if not isinstance(self.init, str):
            shape = np.shape(real(self.init, "init"))
            if shape != (n, self.n_components):
                raise ValueError(
                    f"init has the shape {shape}: pass one of {(n, self.n_components)}, a place for each row"
                )

    def _start(self, data, generator):
        grid = self.method == "auto" and self.n_components == 2 and len(data) > FEW
        start = self._principal(data, generator) if isinstance(self.init, str) else view(real(self.init, "init"))
        data.memo["sums"] = (Grid(), Grid(0.25)) if grid else (every_pair, every_pair)  # for a step, and to judge
        return PointMap(start.to(data.device, torch.float32 if grid else data.dtype))

    def _principal(self, data, generator):
        """Coordinates along the leading axes, small; where there is no axis left, random ones."""
        start = torch.randn(len(data), self.n_components, generator=generator, dtype=torch.float64).to(data.device)
        p = min(self.n_components, data.width, len(data))
        mean, axes, variances, _ = by_eigenvectors(data, p)
        size = variances.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        main = torch.cat([(x - mean.to(x)) @ upright(axes).to(x) for x in data]).double() / size[0].to(data.device)
        seen = variances > 1e-12 * variances[0]
        start[:, :p][:, seen] = main[:, seen]
        return START * start

    def _learn(self, joint, data, history):
        n, k = len(data), 3 * self.perplexity + 1
        k = n - 1 if self.method == "exact" else min(n - 1, int(k))
        P = data.memo["P"] = Affinities(torch.cat(list(data)), self.perplexity, k, joint.map.dtype)
        y, move, gain = joint.map, torch.zeros_like(joint.map), torch.ones_like(joint.map)
        early = min(EARLY, self.max_iter // 2)
        with progress(total=self.max_iter, verbose=self.verbose) as bar:
            for step in range(self.max_iter):
                exaggeration = self.early_exaggeration if step < early else 1.0
                momentum = 0.5 + 0.4 * min(max(step - early, 0) / CALM, 1.0)
                rate = n / exaggeration / 4 if is_word(self.learning_rate, "auto") else self.learning_rate
                sums = data.memo["sums"][0](y)
                if step % WATCH == 0:
                    history.append(self._objective(y, P, sums))
                    bar.set_postfix_str(f"KL {-history[-1] - P.entropy:.4f} nats")
                slope = joint.slope(P, sums, exaggeration)
                # A grid's error turns its sign from cell to cell, and so slopes against moves: gains stay small, the
                # map opens more slowly, and after as many steps its divergence is higher than a finer grid's.
                if step:  # before the first move there is no side that a slope could be on
                    gain = torch.where((slope > 0) == (move > 0), gain + 0.2, gain * 0.8).clamp_(min=0.01)
                move.mul_(momentum).addcmul_(gain, slope, value=rate)
                y.add_(move - (y + move).mean(0))  # at once: an interrupt finds a whole step
                data.memo["steps"] = step + 1
                bar.update()
        return True

    def _objective(self, y, P, sums):
        """E_P log q, nats."""
        value = -P.spread(y) - float(log_volume(sums))
        if not math.isfinite(value):
            raise FloatingPointError(f"the objective is {value} at learning_rate={self.learning_rate}: pass 'auto'")
        return value

    def _finish(self, data):
        y, P = self.joint_.map, data.memo["P"]
        self.history_.append(self._objective(y, P, data.memo["sums"][1](y)))
        self.n_iter_ = data.memo.get("steps", 0)
        self.kl_divergence_ = -self.history_[-1] - P.entropy
        self.joint_.to(data.dtype)
        self.embedding_ = data.like(self.joint_.map)
