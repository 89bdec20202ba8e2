"""A table of which a reader chooses the rows and their order."""

import hashlib
import html
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table"]


class Table:
    """What `table` returns, for a notebook to show."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], choose: Mapping[str, Any], caption: str):
        self.rows = [{name: str(value) for name, value in row.items()} for row in rows]
        self.choose, self.caption = {name: str(value) for name, value in choose.items()}, caption
        self.offered = {name: in_order({row[name]: None for row in self.rows}) for name in choose}
        self.key = "gae-" + hashlib.sha1(repr((caption, self.offered)).encode()).hexdigest()[:8]

    def __repr__(self):
        return f"{self.caption} ({len(self.rows)} rows)"

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.rows[0])
        return (
            f'<div class="{self.key}">{"".join(map(self._choice, self.choose))}<table class="gae-sort">'
            f"<caption>{html.escape(self.caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(map(self._row, self.rows))}</tbody></table></div>"
        )

    def _choice(self, name):
        """Radio buttons, and the rule for each that hides the others' rows and the column, now all alike: no script."""
        values, made = ["all", *self.offered[name]], ""
        group = f"{self.key}-{list(self.choose).index(name)}"
        for at, value in enumerate(values):
            box = f'id="{group}-{at}"{" checked" * (value == self.choose[name])}'
            made += f'<label><input type="radio" name="{group}" {box}> {html.escape(value)}</label>'
        column = f"tr>:nth-child({1 + list(self.rows[0]).index(name)}):not(:first-child)"  # never the row's name
        rules = (
            f".{self.key}:has(#{group}-{at}:checked) :is(tbody tr:not(.{group}-{at}),{column})"
            "{display:none!important}"
            for at in range(1, len(values))
        )
        legend = f"<legend>{html.escape(name)}</legend>"
        return f'<style>{"".join(rules)}</style><fieldset class="gae-filter">{legend}{made}</fieldset>'

    def _row(self, row):
        kinds = (
            f"{self.key}-{at}-{1 + values.index(row[name])}" for at, (name, values) in enumerate(self.offered.items())
        )
        first, *rest = map(html.escape, row.values())
        cells = "".join(f"<td>{text}</td>" for text in rest)
        return f'<tr class="{" ".join(kinds)}"><th scope="row">{first}</th>{cells}</tr>'


def in_order(values):
    """Numbers by size, what is no number after them as it came."""
    return sorted(values, key=lambda text: float(text) if text.replace(".", "").isdigit() else float("inf"))


def table(rows: Sequence[Mapping[str, Any]], choose: Mapping[str, Any], caption: str) -> Table:
    """A table of which the reader sees the rows of one kind, and on the book's page puts them in order by a column.

    Plain HTML: the choice is made by radio buttons and CSS, and where that is missing all rows stand there.

    Parameters
    ----------
    rows : list of dict
        Column -> text; the first column names the row.
    choose : dict
        Column -> the value that is chosen at first, or "all".
    caption : str

    Returns
    -------
    Table
        For a notebook to show.

    Raises
    ------
    ValueError
        Without rows, or where no row has a value that is chosen.

    Examples
    --------
    >>> rows = [{"model": "PCA", "d": 1, "error": 0.3}, {"model": "PCA", "d": 2, "error": 0.2}]
    >>> table(rows, {"d": 2}, "Errors")
    Errors (2 rows)
    """
    if not rows:
        raise ValueError("table got 0 rows: pass at least one")
    for name, value in choose.items():
        if value != "all" and value not in (values := [row[name] for row in rows]):
            known = ", ".join(dict.fromkeys(map(str, values)))
            raise ValueError(
                f"choose asks for {name}={value!r}, which none of {len(rows)} rows has: pass one of {known}"
            )
    return Table(rows, choose, caption)
