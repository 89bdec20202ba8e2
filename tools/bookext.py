"""The book's own roles and directives, and the stamp at the foot of each page.

A small Sphinx extension. It reads committed text (`book/ledger.yml`, `book/map.yml`, notebooks' metadata, `pyproject.toml`) and,
where a test run left one, `_build/results.xml`; it needs neither torch nor gaelib.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote

import myst_nb.ext.glue.roles
import pybtex.plugin
import pybtex.style.formatting.alpha
import pybtex.style.labels
import yaml
from account import Account, digests, read
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

# Everything a page may use: a test rejects the rest, so that Colab copies can be lowered exactly.
ROLES = {"eq", "ref", "numref", "doc", "term", "cite", "cite:p", "cite:t", "ledger", "chapter", "glue:text", "measured"}
DIRECTIVES = {
    "math", "note", "tip", "warning", "admonition", "dropdown", "figure", "exercise", "solution",
    "prf:theorem", "prf:proposition", "prf:proof", "prf:remark", "prf:definition", "prf:example",
    "glossary", "bibliography", "objective", "facts", "model-map", "ledger-table", "parity-table",
    "chapter-table", "errata", "source-code", "doors", "measured-table", "card-table",
    "bar-table",
}  # fmt: skip

VERDICTS = {  # verdict in ledger.yml -> what the badge says
    "holds": "✓", "condition": "✓ with a condition", "typo": "corrected", "fails": "fails",
    "claim": "claim", "definition": "definition", "ours": "ours",
}  # fmt: skip
TERMS = {  # option -> (its term, its name); the four after z read as one line
    "code": (r"z", "code"),
    "learn": (r"\max_m\,\mathbb{E}_{\mathrm{data}}\bigl[", "who moves m"),
    "infer": (r"\max_z", "who answers the max"),
    "prior": (r"\log q_w(z)", "prior"),
    "decoder": (r"{}+\log q_r(x\mid z)\bigr]", "decoder"),
}
PARTS = {"idea": "The idea", "cases": "Special cases", "family": "The family", "practice": "In practice"}
ANSWERS = {  # infer of a model -> what the map says
    "argmax": "an exact maximum", "climb": "gradient steps", "encoder": "a trained network",
    "soft": "a distribution over codes", "none": "nothing is inferred",
}  # fmt: skip
WORDS_A_MINUTE = 200
NOT_VERIFIED = "not verified in this copy"
MINUTES_AN_EXERCISE = 10
PROMISE = "under 60 s of CPU time to run"  # tests/conftest.py keeps it
log = logging.getLogger(__name__)


@lru_cache
def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@lru_cache
def results(root: Path) -> Account | None:
    return read(root / "_build" / "results.xml")


standing = lru_cache(digests)


def root(app: Sphinx) -> Path:
    return Path(app.srcdir).parent


def link(kind: str, target: str, text: str = "") -> nodes.Node:
    """A cross-reference that Sphinx resolves, and warns about where it leads nowhere."""
    domain = "math" if kind == "eq" else "std"
    words = nodes.inline(text, text, classes=["std", f"std-{kind}"])
    return addnodes.pending_xref(
        "", words, refdomain=domain, reftype=kind, reftarget=target, refexplicit=bool(text), refwarn=True
    )


def span(text: str, *classes: str) -> nodes.inline:
    return nodes.inline(text, text, classes=list(classes))


def para(*parts: nodes.Node | str, **attributes) -> nodes.paragraph:
    parts = [nodes.Text(part) if isinstance(part, str) else part for part in parts]
    return nodes.paragraph("", "", *parts, **attributes)


def row(*cells: list[nodes.Node], **attributes) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *cell) for cell in cells), **attributes)


def table(columns: dict[str, int], rows, *classes: str) -> nodes.table:
    """A table from the widths of its columns, by name, and its rows."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in columns.values()), cols=len(columns))
    group += [nodes.thead("", row(*([para(name)] for name in columns))), nodes.tbody("", *rows)]
    return nodes.table("", group, classes=list(classes))


# --- the ledger ---------------------------------------------------------------------------------------------


