"""Ledger checks from the joint to the marginal (A1-A6, B0-B4, B8-B10, R1, R2, R7); see `test_ledger`.

Tables are fractions wherever a line can be proved: a mean log over N points is the log of a product, so
``exp(N * E[log v])`` is rational, and two sides that agree have the ratio one, exactly.
"""

import itertools
from fractions import Fraction
from math import comb, exp, factorial, log, pi, prod, sqrt

import numpy as np
import sympy as sp
import torch
from gaelib.core import Joint, climb
from gaelib.noise import gaussian
from scipy.integrate import quad
from scipy.special import ndtr

RNG = np.random.default_rng(0)


def rows(n, k):
    """n random distributions over k values, (n, k) fractions."""
    table = RNG.integers(1, 10, (n, k))
    return np.array([[Fraction(int(v), int(row.sum())) for v in row] for row in table])


COUNTS = [4, 3, 6, 2, 5]  # how often each of five data points stands in the data
DATA = np.array([Fraction(n, sum(COUNTS)) for n in COUNTS])
PRIOR, DECODER, ENCODER = rows(1, 4)[0], rows(4, 5), rows(5, 4)  # q_w (z,), q_r (z, x), q_e (x, z)
JOINT = PRIOR[:, None] * DECODER
EVIDENCE = JOINT.sum(0)


def raised(v):
    """exp(N * E_data[log v(x)]), exactly."""
    return prod(a**n for a, n in zip(v, COUNTS))


def self_map(encoder, decoder=DECODER):
    """exp(N * L) of A1, over all pairs (x, y)."""
    target, model = np.diag(DATA), DATA[:, None] * (encoder @ decoder)
    pairs = [(target[x, y], model[x, y]) for x, y in itertools.product(range(5), range(5)) if target[x, y]]
    return prod((b / a) ** int(sum(COUNTS) * a) for a, b in pairs)


def off(ratio):
    """How far a rational ratio is from one, in nats; exactly 0 when it is one."""
    return 0.0 if ratio == 1 else abs(log(ratio))


WITHOUT = np.tile(PRIOR, (5, 1))  # the encoder that ignores x
H, KL = raised(DATA), raised(EVIDENCE / DATA)  # exp of -N H(p_data) and of -N KL(p_data || q)


def a1():
    """L on cells of width h: the statement says how much L falls when h shrinks tenfold, and by how much
    two models differ in the limit; the judge adds up the probabilities of cells."""
    x = np.array([-1.2, 0.1, 0.9])

    def L(h, spread):
        return np.log(ndtr((x + h / 2) / spread) - ndtr((x - h / 2) / spread)).mean()

    def residual(statement):
        fall, difference = statement
        return max(abs(L(1e-3, 1.0) - L(1e-4, 1.0) - fall), abs(L(1e-4, 0.8) - L(1e-4, 1.3) - difference))

    def densities(spread):
        return (-(x**2) / (2 * spread**2)).mean() - log(spread)

    difference = densities(0.8) - densities(1.3)
    wrong = {
        "L has a finite limit": (0.0, difference),
        "L falls twice as fast": (2 * log(10), difference),
        "the difference vanishes too": (log(10), 0.0),
    }
    return residual, (log(10), difference), wrong, 1e-5


def a2():
    """L is a mean log plus c: the statement is exp(N times the right side), the judge the joint
    divergence."""
    right = raised(np.diag(ENCODER @ DECODER))
    wrong = {
        "c is minus the entropy of the data": lambda: right * H,
        "the sign of the logarithm": lambda: 1 / right,
        "the logarithm inside the sum": lambda: Fraction(
            exp(sum(float(e) * log(q) * n for n, es, qs in zip(COUNTS, ENCODER, DECODER.T) for e, q in zip(es, qs)))
        ),
        "every encoder is as good as none": lambda: raised(EVIDENCE),
    }
    return lambda rule: off(self_map(ENCODER) / rule()), lambda: right, wrong, 1e-12


def a4():
    """Without the encoder L is minus the divergence of the marginals plus c: as A2-A3."""
    reverse = exp(sum(COUNTS) * float(sum(float(q) * log(p / q) for p, q in zip(DATA, EVIDENCE))))
    wrong = {
        "the constant of A3, zero": lambda: KL,
        "plus the entropy": lambda: KL / H,
        "the divergence with its sign turned": lambda: H / KL,
        "the divergence the other way round": lambda: H * Fraction(reverse),
    }
    return lambda rule: off(self_map(WITHOUT) / rule()), lambda: KL * H, wrong, 1e-12


