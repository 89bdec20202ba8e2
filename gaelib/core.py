"""One equation, and the four questions that turn it into a model.

    F_T(x) = max_q { E_q[ log q_w(z) + log q_r(x|z) ] + T * H[q] }

At T -> 0 the best q is a point and F is the document's ``max_z log q_w(z) + log q_r(x|z)``; at T = 1 it is
the log evidence, which EM and the VAE climb.  A model answers four questions:

1. What is the joint?          a ``Joint``: ``log_joint(x, z)``, and where it has them ``argmax``, ``posterior``,
                               ``stats`` and ``update``
2. Who answers the max?        ``Exact``, ``Climb`` or ``Soft``: called as ``infer(joint, x) -> (z, bonus)``
3. What is scored?             ``objective`` gives one number per sample; ``mean``, ``floor`` and ``soft_floor``
                               reduce them
4. Who moves the parameters?   ``alternate`` by closed forms, ``ascend`` by gradients

A code z is one point, written as a tensor or a tuple of tensors with leading n; or it is a distribution,
written as its parameters: ``(r,)`` for weights over discrete codes.  For a distribution ``log_joint`` and
``stats`` are expectations under it.
"""

import math

import torch
from torch import nn


class Joint(nn.Module):
    """log q_w(z) + log q_r(x|z) with its parameters m (ledger B6-B7).

    A subclass writes ``log_joint``; the other methods only where they exist in closed form:

    - ``log_joint(x: (n, *X), z) -> (n,)`` in nats, never reduced over samples
    - ``decode(z) -> (n, *X)``, the decoder's mean
    - ``argmax(x) -> z``, the exact maximiser of ``log_joint(x, .)``
    - ``posterior(x, T) -> (q, T * H[q])``, the exact maximiser at temperature T > 0
    - ``stats(x, z) -> dict`` of sums over samples (of the log joint as ``objective``, where that is at hand),
      and ``update(sums)``, the best m for those sums
    """

    def log_joint(self, x, z):
        raise TypeError(f"{type(self).__name__} defines no log_joint: a Joint is its log_joint, write one")


def _ask(joint, method, who, instead):
    """The joint's closed form, or a refusal that says what to use instead."""
    found = getattr(joint, method, None)
    if found is None:
        raise TypeError(f"{who} needs {type(joint).__name__}.{method}, which it does not have: use {instead}")
    return found


# --- Who answers the max: infer(joint, x) -> (z, bonus) -------------------------------------------------


class Exact:
    """The max itself, in closed form.

    The code is detached: at a unique maximum dl/dz = 0, so the gradient in m through z is zero anyway (the
    envelope theorem, ledger B10).
    """

    def __call__(self, joint, x):
        with torch.no_grad():
            z = _ask(joint, "argmax", "Exact()", "Climb(...)")(x)
        return z, x.new_zeros(len(x))


class Climb:
    """Gradient ascent on z, ``steps`` times from ``start(joint, x)`` (ledger B5-B7).

    ``start`` gives one code per sample; the other arguments are those of `climb`.
    """

    def __init__(self, start, steps, lr, unroll=False, project=None):
        self.start, self.options = start, {"steps": steps, "lr": lr, "unroll": unroll, "project": project}

    def __call__(self, joint, x):
        z = climb(lambda z: joint.log_joint(x, z), self.start(joint, x), **self.options)
        return z, x.new_zeros(len(x))


class Soft:
    """The whole posterior at temperature T, in closed form: T = 1 is EM's E-step, T -> 0 tends to `Exact`.

    q is detached: by Fisher's identity the gradient of F_T in m is E_q of the joint's gradient (ledger R2).
    """

    def __init__(self, T=1.0):
        if not T > 0:
            raise ValueError(f"Soft needs T > 0, got T={T}: the limit T = 0 is Exact()")
        self.T = T

    def __call__(self, joint, x):
        with torch.no_grad():
            return _ask(joint, "posterior", f"Soft(T={self.T})", "Exact() or Climb(...)")(x, self.T)