class Ledger(SphinxRole):
    """{ledger}`E1`: a badge with the row's verdict that links to the row."""

    def run(self):
        rows = {row["id"]: row for row in load(Path(self.env.srcdir) / "ledger.yml")["rows"]}
        if self.text not in rows:
            log.warning("unknown ledger id: %s", self.text, location=self.get_location())
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        verdict = rows[self.text]["verdict"]
        badge = link("ref", f"ledger-{self.text.lower()}", f"{self.text} {VERDICTS[verdict]}")
        return [nodes.inline("", "", badge, classes=["gae-badge", f"gae-{verdict}"])], []


def public(note: str) -> str:
    """A note without what it says to whoever writes the chapter of an open row."""
    return note.partition("To be reproduced")[0].strip()


class LedgerTable(SphinxDirective):
    """Every row of book/ledger.yml by section, beside the result of its tests."""

    def run(self):
        ledger = load(Path(self.env.srcdir) / "ledger.yml")
        self.env.note_dependency(str(Path(self.env.srcdir) / "ledger.yml"))
        return [self.filter(ledger["rows"])] + [
            part
            for key, title in ledger["sections"].items()
            for part in self.section(key, title, [row for row in ledger["rows"] if row["section"] == key])
        ]

    def filter(self, rows):
        """One choice, which gae.css obeys: no script. Without a browser that knows `:has()` all rows stay."""
        counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
        choices = [("all", f"all {len(rows)}"), *((v, f"{VERDICTS[v]} {n}") for v, n in counts.items() if n)]
        inputs = "".join(
            f'<label><input type="radio" name="verdict" id="only-{verdict}"{" checked" * (verdict == "all")}> {words}</label>'
            for verdict, words in choices
        )
        html = f'<fieldset class="gae-filter"><legend>Show by verdict</legend>{inputs}</fieldset>'
        return nodes.raw("", html, format="html")

    def section(self, key, title, rows):
        heading = nodes.rubric("", f"{key}. {title}", ids=[f"ledger-section-{key.lower()}"])
        columns = {"Id": 14, "Statement": 50, "Chapter": 18, "Tests": 18}
        return [heading, table(columns, map(self.row, rows), "gae-ledger")]

    def row(self, entry):
        name, verdict = entry["id"], entry["verdict"]
        anchor = f"ledger-{name.lower()}"
        self.env.get_domain("std").note_hyperlink_target(anchor, self.env.docname, anchor, f"ledger {name}")
        statement = [para(*self.inline(entry["statement"]))]
        if entry.get("note"):
            statement.append(para(*self.inline(public(entry["note"])), classes=["gae-note"]))
        chapter = [span("open", "gae-quiet")]
        if entry.get("chapter"):
            chapter = [link("doc", "/" + entry["chapter"])]
            if where := entry.get("anchor"):
                chapter += [nodes.Text(" "), link("eq" if where.startswith("eq-") else "ref", where)]
        cells = (
            [para(nodes.strong("", name), " ", span(VERDICTS[verdict], "gae-badge", f"gae-{verdict}"))],
            statement, [para(*chapter)], [para(self.tests(entry))],
        )  # fmt: skip
        return row(*cells, ids=[anchor], classes=[f"gae-row-{verdict}"])

    def inline(self, text):
        return self.parse_inline(text, lineno=self.lineno)[0]

    def tests(self, entry):
        tests = results(root(self.env.app))
        if tests is None and entry.get("chapter"):
            return span(NOT_VERIFIED, "gae-quiet")
        if tests is None or entry["id"] not in tests.ledger:
            return span("none needed" if entry["verdict"] == "definition" else "none yet", "gae-quiet")
        tally = tests.ledger[entry["id"]]
        if tally.failed:
            return span(f"{tally.failed} failed", "gae-failed")
        return span(f"{tally.passed} passed", "gae-passed")


# --- the parity table ---------------------------------------------------------------------------------------


def documented(name, app):
    """A name of the package, linked to its place on the API page if it has one there."""
    anchor = f"api-{name.lower().replace('_', '-')}"
    there = f"({anchor})=" in (root(app) / "book" / "api.md").read_text(encoding="utf-8")
    return link("ref", anchor, name) if there else name