def a6():
    """Joint and marginal divergence rank two models alike: the statement takes both KL(p_data || q), as
    exp(-N KL), and gives exp(N times the difference in L)."""
    other = rows(4, 5)
    kl = raised((PRIOR @ other) / DATA)

    def residual(statement):
        encoder, rule = statement
        return off(self_map(encoder) / self_map(encoder, other) / rule(KL, kl))

    def difference(one, two):
        return one / two

    wrong = {
        "the sign turned": (WITHOUT, lambda one, two: two / one),
        "with an encoder too": (ENCODER, difference),
        "less the entropy": (WITHOUT, lambda one, two: one / two * H),
    }
    return residual, (WITHOUT, difference), wrong, 1e-12


def b0():
    """A uniform prior on an interval of width h: the statement gives (evidence, argmax) for x and h; judged
    by quadrature."""

    def inside(z, x, h):
        return exp(-((x - z) ** 2)) / sqrt(pi) / h

    def residual(statement):
        worst = 0.0
        for x, h in ((0.3, 20.0), (-1.0, 100.0)):
            evidence = quad(inside, -h / 2, h / 2, args=(x, h), points=[x], limit=200)[0]
            z = np.linspace(-9, 9, 18001)
            argmax = z[(-((x - z) ** 2) - log(h)).argmax()]
            said = statement(x, h)
            worst = max(worst, abs(evidence * h - said[0] * h), abs(argmax - said[1]))
        return worst

    wrong = {
        "flat means one, in the integral too": lambda x, h: (1.0, x),
        "the prior moves the argmax": lambda x, h: (1 / h, x * (1 - 1 / h)),
        "the evidence grows with h": lambda x, h: (h, x),
    }
    return residual, lambda x, h: (1 / h, x), wrong, 1e-8


def b1():
    """-KL = c + E log sum exp: the statement is exp(N c), the judge the rest, exactly."""
    wrong = {"c = 0": Fraction(1), "c = -H(p_data)": H, "twice the entropy": 1 / H**2}
    return lambda c: off(KL / raised(EVIDENCE) / c), 1 / H, wrong, 1e-12


def b4():
    """The gap, for sums and for densities: the statement is (least, most) over codes and a formula of x and
    sigma^2. The sums are fractions, the density is integrated by sympy, symbolically in x and in
    sigma^2."""
    x, z = sp.symbols("x z", real=True)
    v = sp.symbols("v", positive=True)
    l = -(z**2) / 2 - (x - z) ** 2 / (2 * v) - sp.log(2 * sp.pi) - sp.log(v) / 2
    best = sp.solve(sp.diff(l, z), z)[0]
    shifted = sp.simplify(l.subs(z, z + best) - l.subs(z, best))  # the log joint below its top
    gap = sp.log(sp.simplify(sp.integrate(sp.exp(shifted), (z, -sp.oo, sp.oo))))
    assert not gap.has(x)  # the same at every x
    uniform = np.full((4, 1), Fraction(1, 20))
    one_hot = np.array([[Fraction(1, 2)], [Fraction(0)], [Fraction(0)], [Fraction(0)]])
    tables = [JOINT, uniform, one_hot]
    ratios = [r for t in tables for r in t.sum(0) / t.max(0)]

    def residual(statement):
        least, most, formula = statement
        sums = max(abs(log(min(ratios)) - least), abs(log(max(ratios)) - most))
        difference = sp.simplify(sp.expand_log(gap - formula(v), force=True))
        if difference == 0:
            return sums
        return max(sums, *(abs(float(difference.subs(v, value))) for value in (0.05, 1)))

    def volume(v):
        return sp.log(2 * sp.pi * v / (1 + v)) / 2

    wrong = {
        "the sum's bound for densities": (0.0, log(4), lambda v: sp.Max(0, volume(v))),
        "no prior in the volume": (0.0, log(4), lambda v: sp.log(2 * sp.pi * v) / 2),
        "the sign turned": (0.0, log(4), lambda v: -volume(v)),
        "the sum is the max": (0.0, 0.0, volume),
        "half the codes": (0.0, log(2), volume),
    }
    return residual, (0.0, log(4), volume), wrong, 1e-12


def b8():
    """The bound on the objective, which exact inference attains: the statement is a right side, the judge
    the best of all encoders, by enumeration."""
    joint = JOINT.astype(float)
    weights = DATA.astype(float)
    reached = [sum(w * log(joint[z, x]) for x, (w, z) in enumerate(zip(weights, code)))
               for code in itertools.product(range(4), repeat=5)]  # fmt: skip
    wrong = {
        "as printed, without the logarithm": lambda q: q.max(0) @ weights,
        "the least code": lambda q: np.log(q.min(0)) @ weights,
        "the evidence": lambda q: np.log(q.sum(0)) @ weights,
    }
    return lambda rule: abs(max(reached) - rule(joint)), lambda q: np.log(q.max(0)) @ weights, wrong, 1e-12


