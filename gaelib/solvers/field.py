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

    Cubic B-splines share every point out to 4 x 4 nodes.  One convolution (FFT) of the nodes' shares with 1 / (1 + r^2)
    gives a spline: its value at a point is the first sum, and its slope there is -2 times the others.  The kernel is
    first divided by what splines blur, so at the nodes it is exact.  As in smooth particle mesh Ewald (Essmann et al.,
    1995), with one grid that goes along with the map; FIt-SNE (Linderman et al., 2019) convolves each sum for itself.

    Parameters
    ----------
    spacing : float
        Between nodes, in the map's units, at most; a narrow map has 32 of them.  The sums' error falls
        like its fourth power, that of the slopes like its third; of the nearest points it is mostly noise.

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
        m, wide = self.size, 2 * self.size  # the padding, into which a convolution would wrap
        node, value, slope = self._shares(((y - (low + high) / 2) / self.spacing + (m - 1) / 2).T)
        share = (value[:, None, 0] * value[:, 1]).flatten(0, 1)  # (16, n)
        grid = y.new_zeros(m * wide).index_add_(0, node, share.flatten()).view(m, wide)
        spectrum = torch.fft.fft(torch.fft.rfft(grid), wide, dim=0).mul_(self.kernel)
        field = torch.fft.irfft(torch.fft.ifft(spectrum, dim=0)[:m], wide)
        held = field.view(-1).index_select(0, node).view_as(share)
        held -= self.close @ share  # what a point sends itself is known: where a kernel is sharpest, the grid errs most
        along = held.view(4, 4, -1)
        across, along = (along * value[:, 1]).sum(1), (along * slope[:, 1]).sum(1)
        sums = [across * value[:, 0], across * slope[:, 0], along * value[:, 0]]
        sums = torch.stack([part.sum(0) for part in sums], 1)
        sums[:, 0] += 1 + self.far * (len(y) - 1)
        sums[:, 1:] /= -2 * self.spacing
        return sums

    def _resize(self, least, y):
        """A side whose FFT is fast, and the kernel's transform on twice as many nodes, so nothing wraps."""
        m = next(n for n in range(least, 2 * least) if 30**12 % n == 0)
        number = torch.fft.fftfreq(2 * m, 0.5 / m, dtype=torch.float64)  # of a node, and of a frequency
        squares = (number * self.spacing).square()
        squares = squares[:, None] + squares
        most = squares.amax()
        self.far = float(1 / (1 + most))  # in a narrow map all is near 1, and what matters is the difference
        kernel = (most - squares) / ((1 + squares) * (1 + most))  # 1 / (1 + squares) - far
        blur = ((2 + torch.cos(number * (torch.pi / m))) / 3).square()
        transform = torch.fft.rfft2(kernel) / (blur[:, None] * blur[: m + 1])
        lag = (torch.arange(4)[:, None] - torch.arange(4)).abs()
        near = torch.fft.irfft2(transform, s=(2 * m, 2 * m))[lag[:, None, :, None], lag[:, None]]
        self.size, self.kernel, self.close = m, transform.real.to(y), near.reshape(16, 16).to(y)

    def _shares(self, place):
        """The 16 nodes around every place (2, n), counted from the corner: (16 n,); and along each axis the cubic
        B-spline's values and slopes at four of them: (4, 2, n) twice.
        """
        first = place.floor()
        corner, near = first.long() - 1, torch.arange(4, device=place.device)[:, None]
        node = (corner[0] + near)[:, None] * (2 * self.size) + corner[1] + near  # (4, 4, n)
        f = place - first
        g = 1 - f
        value = torch.stack([g**3, 4 - 3 * f**2 * (1 + g), 4 - 3 * g**2 * (1 + f), f**3]) / 6
        slope = torch.stack([-(g**2), f * (3 * f - 4), g * (4 - 3 * g), f**2]) / 2
        return node.flatten(), value, slope