class ParityTable(SphinxDirective):
    """Every model that the tests compared: its reference, the quantity, and the difference; or why there is none."""

    def run(self):
        tests = results(root(self.env.app))
        if not tests:
            return [para(span(f"The models are {NOT_VERIFIED}.", "gae-quiet"))]
        rows = [
            self.row(name, reference, [entry for entry in entries if entry.get("reference") == reference])
            for name, entries in sorted(tests.parity.items())
            for reference in dict.fromkeys(entry.get("reference") for entry in entries)
        ]
        return [table({"Model and reference": 40, "Quantity and difference": 60}, rows, "gae-parity", "gae-stack")]

    def row(self, name, reference, entries):
        beside = para(f"beside {reference}" if reference else "without a reference", classes=["gae-note"])
        return row([para(documented(name, self.env.app)), beside], [self.line(entry) for entry in entries])

    def line(self, entry):
        if "reason" in entry:
            return para(entry["reason"])
        difference = (
            f"{entry['difference']:.1e}".replace("-", "\N{NON-BREAKING HYPHEN}") if entry["difference"] else "0"
        )
        return para(f"{entry['quantity']}: ", span(difference, "gae-passed" if entry["passed"] else "gae-failed"))


# --- the bars of all models ---------------------------------------------------------------------------------


class BarTable(SphinxDirective):
    """Every model's objective bar, as `gaelib.explain` filled it in the last test run."""

    def run(self):
        tests = results(root(self.env.app))
        if not tests or not tests.bars:
            return [para(span(f"The bars are {NOT_VERIFIED}.", "gae-quiet"))]
        rows = [self.row(bar) for bar in sorted(tests.bars, key=lambda bar: bar["model"].lower())]
        return [table({"Model": 25, "Its bar": 75}, rows, "gae-parity", "gae-stack")]

    def row(self, bar):
        chapter = para(link("doc", "/" + bar["chapter"], "its chapter"), classes=["gae-note"])
        lines = bar["lines"] | ({"lacks": bar["lacks"]} if bar["lacks"] else {})
        minus = "\N{MINUS SIGN}"
        said = [
            para(nodes.strong("", term), ": ", re.sub(r"-(?=\d|log)", minus, words)) for term, words in lines.items()
        ]
        return row([para(documented(bar["model"], self.env.app)), chapter], said)


# --- the top of a chapter -----------------------------------------------------------------------------------


class Objective(SphinxDirective):
    """The objective bar: the one formula, and this chapter's choice under each of its terms."""

    option_spec = dict.fromkeys(TERMS, directives.unchanged_required)

    def run(self):
        if missing := [name for name in TERMS if name not in self.options]:
            raise self.error(f"objective: no choice for {', '.join(missing)}")
        bar = nodes.definition_list(classes=["gae-objective"])
        for option, (term, name) in TERMS.items():
            choice = self.parse_inline(self.options[option], lineno=self.lineno)[0]
            bar += nodes.definition_list_item(
                "",
                nodes.term("", "", nodes.math(term, term), nodes.Text(" "), span(name, "gae-label")),
                nodes.definition("", para(*choice)),
            )
        return [nodes.container("", bar, classes=["gae-bar"])]


class Facts(SphinxDirective):
    """Minutes to read, time to run, and what to know first (the body)."""

    has_content = True

    def run(self):
        first = para(nodes.strong("", "Before you start"))
        body = [para(span("", "gae-times")), first, *self.parse_content_to_nodes()]
        return [nodes.container("", *body, classes=["gae-facts"])]


def minutes(doctree: nodes.document) -> tuple[int, int]:
    """(minutes to read, minutes to do) a page: what is in sight, then its exercises.

    Half a minute for each figure and each displayed formula beside the words; ten for each exercise, an estimate.
    """
    words = sum(len(part.astext().split()) for part in doctree.findall(nodes.paragraph) if not in_fold(part))
    looked_at = [*doctree.findall(nodes.figure), *doctree.findall(nodes.math_block)]
    sliders = sum("gae-slider" in raw.astext() for raw in doctree.findall(nodes.raw))
    exercises = sum(isinstance(node, nodes.Admonition) and "exercise" in node["classes"] for node in doctree.findall())
    still = (sum(not in_fold(node) for node in looked_at) + sliders) / 2
    return max(1, round(words / WORDS_A_MINUTE + still)), exercises * MINUTES_AN_EXERCISE


