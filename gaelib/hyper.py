"""Hyperparameters, written once: fields with their bounds, which one validator checks before any work."""

import math
import numbers
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, TypeVar, dataclass_transform, get_args

import numpy as np

T = TypeVar("T")
Seed = int | np.random.RandomState | np.random.Generator | None


def several(n: int, thing: str) -> str:
    """A number of things: "1 step", "2 steps", "1,797 rows"."""
    return f"{n:,} {thing}{'s' * (n != 1)}"


def fitted(*, init: Literal[False] = False) -> Any:
    """What `fit` finds: no hyperparameter, and not there before."""
    return field(init=init)


@dataclass_transform(eq_default=False, field_specifiers=(fitted,))
def hyper(cls: type[T]) -> type[T]:
    """A class whose annotated fields are its constructor; compared by identity and shown as scikit-learn shows it."""
    return dataclass(eq=False, repr=False)(cls)


def need_integer(name: str, value: object, at_least: int = 1) -> None:
    """Refuse a hyperparameter that is not an integer of at least so much."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name}={value!r} must be an integer of at least {at_least}: pass {name}={at_least} or more")
    if value >= 2**63:
        raise ValueError(f"{name}={value} must be an integer below 2**63: pass such a number")


def need_number(name: str, value: object, above: float, closed: bool, finite: bool, remedy: str) -> None:
    """Refuse a hyperparameter that is not a number above (or, ``closed``, of at least) so much."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and (value > above or (closed and value == above)) and not (finite and value == math.inf)):
        what = f"a {'finite ' * finite}number {'of at least' if closed else 'above'} {above:g}"
        raise ValueError(f"{name}={value!r} must be {what}: pass {remedy}")


def need_switch(name: str, value: object) -> None:
    """Refuse a hyperparameter that is neither True nor False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r} is neither True nor False: pass one of the two")


def is_word(value: object, word: str) -> bool:
    """Whether a hyperparameter that may be a number is this word; arrays and NumPy's numbers are none."""
    return isinstance(value, str) and value == word


def need_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a hyperparameter that is none of the words allowed."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{name}={value!r} is not one of {', '.join(allowed)}: pass one of these")


def need_samples(name: str, value: object, n: int, least: int, remedy: str, why: str = "") -> None:
    """Refuse fewer samples than a hyperparameter needs."""
    if n < least:
        needs = f"{name}={value} needs at least {several(least, 'sample')}{why}"
        raise ValueError(f"{needs}, got {several(n, 'sample')}: pass more data or {remedy}")


def checked(default: Any, check: Callable[[str, Any], None]) -> Any:
    """A field with a default and ``check(name, value)``, which raises ValueError."""
    return field(default=default, metadata={"check": check})


def count(default: int, least: int = 1) -> Any:
    """An integer of at least ``least``."""
    return checked(default, partial(need_integer, at_least=least))


def number(default: float, remedy: str, above: float = 0.0, closed: bool = False, finite: bool = True) -> Any:
    """A number above a bound, or, if ``closed``, the bound too."""
    return checked(default, partial(need_number, above=above, closed=closed, finite=finite, remedy=remedy))


def switch(default: bool) -> Any:
    """True or False."""
    return checked(default, need_switch)


def choice(default: str, *others: str) -> Any:
    """One of a few words."""
    return checked(default, partial(need_choice, allowed=(default, *others)))


def plain(estimator: Any) -> dict[str, Any]:
    """The numbers among its fields as Python's own: digits and range of their type must change no answer."""
    found = {}
    for each in fields(estimator):
        value = getattr(estimator, each.name) if each.init else None
        if isinstance(value, np.bool_):
            found[each.name] = bool(value)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            whole = isinstance(value, numbers.Integral)
            wide = not whole or (abs(value) >= 2**63 and float in (each.type, *get_args(each.type)))
            try:
                found[each.name] = float(value) if wide else int(value)
            except OverflowError:
                found[each.name] = math.inf
    return found


def settings(estimator: Any) -> dict[str, Any]:
    """Those of its fields that are numbers, words or None."""
    found = {each.name: getattr(estimator, each.name) for each in fields(estimator) if each.init}
    return {name: value for name, value in found.items() if value is None or isinstance(value, (bool, int, float, str))}


def validate(estimator: Any) -> None:
    """Every field against its bounds: the first that breaks them raises ValueError."""
    for each in fields(estimator):
        if "check" in each.metadata:
            each.metadata["check"](each.name, getattr(estimator, each.name))


def draw_seed(random_state: Seed) -> int:
    """A seed for a local torch.Generator, from None, an int, a RandomState or a Generator; nothing global moves."""
    if random_state is None:
        return secrets.randbits(32)
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        if not 0 <= random_state < 2**63:
            where = "below 0" if random_state < 0 else "not below 2**63"
            raise ValueError(f"random_state={random_state} is {where}: pass a non-negative integer below 2**63")
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    raise ValueError(f"random_state={random_state!r} is no seed: pass None, an integer, a RandomState or a Generator")