def climb(f, z0, steps, lr, unroll=False, project=None):
    """Climb f from z0 by plain gradient steps ``z <- project(z + lr * df/dz)``.

    Parameters
    ----------
    f : callable, z -> (n,)
        Summed, never averaged: a sample's climb must not depend on how many others stand beside it.
    z0 : tensor or tuple of tensors, leading n
    unroll : bool
        Keep the graph, so that a loss of z_t differentiates through all steps (B10); else z_t is detached.

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
    if steps < 0 or not lr > 0:
        raise ValueError(f"climb needs steps >= 0 and lr > 0, got steps={steps}, lr={lr}: pass such numbers")
    single = torch.is_tensor(z0)
    z = (z0,) if single else tuple(z0)
    form = (lambda z: z[0]) if single else (lambda z: z)
    if not unroll:
        z = tuple(part.detach() for part in z)
    for _ in range(steps):
        with torch.enable_grad():
            z = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in z)
            slope = torch.autograd.grad(f(form(z)).sum(), z, create_graph=unroll)
            z = tuple(part + lr * g for part, g in zip(z, slope))
            if project is not None:
                z = project(form(z))
                z = (z,) if single else tuple(z)
        if not unroll:
            z = tuple(part.detach() for part in z)
    if not all(part.isfinite().all() for part in z):
        raise FloatingPointError(f"climb left the finite numbers within {steps} steps of lr={lr}: lower lr")
    return form(z)


# --- What is scored -------------------------------------------------------------------------------------


def objective(joint, x, infer):
    """F_T of each sample, in nats: (n, *X) -> (n,).  The caller reduces: `mean`, `floor` or `soft_floor`."""
    z, bonus = infer(joint, x)
    return joint.log_joint(x, z) + bonus


def mean(values):
    """The average case: (n,) -> scalar (ledger D1-D2)."""
    return values.mean()


def floor(values):
    """The worst case: (n,) -> scalar (ledger D3)."""
    return values.min()


def soft_floor(beta):
    """Between the two: ``-(1/beta) log E exp(-beta * value)``; the mean at beta -> 0, the floor at infinity.

    Ledger D5, with the 1/beta that the document drops.

    Examples
    --------
    >>> import torch
    >>> round(float(soft_floor(100.0)(torch.tensor([0.0, 1.0]))), 3)
    0.007
    """
    if not beta > 0:
        raise ValueError(f"soft_floor needs beta > 0, got {beta}: use mean for beta = 0")
    return lambda values: -(torch.logsumexp(-beta * values, 0) - math.log(len(values))) / beta


# --- Who moves the parameters ---------------------------------------------------------------------------


def _finite(value, step):
    """The value as a float, or a refusal that names the step."""
    value = float(value)
    if not math.isfinite(value):
        raise FloatingPointError(f"the objective became {value} at step {step}: lower lr, or scale the data")
    return value


def alternate(joint, batches, infer, steps, tol=0.0, all_sum=lambda sums: sums, on_step=None):
    """Maximise over z, then over m, and again: Lloyd, EM and alternating least squares in one loop.

    Parameters
    ----------
    batches : re-iterable of tensors (n, *X)
        Read once per step: a list of tensors, a DataLoader.
    tol : float
        Stop when the objective rises by no more than ``tol`` of its size.
    all_sum : callable
        Adds the sums of all processes; `gaelib.parallel.all_sum` under ``torchrun``.
    on_step : callable, optional
        Called as ``on_step(step, value)`` after each pass.

    Returns
    -------
    history : list of float
        The objective (nats per sample) at the start of each pass.  With exact answers it never falls (D11).
    """
    history = []
    for step in range(steps):
        total = {}
        with torch.no_grad():
            for x in batches:
                z, bonus = infer(joint, x)
                sums = _ask(joint, "stats", "alternate", "ascend(...)")(x, z)
                value = sums.pop("objective") if "objective" in sums else joint.log_joint(x, z).sum()
                sums |= {"objective": value + bonus.sum(), "samples": torch.tensor(len(x))}
                for name, value in sums.items():  # added in float64, whatever the data's dtype
                    total[name] = total.get(name, 0) + value.detach().to("cpu", torch.float64)
            if not total:
                raise ValueError(f"no batch at step {step}: pass what can be read again, such as a list")
            total = all_sum(total)
            history.append(_finite(total.pop("objective") / total.pop("samples"), step))
            joint.update(total)
        if on_step is not None:
            on_step(step, history[-1])
        if step and history[-1] - history[-2] <= tol * abs(history[-2]):
            break
    return history


def ascend(f, params, steps, lr, optimiser=torch.optim.Adam, on_step=None):
    """Move parameters up the gradient of f, ``lambda: objective(joint, x, infer).mean()`` for example.

    ``optimiser(params, lr=lr)`` is any of torch's.  A true answer of ``on_step(step, value)`` stops the climb.
    Returns f before each step.
    """
    optimiser = optimiser(list(params), lr=lr)
    history = []

    def loss():
        optimiser.zero_grad()
        value = f()
        _finite(value.detach(), len(history))
        (-value).backward()
        return -value

    for step in range(steps):
        history.append(-float(optimiser.step(loss).detach()))
        if on_step is not None and on_step(step, history[-1]):
            break
    return history
