"""The objective bar of a model: what stands under each term of the one formula for this very fit."""

import html
from dataclasses import dataclass
from typing import Any

from sklearn.utils.validation import check_is_fitted

from .core import Amortise, Climb, Exact, Given, Kept, Soft
from .estimator import Fitting, documentation
from .hyper import several

__all__ = ["Explanation", "explain"]

FORMULA = "max_z log q_w(z) + log q_r(x|z)"

ANSWERS = {  # who answers the max, in words
    Amortise: lambda infer: "a network, at once" + (", with a normal distribution over codes" if infer.T else ""),
    Climb: lambda infer: f"a climb on each code, {infer.options['steps']} steps",
    Exact: lambda infer: "the max itself, in closed form",
    Given: lambda infer: "nobody: the code is given",
    Kept: lambda infer: "each row keeps its code, which every pass betters",
    Soft: lambda infer: f"the whole posterior at temperature {infer.T:g}, in closed form",
}


@dataclass(frozen=True)
class Explanation:
    """A model's bar as text, ``print(explain(model))``, and as a table in a notebook.

    Attributes
    ----------
    model : str
        The estimator with its hyperparameters.
    lines : dict
        Term -> what stands there: "code", "prior", "decoder", "answers", "moves" and "nats".
    chapter : str
        The address of the page that derives it.
    lacks : str
        What of the formula this model has not; empty where all of it is there.  Ledger L0.
    """

    model: str
    lines: dict[str, str]
    chapter: str
    lacks: str = ""

    def __str__(self):
        width = max(map(len, self.lines)) + 2
        rows = [f"  {term:<{width}}{words}" for term, words in {**self.lines, "chapter": self.chapter}.items()]
        return "\n".join([self.model, f"  {FORMULA}", *rows])

    __repr__ = __str__

    def _repr_html_(self):
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(term)}</th>'
            f'<td style="text-align:left">{html.escape(words)}</td></tr>'
            for term, words in self.lines.items()
        )
        title = f"<code>{html.escape(self.model)}</code><br><code>{html.escape(FORMULA)}</code>"
        link = f'<p><a href="{html.escape(self.chapter, quote=True)}">The chapter</a></p>'
        return f'<table><caption style="text-align:left">{title}</caption>{cells}</table>{link}'


def explain(model: Fitting) -> Explanation:
    """Fill the book's objective bar for a fitted model.

    Parameters
    ----------
    model : fitted estimator of this package

    Returns
    -------
    Explanation
        Prints as text, shows as a table in a notebook.

    Raises
    ------
    TypeError
        For anything that is no model of this package.
    NotFittedError
        Before ``fit``: sizes and nats are those of a fit.

    Examples
    --------
    >>> from gaelib import KMeans
    >>> print(explain(KMeans(2, random_state=0).fit([[0.0], [0.0], [4.0], [4.0]])))  # doctest: +ELLIPSIS
    KMeans(n_clusters=2, random_state=0)
      max_z log q_w(z) + log q_r(x|z)
      code     k, one of 2 points
      prior    equal for all: -log 2
      decoder  the point and Gaussian noise of variance 0.5, 1 feature
      answers  the max itself, in closed form
      moves    closed forms, a pass over the data at a time
      nats     -1.26551 a row after 2 steps
      chapter  ...cases/discrete-codes.html
    """
    if not isinstance(model, Fitting):
        raise TypeError(
            f"explain got a {type(model).__name__}, which is no model of this package: pass a fitted estimator, "
            "such as KMeans(3).fit(X)"
        )
    check_is_fitted(model)
    code, prior, decoder = model._terms()
    answers = model._answers or answered(model.infer)
    return Explanation(
        model=" ".join(repr(model).split()),
        lines={
            "code": code,
            "prior": prior,
            "decoder": decoder,
            "answers": answers,
            "moves": model._moves,
            "nats": f"{model.history_[-1]:.6g} a row after {several(model.n_iter_, 'step')}",
        },
        chapter=f"{documentation()}{model._chapter}.html",
        lacks=lacking(model, answers),
    )


def lacking(model: Fitting, answers: str) -> str:
    """What of the formula a model has not, by what it can do: score a row, code a new one, answer the row itself."""
    given = "is given" in answers
    missing = {
        "a likelihood of a row": not hasattr(model, "score" if given else "score_samples"),
        "a code of a new row": not (given or hasattr(model, "transform")),
        "the max over z (the code answers a corrupted row)": "corrupted" in answers,
    }
    return " and ".join(words for words, absent in missing.items() if absent)


def answered(infer: Any) -> str:
    """Who answers the max, in words."""
    words = next((say for kind, say in ANSWERS.items() if isinstance(infer, kind)), None)
    return words(infer) if words else (type(infer).__doc__ or type(infer).__name__).strip().splitlines()[0].rstrip(".")
