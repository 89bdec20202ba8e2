"""Copies of the notebooks that Colab can show: `python tools/colab.py --out DIR [--ref REF]`.

Colab knows Markdown and maths, not MyST. Directives become block quotes, roles become text or links to the
published page, images and links become absolute. Numbers are Sphinx's own, from the environment that
`make book` leaves in `_build/.doctrees`. What cannot be lowered is an error that names notebook and element.
"""

import argparse
import pickle
import posixpath
import re
import sys
import textwrap
from pathlib import Path

import nbformat
from docutils.nodes import make_id

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
import bookext  # noqa: E402
import form  # noqa: E402

from tools import exercises  # noqa: E402
from tools import nb as book  # noqa: E402

ENVIRONMENT = book.ROOT / "_build" / ".doctrees" / "environment.pickle"

BOOTSTRAP = """#@title Run this first: it installs {name}
try:
    import google.colab  # noqa: F401
    %pip install -q --no-deps "{name} @ git+{repository}@{ref}"
except ImportError:
    pass"""

TERMS = {  # option of {objective} -> its name and its place in the formula
    "code": "code $z$",
    "prior": r"prior $\log q_w(z)$",
    "decoder": r"decoder $\log q_r(x\mid z)$",
    "infer": r"who answers $\max_z$",
    "learn": "who moves $m$",
}
OBJECTIVE = r"$\max_m\;\mathbb{E}_{\mathrm{data}}\bigl[\max_z\;\log q_w(z)+\log q_r(x\mid z)\bigr]$"

FENCE = re.compile(r"^( *)(:{3,}|`{3,}|~{3,}) *(?:\{([^}]*)\})?[ \t]*(.*)$")
INLINE = re.compile(
    r"\{(?P<role>[\w:+.-]+)\}(?P<tick>`+)(?P<text>.+?)(?P=tick)(?!`)"
    r"|(?P<code>(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\$\$(?P<display>.+?)\$\$(?: *\((?P<label>[\w:.-]+)\))?"
    r"|(?P<maths>(?<![\\$])\$[^$\n]+\$)"
    r"|(?P<bang>!?)\[(?P<words>[^\[\]]*)\]\((?P<target>[^()\s]+)(?P<title>(?: +\"[^\"]*\")?)\)"
    r"|(?P<foreign>\[\^[^\]]+\]|\{\{.+?\}\})",
    re.S,
)


class Unknown(ValueError):
    """Something that Colab would show raw."""


def quote(title, body):
    """A block quote under a bold title."""
    text = f"**{title.replace('**', '')}**\n\n{body}".strip()
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def details(title, body):
    return f"<details>\n<summary>{title}</summary>\n\n{body.strip()}\n\n</details>"


class Site:
    """What Sphinx knows: where a label stands on the published site, and which number it carries."""

    def __init__(self, env, url):
        self.env, self.url = env, url
        self.std, self.maths = env.domaindata["std"], env.domaindata["math"]["objects"]
        self.cited = {cite.key: cite for cite in env.domaindata["cite"]["citations"]}
        self.proofs = getattr(env, "proof_list", {})

    @classmethod
    def load(cls, path=ENVIRONMENT, url=None):
        if not path.exists():
            raise SystemExit(
                f"no {path.name} in {path.parent}: equation numbers come from a build, run make book first"
            )
        with open(path, "rb") as file:
            return cls(pickle.load(file), url or book.project()["site"])

    def page(self, docname, anchor=""):
        return f"{self.url}{docname}.html" + (f"#{anchor}" if anchor else "")

    def number(self, docname, anchor, kind=None):
        """(kind, number) of a numbered thing: ("figure", "3")."""
        for found, numbers in self.env.toc_fignumbers.get(docname, {}).items():
            if anchor in numbers and kind in (None, found):
                return found, ".".join(map(str, numbers[anchor]))
        raise KeyError(anchor)

    def label(self, name):
        """(docname, anchor, title) of a label, whoever keeps it."""
        name = name.lower()
        if name in self.std["labels"]:
            return self.std["labels"][name]
        if name in self.proofs:
            return self.proofs[name]["docname"], self.proofs[name]["ids"][0], ""
        return (*self.std["anonlabels"][name], "")

    def numbered(self, name, template=None):
        """(address, text such as "Exercise 2") of a label."""
        docname, anchor, _ = self.label(name)
        kind, number = self.number(docname, anchor)
        template = template or self.env.config.numfig_format[kind]
        text = template.replace("{number}", number).replace("%s", number)
        return self.page(docname, anchor), text[0].upper() + text[1:]

    def equation(self, label):
        """(docname, address, number) of an equation."""
        docname, number = self.maths[label]
        anchor = make_id(f"equation-{label}")
        if self.env.config.numfig and self.env.config.math_numfig:
            number = self.number(docname, anchor, "displaymath")[1]
        return docname, self.page(docname, anchor), number

    def citation(self, key):
        """(address, authors, year) of a reference."""
        cite = self.cited[key]
        people = cite.entry.persons.get("author") or cite.entry.persons.get("editor") or []
        names = [
            "".join(
                map(
                    str,
                    [
                        *(f"{part} " for part in person.rich_prelast_names),
                        " ".join(map(str, person.rich_last_names)),
                    ],
                )
            )
            for person in people
        ]
        who = names[0] + " et al." if len(names) > 2 else " and ".join(names)
        return (
            self.page(cite.bibliography_key.docname, cite.citation_id),
            who,
            cite.entry.fields.get("year", "n.d."),
        )

    def relative(self, here, path):
        """The docname or file that a path means on the page `here`."""
        base = path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(here), path)
        return posixpath.normpath(base)


