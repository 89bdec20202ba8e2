"""Regression: nothing is left to infer (ledger G9).

    linear      z observed    log q_r(x|z) = -||x - b - W z||^2 - (D/2) log pi
    logistic    no z          log q_r(x|input) = log softmax(b + W input)_x,   x a label

Where the code is given, or there is none, no max is to be answered: only the parameters m move.  Both joints
keep b + W z; the logistic one has its input in the place of z.
"""

__all__ = ["LinearRegression", "LogisticRegression"]


from collections.abc import Iterable
from dataclasses import KW_ONLY
from typing import Any

import torch
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from torch import Tensor, nn

from ..core import Joint, Sums
from ..estimator import Model
from ..hyper import count, fitted, hyper, number, several
from ..noise import gaussian
from ..rows import Array, Table
from ..supervised import Centred, Labelled, Observed, least_squares, pairs, product, total

FEW = 10**6  # multiplications, up to which OpenBLAS multiplies without copying first, in half the time
APART = 64.0  # how far two columns' spreads may be apart before L-BFGS sees them in other units


class Affine(Joint):
    """b + W z, kept as ``bias + W (z - centre)`` so that codes far from the origin lose no digits.

    Examples
    --------
    >>> Affine(centre=torch.zeros(3), bias=torch.zeros(2))
    Affine(inputs=3, outputs=2)
    """

    def __init__(self, centre: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("centre", centre.clone())  # (p,)
        self.bias = nn.Parameter(bias.clone())  # (D,)
        self.weights = nn.Parameter(bias.new_zeros(len(bias), len(centre)))  # (D, p)

    def extra_repr(self) -> str:
        return f"inputs={len(self.centre)}, outputs={len(self.bias)}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        inputs, outputs = len(self.centre), len(self.bias)
        noise = "one class by softmax of" if isinstance(self, Logistic) else "Gaussian noise around"
        return (
            f"z, {several(inputs, 'input')}, observed",
            "none: z is given",
            f"{noise} b + W z, {several(outputs, 'output')}",
        )

    def decode(self, z: Tensor) -> Tensor:
        """(n, p) -> (n, D)."""
        return self.bias + (z - self.centre) @ self.weights.T


class Logistic(Affine):
    """log softmax(b + W z)_x of labels x (n,) int64 given inputs z (n, p)."""

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return -nn.functional.cross_entropy(self.decode(z), x, reduction="none")


class Linear(Affine):
    """-||x - b - W z||^2 - (D/2) log pi with z given; one `update` reaches its maximum, a second its last digits."""

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        return gaussian(x, self.decode(z))

    def stats(self, x: Tensor, z: Tensor) -> Sums:
        """Sums for the regression of what is left, x - b - W z, on the centred codes."""
        score, z = self.log_joint(x, z).sum(), z - self.centre
        r = x - self.bias - z @ self.weights.T  # in this order nothing large is rounded
        sums = {"n": torch.tensor(len(x)), "z": z.sum(0), "r": r.sum(0), "zz": z.T @ z, "zr": z.T @ r}
        return sums | {"score": score}

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """Least squares; where the codes do not vary, the smallest W, as in scikit-learn."""
        n, W = sums["n"], self.weights.T.to(sums["zz"])
        z, r = sums["z"] / n, sums["r"] / n
        zz, zr = sums["zz"] - n * torch.outer(z, z), sums["zr"] - n * torch.outer(z, r)
        self.bias.add_((W.T @ z + r).to(self.bias))
        self.centre.add_(z.to(self.centre))
        varies = zz.diagonal() > 1e-26 * n * self.centre.to(z) ** 2  # else the column's spread is rounding
        self.weights.copy_(least_squares(zz, zr, varies, W).T)


class LinearRegression(Observed, MultiOutputMixin, RegressorMixin, Model):
    """Multiple linear regression: the linear code with z observed, by least squares in float64.

    In the letters of the objective X is the observed code z, and y is the data x.

    Parameters
    ----------
    device
        As in `KMeans`.

    Attributes
    ----------
    coef_, intercept_ : (p,) and float, or for y with D columns (D, p) and (D,)
        W and b, of X's kind.
    history_ : list of float
        The objective at the mean of y and at the optimum, nats per sample.
    n_iter_ : int
        2.
    joint_ : Linear

    Notes
    -----
    X may be a re-iterable of batches, read three times; y is kept in memory.  There is always an intercept.
    Only sums travel, so under ``torchrun`` each process passes its shard.  Once columns are scaled alike, a
    direction that holds less than 1e-14 p of the largest variance counts as absent.  Ledger G9.

    Examples
    --------
    >>> LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]).predict([[10.0]]).round(6)
    array([21.])
    """

    joint_: Linear
    _answers = "nobody: the code is given"
    _chapter = "family/regression"
    _moves = "least squares, in closed form"

    def predict(self, X: Table) -> Array:
        """b + W z: (n, p) -> (n,) or (n, D), as y was."""
        x = self._open(X).map(self.joint_.decode)
        return x[:, 0] if self.coef_.ndim == 1 else x

    def _start(self, data, generator):
        sums = total(pairs(data), lambda x, z: {"n": torch.tensor(len(x)), "x": x.sum(0), "z": z.sum(0)})
        return Linear(*((sums[name] / sums["n"]).to(data.device) for name in "zx"))

    def _learn(self, joint, data, history):
        for _ in range(2):  # the second pass mends what rounding left in the first
            sums = total(pairs(data), joint.stats)
            history.append(float(sums.pop("score") / sums["n"]))
            joint.update(sums)
        return True

    def _finish(self, data):
        super()._finish(data)
        if data.single:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])


