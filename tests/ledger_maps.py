"""The ledger's checks of maps: t-SNE's slope and likelihood, and what locally linear embedding keeps (L4, L5, L5b, L5c)."""

import numpy as np
import torch
from gaelib import LocallyLinearEmbedding
from gaelib.models.lle import Barycentre
from gaelib.models.tsne import Affinities, PointMap
from gaelib.solvers.field import every_pair
from gaelib.solvers.neighbours import neighbours
from scipy.linalg import eigh


def bowl():
    """80 points (t1, t2, t1^2): a square bent into a gutter."""
    t = np.random.default_rng(0).random((80, 2))
    return t, np.column_stack([t, t[:, 0] ** 2])


def l4():
    """KL and its slope in the map: the statement gives (slope from w and p - q, KL from E_P log Q and H(P)), the judges are
    autograd and a sum over all pairs."""
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(rng.normal(size=(60, d))) for d in (5, 2))
    affinities, joint = Affinities(x, 15.0, 59, torch.float64), PointMap(y)
    P = torch.zeros(60, 60, dtype=torch.float64)
    P[affinities.rows.long(), affinities.columns.long()] = affinities.p
    pairs = torch.stack([affinities.rows, affinities.columns], 1).long()
    entropy = float(torch.special.entr(affinities.p).sum())
    w = 1 / (1 + torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist").square())
    w.fill_diagonal_(0)
    Q = w / w.sum()
    joint.map.requires_grad_()
    value = affinities.p @ joint.log_joint(pairs)  # E_P log Q
    slope = -torch.autograd.grad(value, joint.map)[0]
    off = ~torch.eye(60, dtype=torch.bool)
    divergence = float((P[off] * (P[off] / Q[off]).log()).sum())

    def along(pull):
        return pull.sum(1)[:, None] * y - pull @ y

    def residual(statement):
        found, kl = statement(float(value.detach()))
        return max(float((found - slope).abs().max()), abs(kl - divergence))

    wrong = {
        "a factor of 2": lambda value: (2 * along((P - Q) * w), -value - entropy),
        "without the kernel": lambda value: (4 * along(P - Q), -value - entropy),
        "the signs of P and Q exchanged": lambda value: (4 * along((Q - P) * w), -value - entropy),
        "the entropy added": lambda value: (4 * along((P - Q) * w), -value + entropy),
    }
    assert float((joint.slope(affinities, every_pair(y)).detach() + slope).abs().max()) < 1e-10  # the library's
    return residual, lambda value: (4 * along((P - Q) * w), -value - entropy), wrong, 1e-8


def weights_of(X, k=6, reg=1e-3):
    x = torch.tensor(X)
    joint = Barycentre(x, neighbours(x, k)[1], reg)
    return joint.argmax(x), joint.index


def l5():
    """The weights do not change: the statement is a change of the data, the judge the weights before and their sums."""
    X = bowl()[1]
    weights, index = weights_of(X)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]

    def residual(change):
        after, same = weights_of(change(X))
        assert bool((same == index).all(1).any())
        rows = (same == index).all(1)
        return max(float((after - weights)[rows].abs().max()), float((after.sum(1) - 1).abs().max()))

    wrong = {
        "one column stretched": lambda X: X * [1, 1, 3],
        "sheared": lambda X: X @ np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1.0]]),
    }
    return residual, lambda X: 3.7 * X @ turn + 5, wrong, 1e-10


def l5b():
    """The map: the statement gives a map (80, 2) with centred columns and Y^T Y = 80 I; the judge is what its squared error is
    above the least possible one, 80 times the eigenvalues' sum."""
    weights, index = weights_of(bowl()[1])
    W = np.zeros((80, 80))
    np.put_along_axis(W, index.numpy(), weights.numpy(), 1)
    M = (np.eye(80) - W).T @ (np.eye(80) - W)
    values, vectors = eigh(M)
    assert abs(values[0]) < 1e-12

    def residual(map):
        y = map()
        constraint = max(np.abs(y.mean(0)).max(), np.abs(y.T @ y / 80 - np.eye(2)).max())
        return max(constraint, abs(np.trace(y.T @ M @ y) / (80 * values[1:3].sum()) - 1))

    def ours():
        return np.sqrt(80) * LocallyLinearEmbedding(6).fit_transform(bowl()[1])

    wrong = {
        "the constant is kept": lambda: np.sqrt(80) * vectors[:, :2],
        "the top eigenvectors": lambda: np.sqrt(80) * vectors[:, -2:],
        "of W + W^T": lambda: np.sqrt(80) * eigh(W + W.T)[1][:, -3:-1],
    }
    return residual, ours, wrong, 1e-7


def l5c():
    """What a density of all points would need, log |det(I - W)|: the statement is a bound from below, the judge the weights'
    own determinant, from its smallest singular value."""
    weights, index = weights_of(bowl()[1])
    W = np.zeros((80, 80))
    np.put_along_axis(W, index.numpy(), weights.numpy(), 1)
    least = np.linalg.svd(np.eye(80) - W, compute_uv=False)[-1]
    image = np.abs((np.eye(80) - W) @ np.ones(80)).max()

    def residual(smallest):
        return max(abs(least - smallest), image)

    wrong = {"regular, if weights are not 1": 1.0, "as small as the other map's values": 1e-4}
    return residual, 0.0, wrong, 1e-9


CHECKS = {"L4": l4, "L5": l5, "L5b": l5b, "L5c": l5c}
