"""Terms: what a picture is asked to raise.  A number for each, from the picture and from what a network says of it.

Targets listen to layers of the network; priors look at the picture alone.  All are a `Term`: they add, subtract, scale.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..core import Exact, Joint, objective

OUTPUT = ""  # the name that torch gives to the whole network


class Term:
    """A number for each picture, ``of(x, said) -> (n,)``, from the picture and from what the named layers said of it.

    Examples
    --------
    >>> bright = Term(lambda x, said: x.flatten(1).sum(1))
    >>> (2 * bright - bright).of(torch.ones(1, 3), {})
    tensor([3.])
    """

    def __init__(self, of: Callable[..., Tensor], layers: Iterable[str] = ()):
        self.of, self.layers = of, frozenset(layers)

    def __add__(self, other):
        return Term(lambda x, said: self.of(x, said) + other.of(x, said), self.layers | other.layers)

    def __mul__(self, weight):
        return Term(lambda x, said: weight * self.of(x, said), self.layers)

    def __neg__(self):
        return -1 * self

    def __sub__(self, other):
        return self + -other

    __rmul__ = __mul__


# --- Targets ----------------------------------------------------------------------------------------------


def logit(unit: int, layer: str = OUTPUT) -> Term:
    """The raw output of a unit, before any softmax: an energy, not a log probability (ledger J1).

    Parameters
    ----------
    unit : int or (n,) of int
        One for all pictures, or one for each.
    layer : str
        A name of ``model.named_modules()``; the network's own output by default.
    """
    return _heard(layer, lambda out: _pick(out.flatten(2).mean(2) if out.ndim > 2 else out, unit, layer))


def log_probability(unit: int, layer: str = OUTPUT) -> Term:
    """log softmax of a unit among its layer's, nats (ledger J1).  Parameters as in `logit`."""
    return _heard(layer, lambda out: _pick(out.log_softmax(1), unit, layer))


def channel(unit: int, layer: str) -> Term:
    """The mean of a channel over its places.  Parameters as in `logit`."""
    return logit(unit, layer)


def neuron(unit: int, layer: str, place: tuple[int, int] | None = None) -> Term:
    """One unit of a channel at one place, ``(row, column)``; by default in the middle.  The rest as in `logit`."""

    def of(out):
        at = place or tuple(size // 2 for size in out.shape[2:])
        if len(at) != out.ndim - 2 or any(not 0 <= i < size for i, size in zip(at, out.shape[2:])):
            raise ValueError(f"place={at} is not in the {tuple(out.shape[2:])} places of layer {layer!r}: pass one")
        return _pick(out[(slice(None), slice(None), *at)], unit, layer)

    return _heard(layer, of)


def direction(vector: Any, layer: str) -> Term:
    """The mean over places of the product with a direction in the layer's channels, (C,), brought to length 1."""
    vector = torch.as_tensor(vector, dtype=torch.float64).flatten()
    if not vector.norm() > 0:
        raise ValueError(
            f"direction has {len(vector)} entries and length {vector.norm():g}: "
            "pass a finite vector that points somewhere"
        )

    def of(out):
        if len(vector) != out.shape[1]:
            raise ValueError(
                f"direction has {len(vector)} entries, layer {layer!r} {out.shape[1]} channels: pass {out.shape[1]}"
            )
        mean = out.flatten(2).mean(2) if out.ndim > 2 else out
        return mean @ (vector / vector.norm()).to(mean)

    return _heard(layer, of)


def _heard(layer, of):
    """A term on what one layer said."""

    def tensor(x, said):
        out = said[layer]
        if not torch.is_tensor(out) or out.ndim < 2:
            what = f"a {type(out).__name__}" + (f" of {len(out)}" if isinstance(out, (tuple, list, dict)) else "")
            raise TypeError(
                f"layer {layer!r} returns {what}, and a target needs 1 tensor (n, units, ...): "
                "name an inner layer, or wrap the model"
            )
        return of(out)

    return Term(tensor, [layer])


def _pick(out, unit, layer):
    """Entry ``unit`` of every row, or one entry a row: (n, units) -> (n,)."""
    unit, (n, units) = torch.as_tensor(unit, device=out.device), out.shape
    if unit.is_floating_point() or unit.min() < 0 or unit.max() >= units:
        raise ValueError(
            f"unit {unit.max().item()} is not among the {units} of layer {layer!r}: "
            f"pass an integer from 0 to {units - 1}"
        )
    if unit.ndim and len(unit) != n:
        raise ValueError(f"got {len(unit)} units for {n} pictures: pass one unit, or one for each picture")
    return out.gather(1, unit.expand(n)[:, None])[:, 0]


# --- Priors -----------------------------------------------------------------------------------------------


def l2(weight: float = 1.0) -> Term:
    """``-weight * ||x||^2``: a round Gaussian around 0.

    Examples
    --------
    >>> l2(0.5).of(torch.ones(1, 4), {})
    tensor([-2.])
    """
    return Term(lambda x, said: -weight * x.flatten(1).square().sum(1))


def total_variation(weight: float = 1.0) -> Term:
    """``-weight`` times the sum of absolute differences between neighbours along the last two axes."""
    return Term(lambda x, said: -weight * sum(x.diff(dim=axis).abs().flatten(1).sum(1) for axis in (-2, -1)))


def density(model: Any, infer: Any = None) -> Term:
    """log q(x) by a model of this library: the score of the flattened picture, nats.

    Parameters
    ----------
    model : fitted estimator, or Joint
        `PPCA` gives the log evidence, `LGAE` or `KMeans` the max over the code; so does any with ``score_samples``.
    infer : callable, optional
        Who answers the max: the estimator's own, or `Exact` for a bare joint.

    Notes
    -----
    The codes are detached.  The slope in x is right all the same: at the best code, or posterior, nothing is gained by
    moving it (the envelope theorem, ledger B10).
    """
    joint, infer = getattr(model, "joint_", model), infer or getattr(model, "infer", Exact())
    if not isinstance(joint, Joint):
        raise TypeError(
            f"prior {type(model).__name__} has no joint: "
            "pass a fitted estimator, a Joint, or a sum of Terms such as l2(0.1)"
        )
    joint, wanted = copy.deepcopy(joint), getattr(model, "n_features_in_", None)  # the copy may change device

    def of(x, said):
        flat = x.flatten(1)
        if wanted not in (None, flat.shape[1]):
            raise ValueError(
                f"the prior was fitted on {wanted} columns, the picture has {flat.shape[1]} entries: "
                "fit it on such pictures"
            )
        like = next((part for part in (*joint.buffers(), *joint.parameters()) if part.is_floating_point()), x)
        try:
            value = objective(joint.to(x.device), flat.to(like.dtype), infer)
        except RuntimeError as error:
            raise ValueError(
                f"the prior does not take pictures of {flat.shape[1]} entries ({str(error).splitlines()[0]}): "
                "fit it on such pictures"
            ) from None
        return value.to(x.dtype)

    return Term(of)
