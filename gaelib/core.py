"""One equation, and the four questions that turn it into a model.

    F_T(x) = max_q { E_q[ log q_w(z) + log q_r(x|z) ] + T * H[q] }

At T -> 0 the best q is a point and F is the document's ``max_z log q_w(z) + log q_r(x|z)``; at T = 1 it is the log
evidence, which EM and the VAE climb.  A model answers four questions:

1. What is the joint?         ``Joint``: ``log_joint(x, z)``, and where it has them ``argmax``, ``posterior``, ``stats``
2. Who answers the max?       ``Exact``, ``Climb``, ``Soft``, ``Amortise``, ``Given``, ``Kept``
3. What is scored?            ``objective``, one number per sample, which the caller reduces (`losses`)
4. Who moves the parameters?  ``alternate`` by closed forms, ``ascend`` by gradients

A code z is a point, one tensor or a tuple of tensors with leading n; or a distribution, written as its parameters:
``(r,)`` for weights over discrete codes.  Of a distribution ``log_joint`` and ``stats`` are expectations.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Any

import torch
from torch import Generator, Tensor, nn

from .losses import floor, mean, soft_floor  # noqa: F401  their old address
from .solvers.climb import Code, climb
from .solvers.sums import added, in_order

Infer = Callable[["Joint", Tensor], tuple[Any, Tensor]]
Sums = dict[str, Tensor]


class Joint(nn.Module):
    """log q_w(z) + log q_r(x|z) with its parameters m (ledger B6-B7); the closed forms only where they exist.

    - ``log_joint(x: (n, *X), z) -> (n,)`` in nats, never reduced over samples: every joint has it
    - ``decode(z) -> (n, *X)``, the decoder's mean; ``argmax(x) -> z``, the exact maximiser of ``log_joint(x, .)``
    - ``posterior(x, T) -> (q, T * H[q])``, the exact maximiser at temperature T > 0
    - ``stats(x, z) -> dict`` of sums over samples, and ``update(sums)``, the best m for them.  Where it is at hand, the
      log joint's sum is among them as ``objective``; what nothing can move of it stands apart as ``constant``
    """

    def log_joint(self, x: Tensor, z: Any) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no log_joint: a Joint is its log_joint, write one")


def _ask(joint, method, who, instead):
    """The joint's closed form, or a refusal that says what to use instead."""
    if not hasattr(joint, method):
        raise TypeError(f"{who} needs {type(joint).__name__}.{method}, which it does not have: use {instead}")
    return getattr(joint, method)


# --- Who answers the max: infer(joint, x) -> (z, bonus), with bonus = T * H[q] in nats, (n,) ---
class Exact:
    """The max itself, in closed form; detached, since at a unique maximum dl/dz = 0 (the envelope theorem, B10)."""

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Any, Tensor]:
        with torch.no_grad():
            return _ask(joint, "argmax", "Exact()", "Climb(...)")(x), x.new_zeros(len(x))


class Climb:
    """Gradient steps on z from ``start(joint, x)``, one code per sample; the rest is of `climb` (ledger B5-B7)."""

    def __init__(self, start: Callable[[Joint, Tensor], Code], steps: int, lr: float, **options: Any):
        self.start, self.options = start, {"steps": steps, "lr": lr} | options

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Code, Tensor]:
        return climb(lambda z: joint.log_joint(x, z), self.start(joint, x), **self.options), x.new_zeros(len(x))


class Soft:
    """The whole posterior at temperature T: 1 is EM's E-step, 0 the limit `Exact`; detached (Fisher's identity, R2)."""

    def __init__(self, T: float = 1.0):
        if not T > 0:
            raise ValueError(f"Soft needs T > 0, got T={T}: the limit T = 0 is Exact()")
        self.T = T

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Any, Tensor]:
        with torch.no_grad():
            return _ask(joint, "posterior", f"Soft(T={self.T})", "Exact() or Climb(...)")(x, self.T)