class Lower:
    """MyST of one notebook to Markdown."""

    def __init__(self, site, docname, glued=()):
        self.site, self.here, self.glued = site, docname, dict(glued)

    # --- roles ---

    def role(self, name, text):
        known = {
            "eq": self.eq, "ref": self.ref, "prf:ref": self.ref, "numref": self.numref, "doc": self.doc,
            "term": self.term, "cite": self.cite_p, "cite:p": self.cite_p, "cite:t": self.cite_t,
            "ledger": self.ledger, "chapter": self.chapter, "glue:text": self.glue, "measured": self.measured,
        }  # fmt: skip
        if name not in known:
            raise Unknown(f"{self.here}: unknown role {{{name}}} around `{text}`")
        explicit = re.fullmatch(r"(.+?)\s*<([^<>]+)>", text, re.S)
        words, target = explicit.groups() if explicit else (None, text)
        try:
            return known[name](target.strip(), words)
        except (KeyError, IndexError) as error:
            raise Unknown(f"{self.here}: {{{name}}}`{text}` leads nowhere ({error})") from None

    def eq(self, target, words):
        docname, address, number = self.site.equation(target)
        return f"({number})" if docname == self.here else f"[({number})]({address})"

    def ref(self, target, words):
        docname, anchor, title = self.site.label(target)
        try:
            if self.site.number(docname, anchor)[0] != "figure":  # a figure is called by its caption
                title = self.site.numbered(target)[1]
        except KeyError:
            pass  # a section has a title and no number
        if not (words or title):
            raise KeyError(target)
        return f"[{words or title}]({self.site.page(docname, anchor)})"

    def numref(self, target, words):
        address, text = self.site.numbered(target, words)
        return f"[{text}]({address})"

    def doc(self, target, words):
        docname = self.site.relative(self.here, target)
        return f"[{words or self.site.env.titles[docname].astext()}]({self.site.page(docname)})"

    def chapter(self, target, words):
        planned = f"{words or target.split('/')[-1]} (planned)"
        return self.doc("/" + target, words) if target in self.site.env.titles else planned

    def term(self, target, words):
        return words or target

    def cite_p(self, target, words):
        found = [self.site.citation(key.strip()) for key in target.split(",")]
        return "(" + "; ".join(f"[{who}, {year}]({address})" for address, who, year in found) + ")"

    def cite_t(self, target, words):
        found = [self.site.citation(key.strip()) for key in target.split(",")]
        return ", ".join(f"[{who} ({year})]({address})" for address, who, year in found)

    def measured(self, target, words):
        """A figure of the stored comparison: where it stands."""
        return f"[{target}]({self.site.page('practice/choosing')})"

    def glue(self, target, words):
        """The text that the notebook stores under this name."""
        return self.glued[target]

    def ledger(self, target, words):
        docname, anchor, _ = self.site.label(f"ledger-{target}")
        rows = {row["id"]: row for row in bookext.load(book.ROOT / "book" / "ledger.yml")["rows"]}
        return f"[{target} {bookext.VERDICTS[rows[target]['verdict']]}]({self.site.page(docname, anchor)})"

    # --- directives: (argument, options, body) -> Markdown ---

    def directive(self, name, argument, options, body):
        kind = name.removeprefix("prf:")
        if name in ("note", "tip", "warning"):
            return quote(kind.capitalize(), self.text(body))
        if name == "admonition":
            return quote(self.inline(argument), self.text(body))
        if name == "source-code":
            source = (book.ROOT / argument).read_text(encoding="utf-8")
            return details(form.file_title(argument, source), f"```python\n{source}```")
        if name == "dropdown":
            return details(self.inline(argument), self.text(body))
        if name == "solution":
            return details(f"Solution of {self.site.numbered(argument)[1].lower()}", self.text(body))
        if name == "prf:proof":
            return quote("Proof", self.text("\n".join(filter(None, (argument, body)))))
        if name == "exercise" or name in (
            "prf:theorem",
            "prf:proposition",
            "prf:remark",
            "prf:definition",
            "prf:example",
        ):
            title = self.site.numbered(options["label"])[1] if "label" in options else kind.capitalize()
            return quote(title + (f" ({self.inline(argument)})" if argument else ""), self.text(body))
        if name == "math":
            return self.display(argument + "\n" + body, options.get("label"))
        if name == "figure":
            number = f"**{self.site.numbered(options['name'])[1]}.** " if "name" in options else ""
            return f"![{options.get('alt', '')}]({self.image(argument)})\n\n{number}{self.text(body)}"
        if name == "objective":
            choices = "\n".join(f"- {TERMS[key]}: {self.inline(value)}" for key, value in options.items())
            return quote(f"The objective, {OBJECTIVE}, in this chapter", choices)
        if name == "doors":
            return self.text(body)
        if name == "facts":
            return quote("Before you start", self.text(body))
        if name == "glossary":
            return re.sub(r"(?m)^(\S.*)$", r"**\1**", textwrap.dedent(body))
        pages = {
            "bibliography": "references", "ledger-table": "ledger", "parity-table": "parity", "model-map": "intro",
            "bar-table": "bars",
            "chapter-table": "teaching/teachers", "errata": "errata", "measured-table": "practice/choosing",
            "card-table": "practice/choosing",
        }  # fmt: skip
        if name in pages:
            return f"[See this on the book's page]({self.site.page(pages[name])})."
        raise Unknown(f"{self.here}: unknown directive {{{name}}}")

    def image(self, path):
        """Sphinx gathers all pictures of the site in one folder."""
        if "://" in path:
            return path
        source = self.site.relative(self.here, path)
        return f"{self.site.url}_images/{self.site.env.images[source][1]}"

    def display(self, body, label):
        """On one line: in a block quote the marks of further lines would stand in the formula."""
        if re.search(r"(?<!\\)%", body):
            raise Unknown(f"{self.here}: a comment in a formula does not survive on one line: {body.strip()}")
        tag = rf" \tag{{{self.site.equation(label)[2]}}}" if label else ""
        return f"$$ {' '.join(body.split())}{tag} $$"

    # --- text ---

    def link(self, match):
        bang, words, target = match["bang"], match["words"], match["target"]
        if not bang:
            words = self.inline(words)
        if re.match(r"[a-z]+:", target):
            return f"{bang}[{words}]({target}{match['title']})"
        if bang:
            return f"![{words}]({self.image(target)}{match['title']})"
        path, _, anchor = target.partition("#")
        docname = re.sub(r"\.(md|ipynb|html)$", "", self.site.relative(self.here, path)) if path else self.here
        if docname not in self.site.env.titles:
            raise Unknown(f"{self.here}: the link to {target} leads to no page")
        return f"[{words}]({self.site.page(docname, anchor)})"

    def piece(self, match):
        if match["role"]:
            return self.role(match["role"], match["text"])
        if match["display"] is not None:
            return self.display(match["display"], match["label"])
        if match["foreign"]:
            raise Unknown(f"{self.here}: footnotes and substitutions are not on the closed list: {match['foreign']}")
        return match[0] if match["target"] is None else self.link(match)

    def inline(self, text):
        return INLINE.sub(self.piece, text)

    def fenced(self, name, argument, body):
        """One directive: its options stand on the first lines as `:key: value`."""
        options, lines = {}, body.splitlines()
        while lines and (option := re.match(r"^:([\w-]+):[ \t]*(.*)$", lines[0].strip())):
            options[option[1]] = option[2].strip()
            lines.pop(0)
            while lines and name == "objective" and lines[0].startswith("  "):  # a long choice goes on
                options[option[1]] += " " + lines.pop(0).strip()
        return self.directive(name, argument.strip(), options, "\n".join(lines).strip("\n"))

    def text(self, source):
        """A whole piece of MyST: fences outside, everything else inline."""
        lines, out, plain = source.splitlines(), [], []

        def flush():
            text = re.sub(r"(?m)^(\S[^\n]*)\n: +", r"**\1**: ", "\n".join(plain))  # a definition list
            out.append(self.inline(text))
            plain.clear()

        while lines:
            line = lines.pop(0)
            fence = FENCE.match(line)
            if not fence:
                if re.match(r"^\([\w:.-]+\)=\s*$", line) or re.match(r"^(%|\+\+\+)", line):
                    continue  # a label, a comment, a block break: nothing to show
                plain.append(line)
                continue
            flush()
            indent, marks, name, argument = fence.groups()
            close = re.compile(rf"^ *{re.escape(marks[0])}{{{len(marks)},}}\s*$")
            end = next((i for i, text in enumerate(lines) if close.match(text)), None)
            if end is None:
                raise Unknown(f"{self.here}: the fence {line.strip()!r} is never closed")
            body, lines = "\n".join(lines[:end]), lines[end + 1 :]
            if name is None and marks[0] != ":":
                out.append("\n".join([line, body, f"{indent}{marks}"]))  # code to show: as it is
            elif name is None:
                out.append(self.text(body))
            else:
                out.append(textwrap.indent(self.fenced(name, argument, textwrap.dedent(body)), indent))
        flush()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip("\n")


