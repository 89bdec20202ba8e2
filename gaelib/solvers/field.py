"""Sums over all points of a map, for t-SNE: n^2 pairs at once, or a field on a grid (ledger L4).

Each gives of every point i the sums over all j, itself included, of 1 / (1 + r^2) and (y_i - y_j) / (1 + r^2)^2,
r = ||y_i - y_j||, side by side: (n, d) -> (n, 1 + d).
"""

import torch
from torch import Tensor

ENTRIES = 2**22  # pairs at a time
NODES = 4096  # on a side of the grid, at most


def every_pair(y: Tensor) -> Tensor:
    """The sums by all pairs: O(n^2) work, O(n) memory, any d.

    Examples
    --------
    >>> every_pair(torch.tensor([[0.0], [1.0]]))
    tensor([[ 1.5000, -0.2500],
            [ 1.5000,  0.2500]])
    """
    sums = []
    for part in y.split(max(1, ENTRIES // len(y))):
        away = part.T[:, :, None] - y.T[:, None]  # (d, part, n)
        kernel = away.square().sum(0).add_(1).reciprocal_()
        sums.append(torch.cat([kernel.sum(1)[None], (away * kernel.square()).sum(2)]).T)
    return torch.cat(sums)


class Grid:
    """The sums in the plane by a grid: O(n) work, and as much as the map is wide.

    Every point is shared out to 4 x 4 nodes by cubic Lagrange weights, the nodes' sums are a convolution (FFT), and
    the same weights read them at the points.  As in FIt-SNE (Linderman et al., 2019), with one grid that goes along
    with the map.

    Parameters
    ----------
    spacing : float
        Between nodes, in the map's units, at most; a narrow map has 32 of them.  The error falls like its fourth power.

    Examples
    --------
    >>> y = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    >>> (Grid(0.05)(y) - every_pair(y)).abs().max() < 1e-4
    tensor(True)
    """

    def __init__(self, spacing: float = 0.5):
        self.widest, self.spacing, self.size = spacing, spacing, 0

    def __call__(self, y: Tensor) -> Tensor:
        low, high = y.amin(0), y.amax(0)
        span = float((high - low).max())
        if not span < NODES * self.widest:  # nor a number
            raise FloatingPointError(
                f"points fly away, the map is {span:.3g} wide: lower learning_rate, or pass 'auto'"
            )
        if not 0.7 * self.size <= span / self.spacing + 8 <= self.size:
            self.spacing = max(min(self.widest, span / 32), 1e-30)
            self._resize(int(1.1 * (span / self.spacing + 8)), y)
        node, share, own = self._shares((y - (low + high) / 2) / self.spacing + (self.size - 1) / 2)
        m = self.size
        grid = y.new_zeros(m * m).index_add_(0, node.flatten(), share.flatten()).view(m, m)
        field = torch.fft.irfft2(torch.fft.rfft2(grid, s=(2 * m, 2 * m)) * self.kernels, s=(2 * m, 2 * m))
        field = field[:, :m, :m].reshape(3, -1).T.contiguous()
        sums = torch.nn.functional.embedding_bag(node, field, per_sample_weights=share, mode="sum")
        sums[:, 0] += 1 - own  # what a point sends itself is known: where a kernel is sharpest, the grid errs most
        return sums

    def _resize(self, least, y):
        """A side whose FFT is fast, and the three kernels' transforms on twice as many nodes, so nothing wraps."""
        m = next(n for n in range(least, 2 * least) if 30**12 % n == 0)
        apart = torch.fft.fftfreq(2 * m, 0.5 / m, dtype=torch.float64) * self.spacing
        kernel = 1 / (1 + apart[:, None] ** 2 + apart**2)
        kernels = torch.stack([kernel, apart[:, None] * kernel**2, apart * kernel**2])
        self.size, self.kernels = m, torch.fft.rfft2(kernels).to(y.device, y.dtype.to_complex())
        self.close = kernel[:4, :4].to(y)

    def _shares(self, place):
        """The 16 nodes around every place (n, 2), counted from the corner, and their weights: (n, 16) twice.

        And (n,), what a point would send itself by these weights, from their sums of products at each lag.
        """
        first = place.floor()
        f = place - first
        down, back, ahead, up = f + 1, f, f - 1, f - 2
        weights = torch.stack(
            [back * ahead * up / -6, down * ahead * up / 2, down * back * up / -2, down * back * ahead / 6], 1
        )  # (n, 4, 2)
        corner, near = first.long() - 1, torch.arange(4, device=place.device)
        node = (corner[:, :1] + near)[:, :, None] * self.size + (corner[:, 1:] + near)[:, None]
        share = (weights[:, :, None, 0] * weights[:, None, :, 1]).flatten(1)
        lags = torch.stack([(weights[:, lag:] * weights[:, : 4 - lag]).sum(1) for lag in range(4)], 1)
        lags[:, 1:] *= 2
        return node.flatten(1), share, ((lags[:, :, 0] @ self.close) * lags[:, :, 1]).sum(1)
