"""Parts: x is a sum of K parts w_k, and the code says how much of each (ledger L1-L2).

    log q_w(u) = -lambda |u|_1 + K log lambda on u >= 0, or K log(lambda/2) everywhere; flat where lambda = 0
    log q_r(x|u) = -||x - u W||^2 - (D/2) log pi, or Poisson: sum x log(u W) - u W - log x!

NMF, semi-NMF and sparse coding differ in two lines: what an entry of the code may be, and what a part may be.
"""

import math
from functools import partial

import torch
from torch import Tensor

from ..core import Joint, Sums
from ..solvers.entries import Ahead, newton, sweep
from ..solvers.sums import products, total

CODES = {  # the best entry, from the best one without a penalty; t is the penalty over the curvature there
    "positive": lambda u, t: (u - t).clamp(min=0),
    "signed": lambda u, t: u.sign() * (u.abs() - t).clamp(min=0),
}
ATOMS = {  # the best part, from the best one without a constraint
    "free": lambda w, _: w,
    "positive": lambda w, _: w.clamp(min=0),
    "ball": lambda w, _: w / torch.linalg.vector_norm(w, dim=-1, keepdim=True).clamp(min=1),
    "positive ball": lambda w, _: ATOMS["ball"](w.clamp(min=0), _),
}
ROUNDS, TOL = 200, 1e-11  # of an exact code: at most, and by which part of its largest entry another may be off
ENTRIES = 2**22  # of the matrices that one Newton step holds
NONE = 1e-30  # a rate of no counts, in float32 too