class Total(torch.autograd.Function):
    """The sum of log softmax(b + W z)_x over batches and processes.  Its slope is a sum too: no batch is kept."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, weights: Tensor, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        def sums_of(x, z):  # a column for each row: softmax is several times as fast along the first axis
            parts = z.split(max(1, FEW // weights.numel()) if z.device.type == "cpu" else len(z))
            logs = torch.cat([product(weights, part.T) for part in parts], 1).add_(bias[:, None]).log_softmax(0)
            score = logs.gather(0, x[None]).sum()
            rest = logs.exp_().neg_()
            rest.scatter_add_(0, x[None], rest.new_ones(1, len(x)))
            slope = sum(map(product, rest.split(len(parts[0]), 1), parts))
            return {"score": score, "bias": rest.sum(1), "weights": slope}

        sums = total(batches, sums_of)
        ctx.save_for_backward(sums["bias"].to(bias), sums["weights"].to(weights))
        return sums["score"].to(bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        bias, weights = ctx.saved_tensors
        return slope * bias, slope * weights, None


def alike(joint: Logistic, variance: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Units of b and of W's columns, (1,) and (p,), in which the objective bends alike at W = 0, or nearly.

    Up to `APART` they keep their own proportions, which often pays; beyond, the data's units would decide.
    """
    K, varies = len(joint.bias), variance > 1e-26 * joint.centre**2  # else the column's spread is rounding
    bends = torch.cat([variance.new_ones(1), torch.where(varies, variance, 0.0)]) * (K - 1) / K**2
    bends[1:] += penalty
    bends = bends.sqrt()
    units = torch.where(bends * APART < bends.max(), 1 / (APART * bends), 1 / bends.max())
    units = torch.where(bends > 0, units, 1.0)
    return units[:1], units[1:]


@hyper
class LogisticRegression(Labelled, ClassifierMixin, Model):
    """Multinomial logistic regression by L-BFGS in float64: no z, a label scored given an input.

    It maximises the mean of log softmax(b + W x)_y minus scikit-learn's penalty, ||W||^2 / (2 C n).

    Parameters
    ----------
    C : float
        Inverse strength of the penalty; ``float("inf")`` for none.
    max_iter, tol
        Steps at most, of up to 20 L-BFGS iterations each, and the relative rise of the objective at which to stop.
    device
        As in `KMeans`.

    Attributes
    ----------
    classes_ : (K,), always NumPy
        The labels, sorted.
    coef_, intercept_ : (K, p) and (K,)
        W and b, of X's kind.
    history_, n_iter_
        As in `KMeans`; the penalty included.
    joint_ : Logistic

    Notes
    -----
    Two classes keep two rows of ``coef_``, -w/2 and w/2, where scikit-learn has one row w: their squares add to
    half of w's, so scikit-learn's answer at C is found here at C/2.  X may be a re-iterable of batches, read at every
    iteration; only sums travel, so under ``torchrun`` each process passes its shard.  L-BFGS sees the columns moved to
    their mean, in units that bend the objective alike: the data's do not matter.  For a tensor `predict` gives a tensor
    if the labels are numbers.
    Ledger G9.

    Examples
    --------
    >>> model = LogisticRegression().fit([[0.0], [1.0], [4.0], [5.0]], ["low", "low", "high", "high"])
    >>> model.predict([[2.0]]).tolist()
    ['low']
    """

    _answers = "nobody: the code is given"
    _chapter = "family/regression"
    _moves = "L-BFGS on all rows"
    _in_blocks = True

    _: KW_ONLY
    C: float = number(1.0, "C=float('inf') for no penalty", finite=False)
    max_iter: int = count(100)
    tol: float = number(1e-10, "tol=0 to run to the end", closed=True)
    joint_: Logistic = fitted()

    def predict(self, X: Table) -> Array:
        """The most likely label of each row: (n, p) -> (n,)."""
        return self._labels(self._open(X).map(lambda z: self.joint_.decode(z).argmax(1)))

    def predict_proba(self, X: Table) -> Array:
        """The probability of each class: (n, p) -> (n, K)."""
        return self._open(X).map(lambda z: self.joint_.decode(z).softmax(1))

    def predict_log_proba(self, X: Table) -> Array:
        """Its logarithm, nats: (n, p) -> (n, K)."""
        return self._open(X).map(lambda z: self.joint_.decode(z).log_softmax(1))

    def _start(self, data, generator):
        sums = total(pairs(data), lambda x, z: {"n": torch.tensor(len(x)), "z": z.sum(0)})
        centre = (sums["z"] / sums["n"]).to(data.device)
        return Logistic(centre, centre.new_zeros(len(data.classes)))

    def _learn(self, joint, data, history):
        batches = Centred(data, joint.centre)
        sums = total(batches, lambda x, z: {"n": torch.tensor(len(x)), "zz": z.square().sum(0)})
        n, parts = float(sums["n"]), list(joint.parameters())
        strength = 0.5 / (self.C * n)
        units = alike(joint, (sums["zz"] / n).to(joint.centre), 2 * strength)
        free = [nn.Parameter(part.detach() / unit) for part, unit in zip(parts, units)]

        def penalised():
            bias, weights = (part * unit for part, unit in zip(free, units))
            return Total.apply(bias, weights, batches) / n - strength * weights.square().sum()

        try:
            return self._ascend(penalised, free, history)
        finally:  # interrupted or not
            for part, found, unit in zip(parts, free, units):
                part.data.copy_(found.detach() * unit)
