"""Maximal activation: the network stays and the picture climbs (ledger J1-J3).

    log q(x|z) = log q(z|x) + log q(x) - log q(z)

The first term is the target, what a network says of x; the second is the prior, what is known of pictures.  Climbing
finds one maximum; with noise of temperature 1 the same steps are Langevin's, and draw from the density whose log is
climbed.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..aside import aside
from ..core import climb
from ..hyper import Seed, draw_seed, need_integer
from ..progress import progress
from ..rows import pick_device
from .targets import Term, density


@dataclass
class Activation:
    """What `activate` found.

    Attributes
    ----------
    images : tensor (n, *shape)
        The last pictures.
    target, prior : tensor (n,)
        The two terms there, without transforms.
    history : tensor (steps, n)
        The target before each step, as the network saw it.
    """

    images: torch.Tensor
    target: torch.Tensor
    prior: torch.Tensor
    history: torch.Tensor


@aside(grad=True)
def activate(
    model: nn.Module,
    target: Term,
    *,
    parametrisation: Any,
    prior: Term | None = None,
    transforms: Iterable[Callable[..., Tensor]] = (),
    steps: int = 256,
    lr: float = 0.05,
    noise: float = 0.0,
    n: int = 1,
    random_state: Seed = None,
    device: str | torch.device = "auto",
    callback: Callable[..., Any] | None = None,
    verbose: int = 0,
) -> Activation:
    """Climb ``target + prior`` in the picture, by ``x <- x + lr * slope + sqrt(2 * lr * noise) * randn``.

    Parameters
    ----------
    model : nn.Module
        Listened to in eval mode.  Its mode, its gradients and its hooks are left as they were; its device too.
    target : Term
        `logit`, `log_probability`, `channel`, `neuron`, `direction`, and sums of them.
    parametrisation : Pixels or Fourier
        Of the picture; its shape, start and bounds.
    prior : Term, fitted estimator or Joint, optional
        `l2`, `total_variation`, `density`, and sums of them.  It sees the picture before the transforms.
    transforms : sequence of callables (x, generator) -> x
        `jitter`, `rotate`, `scale`, `pad`: applied in order, drawn anew each step.
    steps, lr : int, float
        Plain gradient steps.
    noise : float, or callable from [0, 1) to float
        The temperature: 0 climbs; 1 is Langevin's chain, which draws from ``exp(target + prior)`` as lr tends to 0.  A
        callable is given the part of the steps that is done.
    n : int
        Pictures, side by side.
    random_state, device, verbose
        As in `KMeans`; "auto" is the model's own device, or that of the start if the model has no parameters.
    callback : callable, optional
        Called as ``callback(step, images)`` after each step.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError, TypeError
        For an unknown layer, a unit out of range, a prior of another width: before any step.
    FloatingPointError
        At the first non-finite picture, naming the step.

    Notes
    -----
    Ledger J1-J3.  Erhan, Bengio, Courville and Vincent (2009); for the chain, Roberts and Tweedie (1996).

    Examples
    --------
    The unit answers to ones, the prior holds them back: the maximum of 4 x - x^2 is at 2.

    >>> from gaelib.pictures import Pixels
    >>> from gaelib.pictures.targets import l2, logit
    >>> unit = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(unit.weight, 4.0)
    >>> found = activate(unit, logit(0), parametrisation=Pixels((1,)), prior=l2(), steps=99, lr=0.2, random_state=0)
    >>> found.images.round(decimals=3)
    tensor([[2.]])
    """
    need_integer("steps", steps), need_integer("n", n)
    if not 0 < lr < math.inf:
        raise ValueError(f"lr={lr} is no step size: pass a finite number above 0")
    heat = noise if callable(noise) else lambda done: noise
    if not heat(0.0) >= 0:
        raise ValueError(f"noise={heat(0.0)} is no temperature: pass 0 to climb, 1 to sample, or a function of [0, 1)")
    prior = Term(lambda x, said: x.new_zeros(len(x))) if prior is None else prior
    prior = prior if isinstance(prior, Term) else density(prior)
    like = next(iter(model.parameters()), None)
    own = parametrisation.first.device if like is None else like.device
    device = own if device == "auto" else pick_device(device)
    if like is not None and (device.type != own.type or device.index not in (None, own.index)):
        raise ValueError(f"the model is on {own}, not on {device}: move it, or pass device='auto'")
    seed = draw_seed(random_state)
    generator = torch.Generator().manual_seed(seed)  # of the transforms: its draws do not depend on n
    shaker = torch.Generator(device).manual_seed(seed + 1)
    params = parametrisation.start(n, torch.Generator().manual_seed(seed + 2)).to(
        device, like.dtype if like is not None else None
    )
    params, history = parametrisation.confine(params), []

    with (
        listening(model, target.layers | prior.layers) as hear,
        progress(total=steps, verbose=verbose) as bar,
    ):

        def score(params):
            x = parametrisation.image(params)
            said = hear(x, transforms, generator)
            value = target.of(x, said)
            history.append(value.detach())
            return value + prior.of(x, said)

        def settle(params):
            step, params = len(history), params.detach()
            if T := heat((step - 1) / steps):
                kick = torch.randn(params.shape, generator=shaker, device=device, dtype=params.dtype)
                params = params + math.sqrt(2 * lr * T) * kick
            params = parametrisation.confine(params)
            if not params.isfinite().all():
                raise FloatingPointError(f"the pictures left the finite numbers at step {step} of lr={lr}: lower lr")
            if callback is not None:
                callback(step, parametrisation.image(params))
            bar.update()
            return params

        params = climb(score, params, steps, lr, project=settle)
        with torch.no_grad():
            x = parametrisation.image(params)
            said = hear(x, (), generator)
            return Activation(x, target.of(x, said), prior.of(x, said), torch.stack(history))


@contextmanager
def listening(model: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """``hear(x, transforms, generator) -> {layer: output}`` while it lasts; then hooks go and modes come back."""
    modules = dict(model.named_modules())
    if unknown := sorted(set(layers) - set(modules)):
        names = ", ".join(name for name in modules if name)
        raise ValueError(f"no layer {unknown[0]!r} among the {len(modules)} of the model: pass one of {names}")
    said, modes = {}, {module: module.training for module in modules.values()}

    def keep(name):
        def hook(module, inputs, output):  # a copy: the next layer may write in place
            said[name] = output.clone() if torch.is_tensor(output) else output

        return hook

    def hear(x, transforms, generator):
        for transform in transforms:
            x = transform(x, generator)
        said.clear()
        model(x)
        return dict(said)

    hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        model.eval()
        yield hear
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
