"""Ledger checks of the self-map view (C1-C12, R3); see `test_ledger` for their form.

Tables are exact rationals. A weighted sum of logarithms of rationals, with weights in twelfths, is one rational
to the power 1/12: two such sums are compared without rounding.
"""

from fractions import Fraction
from math import erf, exp, log, log2, pi, prod, sqrt

import numpy as np
import torch
from gaelib import KMeans, data
from gaelib.core import Exact, Soft, objective
from gaelib.joints.flats import Flats
from scipy.optimize import linprog

RNG = np.random.default_rng(7)
P = [Fraction(n, 12) for n in (5, 4, 2, 1)]  # p_data over four points


def table(rows, columns):
    """Conditional probabilities, one distribution a row: exact."""
    counts = RNG.integers(1, 30, size=(rows, columns))
    return [[Fraction(int(n), int(row.sum())) for n in row] for row in counts]


CASES = [(table(4, 3), table(3, 4)) for _ in range(10)]  # q_e(z|x): (4, 3), and q_r(y|z): (3, 4)


def mix(e, r, x, y):
    """q(y|x) = sum_z q_e(z|x) q_r(y|z)."""
    return sum(e[x][z] * r[z][y] for z in range(len(r)))


def twelfth_power(terms):
    """exp(12 * sum of weight * log value), a rational, for (weight, value) with weights in twelfths."""
    return prod(value ** int(12 * weight) for weight, value in terms)


def nats(power):
    return (log2(power.numerator) - log2(power.denominator)) * log(2) / 12


def c1_c6():
    """-KL of the self-map: the statement is the fourth line's second argument, a rule (e, r, x) -> row over y, and the
    sixth line's value for each point; the judge is the first line, summed over all (x, y)."""

    def first_line(e, r):
        joint = {(x, y): P[x] * (x == y) for x in range(4) for y in range(4)}
        return twelfth_power((p, P[x] * mix(e, r, x, y) / p) for (x, y), p in joint.items() if p)

    judges = [first_line(e, r) for e, r in CASES]

    def residual(statement):
        row, value = statement
        off = []
        for (e, r), judge in zip(CASES, judges):
            rows = [row(e, r, x) for x in range(4)]
            fourth = twelfth_power((P[x], rows[x][x]) for x in range(4))  # the delta picks y = x
            sixth = twelfth_power((P[x], value(e, r, x)) for x in range(4))
            off += [abs(float(sum(row) - 1)) for row in rows] + [abs(nats(line / judge)) for line in (fourth, sixth)]
        return max(off)

    def right(e, r, x):
        return [mix(e, r, x, y) for y in range(4)]

    def diagonal(e, r, x):
        return mix(e, r, x, x)

    def average_encoder(e, r, x):
        return sum(P[i] * mix(e, r, i, x) for i in range(4))

    wrong = {
        "as printed, q_r(y=x|z)": (lambda e, r, x: [mix(e, r, x, x)] * 4, diagonal),
        "as printed, made a distribution": (lambda e, r, x: [Fraction(1, 4)] * 4, diagonal),
        "the best code instead of the sum": (right, lambda e, r, x: max(a * b[x] for a, b in zip(e[x], r))),
        "the encoder forgets x": (right, average_encoder),
        "the sign flipped": (right, lambda e, r, x: 1 / mix(e, r, x, x)),
    }
    return residual, (right, diagonal), wrong, 1e-12


def c7():
    """A sum is at least its largest term, and what an integral does instead: the statement orders (left >= right) the
    two sides for tables, and gives log integral - log max for normal factors whose product has variance v."""
    sides = [(mix(e, r, x, x), max(e[x][z] * r[z][x] for z in range(3))) for e, r in CASES for x in range(4)]
    z = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    gaps = {}
    for a, b in ((0.05, 0.05), (0.3, 0.2), (1.0, 1.0)):  # variances of q_e(z|x) and q_r(x|z)
        l = -((z - 0.4) ** 2) / (2 * a) - (z - 1.1) ** 2 / (2 * b) - log(2 * pi * sqrt(a * b))
        gaps[a * b / (a + b)] = float(torch.logsumexp(l, 0) + log(40 / 400_000) - l.max())
    assert min(gaps.values()) < 0 < max(gaps.values())

    def residual(statement):
        order, gap = statement
        broken = max(float(right - left) for left, right in (order(*pair) for pair in sides))
        return max(broken, *(abs(gap(v) - g) for v, g in gaps.items()), 0)

    def order(total, best):
        return total, best

    def gap(v):
        return 0.5 * log(2 * pi * v)

    wrong = {
        "the inequality reversed": (lambda total, best: (best, total), gap),
        "the mean instead of the sum": (lambda total, best: (total / 3, best), gap),
        "it holds for integrals too": (order, lambda v: max(gap(v), 0)),
        "equality for integrals": (order, lambda v: 0),
    }
    return residual, (order, gap), wrong, 1e-6


