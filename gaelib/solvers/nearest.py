"""The nearest of many points or flats, by one matrix product (ledger H6)."""

import torch

ROWS = 1024  # compared with points at a time on a CPU: what is computed for them stays in its cache
ENTRIES = 2**22  # of one table of rows x flats: bounds the memory whatever the number of rows


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
    return projector(means, bases)(x)


def projector(means, bases=None, whole=True):
    """`project` as a function of x alone: what depends only on the flats is computed once.

    Without ``whole`` the squares leave out what is the same for every flat, the row's own square.
    """
    middle = means.mean(0)
    means = means - middle
    weights, bias = -2 * means, means.square().sum(1)
    if bases is not None:
        weights = torch.cat([weights, side_by_side(bases).T])
        bias = torch.cat([bias, -(means[:, None] @ bases).flatten()])
    product = affine(weights, bias)

    def of(x):
        x = x - middle
        products, inside = product(x), None
        squares = products[:, : len(means)]
        if whole:
            squares = squares + x.square().sum(1, keepdim=True)
        if bases is not None:
            inside = products[:, len(means) :].unflatten(1, (len(means), -1))
            squares = squares - inside.square().sum(2)
        return squares.clamp_(min=0) if whole else squares, inside

    return of


def affine(weights, bias):
    """The function x -> x W^T + b.  For large float32 products on a CPU by oneDNN, which is faster than the default."""
    small = weights.is_cuda or weights.dtype != torch.float32 or weights.numel() < 2**14
    if small or not torch.backends.mkldnn.is_available() or torch.is_grad_enabled():
        return lambda x: torch.nn.functional.linear(x, weights, bias)
    packed = weights.to_mkldnn(), bias.to_mkldnn()
    return lambda x: torch.nn.functional.linear(x.to_mkldnn(), *packed).to_dense()


def side_by_side(bases):
    """All directions of all flats as columns: (K, D, p) -> (D, K p)."""
    return bases.transpose(0, 1).flatten(1)


def nearest(x, means, bases=None):
    """The nearest flat of every row, the first of equals, and where on it; in chunks of bounded memory.

    Returns
    -------
    k (n,) int64, or with bases (k, u) with u (n, p)
    """
    width = len(means) * (1 if bases is None else bases.shape[2])
    rows = min(ENTRIES // width, len(x) if bases is not None or x.is_cuda else ROWS)
    found, of = [], projector(means, bases, whole=False)
    for part in x.split(max(1, rows)):
        squares, inside = of(part)
        k = squares.argmin(1)
        found.append((k,) if inside is None else (k, inside[torch.arange(len(k)), k]))
    found = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return found if len(found) == 2 else found[0]
