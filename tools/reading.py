"""How the book is read: light pages, tables for teachers, links to the glossary, and the EPUB's formulas.

A small Sphinx extension beside `bookext`. It reads what the pages themselves say, so that a new chapter
is in every table and has its links without a line here.
"""

from __future__ import annotations

import re
import shutil
import struct
import tomllib
import zlib
from html import unescape
from pathlib import Path

import bookext
import form
import styles
from bookext import link, load, para, span
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import docname_join
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.math import get_node_equation_number

# Words of the glossary that a page mostly uses in another sense: linked only where {term} says so.
AMBIGUOUS = {"bit", "code", "component", "flat", "joint", "objective", "parameters", "prior"}


# --- what a page does without ------------------------------------------------------------------------------

SCRIPTS = "fontawesome|mathjax/startup"  # icons come from the web font; gae.js asks for MathJax once a page is painted
SEARCH = "searchtools|language_data|searchindex"  # for the search page alone


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Drop what the theme loads and the book does not use, and load the rest without blocking the page."""
    if error or app.builder.format != "html" or app.builder.name == "epub":
        return
    out = Path(app.outdir)
    pages = [page for page in out.rglob("*.html") if "_static" not in page.parts]
    sheet = one_sheet(out, pages)
    for page in pages:
        text = sheet(page.read_text(encoding="utf-8"))
        unused = SCRIPTS if page.name == "search.html" else f"{SCRIPTS}|{SEARCH}"
        text = re.sub(rf"<script[^>]*\b(?:{unused})\.js[^>]*></script>\s*", "", text)
        if page.name != "search.html":  # its inline script needs them at once
            text = re.sub(r"<script>DOCUMENTATION_OPTIONS\.[^<]*</script>\s*", "", text)
            text = re.sub(r'<script (src="[^"]*_static/[^>]*>)', r"<script defer \1", text)
        if 'class="gae-explore"' not in text:
            text = re.sub(r"<script[^>]*explore\.js[^>]*></script>\s*", "", text)
        classes = [set(part.split()) for part in re.findall(r'class="([^"]*)"', text)]
        if not any("toggle" in c or {"admonition", "dropdown"} <= c for c in classes):
            text = re.sub(r"<script>(?:let toggle|var togglebutton)[^<]*</script>\s*", "", text)
            text = re.sub(r"<script[^>]*togglebutton\.js[^>]*></script>\s*", "", text)
        if not any("highlight" in c for c in classes):
            text = re.sub(r"<script[^>]*(?:clipboard\.min|copybutton)\.js[^>]*></script>\s*", "", text)
        text = re.sub(r"<pre>.*?</pre>", plain, text, flags=re.DOTALL)
        text = re.sub(
            r"<img (?=[^>]*_static/images/)(?![^>]*loading=)", '<img loading="lazy" ', text
        )  # in a menu that is shut
        text = re.sub(r'<link rel="preload" as="script"[^>]*/>\s*', "", text)
        first, *others = re.split(r'<meta name="viewport"[^>]*>', text)
        text = first + '<meta name="viewport" content="width=device-width, initial-scale=1">' + "".join(others)
        page.write_text(re.sub(r'<img [^>]*src="([^"]+\.png)"[^>]*>', sized(page), text), encoding="utf-8")
    for file in {*out.rglob("fontawesome.js*"), *out.rglob("*.map")}:
        file.unlink()


def plain(match) -> str:
    """For re.sub: code without a tag around each name, comma and space, which have the colour of the rest."""
    return re.sub(r'<span class="(?:n|nn|p|w)">([^<]*)</span>', r"\1", match[0])


STYLE = r'<link(?=[^>]*rel="stylesheet")[^>]*href="([^"]*_static/)([^"?]+)[^>]*>'
NAMED = r'(?:class|id)="([^"]*)"'


def one_sheet(out: Path, pages: list[Path]):
    """The function that puts one link to `_static/book.css` where a page has its style sheets, and the sheet itself."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    names = {name for text in texts.values() for part in re.findall(NAMED, text) for name in part.split()}
    scripts = [file.read_text(encoding="utf-8") for file in out.rglob("_static/**/*.js")]
    scripts += [script for text in texts.values() for script in re.findall("<script.*?</script>", text, re.DOTALL)]
    names.update(name for script in scripts for name in re.findall(r"[\w-]+", script))
    sheets = dict.fromkeys(name for text in texts.values() for _, name in re.findall(STYLE, text))
    sheets.pop("book.css", None)  # a page that is not built anew has it already
    if not sheets:
        return str
    css = styles.bundle(out / "_static", sheets, names)
    (out / "_static" / "book.css").write_text(css, encoding="utf-8")

    def put(text: str) -> str:
        first, *others = re.split(rf"(?:{STYLE}\s*)", text)[::3]
        if not others:
            return text
        link = f'<link rel="stylesheet" href="{re.search(STYLE, text)[1]}book.css?v={zlib.crc32(css.encode()):08x}"/>'
        return first + link + "\n".join(others)

    return put