def shifted_pair(s):
    """Half N(s-1, 1), half N(s+1, 1), data x ~ N(0, 1): weights of a grid, and log joints (2, n), nats."""
    x = torch.linspace(-12, 12, 240_001, dtype=torch.float64)
    weight = torch.exp(-(x**2) / 2) * (x[1] - x[0]) / sqrt(2 * pi)
    l = torch.stack([-((x - s - m) ** 2) / 2 - 0.5 * log(2 * pi) - log(2) for m in (-1, 1)])
    return weight, l


def posterior_term(s):
    """E max_z log q(z|x), nats."""
    weight, l = shifted_pair(s)
    return float((weight * l.log_softmax(0).max(0).values).sum())


def evidence_term(s):
    """E log q(x), nats."""
    weight, l = shifted_pair(s)
    return float((weight * l.logsumexp(0)).sum())


def joint_term(s):
    """E max_z log q(x, z), nats, in closed form: E (|x - s| - 1)^2 = 2 + s^2 - 2 E|x - s|."""
    folded = sqrt(2 / pi) * exp(-(s**2) / 2) + s * erf(s / sqrt(2))
    return -0.5 * (2 + s**2 - 2 * folded) - 0.5 * log(2 * pi) - log(2)


def c8():
    """The joint's term in terms of the posterior's: the statement is a rule shift -> E max_z log joint, the judge its
    closed form."""
    shifts = (0.0, 0.5, 2.0, 5.0, 50.0)

    def residual(rule):
        return max(abs(rule(s) - joint_term(s)) for s in shifts)

    wrong = {
        "as printed: the joint is the posterior": posterior_term,
        "the evidence with the wrong sign": lambda s: posterior_term(s) - evidence_term(s),
        "the evidence alone": evidence_term,
    }
    return residual, lambda s: posterior_term(s) + evidence_term(s), wrong, 1e-8


def c9():
    """The posterior of a self-map: the statement is a rule (e, r, x) -> row over z, the judge conditions the joint over
    (x, z, y), with an encoder and without one."""
    cases = CASES + [([table(1, 3)[0]] * 4, r) for _, r in CASES[:3]]  # the last three drop the encoder

    def conditioned(e, r, at):
        joint = {(x, z, y): P[x] * e[x][z] * r[z][y] for x in range(4) for z in range(3) for y in range(4)}
        there = {z: p for (x, z, y), p in joint.items() if x == y == at}
        return [there[z] / sum(there.values()) for z in range(3)]

    def with_encoder(e, r, x):
        return [e[x][z] * r[z][x] / mix(e, r, x, x) for z in range(3)]

    def printed(e, r, x):  # q(x|z) q(z) / q(x), with the marginal of the encoder as q(z)
        marginal = [sum(P[i] * e[i][z] for i in range(4)) for z in range(3)]
        weights = [marginal[z] * r[z][x] for z in range(3)]
        return [weight / sum(weights) for weight in weights]

    for e, r in cases[-3:]:  # A0: then the printed rule is exact
        assert all(printed(e, r, x) == conditioned(e, r, x) for x in range(4))

    def residual(rule):
        return max(
            abs(float(a - b)) for e, r in cases for x in range(4) for a, b in zip(rule(e, r, x), conditioned(e, r, x))
        )

    def flat(e, r, x):
        return [r[z][x] / sum(row[x] for row in r) for z in range(3)]

    wrong = {
        "as printed, with an encoder": printed,
        "without the evidence": lambda e, r, x: [e[x][z] * r[z][x] for z in range(3)],
        "a flat prior": flat,
        "the encoder is the posterior": lambda e, r, x: e[x],
    }
    return residual, with_encoder, wrong, 1e-12