def code(cell):
    """A code cell for Colab: solutions folded, and a cell that fails on purpose does not stop "Run all"."""
    tags = book.tags(cell)
    cell.outputs = [output for output in cell.outputs if "scrapbook" not in output.get("metadata", {})]
    cell.metadata = nbformat.NotebookNode()
    if tags & {"solution", "hide-cell", "hide-input", "remove-cell"}:
        title = "Solution" if "solution" in tags else "Code"
        cell.source = f"#@title {title}\n{cell.source}"
        cell.metadata = nbformat.from_dict({"cellView": "form", "jupyter": {"source_hidden": True}})
    if "break-it" in tags:
        cell.source = (
            f"try:\n{textwrap.indent(cell.source, '    ')}\n"
            "except AssertionError as failure:  # on purpose\n"
            '    print("CheckFailed", *failure._render_traceback_(), sep="\\n")'
        )
        for i, output in enumerate(cell.outputs):
            if output.output_type == "error":
                text = "\n".join([output.ename, *output.traceback]) + "\n"
                cell.outputs[i] = nbformat.v4.new_output("stream", text=text)
    return cell


def glued(nb):
    """name -> text of what the cells glued."""
    found = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                found[name] = output.data["application/papermill.record/text/plain"]
    return found


def copy(nb, docname, site, project, ref):
    """The Colab copy of a notebook; `nb` is not changed."""
    lower, cells, waiting = Lower(site, docname, glued(nb)), [], []
    install = nbformat.v4.new_code_cell(
        BOOTSTRAP.format(**project, ref=ref), id="colab-install", metadata={"cellView": "form"}
    )
    where = f"*This notebook is a copy of [a page of the book]({site.page(docname)}), at {ref}.*"
    for cell in nb.cells:
        caption = cell.metadata.get("mystnb", {}).get("figure")
        cell = nbformat.from_dict(cell)
        if cell.cell_type == "markdown":
            asks, answers = exercises.parted(cell.source)
            cells += [nbformat.v4.new_markdown_cell(lower.text(asks), id=cell.id)]
            if answers:
                waiting.append(nbformat.v4.new_markdown_cell(lower.text(answers), id=f"{cell.id[:57]}-words"))
            continue
        if "solution" in book.tags(cell):  # its words and its code, one fold below the other
            cells += waiting
            waiting.clear()
        cells.append(code(cell))
        if caption:
            number = site.numbered(caption["name"])[1] if caption.get("name") else "Figure"
            text = f"**{number}.** {lower.inline(caption.get('caption', ''))}"
            cells.append(nbformat.v4.new_markdown_cell(text, id=f"{cell.id[:55]}-caption"))
    out = nbformat.v4.new_notebook(
        cells=[install, nbformat.v4.new_markdown_cell(where, id="colab-where"), *cells, *waiting]
    )
    out.metadata = nbformat.from_dict({
        "colab": {"provenance": [], "toc_visible": True, **nb.metadata.get("colab", {})},
        "kernelspec": {"display_name": "Python 3", "name": "python3"},
        "language_info": {"name": "python"},
        **({"accelerator": nb.metadata.accelerator} if "accelerator" in nb.metadata else {}),
    })  # fmt: skip
    nbformat.validate(out)
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(description="Write Colab copies of the book's notebooks.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--ref", help="tag, branch or commit to install; default: v and the version in pyproject.toml")
    args = parser.parse_args(argv)
    project, site, paths = book.project(), Site.load(), book.notebooks()
    if not paths:
        parser.error("no notebook found")
    for path in paths:
        name = book.name(path)
        target = args.out / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nb = copy(book.read(path), name, site, project, args.ref or f"v{project['version']}")
        target.write_text(book.dumps(nb), encoding="utf-8")
    print(f"{len(paths)} Colab copies in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
