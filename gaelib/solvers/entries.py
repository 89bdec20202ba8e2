"""Vectors found entry by entry: rounds of exact coordinate ascent, and Newton's step among the entries that are on."""

import math

import torch


def sweep(u, P, G, rule, penalty=0.0, rounds=2):
    """Each row of u (K, n) in turn to its best, of ``||x - u^T W||^2 / 2 + penalty |u|_1``: in place.

    P = W x^T (K, n) and G = W W^T (K, K) are all that is needed of x and W; ``rule(best, threshold)`` says what a row
    may be, given its best without penalty or constraint.

    Examples
    --------
    >>> sweep(torch.zeros(2, 1), torch.tensor([[3.0], [-1.0]]), torch.eye(2), lambda u, t: (u - t).clamp(min=0), 0.5)
    tensor([[2.5000],
            [0.0000]])
    """
    d, tiny = G.diagonal(), torch.finfo(G.dtype)
    d = d.clamp(min=max(tiny.eps**2 * float(d.max()), tiny.tiny))
    others = G / d[:, None]
    others.diagonal().sub_(1)  # and a row that no curvature holds stays where it is
    rows, table = list(zip(u, P / d[:, None], others, penalty / d)), u.T
    for _ in range(rounds):
        for row, alone, held, threshold in rows:
            row.copy_(rule(torch.addmv(alone, table, held, alpha=-1), threshold))
    return u


def rounds(length, count):
    """How often a pass goes through ``count`` rows, at least twice and at most five times.

    A product of theirs with the data is worth length / count rounds by its multiplications, which in a round take
    several times as long: so rounds beyond the first are as many as add about a tenth to the pass.

    Examples
    --------
    >>> rounds(784, 20), rounds(784, 100)
    (4, 2)
    """
    return min(5, 1 + math.ceil(length / (16 * count)))


def reach(u, slope, curvature, rule, penalty):
    """Where each entry of u (n, K) alone would go, by its slope and curvature: u at the optimum, and nowhere else."""
    d = curvature.diagonal(dim1=-2, dim2=-1).clamp(min=torch.finfo(u.dtype).tiny)
    return rule(u - slope / d, penalty / d)


def newton(x, u, bend, value, rule, penalty):
    """Codes that are no worse: entries that want to come in do, a little; then Newton steps among those on.

    Two-metric projection (Bertsekas, 1982): no entry crosses 0, and a step is shortened until its row climbs.  One try
    ends where the first entry is 0, since more entries than dimensions make a step without end.  A row goes on until
    no step puts an entry out.

    Parameters
    ----------
    x : tensor (n, D)
    u : tensor (n, K)
    bend : callable
        ``bend(x, u)`` gives the slope (n, K) and the curvature, (K, K) or (n, K, K), of the smooth part, which falls.
    value : callable
        ``value(x, u) -> (n,)``, what climbs: the smooth part and the penalty.
    """
    wanted, rows = reach(u, *bend(x, u), rule, penalty), torch.arange(len(u), device=u.device)
    u = torch.where(u == 0, wanted / u.shape[1], u)  # the mean of K better points is better
    while len(rows):
        here, old = x[rows], u[rows]
        u[rows] = _step(old, *bend(here, old), lambda v, here=here: value(here, v), rule, penalty)
        rows = rows[((u[rows] == 0) & (old != 0)).any(1)]
    return u


def _step(u, slope, curvature, value, rule, penalty):
    on, sign = (reach(u, slope, curvature, rule, penalty) != 0) & (u != 0), u.sign()
    H = curvature * on[:, :, None] * on[:, None]
    diagonal = H.diagonal(dim1=1, dim2=2)
    diagonal.add_(torch.where(on, 1e-13 * diagonal.sum(1, keepdim=True), 1.0))
    step = torch.where(on, torch.linalg.solve(H, (slope + penalty * sign) * on), u)
    touch = torch.where(u * step > 0, u / step, 1.0).amin(1, keepdim=True).clamp(max=1.0)  # where the first entry is 0
    best, least, open_ = u, value(u), torch.ones_like(u[:, 0], dtype=torch.bool)
    for part in (1.0, touch, *(4.0**-k for k in range(1, 9))):
        moved = u - part * step
        moved = torch.where(moved * sign > 1e-14 * u.abs(), moved, 0.0)
        climbs = open_ & (value(moved) >= least)
        best = torch.where(climbs[:, None], moved, best)
        open_ = open_ & ~climbs
        if not open_.any():
            break
    return best


class Ahead:
    """Steps that go on in the direction of the last one, longer while that pays (Ang and Gillis, 2019).

    Attributes
    ----------
    plain : tensor or None
        The last point without the extra step: what to keep in the end.
    fell : bool
        Whether the last value was not above the one before, so that no extra step was taken; the next pass decides.
    taken : float
        The last extra step, as a part of the plain one.
    """

    def __init__(self):
        self.plain, self.value, self.length, self.most, self.fell, self.taken = None, -torch.inf, 0.5, 1.0, False, 0.0

    def __call__(self, old, new, value):
        """Where to go from ``new``, whose value is this: on from the last plain point, or nowhere after a fall."""
        old, self.plain = old if self.plain is None else self.plain, new
        self.fell, self.value = not self.fell and bool(value <= self.value), value
        self.taken = 0.0 if self.fell else self.length
        if self.fell:
            self.most, self.length = self.length, self.length / 2
        else:
            self.most = min(1.0, 1.01 * self.most)
            self.length = min(self.most, 1.05 * self.length)
        return new + self.taken * (new - old)
