"""Parts: x is a sum of K parts w_k, and the code says how much of each (ledger L1-L2).

    log q_w(u) = -lambda |u|_1 + K log lambda on u >= 0, or K log(lambda/2) everywhere; flat where lambda = 0
    log q_r(x|u) = -||x - u W||^2 - (D/2) log pi, or Poisson: sum x log(u W) - u W - log x!

NMF, semi-NMF and sparse coding differ in two lines: what an entry of the code may be, and what a part may be.
"""

import math

import torch
from torch import Tensor

from ..core import Joint, Sums
from ..solvers.entries import Ahead, newton, reach, rounds, sweep
from ..solvers.sums import products, total

CODES = {  # the best entry, from the best one without a penalty; t is the penalty over the curvature there
    "positive": lambda u, t: (u - t).clamp_(min=0),
    "signed": lambda u, t: u - u.clamp(-t, t),
}
ATOMS = {  # the best part, from the best one without a constraint
    "free": lambda w, _: w,
    "positive": lambda w, _: w.clamp(min=0),
    "ball": lambda w, _: w / torch.linalg.vector_norm(w, dim=-1, keepdim=True).clamp(min=1),
    "positive ball": lambda w, _: ATOMS["ball"](w.clamp(min=0), _),
}
ROUNDS, TOL = 200, 1e-11  # of an exact code: at most, and by which part of its largest entry another may be off
HELD, NONE = 2**22, 1e-30  # entries of a Newton step at a time; a rate of none


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
    >>> joint.argmax(torch.tensor([[0.0, 2.0]]))
    tensor([[0., 1.]])
    """

    def __init__(self, parts, penalty=0.0, code="positive", atom="positive", counts=False, ahead=False):
        super().__init__()
        self.register_buffer("parts", parts.clone())
        self.penalty, self.code, self.atom, self.counts = penalty, code, atom, counts
        self.ahead = Ahead() if ahead else None

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
        value = self._value(x.double(), z.double()) + self._rest(x.double())
        return value if self.code == "signed" else value.masked_fill((z < 0).any(1), -math.inf)

    def guess(self, x: Tensor) -> Tensor:
        """A first code: least squares, brought to where codes may be; of counts, as much of every part."""
        if self.counts:
            return (x.sum(1, keepdim=True) / self.parts.sum().clamp(min=NONE)).repeat(1, len(self.parts))
        return CODES[self.code](x @ torch.linalg.pinv(self.parts.double()).to(x), 0.0)

    def better(self, x: Tensor, u: Tensor) -> Tensor:
        """A code that is no worse: rounds through its entries; of counts, two steps of EM."""
        W = self.parts.to(u)
        if not self.counts:  # rows of u^T lie together, in every pass
            often = rounds(W.shape[1], len(W))
            return sweep(u.T.contiguous().clone(), W @ x.T, W @ W.T, CODES[self.code], self.penalty / 2, often).T
        for _ in range(2):
            u = u * (self._share(x, u) @ W.T) / (W.sum(1) + self.penalty).clamp(min=NONE)
        return u

    def _share(self, x, u):  # how much of its own rate each count asks for
        return x / self.decode(u).clamp(min=NONE)

    def argmax(self, x: Tensor) -> Tensor:
        """The exact code (n, K): rounds and Newton steps, of each row until nothing in it wants to move."""
        wide, rule, part = x.double(), CODES[self.code], max(1, HELD // len(self.parts) // max(self.parts.shape))
        u, moving = self.guess(wide), torch.arange(len(x), device=x.device)
        for _ in range(ROUNDS):
            for rows in moving.split(part):
                here = wide[rows]
                u[rows] = newton(here, self.better(here, u[rows]), self._bend, self._value, rule, self.penalty)
            moving = moving[self.unsettled(wide[moving], u[moving]) > TOL]
            if not len(moving):
                break
        return u.to(x)

    def _bend(self, x, u):
        """Of minus the log likelihood: its gradient (n, K), and its curvature, (K, K) or (n, K, K)."""
        W = self.parts.to(u)
        if not self.counts:
            return 2 * (u @ (W @ W.T) - x @ W.T), 2 * W @ W.T
        share = self._share(x, u)
        return W.sum(1) - share @ W.T, torch.einsum("nd,kd,ld->nkl", self._share(share, u), W, W)

    def unsettled(self, x: Tensor, z: Tensor) -> Tensor:
        """How far an entry of each code is from its best at most, as a part of the largest entry: (n,) (ledger L2)."""
        best = reach(z, *self._bend(x, z), CODES[self.code], self.penalty)
        return (best - z).abs().amax(1) / torch.maximum(best.abs(), z.abs()).amax(1).clamp(min=1e-300)

    def stats(self, x: Tensor, z: Tensor) -> Sums:
        """Sums for the best parts: u u, u x and |u|; of counts, u and u x / (u W)."""
        if self.counts:
            return {"u": total(z), "ux": products(z, self._share(x, z))}
        sums = {"uu": products(z, z), "ux": products(z, x), "size": z.abs().double().sum(), "n": torch.tensor(len(x))}
        constant = len(x) * self._rest(x[:1].double())[0] - torch.linalg.vector_norm(x, dim=1).double().square().sum()
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
            often = rounds(float(sums["n"]) / 8, len(W))
            new = sweep(W.clone(), sums["ux"], sums["uu"], ATOMS[self.atom], rounds=often)
            if self.ahead:
                new = ATOMS[self.atom](self.ahead(W, new, self._gain(W, sums)), None)
                self.taken_back = self.ahead.fell  # and `alternate` goes on
        self.parts.copy_(new)
