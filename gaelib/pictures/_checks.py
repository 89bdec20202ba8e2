"""What `deep_image_prior` refuses before any work, and what it then works on."""

import copy
import math

import numpy as np
import torch
from torch import nn

from ..hyper import need_integer
from ..joints.network import seeded
from ..rows import as_numpy
from .hourglass import NETWORKS, Hourglass
from .operators import Downsample, Mask, channels_first
from .stopping import WindowedVariance


def check_options(steps, stop, average, input_noise, lr, precision):
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


def check_values(name, values, pixels):
    bad = ~np.isfinite(values)
    if bad.any():
        where = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"the {name} holds {bad.sum()} non-finite of {values.size} values, the first at {where}: fill them, or "
            "pass Mask(known) as the operator"
        )
    if pixels and values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"the {name}'s values go from {values.min():g} to {values.max():g}, not within [0, 1]: divide "
            "(by 255 if they are bytes), or clip"
        )


def measured(image, operator, shape, reference):
    """The measurement as a tensor, channels first, and the picture's shape."""
    values = as_numpy(image).astype(np.float32)
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
    check_values("image", values, operator is None or isinstance(operator, (Mask, Downsample)))
    if reference is not None:
        check_values("reference", as_numpy(reference), True)
    return channels_first(torch.from_numpy(values), len(shape) == 3), shape


def built(network, channels, size, seed):
    """The network with its first weights, drawn from the seed alone."""
    if isinstance(network, nn.Module):
        return copy.deepcopy(network).requires_grad_()
    if network not in NETWORKS:
        raise ValueError(f"network={network!r} is unknown: pass one of {sorted(NETWORKS)}, or a Module")
    with seeded(seed):
        network = Hourglass(channels, **NETWORKS[network])
    if min(size) <= 2**network.scales:
        raise ValueError(
            f"the picture is {size}, and {network.scales} halvings need more than {2**network.scales} pixels a side: "
            "pass a larger picture, or an Hourglass with fewer scales"
        )
    return network


def check_operator(operator, y, shape):
    """Refuse an operator whose answer is not the measurement's, or that blocks the gradient."""
    with torch.enable_grad():
        answer = operator(torch.full(shape, 0.5, device=y.device, dtype=y.dtype).requires_grad_())
    if answer.shape != y.shape:
        raise ValueError(
            f"the operator makes {tuple(answer.shape)} of a picture {shape}, the image is {tuple(y.shape)} with "
            "channels first: pass the image that the operator makes, or shape="
        )
    if not answer.requires_grad:
        raise ValueError(
            f"0 of {answer.numel()} values of the operator's answer carry a gradient: write it with torch's functions"
        )