def c10():
    """What the last step drops, and that it moves the optimum.  The statement is a rule r -> E max log q_r q_w less
    E max log q(z|x), to the twelfth power, for one prior and many decoders, which the judge enumerates; and how far from
    the data `shifted_pair` is best by C9 and by C10, judged by what is lost there against the best of many places."""
    w = table(1, 3)[0]
    decoders = [r for _, r in CASES]

    def evidence(r, x):
        return sum(w[z] * r[z][x] for z in range(3))

    def dropped(r):
        joint = twelfth_power((P[x], max(w[z] * r[z][x] for z in range(3))) for x in range(4))
        posterior = twelfth_power((P[x], max(w[z] * r[z][x] / evidence(r, x) for z in range(3))) for x in range(4))
        return joint / posterior

    judges = [dropped(r) for r in decoders]

    far, places = 50.0, (0.0, 0.5, 1.0, 2.0, 5.0, 50.0)
    scores = [{s: term(s) for s in places} for term in (posterior_term, joint_term)]

    def residual(statement):
        rule, *best = statement
        lost = max(max(score.values()) - score[s] for score, s in zip(scores, best))
        return max(lost, *(abs(nats(rule(r) / judge)) for r, judge in zip(decoders, judges)))

    def mean_evidence(r):
        return twelfth_power((P[x], evidence(r, x)) for x in range(4))

    # right as a result: with a flat prior the same value, less log |Z|, is C7 at its best encoder (a Dirac)
    for r in decoders:
        best = twelfth_power((P[x], max(row[x] for row in r)) for x in range(4))
        flat = twelfth_power((P[x], max(row[x] / 3 for row in r)) for x in range(4))
        assert best == flat * 3**12
    wrong = {
        "as printed: a constant": (lambda r: judges[0], far, 0.0),
        "nothing is dropped": (lambda r: Fraction(1), far, 0.0),
        "the wrong sign": (lambda r: 1 / mean_evidence(r), far, 0.0),
        "the optimum stays at the data": (mean_evidence, 0.0, 0.0),
        "the optimum stays at infinity": (mean_evidence, far, far),
    }
    return residual, (mean_evidence, far, 0.0), wrong, 1e-12


def c11():
    """The Dirac: the statement is a rule l -> (the limit of q_T at T -> 0, what it gives up against T = 1, nats), and
    |Z| -> the most that it can give up; the judges are q_T and F_1 - F_T at T = 1/400, and a uniform posterior, which
    gives up the most."""
    rows = RNG.normal(size=(200, 4)) - 2
    two = np.sort(rows, 1)
    rows = torch.tensor(rows[two[:, -1] - two[:, -2] > 0.2])  # no near ties
    T = 1 / 400
    q = (rows / T).softmax(1)
    given_up = torch.logsumexp(rows, 1) - T * torch.logsumexp(rows / T, 1)
    flat = {n: float(torch.zeros(n, dtype=torch.float64).logsumexp(0)) for n in (1, 2, 4, 9)}  # F_1, where the max is 0

    def dirac(l):
        return torch.eye(4, dtype=l.dtype)[l.argmax(1)]

    def least_entropy(l):
        return -l.log_softmax(1).max(1).values

    def entropy(l):
        return torch.special.entr(l.softmax(1)).sum(1)

    assert (entropy(rows) > least_entropy(rows)).all()  # dropping an entropy loses less than the entropy

    def residual(statement):
        limit, loss, most = statement
        over = max(0.0, float(given_up.max()) - most(4), *(abs(most(n) - lost) for n, lost in flat.items()))
        return max(over, (limit(rows) - q).abs().max(), (loss(rows) - given_up).abs().max())

    wrong = {
        "the posterior itself": (lambda l: l.softmax(1), least_entropy, log),
        "it gives up the whole entropy": (dirac, entropy, log),
        "it gives up nothing": (dirac, lambda l: torch.zeros(len(l), dtype=l.dtype), log),
        "the wrong sign": (dirac, lambda l: -least_entropy(l), log),
        "never more than one bit": (dirac, least_entropy, lambda n: min(log(n), log(2))),
        "always less than log |Z|": (dirac, least_entropy, lambda n: log(n) - 1e-3),
    }
    return residual, (dirac, least_entropy, log), wrong, 1e-9