class Parts(Joint):
    """A code u (n, K), entry by entry under a penalty, times parts (K, D).

    Parameters
    ----------
    parts : tensor (K, D)
    penalty : float
        lambda, in nats per unit.
    code : "positive" or "signed"
    atom : "free", "positive", "ball" (no longer than 1) or "positive ball"
    counts : bool
        Poisson noise instead of Gaussian; then codes and parts are positive.
    ahead : bool
        Whether `update` goes on in the direction of its last step: faster, and the objective may fall for a pass.

    Examples
    --------
    >>> joint = Parts(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    >>> joint.argmax(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))
    tensor([[2., 1.],
            [0., 1.]])
    """

    def __init__(self, parts, penalty=0.0, code="positive", atom="positive", counts=False, ahead=False):
        super().__init__()
        self.register_buffer("parts", parts.clone())
        self.penalty, self.code, self.atom, self.counts = penalty, code, atom, counts
        self.ahead = Ahead() if ahead else None

    def extra_repr(self) -> str:
        return "parts={}, features={}".format(*self.parts.shape)

    def decode(self, z: Tensor) -> Tensor:
        """u W: (n, K) -> (n, D), the mean, or the rate of the counts."""
        return z @ self.parts.to(z)

    def _value(self, x, u):
        """What of the log joint a code can move: (n,)."""
        rate = self.decode(u)
        fit = torch.special.xlogy(x, rate.clamp(min=NONE)) - rate if self.counts else -(x - rate).square()
        return fit.sum(1) - self.penalty * u.abs().sum(1)

    def _rest(self, x):
        """And what none can, (n,); of K entries of one sign, or of two."""
        level = math.log(self.penalty / (1 + (self.code == "signed"))) if self.penalty else 0.0
        rest = -torch.lgamma(x + 1) if self.counts else torch.full_like(x, -math.log(math.pi) / 2)
        return rest.sum(1) + level * len(self.parts)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """(n,) float64 nats; minus infinity where a code may not be."""
        x, u = x.double(), z.double()
        value = self._value(x, u) + self._rest(x)
        return value if self.code == "signed" else value.masked_fill((u < 0).any(1), -math.inf)

    def guess(self, x: Tensor) -> Tensor:
        """A first code: least squares, brought to where codes may be; of counts, as much of every part."""
        if self.counts:
            return (x.sum(1, keepdim=True) / self.parts.sum().clamp(min=NONE)).repeat(1, len(self.parts))
        return CODES[self.code](x @ torch.linalg.pinv(self.parts.double()).to(x), 0.0)

    def better(self, x: Tensor, u: Tensor) -> Tensor:
        """A code that is no worse: two rounds through its entries; of counts, two steps of EM."""
        W = self.parts.to(u)
        if not self.counts:  # rows of u^T lie together, in every pass
            return sweep(u.T.contiguous().clone(), W @ x.T, W @ W.T, CODES[self.code], self.penalty / 2).T
        for _ in range(2):
            u = u * (self._share(x, u) @ W.T) / (W.sum(1) + self.penalty).clamp(min=NONE)
        return u

    def _share(self, x, u):
        """x / (u W): how much of its own rate each count asks for."""
        return x / self.decode(u).clamp(min=NONE)

    def argmax(self, x: Tensor) -> Tensor:
        """The exact code (n, K): rounds and Newton steps, of each row until nothing in it wants to move."""
        wide = x.double()
        u, moving = self.guess(wide), torch.arange(len(x), device=x.device)
        for _ in range(ROUNDS):
            for rows in moving.split(max(1, ENTRIES // len(self.parts) ** 2)):
                u[rows] = self._climb(wide[rows], self.better(wide[rows], u[rows]))
            moving = moving[self.unsettled(wide[moving], u[moving]) > TOL]
            if not len(moving):
                break
        return u.to(x)

    def _climb(self, x, u):
        """A little of every entry that wants to come in; then Newton steps, of each row until one puts no entry out."""
        u, rows = u.clone(), torch.arange(len(x), device=x.device)
        u = torch.where(u == 0, self._reach(u, *self._bend(x, u)) / u.shape[1], u)  # a mean of K better codes is better
        while len(rows):
            here, old = x[rows], u[rows]
            bend = self._bend(here, old)
            u[rows] = newton(old, *bend, self._reach(old, *bend), self.penalty, partial(self._value, here))
            rows = rows[((u[rows] == 0) & (old != 0)).any(1)]
        return u

    def _bend(self, x, u):
        """Of minus the log likelihood: its gradient (n, K), and its curvature, (K, K) or (n, K, K)."""
        W = self.parts.to(u)
        if not self.counts:
            return 2 * (u @ (W @ W.T) - x @ W.T), 2 * W @ W.T
        share = self._share(x, u)
        return W.sum(1) - share @ W.T, torch.einsum("nd,kd,ld->nkl", self._share(share, u), W, W)

    def _reach(self, u, slope, curvature):
        """Where each entry alone would go: u itself at the optimum, and nowhere else."""
        d = curvature.diagonal(dim1=-2, dim2=-1).clamp(min=torch.finfo(u.dtype).tiny)
        return CODES[self.code](u - slope / d, self.penalty / d)

    def unsettled(self, x: Tensor, z: Tensor) -> Tensor:
        """How far an entry of each code is from its best at most, as a part of the largest entry: (n,) (ledger L2)."""
        reach = self._reach(z, *self._bend(x, z))
        return (reach - z).abs().amax(1) / torch.maximum(reach.abs(), z.abs()).amax(1).clamp(min=1e-300)

    def stats(self, x: Tensor, z: Tensor) -> Sums:
        """Sums for the best parts: u u, u x and |u|; of counts, u and u x / (u W)."""
        if self.counts:
            return {"u": total(z), "ux": products(z, self._share(x, z))}
        sums = {"uu": products(z, z), "ux": products(z, x), "size": total(z.abs()).sum()}
        squares = torch.linalg.vector_norm(x, dim=1).double().square().sum()
        constant = len(x) * self._rest(x[:1].double()).sum() - squares
        return sums | {"objective": self._gain(self.parts.double(), sums), "constant": constant}

    def _gain(self, W, sums):
        """The log joint's sum, less what nothing can move."""
        return 2 * (sums["ux"] * W).sum() - (sums["uu"] * (W @ W.T)).sum() - self.penalty * sums["size"]

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """The best parts in turn, for these codes; of counts, a step of EM."""
        W = self.parts.to("cpu", torch.float64)
        if self.counts:
            new = W * sums["ux"] / sums["u"].clamp(min=NONE)[:, None]
        else:
            new = sweep(W.clone(), sums["ux"], sums["uu"], ATOMS[self.atom])
            if self.ahead:
                new = ATOMS[self.atom](self.ahead(W, new, self._gain(new, sums)), None)
        self.parts.copy_(new)