def in_fold(node: nodes.Node) -> bool:
    while (node := node.parent) is not None:
        if "gae-fold" in getattr(node, "attributes", {}).get("classes", []):
            return True
    return False


def fill_times(app: Sphinx, doctree: nodes.document) -> None:
    """Write the times into {facts}, once the whole page is read and folded."""
    for place in doctree.findall(lambda n: isinstance(n, nodes.inline) and "gae-times" in n["classes"]):
        tests = results(root(app))
        tally = tests and tests.notebooks.get(app.env.docname)
        run = f"{tally.seconds:.0f} s of CPU time to run" if tally else PROMISE
        read, do = minutes(doctree)
        place += nodes.Text(f"{read} minute{'s' * (read > 1)} to read · about {do} for the exercises · {run}")


# --- the references -----------------------------------------------------------------------------------------


class Labels(pybtex.style.labels.BaseLabelStyle):
    """A reference is called as the pages cite it, "Beck and Teboulle, 2009"; of two with one name the second gets a letter."""

    def format_labels(self, sorted_entries):
        seen: dict[str, int] = {}
        for entry in sorted_entries:
            people = entry.persons.get("author") or entry.persons["editor"]
            names = [" ".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in people]
            called = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
            label = f"{called}, {entry.fields['year']}"
            seen[label] = seen.get(label, 0) + 1
            yield label if seen[label] == 1 else label + "abcd"[seen[label] - 1]


class References(pybtex.style.formatting.alpha.Style):
    default_label_style = Labels


# --- the landing page ---------------------------------------------------------------------------------------


class Doors(SphinxDirective):
    """{doors}: a link to start with, and a list of ways in, each a link and a line."""

    has_content = True

    def run(self):
        return [nodes.container("", *self.parse_content_to_nodes(), classes=["gae-doors"])]


def models(book: Path) -> list[dict]:
    """What the map shows: the models that the notebooks name in their metadata, in the book's order; then the planned."""
    chapters = [chapter["file"] for part in load(book / "_toc.yml")["parts"] for chapter in part["chapters"]]
    written = [
        {**model, "chapter": chapter}
        for chapter in chapters
        if (path := book / f"{chapter}.ipynb").exists()
        for model in json.loads(path.read_text(encoding="utf-8"))["metadata"].get("models", [])
    ]
    return written + load(book / "map.yml")["nodes"]


class ModelMap(SphinxDirective):
    """Every model by part and by who answers the max; grey and no link where no page is."""

    def run(self):
        for name in ("_toc.yml", "map.yml"):
            self.env.note_dependency(str(Path(self.env.srcdir) / name))
        nodes_ = models(Path(self.env.srcdir))
        return [
            element
            for folder, title in PARTS.items()
            if (chosen := [model for model in nodes_ if model["chapter"].partition("/")[0] == folder])
            for element in self.part(title, chosen)
        ]

    def part(self, title, models):
        groups = nodes.definition_list(classes=["gae-map"])
        for key, answer in ANSWERS.items():
            if items := [self.item(model) for model in models if model["infer"] == key]:
                cards = nodes.definition("", nodes.bullet_list("", *items))
                groups += nodes.definition_list_item("", nodes.term("", answer), cards)
        return [nodes.rubric("", title), groups]

    def item(self, model):
        name, planned = model["name"], model["chapter"] not in self.env.found_docs
        title = span(name, "gae-name") if planned else link("doc", "/" + model["chapter"], name)
        state = [span(" (planned)", "visually-hidden")] if planned else []
        line = para(span(model["line"], "gae-label"))
        return nodes.list_item("", para(title, *state), line, classes=["gae-planned"] * planned)


# --- the foot of a page -------------------------------------------------------------------------------------