def sized(page: Path):
    """For re.sub: a picture that comes when it is needed, and whose place is kept until then."""

    def image(match):
        file = page.parent / match[1]
        if "_images" not in match[1] or not file.exists():
            return match[0]
        width, height = struct.unpack(">II", file.read_bytes()[16:24])
        return f'<img loading="lazy" decoding="async" width="{width}" height="{height}" {match[0][5:]}'

    return image


# --- chapters ------------------------------------------------------------------------------------------------


class Chapter(SphinxRole):
    """{chapter}`words <cases/memory>`: a link to the page, or grey words where it is not written yet."""

    def run(self):
        words, target = re.fullmatch(r"(?:(.*?)\s*<)?([^<>]+)>?", self.text, re.DOTALL).groups()
        if target in self.env.found_docs:
            return [link("doc", "/" + target, words or "")], []
        return [span(f"{words or target.split('/')[-1]} (planned)", "gae-quiet")], []


def facts(env, docname) -> nodes.Node | None:
    """The {facts} of a chapter; None on other pages."""
    places = env.get_doctree(docname).findall(nodes.container)
    return next((place for place in places if "gae-facts" in place["classes"]), None)


def chapters(env):
    """(docname, its facts) in the book's order."""
    for docname in env.toctree_includes.get(env.config.root_doc, []):
        if found := facts(env, docname):
            yield docname, found


class ChapterTable(SphinxDirective):
    """{chapter-table}: minutes, exercises, prerequisites and ledger ids of every chapter."""

    def run(self):
        return [nodes.comment("", "", gae="chapters")]  # filled once all pages are read


class FillChapters(SphinxPostTransform):
    default_priority = 5  # before references are resolved

    def run(self, **kwargs):
        for place in list(self.document.findall(nodes.comment)):
            if place.get("gae") == "chapters":
                titles = {"Chapter": 22, "To read and to do": 17, "Before you start": 40, "Ledger": 21}
                rows = [self.row(*found) for found in chapters(self.env)]
                place.replace_self(bookext.table(titles, rows, "gae-stack"))
        if self.env.docname.startswith(("practice/", "teaching/", "notation")):
            for table in self.document.findall(nodes.table):
                if "gae-sort" not in table["classes"]:  # its numbers need the heads of their columns
                    table["classes"].append("gae-stack")

    def row(self, docname, found):
        times = next(n for n in found.findall(nodes.inline) if "gae-times" in n["classes"])
        # Python's own deepcopy would follow a node's parent and copy the whole page.
        before = [n.deepcopy() for n in found.children if isinstance(n, nodes.bullet_list)]
        for xref in (x for part in before for x in part.findall(addnodes.pending_xref)):
            if xref["reftype"] == "doc":  # written as seen from the chapter, but read here
                xref["reftarget"] = "/" + docname_join(docname, xref["reftarget"])
            xref["refdoc"] = self.env.docname
        registered = getattr(self.env, "sphinx_exercise_registry", {}).values()
        exercises = [e for e in registered if e["docname"] == docname and e["type"] == "exercise"]
        rows = load(Path(self.env.srcdir) / "ledger.yml")["rows"]
        ids = [row["id"] for row in rows if row["chapter"] == docname]
        links = [part for id in ids for part in (link("ref", f"ledger-{id.lower()}", id), nodes.Text(" "))]
        minutes = times.astext().split(" to read")[0]
        cells = [link("doc", "/" + docname)], [f"{minutes}, {len(exercises)} exercises"], None, links or ["none"]
        return bookext.row(*(before or [para("nothing")] if cell is None else [para(*cell)] for cell in cells))


