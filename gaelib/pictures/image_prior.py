"""Deep image prior: the code is a network's weights, and a climb cut short is the prior (ledger I1-I3).

    log q_w(theta) = 0 (flat)    log q_r(y|theta) = -||A f_theta(z) - y||^2 - (D/2) log pi

f is a network that looks at its neighbourhood only, z a fixed random input, A whatever happened to the picture on
its way to y: noise alone, lost pixels, fewer pixels, linear measurements.  One picture, one code: a function, not an
estimator.  The maximum itself reproduces y, noise and all; a picture comes from stopping before (``stop``) and from
averaging along the way (``average``).
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..aside import aside
from ..core import ascend
from ..hyper import Seed, draw_seed
from ..noise import gaussian
from ..progress import progress
from ..rows import Array, as_numpy, pick_device
from ..solvers.threads import shared
from ._checks import built, check_operator, check_options, measured
from .hourglass import NETWORKS, Hourglass  # noqa: F401  benchmarks look for the sizes here
from .operators import Downsample, Linear, Mask
from .stopping import WindowedVariance

__all__ = ["Downsample", "Hourglass", "Linear", "Mask", "Restoration", "WindowedVariance", "deep_image_prior", "psnr"]


SMALL = 2**30  # weights times pixels, up to which threads wait for one another more than they gain


# --- The climb -----------------------------------------------------------------------------------------------


def psnr(picture: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB, for values in [0, 1].

    Examples
    --------
    >>> psnr(np.zeros(4), np.full(4, 0.1)).round(6)
    np.float64(20.0)
    """
    return -10 * np.log10(((np.asarray(picture) - np.asarray(reference)) ** 2).mean())


@dataclass
class Restoration:
    """What `deep_image_prior` returns, and what its ``callback`` sees after each step.

    Attributes
    ----------
    image, averaged : array (H, W) or (H, W, C)
        The network's output, and the running average of its outputs; values in [0, 1].
    step : int
        After how many steps of the climb this is: the output of theta_t.
    stopped : str
        Why the climb ended: "steps", "variance", "callback" or "interrupted".
    history : dict of lists, one entry a step
        "objective" (log q_r(y|theta), nats); with a reference "psnr" and "psnr_averaged" (dB) and "ssim" (of the
        average); with `WindowedVariance` "variance".
    network : Module
        The network with its weights as the climb left them.
    input : tensor (1, inputs, H, W)
        The fixed z.
    """

    network: nn.Module
    input: torch.Tensor
    convert: object = field(repr=False)
    history: dict = field(default_factory=dict, repr=False)
    step: int = -1
    stopped: str = ""
    _pair: tuple = field(default=(), repr=False)

    @property
    def image(self) -> Array:
        return self.convert(self._pair[0])

    @property
    def averaged(self) -> Array:
        return self.convert(self._pair[1])


