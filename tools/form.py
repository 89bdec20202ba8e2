"""The form of a chapter: quiet folds, one toggle for a solution in words and in code, predictions.

A small Sphinx extension beside `bookext`. A fold is the browser's own `<details>`: it needs no script, opens by
keyboard, and is opened for paper by a line of `gae.js`.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_exercise.nodes import is_exercise_node, is_solution_node

KINDS = {  # how the title of a box begins -> its class
    "In the source": "gae-source", "What you should have seen": "gae-seen", "Answer": "gae-seen", "Hint": "gae-hint",
    "Solution": "gae-solution", "Predict": "gae-predict", "code": "gae-code", "All of": "gae-code",
}  # fmt: skip


class fold(nodes.General, nodes.Element):
    """A closed box. Its first child is the `summary`, the line that opens it."""


class summary(nodes.General, nodes.TextElement):
    """The line that opens a fold."""


def kind(title: str) -> list[str]:
    return [name for begins, name in KINDS.items() if title.startswith(begins)]


def closed(title: str, *body: nodes.Node, **attributes) -> fold:
    """A fold from its title and what it hides."""
    words = summary(title, title)
    return fold("", words, *body, classes=["gae-fold", *kind(title)], **attributes)


class Dropdown(SphinxDirective):
    """{dropdown} Title: a fold. "In the source …", "What you should have seen" and "Hint" have a look of their own."""

    required_arguments, final_argument_whitespace, has_content = 1, True, True
    option_spec = dict.fromkeys(["name"], directives.unchanged_required)

    def run(self):
        box = closed(self.arguments[0], *self.parse_content_to_nodes())
        box[0].children, said = self.parse_inline(self.arguments[0], lineno=self.lineno)
        for child in box[0].children:
            child.parent = box[0]
        self.add_name(box)
        return [box, *said]


class SourceCode(SphinxDirective):
    """{source-code} gaelib/core.py: a file of the package, folded, as it is."""

    required_arguments = 1

    def run(self):
        path = Path(self.env.srcdir).parent / self.arguments[0]
        self.env.note_dependency(str(path))
        text = path.read_text(encoding="utf-8")
        code = nodes.literal_block(text, text, language="python")
        return [closed(file_title(self.arguments[0], text), code)]


def file_title(name: str, text: str) -> str:
    return f"All of {name}: {len(text.splitlines())} lines"


def visit_fold(self, node):
    self.body.append(self.starttag(node, "details"))


def depart_fold(self, node):
    self.body.append("</details>\n")


def visit_summary(self, node):
    self.body.append(self.starttag(node, "summary", ""))


def depart_summary(self, node):
    self.body.append("</summary>\n")


def solved(node: nodes.Node) -> bool:
    return "tag_solution" in getattr(node, "attributes", {}).get("classes", [])


def one_toggle(app: Sphinx, doctree: nodes.document) -> None:
    """A solution's words and the solved cell behind one line, where the cell stands: below the stub."""
    for words in list(doctree.findall(is_solution_node)):
        body = [child for part in words.children if isinstance(part, nodes.section) for child in part.children]
        box = closed("Solution", *body, ids=words["ids"], names=words["names"])
        place, after = words, words.parent.children[words.parent.index(words) + 1 :]
        for node in after:
            if is_exercise_node(node) or is_solution_node(node):
                break
            if solved(node):
                place = node
                break
        if place is words:
            words.replace_self(box)
            continue
        words.parent.remove(words)
        place.replace_self(box)
        place.attributes.pop("hide_mode", None)  # the fold hides it already
        box += place


def fold_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Hidden code behind the same quiet line as everything else that opens."""
    for cell in doctree.findall(nodes.container):
        hidden = cell.attributes.pop("hide_mode", None)
        if hidden == "all":
            cell.children, inside = [], cell.children
            cell += closed("Solution" if solved(cell) else "code", *inside)
        elif hidden:
            cell.children, (code, *shown) = [], cell.children
            cell += [closed("code", code), *shown]


def name_kinds(app: Sphinx, doctree: nodes.document) -> None:
    """A box that asks for a prediction says so in its class."""
    for box in doctree.findall(nodes.admonition):
        box["classes"] += kind(box[0].astext())


def setup(app: Sphinx) -> dict:
    app.add_node(fold, html=(visit_fold, depart_fold))
    app.add_node(summary, html=(visit_summary, depart_summary))
    app.add_directive("dropdown", Dropdown)
    app.add_directive("source-code", SourceCode)
    app.connect("doctree-read", one_toggle)
    app.connect("doctree-read", fold_cells)
    app.connect("doctree-read", name_kinds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