def stamp(tests: Account | None, standing: dict[str, str], docname: str, notebook: bool) -> str:
    """What the last test run says about a page, in one sentence; `standing` has the digests as they are now."""
    tally = tests and (tests.notebooks.get(docname) if notebook else tests.total)
    if not tally:
        return f"This page is {NOT_VERIFIED}."
    where = f"on {tests.date}, commit {tests.commit}, {tests.device}, in {tally.seconds:.1f} s"
    things = "cells" if notebook else "tests of the book"
    if tally.failed:
        return f"Failed {where}: {tally.failed} of {tally.passed + tally.failed} {things}."
    names = {docname: "this page", "gaelib": "the package"}
    if changed := [words for name, words in names.items() if tests.digest.get(name) != standing.get(name)]:
        return f"Stale: {' and '.join(changed)} changed after the run {where}."
    skipped = f"; {tally.skipped} were skipped" if tally.skipped else ""
    good = "gave the results that you see" if notebook else "passed"
    return f"Verified {where}: {tally.passed} {things} {good}{skipped}."


def inline_drawings(app: Sphinx, doctree: nodes.document) -> None:
    """{figure} of an .svg: the drawing itself goes into the page, so that currentColor follows the mode."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix != ".svg" or not path.exists():
            continue
        alt = escape(image.get("alt", ""), quote=True)
        svg = path.read_text(encoding="utf-8").strip()
        svg = svg.replace("<svg ", f'<svg class="gae-drawing" role="img" aria-label="{alt}" ', 1)
        image.replace_self(nodes.raw("", svg, format="html"))


def lead_searchers(app: Sphinx, doctree: nodes.document) -> None:
    """A page's keywords (myst: html_meta) are entries of the search's index: who types one finds the page first."""
    for meta in doctree.findall(nodes.meta):
        if meta.get("name") == "keywords":
            words = meta["content"].split(", ")
            doctree += addnodes.index(entries=[("single", word, "", "main", None) for word in words])


def copy_drawings(app: Sphinx, exception) -> None:
    """The drawings as files too: a Colab copy shows them as pictures."""
    if exception is None and app.builder.format == "html":
        for source, (_, name) in app.env.images.items():
            if name.endswith(".svg"):
                target = Path(app.outdir) / "_images" / name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes((Path(app.srcdir) / source).read_bytes())


def finish_page(app: Sphinx, docname, template, context, doctree) -> None:
    if doctree is not None:
        notebook = str(app.env.doc2path(docname)).endswith(".ipynb")
        words = stamp(results(root(app)), standing(root(app)), docname, notebook)
        context["body"] += f'<p class="gae-stamp">{escape(words)}</p>' + report(app, docname)


def report(app: Sphinx, docname: str) -> str:
    """Where to say that a page is wrong."""
    repository = app.config.html_theme_options.get("repository_url", "")
    title = quote(f"Mistake on the page {docname}")
    body = quote("What is wrong, and where on the page:\n\n\nWhat should stand there:\n\n")
    issue = escape(f"{repository}/issues/new?title={title}&body={body}")
    here = f'<a href="{issue}">Report a mistake on this page</a> · <a href="{escape(repository)}">Repository</a>'
    return f'<p class="gae-report">{here}</p>' if repository else ""


def address(app: Sphinx, config) -> None:
    """The repository's address stands in pyproject.toml alone."""
    project = tomllib.loads((root(app) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.html_theme_options["repository_url"] = project["urls"]["Repository"]
    config.html_search_scorer = str(
        Path(app.srcdir) / "theme" / "score.js"
    )  # Sphinx takes it from where it was started


def setup(app: Sphinx) -> dict:
    # What a cell glued stands as it is: MyST-NB would read "0.50" as a number and "20,000" as a pair.
    myst_nb.ext.glue.roles.format_plain_text = lambda text, spec: text
    pybtex.plugin.register_plugin("pybtex.style.formatting", "references", References)
    app.add_role("ledger", Ledger())
    for name, directive in {
        "doors": Doors, "objective": Objective, "facts": Facts, "model-map": ModelMap, "ledger-table": LedgerTable,
        "parity-table": ParityTable,
        "bar-table": BarTable,
    }.items():  # fmt: skip
        app.add_directive(name, directive)
    app.connect("config-inited", address)
    app.connect("doctree-read", fill_times, priority=600)  # after the folds
    app.connect("doctree-read", inline_drawings)
    app.connect("doctree-read", lead_searchers)
    app.connect("build-finished", copy_drawings)
    app.connect("html-page-context", finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