@aside(grad=True)
def deep_image_prior(
    image: Array,
    operator: nn.Module | None = None,
    *,
    network: Any = "small",
    steps: int = 350,
    stop: Any = None,
    average: float | None = 0.9,
    input_noise: float = 1 / 30,
    lr: float = 0.01,
    shape: tuple[int, ...] | None = None,
    precision: str = "float32",
    random_state: Seed = None,
    device: str | torch.device = "auto",
    reference: Array | None = None,
    callback: Callable[..., Any] | None = None,
    verbose: int = 0,
) -> Restoration:
    """Restore one picture with an untrained network: climb in its weights, and stop early.

    Parameters
    ----------
    image : array or tensor
        The measurement y; a picture is (H, W) or (H, W, C) with values in [0, 1].
    operator : callable, optional
        A, from the picture as a tensor (1, C, H, W) to the measurement with channels first: `Mask`, `Downsample`,
        `Linear`, or any differentiable callable.  None for noise alone.
    network : "small", "reference" or Module
        `Hourglass` with 3 scales of 24 channels, or with the paper's 5 scales of 128 channels and 4 skip channels; or
        a network of your own, (1, inputs, H, W) -> (1, C, H, W), of which a copy is used.
    steps : int
        Of Adam; with ``stop``, at most so many.
    stop : WindowedVariance, optional
        When to stop without a reference; None to take all steps.
    average : float in [0, 1)
        Of each average, the share that the next one keeps.
    input_noise : float
        Standard deviation of the normal noise added to z, drawn anew at every step.
    lr : float
        Adam's step size.
    shape : tuple, optional
        The picture's, where it is neither the measurement's, nor the reference's, nor known to the operator.
    precision : "float32" or "bfloat16"
        Of the network's layers; its weights stay in float32.
    random_state, device, verbose
        As in `KMeans`.
    reference : array, optional
        The clean picture.  It is measured against, never used.
    callback : callable, optional
        Called with the `Restoration` after each step; a true answer stops the climb.

    Returns
    -------
    Restoration
        At the last step; with ``stop``, at the step of least variance.  After Ctrl-C likewise, as far as it came.

    Raises
    ------
    ValueError
        Before any work, when picture, operator, reference or an option cannot be used.
    FloatingPointError
        When the objective leaves the finite numbers; the message names the step.

    Notes
    -----
    Ulyanov, Vedaldi and Lempitsky (2018), who denoise with ``network="reference", average=0.99``.
    Ledger I1-I3.

    Examples
    --------
    >>> noisy = np.random.default_rng(0).random((24, 24))
    >>> deep_image_prior(noisy, steps=2, random_state=0).averaged.shape
    (24, 24)
    """
    check_options(steps, stop, average, input_noise, lr, precision)
    y, picture = measured(image, operator, shape, reference)
    height, width, channels = (*picture, 1)[:3]
    seed = draw_seed(random_state)
    network = built(network, channels, (height, width), seed)
    device = pick_device(device, image if torch.is_tensor(image) else None)
    if isinstance(operator, nn.Module):
        operator = copy.deepcopy(operator).to(device)
    operator = operator or nn.Identity()
    y = y.to(device)
    check_operator(operator, y, (1, channels, height, width))

    # Convolutions are faster with the channels of a pixel side by side in memory.
    network.to(device, memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(1, getattr(network, "inputs", 32), height, width, generator=generator, dtype=torch.float32) / 10
    z = z.to(device, memory_format=torch.channels_last)
    jitter = torch.Generator(device).manual_seed(seed)
    result = Restoration(network, z, partial(_like, image, len(picture)))
    climb = _Climb(result, copy.deepcopy(stop), average, reference, callback)

    def score():
        x = _render(
            network, z + input_noise * torch.randn(z.shape, generator=jitter, device=device, dtype=z.dtype), precision
        )
        if x.shape != (1, channels, height, width):
            raise ValueError(
                f"the network answers {tuple(x.shape)}, the picture is {(1, channels, height, width)}: pass a "
                f"network with {channels} output channel{'s' * (channels > 1)} that keeps height and width"
            )
        climb.output = x.detach()
        return gaussian(y, operator(x)).sum()

    adam = partial(torch.optim.Adam, fused=device.type in ("cpu", "cuda"))
    small = sum(part.numel() for part in network.parameters()) * height * width <= SMALL
    with shared(1) if small else nullcontext(), progress(total=steps, verbose=verbose) as climb.bar:
        try:
            ascend(score, network.parameters(), steps, lr, adam, climb.on_step)
        except KeyboardInterrupt:
            if result.step < 0:
                raise  # before there was anything to keep
            result.stopped = "interrupted"
    return climb.finish()


class _Climb:
    """The bookkeeping of one run: averages, histories, and which step to keep."""

    def __init__(self, result, stop, average, reference, callback):
        self.result, self.stop, self.average, self.callback = result, stop, average, callback
        self.reference = None if reference is None else as_numpy(reference).astype(np.float64)
        self.kept = None
        result.history["objective"] = []
        if reference is not None:
            result.history |= {"psnr": [], "psnr_averaged": [], "ssim": []}
        if stop is not None:
            stop.restart()
            result.history["variance"] = stop.history

    def on_step(self, step, value):
        result = self.result
        before = result._pair[1] if result._pair else self.output
        result.step, result._pair = step, (self.output, before.lerp(self.output, 1 - self.average))
        result.history["objective"].append(value)
        if self.reference is not None:
            self._compare(result)
        self.bar.update()
        if self.stop is not None:
            better, done = self.stop(self.output)
            if better:
                self.kept = step, result._pair
            if done:
                result.stopped = "variance"
        if self.callback is not None and self.callback(result):
            result.stopped = result.stopped or "callback"
        return bool(result.stopped)

    def _compare(self, result):
        from skimage.metrics import structural_similarity

        image, averaged = (as_numpy(part).astype(np.float64) for part in (result.image, result.averaged))
        result.history["psnr"].append(float(psnr(image, self.reference)))
        result.history["psnr_averaged"].append(float(psnr(averaged, self.reference)))
        window = min(7, *self.reference.shape[:2])
        ssim = structural_similarity(
            averaged,
            self.reference,
            win_size=window - (window + 1) % 2,
            data_range=1.0,
            channel_axis=2 if averaged.ndim == 3 else None,
        )
        result.history["ssim"].append(float(ssim))

    def finish(self):
        self.result.stopped = self.result.stopped or "steps"
        if self.kept is not None:
            self.result.step, self.result._pair = self.kept
        return self.result


def _render(network, z, precision):
    """f_theta(z), in float32 whatever the layers compute in."""
    if precision == "float32":
        return network(z)
    weights = {name: weight.bfloat16() for name, weight in network.named_parameters()}
    return torch.func.functional_call(network, weights, (z.bfloat16(),)).float()


def _like(image, axes, x):
    """(1, C, H, W) as a picture of the caller's kind."""
    x = x[0].movedim(0, -1) if axes == 3 else x[0, 0]
    return x.to(image.device) if torch.is_tensor(image) else x.cpu().numpy()
