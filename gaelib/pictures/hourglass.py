"""The network of the deep image prior: down, across and up again."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS", "Hourglass"]


def _block(into, out, size, stride=1):
    """Convolution with reflected borders, normalisation over the picture, and a leaky ramp.

    The convolution has no bias of its own: the normalisation would subtract it.
    """
    pad = [nn.ReflectionPad2d(size // 2)] if size > 1 else []
    convolution = nn.Conv2d(into, out, size, stride, bias=False)
    return nn.Sequential(
        *pad, convolution, nn.BatchNorm2d(out, track_running_stats=False), nn.LeakyReLU(0.2, inplace=True)
    )


class _Scale(nn.Module):
    """One scale of the hourglass: a narrow way across, and a wide way down through ``below`` coarser scales."""

    def __init__(self, into, channels, skips, below):
        super().__init__()
        self.across = _block(into, skips, 1)
        self.down = nn.Sequential(_block(into, channels, 3, 2), _block(channels, channels, 3))
        self.below = _Scale(channels, channels, skips, below - 1) if below else nn.Identity()
        both = skips + channels
        self.up = nn.Sequential(
            nn.BatchNorm2d(both, track_running_stats=False), _block(both, channels, 3), _block(channels, channels, 1)
        )

    def forward(self, x):
        through = self.below(self.down(x))
        through = F.interpolate(through, size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.up(torch.cat([self.across(x), through], 1))


class Hourglass(nn.Module):
    """A convolutional network that narrows and widens again, with skip connections: (1, inputs, H, W) -> (1, C, H, W).

    Parameters
    ----------
    outputs : int
        C, the channels of the picture.
    inputs, channels, skips, scales : int
        Channels of the random input, of every layer and of each skip connection; number of times it halves.

    Notes
    -----
    ``Hourglass(C)`` is the network of Ulyanov, Vedaldi and Lempitsky (2018): 2.2 million weights.

    Examples
    --------
    >>> Hourglass(3, channels=8, scales=2)(torch.zeros(1, 32, 12, 20)).shape
    torch.Size([1, 3, 12, 20])
    """

    def __init__(self, outputs: int, inputs: int = 32, channels: int = 128, skips: int = 4, scales: int = 5):
        super().__init__()
        self.inputs, self.scales = inputs, scales
        self.body = _Scale(inputs, channels, skips, scales - 1)
        self.head = nn.Conv2d(channels, outputs, 1)

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.body(z)))


NETWORKS = {"small": {"inputs": 16, "channels": 24, "scales": 3}, "reference": {}}
