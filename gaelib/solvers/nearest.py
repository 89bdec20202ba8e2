"""The nearest of many points or flats: one matrix product, and residuals where it leaves a doubt (ledger H6)."""

import numpy as np
import torch

from .sums import by_row, in_parts
from .threads import pools

ROWS = 1024  # compared with points at a time on a CPU: what is computed for them stays in its cache
ENTRIES = 2**22  # of one table of rows x flats: bounds the memory whatever the number of rows
MORE = 8  # times as many on a GPU, which waits for each call, not for numbers
FEW = {torch.float64: 32, torch.float32: 24}  # flats, up to which W x^T is faster, and so is what follows it
PAIRS = 4096  # of a row and a flat, compared by residuals at a time


def project(x, means, bases=None):
    """Squared distance of every row to every flat, and where on it: (n, D) -> (n, K), (n, K, p) or None.

    ``||x - mu||^2 - ||W^T (x - mu)||^2``, expanded into one matrix product after all points are moved to the
    middle of the means, so that data far from the origin lose no digits.

    Parameters
    ----------
    x : tensor (n, D)
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Orthonormal columns.
    """
    squares, inside, sizes = projector(means, bases)(x)
    return squares.add_(sizes[:, None]).clamp_(min=0), inside


def projector(means, bases=None):
    """`project` as a function of x alone: what depends only on the flats is computed once.

    Its squares leave out what is the same for every flat, the row's own square, which it gives as a third answer (n,).
    """
    middle = means.mean(0)
    of = expanded(means - middle, bases)
    return lambda x: of(x - middle)


def expanded(means, bases=None):
    """The same for means, and rows, that are seen from a nearby origin already."""
    weights, bias = -2 * means, means.double().square().sum(1).to(means)  # `rounding` counts on their last digit
    if bases is not None:
        weights = torch.cat([weights, side_by_side(bases).T])
        bias = torch.cat([bias, -(means[:, None] @ bases).flatten()])
    product = affine(weights, bias)

    def of(x):
        products, inside = product(x), None
        squares = products[:, : len(means)]
        if bases is not None:
            inside = products[:, len(means) :].unflatten(1, (len(means), -1))
            squares = squares - inside.square().sum(2)
        return squares, inside, torch.linalg.vecdot(x, x)

    return of


def affine(weights, bias):
    """The function x -> x W^T + b.  On a CPU by what is faster than the default.

    That is the transposed product for few columns; within `shared` NumPy's, whose speed does not hang on the number of
    rows; and elsewhere oneDNN for large float32 products.
    """
    small = weights.is_cuda or weights.dtype != torch.float32 or weights.numel() < 2**14
    if small and few(weights):
        return lambda x: torch.addmm(bias[:, None], weights, x.T).T
    if pools.small and weights.device.type == "cpu":
        turned = weights.detach().T.numpy()
        return lambda x: torch.from_numpy(np.dot(x.detach().numpy(), turned)).add_(bias)
    if small or not torch.backends.mkldnn.is_available() or torch.is_grad_enabled():
        return lambda x: torch.nn.functional.linear(x, weights, bias)
    packed = weights.to_mkldnn(), bias.to_mkldnn()
    return lambda x: torch.nn.functional.linear(x.to_mkldnn(), *packed).to_dense()


def few(weights):
    """Whether the transposed product is faster."""
    return len(weights) <= FEW.get(weights.dtype, 0) and not weights.is_cuda


def side_by_side(bases):
    """All directions of all flats as columns: (K, D, p) -> (D, K p)."""
    return bases.transpose(0, 1).flatten(1)


def rounding(means, bases=None):
    """How far off an expanded square may be, as a part of the squares that it is the difference of.

    A product of D terms, whoever adds them in whatever order, is off by at most D eps / 2 of ``|x| |mu|``, and twice
    that by at most D eps / 2 of ``|x|^2 + |mu|^2`` (Higham, 2002, section 3.1); the rest of the roundings are few.
    """
    D, eps = means.shape[1], torch.finfo(means.dtype).eps
    return eps * (D / 2 + 8 if bases is None else 2 * D * (1 + bases.shape[2] ** 0.5))


def nearest(x, means, bases=None):
    """The nearest flat of every row, the first of equals, and where on it; in chunks of bounded memory.

    The product loses digits where a row or a flat is long; flats within its rounding of the best are compared again,
    by `settle`.  So the answer does not depend on what stands beside a row, nor on who multiplies.

    Returns
    -------
    k (n,) int64, or with bases (k, u) with u (n, p)
    """
    width = len(means) * (1 if bases is None else bases.shape[2])
    rows = MORE * ENTRIES // width if x.is_cuda else min(ENTRIES // width, len(x) if bases is not None else ROWS)
    found, of, blur = [], projector(means, bases), rounding(means, bases)
    largest = (means - means.mean(0)).square().sum(1).max()
    for part in x.split(max(1, rows)):
        squares, inside, sizes = of(part)
        k = settle(part, squares, blur * (sizes + largest), means, bases)[0]
        found.append((k,) if inside is None else (k, inside[torch.arange(len(k)), k]))
    found = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return found if len(found) == 2 else found[0]


