"""Deep image prior: the code is a network's weights, and a climb cut short is the prior (ledger I1-I3).

    log q_w(theta) = 0 (flat)    log q_r(y|theta) = -||A f_theta(z) - y||^2 - (D/2) log pi

f is a network that looks at its neighbourhood only, z a fixed random input, A whatever happened to the picture on
its way to y: noise alone, lost pixels, fewer pixels, linear measurements.  One picture, one code: a function, not an
estimator.  The maximum itself reproduces y, noise and all; a picture comes from stopping before (``stop``) and from
averaging along the way (``average``).
"""

import copy
import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from ..core import ascend
from ..estimator import draw_seed, need_integer, pick_device
from ..noise import gaussian

__all__ = ["Downsample", "Hourglass", "Linear", "Mask", "Restoration", "WindowedVariance", "deep_image_prior", "psnr"]


# --- What happened to the picture: tensors (1, C, H, W) -> the measurement, channels first --------------------


class Mask(nn.Module):
    """Lost pixels: the known ones stay, the others become 0.

    Parameters
    ----------
    known : array (H, W) or (H, W, C), bool
        True where the picture is known.  What the measurement holds elsewhere is ignored, NaN included.

    Examples
    --------
    >>> Mask([[True, False]])(torch.ones(1, 1, 1, 2))
    tensor([[[[1., 0.]]]])
    """

    def __init__(self, known):
        super().__init__()
        known = torch.as_tensor(np.asarray(known).astype(bool))
        if not known.any():
            raise ValueError(f"the mask knows 0 of {known.numel()} pixels: mark at least one as known")
        self.register_buffer("known", _channels_first(known, known.ndim == 3))

    def picture(self, measured):
        """The picture's shape, from the measurement's."""
        if measured[:2] != self.known.shape[2:] or self.known.shape[1] not in (1, *measured[2:]):
            known = tuple(self.known.shape[2:]) + tuple(self.known.shape[1:2]) * (self.known.shape[1] > 1)
            raise ValueError(f"the mask is {known}, the image {tuple(measured)}: pass one entry for each pixel")
        return measured

    def like(self, values):
        """The mask, one entry for each of the values (H, W) or (H, W, C)."""
        known = self.known[0].movedim(0, -1).cpu().numpy()
        return np.broadcast_to(known if values.ndim == 3 else known[..., 0], values.shape)

    def forward(self, x):
        return x * self.known