def c12():
    """Relabelling changes nothing: the statement scores a point from its squared errors and what a prior adds, for
    numbered centres under two names and for a curve in two coordinates; both scores must agree.  It says too which
    renaming is allowed: one-to-one and onto."""
    X = torch.tensor(RNG.normal(size=(40, 2)))
    centres = torch.tensor(RNG.normal(size=(5, 2)))
    order = [3, 0, 4, 1, 2]
    u = torch.linspace(-2, 2, 100_001, dtype=torch.float64)  # on the first scale
    v = torch.linspace(float(u[0].asinh()), float(u[-1].asinh()), 90_001, dtype=torch.float64)  # u = sinh v

    def curve(u):
        return torch.stack([u, u.sin()], 1)

    def errors(points):
        return torch.stack([(x - points).square().sum(1) for x in X])

    # the two descriptions: squared errors, the names of the codes, and log |du/dv|
    curves = ((errors(curve(u)), u, torch.zeros_like(u)), (errors(curve(v.sinh())), v.sinh(), v.cosh().log()))

    twice = errors(torch.cat([centres, centres]))  # ties: the code is not unique, the score is
    assert ((twice == twice.min(1, keepdim=True).values).sum(1) >= 2).all()
    assert torch.equal(twice.min(1).values, errors(centres).min(1).values)

    def residual(statement):
        numbered, on_curve, names = statement
        discrete = [numbered(errors(c)).max(1).values for c in (centres, centres[names])]
        smooth = [on_curve(*c).max(1).values for c in curves]
        return max((a - b).abs().max() for a, b in (discrete, smooth))

    def decoder_alone(errors, *_):
        return -errors

    wrong = {
        "a prior that stays with the numbers": (lambda e: -e - torch.arange(5.0).log1p(), decoder_alone, order),
        "a prior density, which has a Jacobian": (decoder_alone, lambda e, u, jac: -e - u**2 / 2 + jac, order),
        "a density that is flat on the first scale": (decoder_alone, lambda e, u, jac: -e + jac, order),
        "any map of the names, not onto": (decoder_alone, decoder_alone, [3, 0, 4, 1, 1]),
    }
    return residual, (decoder_alone, decoder_alone, order), wrong, 1e-6


def r3():
    """Maximise the encoder out: the statement is a rule for its best row, q_r(x|.) -> q_e(.|x), and (low, high), the
    ends in which E log q(x) lies around E max_z log q_r under a uniform prior; the judges are a linear program over the
    simplex, and the enumerated evidence."""
    points = [np.array([float(r[z][x]) for z in range(3)]) for _, r in CASES for x in range(4)]
    best = [-linprog(-r, A_eq=np.ones((1, 3)), b_eq=[1.0]).fun for r in points]
    X = torch.tensor(data.digits()[0])
    gaps = [(log(r.mean()) - log(r.max()), 3) for r in points]
    centres = KMeans(10, random_state=0).fit(X).cluster_centers_
    for variance in (10.0, 100.0, 1000.0):
        joint = Flats(centres, variance=variance)
        best_code = objective(joint, X, Exact()).mean() + log(10)  # without the prior: E max_k log q_r(x|k)
        gaps.append((float(objective(joint, X, Soft(1.0)).mean() - best_code), 10))

    def residual(statement):
        encoder, ends = statement
        short = [log(b) - log(encoder(r) @ r) for b, r in zip(best, points)]
        outside = [max(ends(n)[0] - gap, gap - ends(n)[1]) for gap, n in gaps]
        return max(*short, *outside, 0)

    def dirac(r):
        return np.eye(3)[r.argmax()]

    def ends(n):
        return -log(n), 0

    wrong = {
        "the best encoder is the posterior": (lambda r: r / r.sum(), ends),
        "the best encoder is uniform": (lambda r: np.full(3, 1 / 3), ends),
        "without log |Z|": (dirac, lambda n: (0, 0)),
        "half of log |Z|": (dirac, lambda n: (-log(n) / 2, 0)),
        "the ends exchanged": (dirac, lambda n: (0, log(n))),
    }
    return residual, (dirac, ends), wrong, 1e-9


CHECKS = {"C1-C6": c1_c6, "C7": c7, "C8": c8, "C9": c9, "C10": c10, "C11": c11, "C12": c12, "R3": r3}
