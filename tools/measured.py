"""Stored figures on a Markdown page: read from ``gaelib/results``, never typed.

A small Sphinx extension beside `bookext`: the role ``{measured}`` and the directive ``{measured-table}`` of the stored
comparison, ``family.json``, and ``{card-table}``, of the last run on a graphics card, ``gpu.json``.
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


def stored(env, name: str) -> dict:
    path = Path(env.srcdir).parent / f"gaelib/results/{name}.json"
    env.note_dependency(str(path))
    return json.loads(path.read_text(encoding="utf-8"))


def cells(env) -> dict[tuple[str, str, int], dict]:
    """(data, model, length) -> its measures; of several clocks the one that most cells of the data have."""
    rows = stored(env, "family")["cells"]
    clocks = {name: [r["seconds"] for r in rows if r["data"] == name] for name in {r["data"] for r in rows}}
    usual = {name: max(seconds, key=seconds.count) for name, seconds in clocks.items()}
    return {(r["data"], r["model"], r["d"]): r for r in rows if r["seconds"] == usual[r["data"]]}


def said(values: list[float] | None, scale: float, digits: int) -> str:
    """The mean, beside the spread over seeds where there are several; a dash for what a model has not got."""
    if not values:
        return "\N{EN DASH}"
    text = f"{scale * mean(values):.{digits}g}".replace("-", "\N{MINUS SIGN}")
    return text + (f" ± {float(f'{scale * stdev(values):.1g}'):g}" if len(values) > 1 else "")


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


class CardTable(SphinxDirective):
    """Seconds on a card and on the CPU beside it, the goal where there is one, and what passed there."""

    def run(self):
        found = stored(self.env, "gpu")
        here, tests, cells = found["machine"], found.get("tests"), found.get("notebooks")
        words = [
            f"Measured on one {here['gpu']}, beside {here['threads']} threads of an {here['processor']}, with torch "
            f"{here['torch']}. Fits are of {found['fits'][0]['rows']:,} rows of Fashion-MNIST."
        ]
        words += dict.fromkeys(row["remark"] for row in found["fits"] if "remark" in row)  # what was mended since
        if tests:
            since = f"; what failed was {tests['since']}" if "since" in tests else ""
            words.append(f"There {tests['passed']:,} tests passed and {failures(tests)} failed{since}.")
        if cells:
            words.append(of_notebooks(cells))
        if spent := found.get("seconds"):
            words.append(f"All of it took {sum(spent.values()) / 60:.1f} minutes.")
        if epochs := found.get("evidence"):
            card, cpu = (said(each, 1, 5) for each in by_device(epochs, "held-out bound"))
            words.append(f"The VAE learns from {epochs[0]['rows']:,} digits of MNIST. Its bound on held-out ones after "
                         f"{epochs[0]['epochs']} epochs, nats, over seeds: {card} on the card, {cpu} on the CPU.")  # fmt: skip
        columns = {"What": 52, "Card, seconds": 16, "CPU, seconds": 16, "Goal, seconds": 16}
        lines = [row([para(what)], *([para(said(each, 1, 3))] for each in seconds)) for what, *seconds in timed(found)]
        return [table(columns, lines, "gae-sort", "gae-words"), *map(para, words)]


def timed(found: dict):
    """What was timed: (words, seconds on the card, on the CPU, the goal), each as a list, empty where there is none."""

    def one(row, key):
        return [row[key]] if key in row else []

    for each in found["fits"]:
        seconds = (one(each, key) for key in ("cuda seconds", "cpu seconds", "goal seconds"))
        yield each["model"], *seconds
    if epochs := found.get("evidence"):
        yield f"{epochs[0]['model']}, an epoch", *by_device(epochs, "seconds an epoch"), one(epochs[0], "goal seconds")
    for each in found.get("maps", ()):
        what = f"{each['model']}, {each['rows']:,} rows, {each['steps']} steps"
        yield what, one(each, "seconds"), [], one(each, "goal seconds")
    for each in found["restorations"][:1]:
        size = " × ".join(map(str, each["size"][:2]))
        what = f"Deep image prior, {size}, {each['steps']:,} steps"
        yield what, one(each, "seconds"), [], one(each, "goal seconds")


def by_device(rows: list[dict], key: str) -> list[list[float]]:
    return [[row[key] for row in rows if row["device"] == device] for device in ("cuda", "cpu")]


def of_notebooks(cells: dict) -> str:
    """What a card said of the notebooks; of a visit that was cut off also which were left."""
    what = f"{cells['passed']:,} cells kept their checks and their words, and {failures(cells)} did not"
    if cells["whole"]:
        far = f"{len(cells['drift'])} print a number that differs by more than 2 % from the stored one"
        return f"Of the notebooks {what}; {far}."
    left = f"; left were {', '.join(cells['left'])}" if "left" in cells else ""
    return f"The notebooks were not finished: when the time was over, {what}{left}."


def failures(part: dict) -> int:
    """How many failed: a list, or their number where a run was cut off."""
    failed = part["failed"]
    return failed if isinstance(failed, int) else len(failed)


def setup(app: Sphinx) -> dict:
    app.add_role("measured", Measured())
    app.add_directive("measured-table", MeasuredTable)
    app.add_directive("card-table", CardTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
