"""A claim in words, the measured value, its bound, and a verdict."""

from typing import SupportsFloat


class CheckFailed(AssertionError):
    """A claim that did not hold: its words, the measured value and the bound."""

    def __init__(self, claim: str, value: float, bound: float):
        self.claim, self.value, self.bound = claim, value, bound
        super().__init__(f"{claim}: measured {value:.3g}, bound {bound:g}")

    def __reduce__(self):
        return type(self), (self.claim, self.value, self.bound)

    def _render_traceback_(self):
        """What a notebook shows instead of a traceback: three lines."""
        return [f"claim     {self.claim}", f"measured  {self.value:.3g}", f"bound     {self.bound:g}"]


def check(
    claim: str, value: SupportsFloat, bound: SupportsFloat, digits: int | None = None, why: str | None = None
) -> None:
    """Print "ok" when ``value <= bound``; raise `CheckFailed` when not.

    Parameters
    ----------
    claim : str
        What is claimed, in words.
    value : float
        What was measured: an error, a gap, a violation.  NaN fails.
    bound : float
        What it may be at most.
    digits : int, optional
        Print the value too, to so many significant digits.  Left out by default: a rounding error differs
        between machines, a verdict does not.
    why : str, optional
        The reason for a bound that is over 1000 times the measured value.

    Raises
    ------
    CheckFailed
        With the claim, the value and the bound.

    Examples
    --------
    >>> check("two and two are four", abs(2 + 2 - 4), 0)
    ok: two and two are four (bound 0)
    >>> check("pi is about 22/7", abs(3.14159 - 22 / 7), 0.002, digits=2)
    ok: pi is about 22/7 (0.0013, bound 0.002)
    """
    value, bound = float(value), float(bound)
    if not value <= bound:
        raise CheckFailed(claim, value, bound)
    shown = "" if digits is None else f"{value:.{digits}g}, "
    reason = f"; {why}" if why else ""
    print(f"ok: {claim} ({shown}bound {bound:g}{reason})")


def glue(**texts: object) -> None:
    """Store short texts under names, for sentences of the page: ``glue(error=f"{error:.0f}")``.

    A sentence shows one by MyST-NB's role ``{glue:text}`error` ``.  Nothing is displayed.  The text is formatted
    here, so that what is stored is what the sentence says.  Outside a notebook this does nothing.
    """
    try:
        from IPython.display import display
    except ImportError:
        return
    prefix = "application/papermill.record/"  # MyST-NB looks for it; nothing shows such a type
    for name, text in texts.items():
        scrapbook = {"name": name, "mime_prefix": prefix}
        display({f"{prefix}text/plain": str(text)}, raw=True, metadata={"scrapbook": scrapbook})