class Errata(SphinxDirective):
    """{errata}: the rows of the ledger that the document gets wrong, misprints and statements that fail.

    `{errata} L`: those of section L, which are the field's and not the document's.
    """

    optional_arguments = 1

    def run(self):
        source = Path(self.env.srcdir) / "ledger.yml"
        self.env.note_dependency(str(source))
        wrong = [row for row in load(source)["rows"] if row["verdict"] in ("typo", "fails")]
        wrong = [row for row in wrong if (row["section"] == "L") == (self.arguments == ["L"])]
        titles = {"Row": 16, "The statement": 36, "What is wrong, and what holds": 48}
        return [bookext.table(titles, map(self.row, wrong), "gae-stack")]

    def row(self, row):
        badge = span(bookext.VERDICTS[row["verdict"]], "gae-badge", f"gae-{row['verdict']}")
        name = link("ref", f"ledger-{row['id'].lower()}", row["id"])
        where = link("doc", "/" + row["chapter"]) if row["chapter"] else span("no chapter yet", "gae-quiet")
        statement, note = (para(*self.parse_inline(row[key], lineno=self.lineno)[0]) for key in ("statement", "note"))
        return bookext.row([para(name, " ", badge)], [statement], [note, para(where)])


# --- words -------------------------------------------------------------------------------------------------------


class LinkTerms(SphinxPostTransform):
    """In a chapter, the first use of a word of the glossary links to it."""

    default_priority = 6
    SKIP = (
        nodes.title, nodes.literal, nodes.literal_block, nodes.math, nodes.reference, nodes.raw, nodes.caption,
        nodes.term, addnodes.pending_xref, nodes.rubric, nodes.table, nodes.legend, form.summary,
    )  # fmt: skip

    def run(self, **kwargs):
        if not facts(self.env, self.env.docname):
            return
        objects = self.env.get_domain("std").objects
        terms = {name for kind, name in objects if kind == "term"} - AMBIGUOUS
        marked = {
            x["reftarget"].lower() for x in self.document.findall(addnodes.pending_xref) if x.get("reftype") == "term"
        }
        left = {stem(term): term for term in terms if stem(term) not in {stem(word) for word in marked}}
        for text in list(self.document.findall(nodes.Text)):
            if left and self.prose(text):
                self.link(text, left)

    def prose(self, node):
        while (node := node.parent) is not None:
            if isinstance(node, self.SKIP) or {"gae-bar", "gae-facts"} & set(node.get("classes", [])):
                return False
        return True

    def link(self, text, left):
        words = "|".join(re.escape(word) + "s?" for word in sorted(left, key=len, reverse=True))
        parts, end = [], 0
        for match in re.finditer(rf"(?<![\w-])(?:{words})(?![\w-])", text, flags=re.IGNORECASE):
            if term := left.pop(stem(match[0]), None):
                parts += [nodes.Text(text[end : match.start()]), link("term", term, match[0])]
                parts[-1]["refexplicit"] = True
                end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def stem(word: str) -> str:
    """One form for singular and plural."""
    return word.lower().removesuffix("s")


# --- the EPUB ----------------------------------------------------------------------------------------------------


def mathml(tex: str, block: bool = False) -> str:
    """TeX as MathML, which e-readers show without a script. docutils' converter wants braces and no \\big."""
    tex = re.sub(r"\\([tdc]?frac)\s*(\d)(\d)", r"\\\1{\2}{\3}", tex)
    tex = re.sub(r"\\([tdc]?frac)\s*(\d|[A-Za-z])\s*(?=[{\w\\])", r"\\\1{\2}", tex)
    tex = re.sub(r"\\([tdc]?frac(?:\{[^{}]*\}))\s*(\w|\\[a-z]+)", r"\\\1{\2}", tex)
    tex = re.sub(r"\\[Bb]ig(?![a-z])|\\(?:text|display)style", "", tex)
    tex = re.sub(r"\\[cd]?dots(?![a-z])", r"\\ldots", tex)
    return tex2mathml(tex, as_block=block).replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em"/>')