def settle(x, squares, blur, means, bases=None):
    """The nearest flat of each row, the first of equals, by squares (n, K), used up, each off by at most ``blur`` (n,).

    Returns
    -------
    k : (n,) int64
    least : (n,)
        The least square, as it stood in the table.
    gap : (n,)
        How much less it is than the next one's, blurred: negative where residuals decided.
    """
    k = torch.from_numpy(squares.detach().numpy().argmin(1)) if squares.device.type == "cpu" else squares.argmin(1)
    least = squares.gather(1, k[:, None])[:, 0]  # NumPy's argmin uses vectors
    limit = least + 2 * blur
    gap = squares.scatter_(1, k[:, None], torch.inf).amin(1).sub_(limit)
    i = (gap <= 0).nonzero()[:, 0]
    if len(i):
        squares.scatter_(1, k[:, None], least[:, None])
        flats, rows = (squares.index_select(0, i) <= limit.index_select(0, i)[:, None]).T.nonzero(as_tuple=True)
        k[i] = closest(x.index_select(0, i), rows, flats, means, bases)
    return k, least, gap


def settle_pairs(x, first, others, blur, means):
    """`settle` for points, where of each row only some pairs are left.

    Parameters
    ----------
    first : tuple of tensors (n,), (n,)
        Of each row a point, and its square.
    others : tuple of tensors (m,), (m,), (m,)
        Other pairs, sorted by row: rows, points and squares.
    """
    (guess, best), (rows, points, squares) = first, others
    second = torch.full_like(best, torch.inf).scatter_reduce_(0, rows, squares, "amin")
    gap, least = second - best - 2 * blur, torch.minimum(best, second)
    if not len(i := (gap <= 0).nonzero()[:, 0]):
        return guess, least, gap
    limit = least + 2 * blur
    near = (squares <= limit.index_select(0, rows)).nonzero()[:, 0]
    near = near[gap.index_select(0, rows.index_select(0, near)) <= 0]
    rows, points = rows.index_select(0, near), points.index_select(0, near)
    k = guess.index_copy(0, rows, points)  # right where it is the only one
    i = (torch.bincount(rows, minlength=len(k)) + (best <= limit) > 1).nonzero()[:, 0]
    if len(i):
        place = torch.full_like(k, -1).index_copy_(0, i, every := torch.arange(len(i)))
        here = (place := place.index_select(0, rows)) >= 0
        pairs = torch.cat([every, place[here]]), torch.cat([guess.index_select(0, i), points[here]])
        k[i] = closest(x.index_select(0, i), *pairs, means)
    return k, least, gap


def off(away, c, bases, alone):
    """How far rows (n, D), seen from their flats' means, are off them: c (n,) is one flat if it is alone, or sorted."""
    if alone:
        W = bases[c[0]].double()
        return torch.linalg.vector_norm(away - away @ W @ W.T, dim=1)
    codes, rows, here = in_parts(c, len(bases))
    W, away = bases[codes].double(), away[rows]
    return by_row(torch.linalg.vector_norm(away - away @ W @ W.mT, dim=2), rows, here, len(c))


def closest(x, rows, flats, means, bases=None):
    """The nearest flat of each row (n,) among pairs sorted by flat, by residuals in float64; the first of equals."""
    lengths, sizes, step = [], [], PAIRS if x.device.type == "cpu" else max(1, MORE * ENTRIES // x.shape[1])
    apart = bases is not None and x.device.type == "cpu"  # on a GPU all flats in one call
    counts = torch.bincount(flats, minlength=len(means)).tolist() if apart else [len(rows)]
    for group in zip(rows.split(counts), flats.split(counts)):
        for i, c in zip(*(part.split(step) for part in group)):
            if len(i):
                away = x[i].double() - means[c].double()
                sizes.append(torch.linalg.vector_norm(away, dim=1))
                lengths.append(sizes[-1] if bases is None else off(away, c, bases, apart))
    lengths, sizes = torch.cat(lengths), torch.cat(sizes)
    least = lengths.new_full((len(x),), torch.inf).scatter_reduce(0, rows, lengths, "amin")
    equal = lengths <= least[rows] + 16 * torch.finfo(torch.float64).eps * sizes
    k = flats.new_full((len(x),), len(means))
    return k.scatter_reduce(0, rows[equal], flats[equal], "amin")
