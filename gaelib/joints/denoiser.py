"""Corruptions, and denoisers of Gaussian noise: one level, or every level at once (ledger K2, K8)."""

import torch
from torch import Generator, Tensor, nn

from ..core import Joint
from ..noise import gaussian


class Denoiser(nn.Module):
    """The mean of the clean row given a noisy one: that of data N(0, I), and a network's correction.

    With ``v = 1 + sigma^2`` it is ``x / v + sigma / sqrt(v) * network(x / sqrt(v), log sigma)``: whatever the level,
    the network sees rows of variance 1 and gives numbers of size 1 (Karras et al., 2022).

    Parameters
    ----------
    network : Module
        (n, D + 1) -> (n, D); the last column is ``log(sigma) / 4``.
    sigma : float
        The level where none is passed, in units of one standard deviation of the data.

    Examples
    --------
    >>> network = nn.Linear(3, 2)
    >>> _ = nn.init.zeros_(network.weight), nn.init.zeros_(network.bias)
    >>> Denoiser(network, 1.0)(torch.ones(1, 2))
    tensor([[0.5000, 0.5000]], grad_fn=<AddBackward0>)
    """

    def __init__(self, network: nn.Module, sigma: float):
        super().__init__()
        self.network = network
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def forward(self, x: Tensor, sigma: Tensor | None = None) -> Tensor:
        """(n, D), levels (n, 1) -> (n, D)."""
        sigma = self.sigma.to(x).expand(len(x), 1) if sigma is None else sigma
        v = 1 + sigma**2
        return x / v + sigma * v.rsqrt() * self.network(torch.cat([x * v.rsqrt(), sigma.log() / 4], 1))


class Corruption(nn.Module):
    """A row made worse by draws of ``generator``: (n, D) -> (n, D).

    Parameters
    ----------
    kind : "gaussian", "masking", "poisson" or "salt_and_pepper"
        Noise of standard deviation ``amount``; a share of the entries at their mean; counts, ``amount`` of them
        expected for each unit, divided by it; a share of the entries at ``low`` or ``high``.
    amount, low, high : float
    mean : Tensor (D,)

    Examples
    --------
    >>> Corruption("salt_and_pepper", 0.999999, torch.zeros(1), 0.0, 1.0)(torch.full((2, 50), 0.5)).unique()
    tensor([0., 1.])
    """

    def __init__(self, kind: str, amount: float, mean: Tensor, low: float = 0.0, high: float = 1.0):
        super().__init__()
        self.kind, self.amount, self.low, self.high = kind, amount, low, high
        self.register_buffer("mean", mean.clone())

    def forward(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        if self.kind == "gaussian":
            return x + self.amount * like_normal(x, generator)
        if self.kind == "poisson":
            return torch.poisson((self.amount * x).clamp(min=0), generator=generator) / self.amount
        hit, side = torch.rand((2, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
        if self.kind == "masking":
            return torch.where(hit < self.amount, self.mean.to(x), x)
        return torch.where(hit < self.amount, self.low + (self.high - self.low) * (side < 0.5), x)


def like_normal(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


class Levels(Joint):
    """A denoiser of every level from ``low`` to ``high``: the code is the clean row, and its level stands beside it.

    Its objective is the mean over levels of what a denoiser is scored by, each with the noise of its own level.  Train
    it by ``objective(levels, x, Corrupted(levels.answer, levels.corrupt))``.

    Parameters
    ----------
    network : Module
        As in `Denoiser`.
    low, high : float
        The least and the largest sigma, in the data's units.  ``low`` is the noise that samples keep; ``high`` several
        times the distance between rows.
    centre : Tensor (D,)
    scale : float
        The data's mean and their standard deviation about it.

    Examples
    --------
    >>> levels = Levels(nn.Linear(3, 2), 0.1, 10.0, torch.zeros(2), 1.0)
    >>> levels.sample(4, steps=5).shape
    torch.Size([4, 2])
    """

    def __init__(self, network: nn.Module, low: float, high: float, centre: Tensor, scale: float):
        super().__init__()
        if not 0 < low < high:
            raise ValueError(f"low={low}, high={high} are no range of levels: pass 0 < low < high")
        self.denoiser, self.low, self.high = Denoiser(network, low / scale), low, high
        self.register_buffer("centre", centre.clone())
        self.register_buffer("scale", torch.tensor(float(scale), dtype=centre.dtype))

    def corrupt(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """(n, D) -> noisy rows (n, D) and their levels (n, 1), each level as likely as any on a log scale."""
        share = torch.rand((len(x), 1), generator=generator, dtype=x.dtype, device=x.device)
        sigma = self.low * (self.high / self.low) ** share
        return x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device), sigma

    def answer(self, joint: Joint, seen: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Who answers: the code of noisy rows and their levels."""
        x, sigma = seen
        return (self.denoise(x, sigma), sigma), x.new_zeros(len(x))

    def log_joint(self, x: Tensor, z: tuple[Tensor, Tensor]) -> Tensor:
        mean, sigma = z
        return gaussian(x, mean, sigma**2 * self.scale**2 / (sigma**2 + self.scale**2))

    def decode(self, z: tuple[Tensor, Tensor]) -> Tensor:
        return z[0]

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The clean rows' mean given noisy ones: (n, D), (n, 1) -> (n, D)."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x), 1)
        return self.centre + self.scale * self.denoiser((x - self.centre) / self.scale, sigma / self.scale)

    def score_field(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The slope of the noisy rows' log density at one level, by Tweedie's formula: (n, D) -> (n, D)."""
        return (self.denoise(x, sigma) - x) / sigma**2

    @torch.no_grad()
    def sample(self, n_samples: int, steps: int = 100, generator: Generator | None = None) -> Tensor:
        """From noise of the largest level down to the least, each level drawn from the last: (n_samples, D).

        If x is the clean row and y the noisy one, the row with noise s < sigma between them is normal, with mean
        ``x + (s / sigma)^2 (y - x)`` and variance ``s^2 (1 - s^2 / sigma^2)``.  Here x is its mean (Ho et al., 2020).
        """
        shape, place = (n_samples, len(self.centre)), {"dtype": self.centre.dtype, "device": self.centre.device}
        levels = self.low * (self.high / self.low) ** torch.linspace(1, 0, steps, dtype=torch.float64)
        y = self.centre + (self.high**2 + self.scale**2).sqrt() * torch.randn(shape, generator=generator, **place)
        for sigma, s in zip(levels.tolist(), levels[1:].tolist()):
            kept = (s / sigma) ** 2
            x = self.denoise(y, sigma)
            y = x + kept * (y - x) + s * (1 - kept) ** 0.5 * torch.randn(shape, generator=generator, **place)
        return self.denoise(y, self.low)
