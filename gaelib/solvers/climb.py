"""Gradient ascent on codes: how a max is answered where no closed form exists (ledger B5-B7, B10)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Code = Tensor | tuple[Tensor, ...]


def climb(
    f: Callable[[Any], Tensor],
    z0: Code,
    steps: int,
    lr: float,
    unroll: bool = False,
    project: Callable[[Any], Any] | None = None,
    optimiser: type[torch.optim.Optimizer] | None = None,
) -> Code:
    """Climb f from z0 by gradient steps ``z <- project(z + lr * df/dz)``.

    Parameters
    ----------
    f : callable, z -> (n,)
        Summed, never averaged: a sample's climb must not depend on how many others stand beside it.
    z0 : tensor or tuple of tensors, leading n
    unroll : bool
        Keep the graph, so that a loss of z_t differentiates through all steps (B10); else z_t is detached.
    project : callable, optional
        Takes z back to where it may be, after each step.
    optimiser : class of torch.optim, optional
        One that treats entries apart, such as Adam, in place of plain steps; not together with ``unroll``.

    Raises
    ------
    FloatingPointError
        When the codes leave the finite numbers.

    Examples
    --------
    >>> import torch
    >>> climb(lambda z: -(z - 3).square().sum(1), torch.zeros(2, 1), steps=1, lr=0.5)
    tensor([[3.],
            [3.]])
    """
    if steps < 0 or not lr > 0 or (unroll and optimiser):
        what = f"steps={steps}, lr={lr}, unroll={unroll}, optimiser={optimiser}"
        raise ValueError(f"climb needs steps >= 0, lr > 0 and no optimiser to unroll, got {what}: pass such numbers")
    single = torch.is_tensor(z0)
    parts, form = (lambda z: (z,) if single else tuple(z)), (lambda z: z[0] if single else z)
    z = parts(z0) if unroll else tuple(part.detach() for part in parts(z0))
    moved = [part.clone() for part in z] if optimiser else []
    mover = optimiser(moved, lr=lr, maximize=True) if optimiser else None
    for _ in range(steps):
        with torch.inference_mode(False), torch.enable_grad():
            z = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in z)
            slopes = torch.autograd.grad(f(form(z)).sum(), z, create_graph=unroll)
            if mover:
                for part, old, slope in zip(moved, z, slopes):
                    part.data, part.grad = old.detach().clone(), slope
                mover.step()
            z = tuple(moved) if mover else tuple(part + lr * slope for part, slope in zip(z, slopes))
            z = parts(project(form(z))) if project else z
        z = z if unroll else tuple(part.detach() for part in z)
    if not all(part.isfinite().all() for part in z):
        raise FloatingPointError(f"climb left the finite numbers within {steps} steps of lr={lr}: lower lr")
    return form(z)