TEX = re.compile(
    r'(\(?)(<(span|div) class="math [^>]*>\s*(?:<span class="eqno">.*?</span>)?)(\\[(\[])(.*?)(\\[)\]])(</\3>)([),.:;?!]?)',
    re.S,
)


def without_scripts(app: Sphinx, docname, template, context, doctree) -> None:
    """Beside each formula its MathML, which a browser shows where scripts are off; gae.css then hides the TeX.

    A line may end beside any formula, even between it and its full stop; gae.css forbids it where the two are one.
    """

    def both(match):
        opens, tag, kind, begin, tex, end, close, stop = match.groups()
        tex_alone = f'<span class="gae-tex">{begin}{tex}{end}</span>'
        plain = re.sub(r"\\(?:begin|end)\{split\}", "", unescape(tex))  # Sphinx puts it around what is aligned already
        formula = f"{tag}{tex_alone}<noscript>{mathml(plain, kind == 'div')}</noscript>{close}"
        return f'<span class="gae-whole">{opens}{formula}{stop}</span>' if opens or stop else formula

    if app.builder.name == "html" and doctree is not None:
        context["body"] = TEX.sub(both, context["body"])


def visit_math(self, node):
    self.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self, node):
    number = get_node_equation_number(self, node) if node["number"] else ""
    anchor = f' id="{node["ids"][0]}"' if node["ids"] else ""
    number = f'<span class="eqno">({number})</span>' if number else ""
    self.body.append(f'<div class="math"{anchor}>{number}{mathml(node.astext(), True)}</div>')
    raise nodes.SkipNode


def xhtml(html: str) -> str:
    """A stored output as XHTML without scripts: of a figure with a slider, the first frame and its words."""
    soup = BeautifulSoup(html, "html.parser")
    hidden = [g for g in soup.select("g.frame") if "display:none" in g.get("style", "")]
    for gone in [*soup(["script", "style"]), *soup.select(".gae-slider label"), *hidden]:
        gone.decompose()
    for svg in soup("svg"):
        svg["xmlns"] = "http://www.w3.org/2000/svg"
    return str(soup).replace(" viewbox=", " viewBox=").replace("clippath", "clipPath")


class PlainOutputs(SphinxPostTransform):
    default_priority = 999
    builders = ("epub",)

    def run(self, **kwargs):
        for raw in self.document.findall(nodes.raw):
            if "html" in raw["format"].split():
                raw.children = [nodes.Text(xhtml(raw.astext()))]


class Epub(Epub3Builder):
    """Sphinx's builder with MathML, without scripts, and with a list of contents that names what is inside."""

    math_renderer_name = "mathml"

    def init(self):
        self.config.html_theme_options = {}  # the theme's buttons have no place in a book
        project = tomllib.loads((Path(self.srcdir).parent / "pyproject.toml").read_text(encoding="utf-8"))
        self.config.version = project["project"]["version"]
        super().init()

    def build_content(self):
        out = Path(self.outdir)
        for unused in ("mathjax", "locales", "images"):
            shutil.rmtree(out / "_static" / unused, ignore_errors=True)
        inside = {}
        for page in out.rglob("*.xhtml"):
            html = page.read_text(encoding="utf-8")
            html = re.sub(r"<script\b.*?(?:</script>|/>)", "", html, flags=re.DOTALL)
            page.write_text(html, encoding="utf-8")
            kinds = [kind for kind, tag in (("mathml", "<math"), ("svg", "<svg")) if tag in html]
            inside[page.relative_to(out).as_posix()] = " ".join(kinds)
        super().build_content()
        opf = (out / "content.opf").read_text(encoding="utf-8")
        for name in filter(inside.get, inside):
            opf = opf.replace(f'href="{name}"', f'href="{name}" properties="{inside[name]}"')
        (out / "content.opf").write_text(opf, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.add_role("chapter", Chapter())
    app.add_directive("chapter-table", ChapterTable)
    app.add_directive("errata", Errata)
    app.add_post_transform(FillChapters)
    app.add_post_transform(LinkTerms)
    app.add_post_transform(PlainOutputs)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.add_builder(Epub, override=True)
    app.connect("html-page-context", without_scripts)
    app.connect("build-finished", lighten, priority=900)  # the theme writes its colours of code then, too
    return {"parallel_read_safe": True, "parallel_write_safe": True}
