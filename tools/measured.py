"""Figures of the stored comparison on a Markdown page: read from ``gaelib/results/family.json``, never typed.

A small Sphinx extension beside `bookext`: the role ``{measured}`` and the directive ``{measured-table}``.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

from bookext import link, para, row, table
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

log = logging.getLogger(__name__)
COLUMNS = {  # measure -> the head of its column, its scale, its digits
    "accuracy": ("named right, %", 100, 3),
    "error": ("error × 1000", 1000, 3),
    "nats": ("nats a row", 1, 3),
    "coverage": ("coverage", 1, 2),
    "fit": ("seconds to fit", 1, 2),
}


def cells(env) -> dict[tuple[str, str, int], dict]:
    """(data, model, length) -> its measures; of several clocks the one that most cells of the data have."""
    path = Path(env.srcdir).parent / "gaelib/results/family.json"
    env.note_dependency(str(path))
    rows = json.loads(path.read_text(encoding="utf-8"))["cells"]
    clocks = {name: [r["seconds"] for r in rows if r["data"] == name] for name in {r["data"] for r in rows}}
    usual = {name: max(seconds, key=seconds.count) for name, seconds in clocks.items()}
    return {(r["data"], r["model"], r["d"]): r for r in rows if r["seconds"] == usual[r["data"]]}


def said(values: list[float] | None, scale: float, digits: int) -> str:
    """The mean, beside the spread over seeds where there are several; a dash for what a model has not got."""
    if not values:
        return "\N{EN DASH}"
    text = f"{scale * mean(values):.{digits}g}".replace("-", "\N{MINUS SIGN}")
    return text + (f" ± {scale * stdev(values):.1g}" if len(values) > 1 else "")


class Measured(SphinxRole):
    """{measured}`MNIST, VAE, 9, accuracy`: one figure, in the unit of its column."""

    def run(self):
        name, model, d, measure = (part.strip() for part in self.text.rsplit(",", 3))
        values = cells(self.env).get((name, model, int(d)), {}).get(measure)
        if not values:
            log.warning("no stored figure: %s", self.text, location=self.get_location())
        text = said(values, *COLUMNS[measure][1:])
        return [nodes.Text(text)], []


class MeasuredTable(SphinxDirective):
    """Every model of one data set and length, best named first."""

    option_spec = dict.fromkeys(["data", "length"], directives.unchanged_required)

    def run(self):
        name, d = self.options["data"], int(self.options["length"])
        found = {m: c for (s, m, e), c in cells(self.env).items() if s == name and e == d}
        if not found:
            raise self.error(f"measured-table: no stored cell of {name} at length {d}")
        order = sorted(found, key=lambda m: -mean(found[m]["accuracy"]))
        widths = {"Model": 30} | {head: 14 for head, _, _ in COLUMNS.values()}
        return [table(widths, [self.line(model, found[model]) for model in order], "gae-sort")]

    def line(self, model, cell):
        first, _, more = model.partition(",")
        ours = {"PCA": "LGAE", "Isomap": None}.get(first, first)  # Isomap is scikit-learn's
        name = para(link("ref", f"api-{ours.lower()}", ours) if ours else first, f",{more}" if more else "")
        return row([name], *([para(said(cell.get(key), *of[1:]))] for key, of in COLUMNS.items()))


def setup(app: Sphinx) -> dict:
    app.add_role("measured", Measured())
    app.add_directive("measured-table", MeasuredTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