class Downsample(nn.Module):
    """Fewer pixels, without aliasing: a Lanczos window of two lobes, then every ``factor``-th pixel of each axis.

    Examples
    --------
    >>> Downsample(4)(torch.ones(1, 3, 32, 64)).shape
    torch.Size([1, 3, 8, 16])
    """

    def __init__(self, factor):
        super().__init__()
        need_integer("factor", factor, at_least=2)
        self.factor = int(factor)
        taps = 4 * factor - factor % 2  # centred on a pixel if odd, between two if even
        at = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / factor
        window = torch.sinc(at) * torch.sinc(at / 2)
        self.register_buffer("window", (window / window.sum()).float())

    def picture(self, measured):
        """The picture's shape, from the measurement's."""
        return tuple(self.factor * side for side in measured[:2]) + tuple(measured[2:])

    def forward(self, x):
        height, width = x.shape[2:]
        rest = (len(self.window) - self.factor) // 2
        x = F.pad(x.flatten(0, 1)[:, None], (rest,) * 4, "replicate")
        x = F.conv2d(x, self.window.view(1, 1, 1, -1), stride=(1, self.factor))
        x = F.conv2d(x, self.window.view(1, 1, -1, 1), stride=(self.factor, 1))
        return x.view(1, -1, height // self.factor, width // self.factor)


class Linear(nn.Module):
    """Linear measurements of each channel: compressed sensing when there are fewer of them than pixels.

    Parameters
    ----------
    matrix : array (M, H * W)
        One measurement a row; pixels in row-major order.
    shape : tuple
        The picture's, (H, W) or (H, W, C).  The measurement is then (M,) or (M, C).

    Examples
    --------
    >>> Linear(np.ones((1, 6)), (2, 3))(torch.ones(1, 1, 2, 3))
    tensor([[[6.]]])
    """

    def __init__(self, matrix, shape):
        super().__init__()
        matrix = torch.as_tensor(np.asarray(matrix), dtype=torch.float32)
        if matrix.ndim != 2 or matrix.shape[1] != math.prod(shape[:2]):
            raise ValueError(
                f"the matrix is {tuple(matrix.shape)}, a picture {tuple(shape)} has {math.prod(shape[:2])} pixels: "
                "pass one column for each pixel"
            )
        self.register_buffer("matrix", matrix)
        self.shape = tuple(shape)

    def picture(self, measured):
        """The picture's shape, whatever the measurement's."""
        return self.shape

    def forward(self, x):
        return x.flatten(2) @ self.matrix.T


# --- The network ---------------------------------------------------------------------------------------------


def _block(into, out, size, stride=1):
    """Convolution with reflected borders, normalisation over the picture, and a leaky ramp.

    The convolution has no bias of its own: the normalisation would subtract it.
    """
    pad = [nn.ReflectionPad2d(size // 2)] if size > 1 else []
    convolution = nn.Conv2d(into, out, size, stride, bias=False)
    return nn.Sequential(*pad, convolution, nn.BatchNorm2d(out, track_running_stats=False), nn.LeakyReLU(0.2, inplace=True))


class _Scale(nn.Module):
    """One scale of the hourglass: a narrow way across, and a wide way down through ``below`` coarser scales."""

    def __init__(self, into, channels, skips, below):
        super().__init__()
        self.across = _block(into, skips, 1)
        self.down = nn.Sequential(_block(into, channels, 3, 2), _block(channels, channels, 3))
        self.below = _Scale(channels, channels, skips, below - 1) if below else nn.Identity()
        both = skips + channels
        self.up = nn.Sequential(nn.BatchNorm2d(both, track_running_stats=False), _block(both, channels, 3), _block(channels, channels, 1))

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

    def __init__(self, outputs, inputs=32, channels=128, skips=4, scales=5):
        super().__init__()
        self.inputs, self.scales = inputs, scales
        self.body = _Scale(inputs, channels, skips, scales - 1)
        self.head = nn.Conv2d(channels, outputs, 1)

    def forward(self, z):
        return torch.sigmoid(self.head(self.body(z)))


NETWORKS = {"small": {"inputs": 16, "channels": 24, "scales": 3}, "reference": {}}


# --- When to stop --------------------------------------------------------------------------------------------


class WindowedVariance:
    """Stop without a reference: where the last outputs agree best.

    While the picture emerges its outputs still move; when the noise is being fitted they move again.  Between the two
    the variance over the last ``window`` outputs has its minimum (Wang et al., 2021).  The picture kept is the one
    at the minimum, and the climb stops ``patience`` steps after it.

    Parameters
    ----------
    window, patience : int
        In steps.  The defaults suit the small network without input noise; the authors took 100 and 1000 for the
        large one.

    Examples
    --------
    >>> rule = WindowedVariance(window=2, patience=3)
    >>> [rule(torch.tensor([x])) for x in (0.0, 2.0, 2.5, 2.5, 4.0, 7.0)][-1]
    (False, False)
    """

    PIXELS = 2**16  # at most so many values of each output are kept

    def __init__(self, window=30, patience=80):
        need_integer("window", window, at_least=2)
        need_integer("patience", patience)
        self.window, self.patience = window, patience
        self.restart()

    def restart(self):
        """Forget what was seen."""
        self.kept, self.sum, self.squares, self.best, self.since = [], 0, 0, math.inf, 0
        self.history = []  # the variance, NaN until the window is full

    def __call__(self, output):
        """Take the next output; return (is it the best so far, is it time to stop)."""
        values = output.flatten()
        values = values[:: -(-len(values) // self.PIXELS)].double()
        self.kept.append(values)
        self.sum, self.squares = self.sum + values, self.squares + values.square()
        if len(self.kept) > self.window:
            old = self.kept.pop(0)
            self.sum, self.squares = self.sum - old, self.squares - old.square()
        full = len(self.kept) == self.window
        mean = self.sum / self.window
        self.history.append(float((self.squares / self.window - mean.square()).mean()) if full else math.nan)
        better = full and self.history[-1] < self.best
        if better:
            self.best, self.since = self.history[-1], 0
        else:
            self.since += full
        return better, self.since >= self.patience


# --- The climb -----------------------------------------------------------------------------------------------


def psnr(picture, reference):
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
    def image(self):
        return self.convert(self._pair[0])

    @property
    def averaged(self):
        return self.convert(self._pair[1])


def deep_image_prior(
    image,
    operator=None,
    *,
    network="small",
    steps=350,
    stop=None,
    average=0.9,
    input_noise=1 / 30,
    lr=0.01,
    shape=None,
    precision="float32",
    random_state=None,
    device="auto",
    reference=None,
    callback=None,
    verbose=0,
):
    """Restore one picture with an untrained network: climb in its weights, and stop early.

    Parameters
    ----------
    image : array or tensor
        The measurement y; a picture is (H, W) or (H, W, C) with values in [0, 1].
    operator : callable, optional
        A, from the picture as a tensor (1, C, H, W) to the measurement with channels first: `Mask`, `Downsample`,
        `Linear`, or any differentiable callable.  None for noise alone.
    network : "small", "reference" or Module
        `Hourglass` with 3 scales of 24 channels, or with the paper's 5 scales of 128 channels and 4 skip channels; or a network of your own, (1, inputs, H, W) -> (1, C, H, W), of which a copy is used.
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
    _check_options(steps, stop, average, input_noise, lr, precision)
    y, picture = _measured(image, operator, shape, reference)
    height, width, channels = (*picture, 1)[:3]
    seed = draw_seed(random_state)
    network = _built(network, channels, (height, width), seed)
    device = pick_device(device, image if torch.is_tensor(image) else None)
    if isinstance(operator, nn.Module):
        operator = copy.deepcopy(operator).to(device)
    operator = operator or nn.Identity()
    y = y.to(device)
    _check_operator(operator, y, (1, channels, height, width))

    # Convolutions are faster with the channels of a pixel side by side in memory.
    network.to(device, memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(1, getattr(network, "inputs", 32), height, width, generator=generator) / 10
    z = z.to(device, memory_format=torch.channels_last)
    jitter = torch.Generator(device).manual_seed(seed)
    result = Restoration(network, z, partial(_like, image, len(picture)))
    climb = _Climb(result, copy.deepcopy(stop), average, reference, callback)

    def score():
        x = _render(network, z + input_noise * torch.randn(z.shape, generator=jitter, device=device), precision)
        if x.shape != (1, channels, height, width):
            raise ValueError(
                f"the network answers {tuple(x.shape)}, the picture is {(1, channels, height, width)}: pass a "
                f"network with {channels} output channel{'s' * (channels > 1)} that keeps height and width"
            )
        climb.output = x.detach()
        return gaussian(y, operator(x)).sum()

    adam = partial(torch.optim.Adam, fused=device.type in ("cpu", "cuda"))
    with tqdm(total=steps, disable=None if verbose else True) as climb.bar:
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
        self.reference = None if reference is None else _array(reference).astype(np.float64)
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

        image, averaged = (_array(part).astype(np.float64) for part in (result.image, result.averaged))
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


def _array(values):
    return values.detach().cpu().numpy() if torch.is_tensor(values) else np.asarray(values)


def _channels_first(array, colour):
    """(*S) or, in colour, (*S, C) to (1, C, *S)."""
    return array.movedim(-1, 0)[None] if colour else array[None, None]


def _like(image, axes, x):
    """(1, C, H, W) as a picture of the caller's kind."""
    x = x[0].movedim(0, -1) if axes == 3 else x[0, 0]
    return x.to(image.device) if torch.is_tensor(image) else x.cpu().numpy()


# --- What is refused before any work -------------------------------------------------------------------------


def _check_options(steps, stop, average, input_noise, lr, precision):
    need_integer("steps", steps)
    if stop is not None and not isinstance(stop, WindowedVariance):
        raise ValueError(f"stop={stop!r} is no rule: pass None, or WindowedVariance(window=30, patience=80)")
    if not 0 <= average < 1:
        raise ValueError(f"average={average} is not in [0, 1): pass 0 for none, or for example 0.9")
    if not 0 <= input_noise < math.inf:
        raise ValueError(f"input_noise={input_noise} is not at least 0 and finite: pass 0 for none, or 1/30")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr={lr} is not above 0 and finite: pass for example 0.01")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision={precision!r} is unknown: pass 'float32' or 'bfloat16'")


def _check_values(name, values, pixels):
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"the {name} holds {bad.sum()} non-finite of {values.size} values, the first at {where}: fill them, or pass "
            "Mask(known) as the operator"
        )
    if pixels and values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"the {name}'s values go from {values.min():g} to {values.max():g}, not within [0, 1]: divide "
            "(by 255 if they are bytes), or clip"
        )


def _measured(image, operator, shape, reference):
    """The measurement as a tensor, channels first, and the picture's shape."""
    values = _array(image).astype(np.float32)
    known = getattr(reference, "shape", None)
    if hasattr(operator, "picture"):
        shape = operator.picture(values.shape)
    else:
        shape = shape or (known if operator is not None else None) or values.shape
    shape = tuple(shape)
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 2, 3, 4))) or 0 in shape:
        raise ValueError(
            f"a picture is (H, W), or (H, W, C) with 1 to 4 channels, got {len(shape)} axes {shape}: put the channels "
            "last, or pass shape=(H, W) beside an operator"
        )
    if known is not None and tuple(known) != shape:
        raise ValueError(f"the reference is {tuple(known)}, the picture {shape}: pass one of the picture's shape")
    if isinstance(operator, Mask):
        values[~operator.like(values)] = 0
    _check_values("image", values, operator is None or isinstance(operator, (Mask, Downsample)))
    if reference is not None:
        _check_values("reference", _array(reference), True)
    return _channels_first(torch.from_numpy(values), len(shape) == 3), shape


def _built(network, channels, size, seed):
    """The network with its first weights, drawn from the seed alone."""
    if isinstance(network, nn.Module):
        return copy.deepcopy(network).requires_grad_()
    if network not in NETWORKS:
        raise ValueError(f"network={network!r} is unknown: pass one of {sorted(NETWORKS)}, or a Module")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Hourglass(channels, **NETWORKS[network])
    if min(size) <= 2**network.scales:
        raise ValueError(
            f"the picture is {size}, and {network.scales} halvings need more than {2**network.scales} pixels a side: pass a "
            "larger picture, or an Hourglass with fewer scales"
        )
    return network


def _check_operator(operator, y, shape):
    """Refuse an operator whose answer is not the measurement's, or that blocks the gradient."""
    with torch.enable_grad():
        answer = operator(torch.full(shape, 0.5, device=y.device).requires_grad_())
    if answer.shape != y.shape:
        raise ValueError(
            f"the operator makes {tuple(answer.shape)} of a picture {shape}, the image is {tuple(y.shape)} with "
            "channels first: pass the image that the operator makes, or shape="
        )
    if not answer.requires_grad:
        raise ValueError(
            f"0 of {answer.numel()} values of the operator's answer carry a gradient: write it with torch's functions"
        )