def b9():
    """Several codes: the statement is a list of pairs (a, b) meaning a <= b, over values computed by
    enumerating all draws of n codes."""
    prior, likelihood, joint = PRIOR.astype(float), DECODER.astype(float), JOINT.astype(float)
    weights = DATA.astype(float)
    value = {"evidence": np.log(joint.sum(0)) @ weights, "max": np.log(joint.max(0)) @ weights}
    value["prior twice"] = np.log(prior @ joint) @ weights
    for n in range(1, 7):
        times = np.array([t for t in itertools.product(range(n + 1), repeat=4) if sum(t) == n])
        chance = np.array([factorial(n) / prod(map(factorial, t.tolist())) * (prior**t).prod() for t in times])
        assert len(times) == comb(n + 3, 3) and abs(chance.sum() - 1) < 1e-12
        value[f"distinct {n}"] = np.log(np.sort(joint, 0)[::-1][:n].sum(0)) @ weights
        value[f"drawn {n}"] = chance @ np.log(times @ likelihood / n) @ weights
        value[f"best {n}"] = chance @ np.log(((times > 0)[:, :, None] * likelihood).max(1)) @ weights
        value[f"best {n} less log"] = value[f"best {n}"] - log(n)
        value[f"joints {n}"] = chance @ np.log(times @ joint / n) @ weights

    def rising(name, top):
        return [(f"{name} {n}", f"{name} {n + 1}") for n in range(1, 6)] + [(f"{name} 6", top)]

    true = [*rising("distinct", "evidence"), ("max", "distinct 1"), ("distinct 1", "max"), ("evidence", "distinct 4")]
    true += rising("drawn", "evidence") + rising("joints", "prior twice")
    true += [(f"best {n} less log", f"drawn {n}") for n in range(1, 7)]
    wrong = {
        "best of n drawn is a bound": [(f"best {n}", "evidence") for n in range(1, 7)],
        "one draw is the max": [("drawn 1", "max"), ("max", "drawn 1")],
        "averaged draws fall with n": [(b, a) for a, b in rising("drawn", "evidence")],
        "averaged joints tend to the evidence": [("evidence", "prior twice")],
    }
    return lambda pairs: max(max(value[a] - value[b], 0.0) for a, b in pairs), true, wrong, 1e-12


class Bent(Joint):
    """A plane code with a normal prior; the decoder (z1, z2 + m z1^2) bends the plane by m."""

    def log_joint(self, x, z, m=1.0):
        decoded = torch.stack([z[:, 0], z[:, 1] + m * z[:, 0] ** 2], 1)
        return gaussian(z, torch.zeros_like(z), 1.0) + gaussian(x, decoded, 0.25)


POINT, START = (torch.tensor([p], dtype=torch.float64) for p in ([1.4, -0.3], [-1.0, 1.2]))
STEP = 0.03


def reach(m, t, unroll=False):
    return climb(lambda z: Bent().log_joint(POINT, z, m), START, t, STEP, unroll=unroll)


def parts(t):
    """(dl/dm at fixed z, dl/dz, dz_t/dm) at z_t: autograd for the first two, central differences for the
    third."""
    m, z = torch.tensor(1.0, dtype=torch.float64, requires_grad=True), reach(1.0, t).requires_grad_()
    partial, slope = torch.autograd.grad(Bent().log_joint(POINT, z, m).sum(), (m, z))
    return float(partial), slope[0], ((reach(1 + 1e-5, t) - reach(1 - 1e-5, t)) / 2e-5)[0]


def b10():
    """The gradient in m: the statement puts the three partial derivatives together; the judges are finite
    differences of the score after t steps, and at 1000 steps the two gradients must agree."""
    judge = {}
    for t in (1, 3, 10, 30, 1000):
        ends = [Bent().log_joint(POINT, reach(m, t), m).item() for m in (1 + 1e-5, 1 - 1e-5)]
        judge[t] = (ends[0] - ends[1]) / 2e-5, parts(t)
    assert abs(judge[1000][0] - judge[1000][1][0]) < 1e-8  # the envelope theorem

    wrong = {
        "only the explicit m": lambda m, z, move: m,
        "only through the code": lambda m, z, move: float(z @ move),
        "the code moves the other way": lambda m, z, move: m - float(z @ move),
    }
    return (
        lambda rule: max(abs(total - rule(*p)) for total, p in judge.values()),
        lambda m, z, move: m + float(z @ move),
        wrong,
        1e-6,
    )