class Amortise(nn.Module):
    """A network answers: ``encoder(x)`` is the code (an autoencoder, T = 0), or the mean and log scale of a normal q.

    Of that q one draw is scored (a VAE, T = 1).  With ``shared`` noise no row's score depends on where it stands.
    """

    def __init__(self, encoder: nn.Module, T: float = 0.0, generator: Generator | None = None, shared: bool = False):
        super().__init__()
        self.encoder, self.T, self.generator, self.shared = encoder, T, generator, shared

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A draw z of q, H[q], and the normal noise that z came from: (n, *Z), (n,) nats, (n or 1, *Z)."""
        centre, log_scale = self.encoder(x)
        shape = centre[:1].shape if self.shared else centre.shape
        noise = torch.randn(shape, generator=self.generator, dtype=centre.dtype, device=centre.device)
        entropy = (log_scale + 0.5 * math.log(2 * math.pi * math.e)).flatten(1).sum(1)
        return torch.addcmul(centre, log_scale.exp(), noise), entropy, noise

    def forward(self, joint: Joint, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.T:
            return self.encoder(x), x.new_zeros(len(x))
        z, entropy, _ = self.draw(x)
        return z, self.T * entropy


class Given:
    """Nobody answers: z was observed, or is a parameter that climbs beside m."""

    def __init__(self, z: Any):
        self.z = z

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Any, Tensor]:
        return self.z, x.new_zeros(len(x))


class Kept:
    """Each batch keeps its codes, ``better(joint, x, z) -> z`` goes on from them (D11), and their order stays."""

    def __init__(self, better: Callable[[Joint, Tensor, Any], Any], start: Callable[[Joint, Tensor], Any]):
        self.better, self.start, self.codes = better, start, {}

    def batch(self, i: int) -> Infer:
        """Who answers for the i-th batch of a pass."""
        return lambda joint, x: self(joint, x, i)

    def __call__(self, joint: Joint, x: Tensor, i: int = 0) -> tuple[Any, Tensor]:
        z = self.codes[i] if i in self.codes else self.start(joint, x)
        if (kept := len(z if torch.is_tensor(z) else z[0])) != len(x):
            raise ValueError(f"batch {i} has {len(x)} rows and had {kept}: pass the same batches in the same order")
        self.codes[i] = self.better(joint, x, z)
        return self.codes[i], x.new_zeros(len(x))


# --- What is scored ---
def objective(joint: Joint, x: Tensor, infer: Infer) -> Tensor:
    """F_T of each sample, in nats: (n, *X) -> (n,).  The caller reduces: `losses.mean`, `floor` or `soft_floor`."""
    z, bonus = infer(joint, x)
    return joint.log_joint(x, z) + bonus


def bound(joint: Joint, x: Tensor, infer: Amortise, k: int) -> Tensor:
    """Log of the mean weight p(x, z) / q(z|x) of k draws: (n,), nats; below the log evidence on average (L11)."""
    terms = [joint.log_joint(x, z) + h - (1 - e**2).flatten(1).sum(1) / 2 for z, h, e in map(infer.draw, repeat(x, k))]
    return torch.stack(terms).logsumexp(0) - math.log(k)


# --- Who moves the parameters ---
class History(list[float]):
    """The objective (nats per sample) before each step; ``settled`` once it rises no more."""

    settled = False


def _finite(value, step):
    if not math.isfinite(value := float(value)):
        raise FloatingPointError(f"the objective became {value} at step {step}: lower lr, or scale the data")
    return value


def _rounding(joint, value, risen):
    m = [part for part in joint.state_dict().values() if part.is_floating_point() and part.numel()]
    eps, size = max((torch.finfo(part.dtype).eps, float(part.abs().max())) for part in m) if m else (1e-15, 1.0)
    return 64 * eps * abs(value) + eps**0.5 * risen + (64 * eps * size) ** 2


def sums(joint: Joint, batches: Iterable[Tensor], infer: Any) -> Sums:
    """One pass: the ``stats`` (``infer``'s own, if it has them) of all batches at their codes, added in float64.

    ``alternate`` is this and ``update``; a distributed engine is this on every worker, an addition, and ``update``.
    """
    stats = getattr(infer, "stats", None) or _ask(joint, "stats", "alternate", "ascend(...)")

    def found(i, x):
        z, bonus = (infer.batch(i) if hasattr(infer, "batch") else infer)(joint, x)
        sums = {"samples": torch.tensor(len(x))} | stats(x, z)
        nats = sums["objective"] if "objective" in sums else joint.log_joint(x, z)
        return sums | {"objective": nats.sum(dtype=torch.float64), "bonus": bonus.sum(dtype=torch.float64)}

    with torch.no_grad():
        return added(in_order(found, batches))


def alternate(
    joint: Joint, batches: Iterable[Tensor], infer: Any, steps: int, tol: float = 0.0,
    all_sum: Callable[[Sums], Sums] = lambda sums: sums, on_step: Callable[[int, float], Any] = lambda *_: None,
    before: Sequence[float] = (),
) -> History:  # fmt: skip
    """Maximise over z, then over m, and again: Lloyd, EM and alternating least squares in one loop.

    ``batches`` is read once per step.  The end is when one raises the objective by no more than ``tol`` of all the rise
    since the second: no units.  ``all_sum`` adds the sums of all processes, ``on_step(step, value)`` hears of a pass,
    ``before`` is a history to go on from.  A fall beyond rounding (D11) is only warned of.
    """
    history, values, fell = History(before), [], ""
    for step in range(len(history), steps):
        total = all_sum(sums(joint, batches, infer))
        if not total:
            raise ValueError(f"no batch at step {step}: pass what can be read again, such as a list")
        constant = float(total.pop("constant", 0.0) / (n := total.pop("samples")))
        values = values or [value - constant for value in before]
        values.append(_finite((total.pop("objective") + total.pop("bonus")) / n, step))
        history.append(values[-1] + constant)
        joint.update(total)
        on_step(step, history[-1])
        rise = values[-1] - values[max(step - 1, 0)]
        if rise < 0 and -rise > _rounding(joint, values[-1], max(values) - values[0]):
            fell = fell or f"{-rise:.2g} nats at step {step}, from {history[-2]:.7g} to {history[-1]:.7g}"
        elif step and rise <= tol * (values[-1] - values[1]) and not getattr(joint, "taken_back", False):
            history.settled = True
            break
    if fell:
        warnings.warn(f"the objective fell by {fell}: answers or updates are not exact", RuntimeWarning, stacklevel=2)
    return history


def ascend(
    f: Callable[..., Tensor], params: Iterable[Tensor], steps: int, lr: float | Callable[[int], float],
    optimiser: Callable[..., Any] = torch.optim.Adam, on_step: Callable[[int, float], Any] = lambda *_: None,
    batches: Iterable[Any] | None = None, average: Callable[[Any], Iterable[Tensor]] = tuple,
) -> History:  # fmt: skip
    """Move parameters, and nothing else, up the slope of f, ``lambda: objective(joint, x, infer).mean()`` for example.

    ``optimiser`` is torch's, ``lr`` a number or a function of the step.  With ``batches``, read again and again, a step
    is f of the next; ``average`` is over processes.  A true ``on_step(step, value)`` ends it.  Returns f before steps.
    """
    rest = repeat(()) if batches is None else zip(chain.from_iterable(repeat(batches)))
    mover, history = optimiser(params := list(params), lr=lr(0) if callable(lr) else lr), History()
    for step, x in zip(range(steps), rest):

        def loss(x=x):
            mover.zero_grad()  # the last slopes make room for the next
            _finite((value := f(*x)).detach(), len(history))
            slopes = torch.autograd.grad(fall := -value, params, allow_unused=True, materialize_grads=True)
            for part, slope in zip(params, average(slopes)):
                part.grad = slope
            return fall.detach()

        for group in mover.param_groups if callable(lr) else ():
            group["lr"] = lr(step)
        history.append(-float(mover.step(loss)))
        if on_step(step, history[-1]):
            history.settled = True
            break
    return history
