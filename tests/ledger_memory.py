"""The ledger's checks of the memory: one code for every point (E3, E3b, E4, E5)."""

from bisect import bisect_left
from math import floor, log, log2, pi

import numpy as np
from gaelib import KMeans, Memory
from scipy.integrate import trapezoid
from scipy.stats import chi2, ncx2
from sklearn.neighbors import NearestNeighbors
from torch.utils.flop_counter import FlopCounterMode

RNG = np.random.default_rng(0)


def least_distortion(points):
    """Of numbers on a line, the least sum of squares to K centres for K = 1 .. N, by dynamic programming."""
    x = np.sort(points)
    N = len(x)
    cost = [[((x[i:j] - x[i:j].mean()) ** 2).sum() for j in range(i + 1, N + 1)] for i in range(N)]
    best = [[0.0] + [np.inf] * N]
    for _ in range(N):
        last = best[-1]
        best.append([0.0] + [min(last[i] + cost[i][j - i - 1] for i in range(j)) for j in range(1, N + 1)])
    return [row[N] for row in best[1:]]


def e3():
    """The fewest codes that reconstruct X without error, and the objective there: the statement is a rule
    X -> (K, value), the judges are a dynamic program and `Memory`, whose value is -d once log N and the
    density's constant are taken off."""
    tables = [RNG.integers(0, high, 12).astype(float) for high in (4, 8, 1000)]
    found = []
    for x in tables:
        K = 1 + next(k for k, error in enumerate(least_distortion(x)) if error < 1e-12)
        score = Memory().fit(x[:, None]).score(x[:, None])
        found.append((K, score + log(len(x)) + 0.5 * log(pi)))

    def residual(rule):
        return max(abs(got - said) for x, pair in zip(tables, found) for got, said in zip(pair, rule(x), strict=True))

    def distinct(x):
        return len(np.unique(x))

    wrong = {
        "N are needed, copies or not": lambda x: (len(x), 0.0),
        "one fewer is enough": lambda x: (distinct(x) - 1, 0.0),
        "L with the density's constants": lambda x: (distinct(x), -log(len(x)) - 0.5 * log(pi)),
    }
    return residual, lambda x: (distinct(x), 0.0), wrong, 1e-9


def memory_error(N, D):
    """E||x - nearest||^2 / D of N standard normal points in D dimensions: the integral of
    Pr(distance^2 > v)^N."""
    centre = chi2.ppf((np.arange(100) + 0.5) / 100, D)[:, None]  # ||x||^2, equally likely values
    v = np.linspace(0, 8 * D + 40, 4001)
    return trapezoid((ncx2.sf(v, D, centre) ** N).mean(0), v) / D


def e3b():
    """Does one code for each point beat one code for all on new points?  The statement is a rule
    (N, D) -> bool for standard normal data; the judge measures both, a wrong answer costs the gap."""
    gain = {}
    for N, D, sets in ((80, 2, 10), (80, 20, 10), (80, 50, 10), (20, 20, 40), (4000, 50, 1)):
        errors = []
        for _ in range(sets):
            X, new = RNG.normal(size=(N, D)), RNG.normal(size=(1000, D))
            models = KMeans(1, random_state=0).fit(X), Memory().fit(X)
            errors.append([((new - m.inverse_transform(m.transform(new))) ** 2).mean() for m in models])
        one, all_ = np.mean(errors, 0)
        gain[N, D] = one - all_

    def residual(rule):
        return max(max(0.0, -g if rule(*case) else g) for case, g in gain.items())

    wrong = {
        "it never overfits": lambda N, D: True,
        "it always overfits": lambda N, D: False,
        "the dimension alone decides": lambda N, D: D <= 20,
        "the number of points alone decides": lambda N, D: N >= 80,
        "two points for each direction": lambda N, D: N > 2**D,
    }
    return residual, lambda N, D: memory_error(N, D) < 1, wrong, 1e-4


def e4():
    """What a new point is decoded to when K = N: the statement is a rule (X, new) -> (n, D), the judge
    scikit-learn's nearest neighbour."""
    X, new = RNG.normal(size=(200, 5)), RNG.normal(size=(100, 5))
    nearest = X[NearestNeighbors(n_neighbors=1).fit(X).kneighbors(new, return_distance=False)[:, 0]]

    def decode(model, X, new):
        model.fit(X)
        return model.inverse_transform(model.transform(new))

    def mean_of(k):
        return lambda X, new: X[NearestNeighbors(n_neighbors=k).fit(X).kneighbors(new)[1]].mean(1)

    def residual(rule):
        return np.abs(rule(X, new) - nearest).max()

    wrong = {
        "k-NN with k = 2": mean_of(2),
        "k-NN with k = 5": mean_of(5),
        "already at K = N/2": lambda X, new: decode(KMeans(len(X) // 2, random_state=0), X, new),
    }
    return residual, lambda X, new: decode(Memory(), X, new), wrong, 1e-12


class Counted(float):
    """A number that counts how often it is compared."""

    comparisons = 0

    def __lt__(self, other):
        Counted.comparisons += 1
        return float(self) < float(other)


def e5():
    """The operations of the full table, and of an exact answer on a line.  The statement is a rule (n, N, D) ->
    (operations of n queries by the table, most comparisons of one query on a sorted line); the judge counts those of the
    matrix products while `Memory` answers, and those of a bisection that finds the same neighbours."""
    counted = {}
    for n, N, D in ((10, 100, 5), (10, 4000, 5), (7, 300, 40)):
        memory = Memory().fit(RNG.normal(size=(N, D)))
        with FlopCounterMode(display=False) as counter:
            memory.predict(RNG.normal(size=(n, D)))
        line, most = np.sort(RNG.normal(size=N)), 0
        for x in RNG.normal(size=200):
            Counted.comparisons = 0
            place = bisect_left([Counted(v) for v in line], x)
            most = max(most, Counted.comparisons)
            beside = line[max(place - 1, 0) : place + 1]
            assert np.abs(beside - x).min() == np.abs(line - x).min()
        counted[n, N, D] = counter.get_total_flops(), most

    def residual(rule):
        pairs = [(said, found) for sizes, both in counted.items() for said, found in zip(rule(*sizes), both)]
        return max(abs(said / found - 1) for said, found in pairs)

    def steps(N):
        return floor(log2(N)) + 1

    wrong = {
        "as for one code": lambda n, N, D: (2 * n * D, steps(N)),
        "an exact answer costs the table": lambda n, N, D: (2 * n * N * D, 2 * N),
        "all pairs of stored points": lambda n, N, D: (2 * N * N * D, steps(N)),
    }
    return residual, lambda n, N, D: (2 * n * N * D, steps(N)), wrong, 1e-9


CHECKS = {"E3": e3, "E3b": e3b, "E4": e4, "E5": e5}