def r1():
    """The gap is -log of a number: the statement is that number, from the posterior; exactly for tables,
    and for one density on a grid."""
    posterior = JOINT / EVIDENCE
    z = np.linspace(-8, 8, 16001)
    l = -(z**2) / 2 - (0.7 - z) ** 2 / 0.1 - log(2 * pi) - log(0.05) / 2
    density = np.exp(l) / np.trapezoid(np.exp(l), z)
    gap = log(np.trapezoid(np.exp(l), z)) - l.max()

    def residual(rule):
        tables = max(off(EVIDENCE[x] / JOINT[:, x].max() * Fraction(rule(posterior[:, x], 1))) for x in range(5))
        return max(tables, abs(gap + log(rule(density, 0.001))))

    wrong = {
        "the entropy instead": lambda q, cell: exp(sum(float(p) * cell * log(p) for p in q if p > 0)),
        "collision entropy": lambda q, cell: sum(p * p for p in q) * cell,
        "the sign turned": lambda q, cell: 1 / max(q),
        "nothing is lost": lambda q, cell: 1,
    }
    return residual, lambda q, cell: max(q), wrong, 1e-12


def r2():
    """dF_T/dT, dF_T/dl and the area under the entropy: the statement gives the first two from (l, T),
    judged by autograd; and what it gives for dF/dT must integrate to the gap."""
    l = torch.log(torch.tensor(JOINT.astype(float)))[:, 0]
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def residual(statement):
        worst = 0.0
        for value in (0.2, 0.7, 1.0, 2.5):
            T = torch.tensor(value, dtype=torch.float64, requires_grad=True)
            free = l.clone().requires_grad_()
            slopes = torch.autograd.grad(T * torch.logsumexp(free / T, 0), (T, free))
            said = statement(l, value)
            worst = max(worst, float(abs(slopes[0] - said[0])), float((slopes[1] - said[1]).abs().max()))
        area = sum(w / 2 * statement(l, (t + 1) / 2)[0] for t, w in zip(nodes, weights))
        return max(worst, float(abs(area - (torch.logsumexp(l, 0) - l.max()))))

    def entropy(l, T, at=None):
        q = torch.softmax(l / (at or T), 0)
        return -torch.xlogy(q, q).sum(), torch.softmax(l / T, 0)

    wrong = {
        "the sign turned": lambda l, T: (-entropy(l, T)[0], entropy(l, T)[1]),
        "the entropy of the posterior at every T": lambda l, T: (entropy(l, T, at=1.0)[0], entropy(l, T)[1]),
        "the posterior weights every gradient": lambda l, T: (entropy(l, T)[0], torch.softmax(l, 0)),
        "the best code takes the gradient": lambda l, T: (entropy(l, T)[0], (l == l.max()).double()),
    }
    return residual, entropy, wrong, 1e-9


def r7():
    """The errors of both gradients on l = z - m z^2 / 2: the statement gives them from (m, s, t), judged by
    sympy's derivative of the climb itself, in exact numbers; then the same orders on the bent decoder."""
    m, z = sp.symbols("m z")
    l = z - m * z**2 / 2
    exact, cases = sp.diff(1 / (2 * m), m), []
    for s, t in ((sp.Rational(1, 5), 1), (sp.Rational(1, 5), 4), (sp.Rational(1, 10), 7)):
        code = sp.Integer(0)
        for _ in range(t):
            code = sp.expand(code + s * (1 - m * code))
        detached = (sp.diff(l, m).subs(z, code) - exact).subs(m, 2)
        unrolled = (sp.diff(l.subs(z, code), m) - exact).subs(m, 2)
        cases.append(((sp.Integer(2), s, t), detached, unrolled))

    def residual(statement):
        return max(abs(float(got - said)) for case, *both in cases for got, said in zip(both, statement(*case)))

    def errors(m, s, t):
        rho = 1 - s * m
        return (2 * rho**t - rho ** (2 * t)) / (2 * m**2), t * s * rho ** (2 * t - 1) / m + rho ** (2 * t) / (2 * m**2)

    wrong = {
        "unrolling does not help": lambda m, s, t: (errors(m, s, t)[0],) * 2,
        "without the factor t": lambda m, s, t: (errors(m, s, t)[0], (1 - s * m) ** (2 * t) / (2 * m**2)),
        "detached is of second order too": lambda m, s, t: (
            (1 - s * m) ** (2 * t) / (2 * m**2),
            errors(m, s, t)[1],
        ),
        "the sign turned": lambda m, s, t: tuple(-e for e in errors(m, s, t)),
    }
    return residual, errors, wrong, 1e-12


CHECKS = {"A1": a1, "A2-A3": a2, "A4-A5": a4, "A6": a6, "B0": b0, "B1-B3": b1, "B4": b4, "B8": b8, "B9": b9}
CHECKS |= {"B10": b10, "R1": r1, "R2": r2, "R7": r7}
