"""Colab copies: nothing in them that Colab would show raw, and nothing lost on the way."""

import re
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import bookext

from tools import colab
from tools import nb as book

PATHS = book.notebooks()
PROJECT = {"name": "generative-autoencoders", "repository": "https://example.org/owner/name", "version": "1.2.3"}
URL = "https://owner.example.org/name/"
RAW = {
    "a role": r"\{[\w:+.-]+\}`",
    "a colon fence": r"^\s*(> ?)*:{3,}",
    "a directive": r"[`~]{3,}\s*\{",
    "a label": r"^\s*(> ?)*\([\w:.-]+\)=\s*$",
    "a labelled equation": r"\$\$ *\([\w:.-]+\)",
    "an option": r"^\s*(> ?)*:[\w-]+: ",
    "a comment": r"^%",
    "a relative link": r"\]\((?!https?:|mailto:)[^)\s]+\)",
}

each = pytest.mark.parametrize("path", PATHS, ids=book.name)


def raw(text):
    """What Colab would show raw; code shows MyST on purpose and is left out."""
    text = re.sub(r"^( *)(`{3,})(?! *\{).*?^\1\2", "", text, flags=re.M | re.S)
    text = re.sub(r"(?<![`}])`[^`\n]+`(?!`)", "", text)
    return [what for what, pattern in RAW.items() if re.search(pattern, text, re.M)]


@pytest.fixture(scope="module")
def site():
    """Stands for Sphinx's environment after a build of two pages."""
    person = SimpleNamespace(rich_prelast_names=["van"], rich_last_names=["Rijn"])
    cite = SimpleNamespace(
        key="rijn",
        citation_id="id7",
        bibliography_key=SimpleNamespace(docname="references"),
        entry=SimpleNamespace(persons={"author": [person] * 3}, fields={"year": "1642"}),
    )
    labels = {
        "sec-a": ("cases/a", "sec-a", "A section"),
        "fig-a": ("cases/a", "fig-a", "What to conclude"),
        "ex-a": ("cases/a", "ex-a", "Exercise"),
        "ledger-e1": ("ledger", "ledger-e1", "ledger E1"),
    }
    title = SimpleNamespace(astext=lambda: "Another page")
    env = SimpleNamespace(
        domaindata={"std": {"labels": labels, "anonlabels": {}}, "cite": {"citations": [cite]},
                    "math": {"objects": {"eq-a": ("cases/a", 1), "eq-b": ("idea/b", 2)}}},
        toc_fignumbers={
            "cases/a": {"figure": {"fig-a": (4,)}, "exercise": {"ex-a": (2,)}, "theorem": {"thm-a": (1,)},
                        "displaymath": {"equation-eq-a": (7,)}},
            "idea/b": {"displaymath": {"equation-eq-b": (9,)}},
        },
        proof_list={"thm-a": {"docname": "cases/a", "ids": ["thm-a"]}},
        config=SimpleNamespace(numfig=True, math_numfig=True, numfig_format={
            "figure": "Fig. %s", "exercise": "Exercise %s", "theorem": "theorem %s"}),
        titles={"idea/b": title, "cases/a": title, "notation": title},
        images={"theme/picture.png": ({"cases/a"}, "picture1.png")},
    )  # fmt: skip
    return colab.Site(env, URL)


@pytest.fixture
def lower(site):
    return colab.Lower(site, "cases/a", {"error": "8.6"}).text


ROLES = {
    "eq": ("{eq}`eq-a`, {eq}`eq-b`", f"(7), [(9)]({URL}idea/b.html#equation-eq-b)"),
    "ref": ("{ref}`sec-a`", f"[A section]({URL}cases/a.html#sec-a)"),
    "ref to an exercise": ("{ref}`ex-a`", f"[Exercise 2]({URL}cases/a.html#ex-a)"),
    "ref in words": ("{ref}`there <sec-a>`", f"[there]({URL}cases/a.html#sec-a)"),
    "numref": ("{numref}`fig-a`", f"[Fig. 4]({URL}cases/a.html#fig-a)"),
    "numref in words": ("{numref}`Figure %s <fig-a>`", f"[Figure 4]({URL}cases/a.html#fig-a)"),
    "doc": ("{doc}`../idea/b`", f"[Another page]({URL}idea/b.html)"),
    "doc in words": ("{doc}`signs </notation>`", f"[signs]({URL}notation.html)"),
    "term": ("{term}`code`", "code"),
    "term in words": ("{term}`codes <code>`", "codes"),
    "cite": ("{cite}`rijn`", f"([van Rijn et al., 1642]({URL}references.html#id7))"),
    "cite:p": ("{cite:p}`rijn`", f"([van Rijn et al., 1642]({URL}references.html#id7))"),
    "cite:t": ("{cite:t}`rijn`", f"[van Rijn et al. (1642)]({URL}references.html#id7)"),
    "chapter": ("{chapter}`This <idea/b>`, {chapter}`that <idea/c>`", f"[This]({URL}idea/b.html), that (planned)"),
    "glue:text": ("falls to {glue:text}`error`", "falls to 8.6"),
    "ledger": ("{ledger}`E1`", f"[E1 ✓]({URL}ledger.html#ledger-e1)"),
    "measured": ("{measured}`MNIST, VAE, 9, accuracy`", f"[MNIST, VAE, 9, accuracy]({URL}practice/choosing.html)"),
}
DIRECTIVES = {
    "math": ("```{math}\n:label: eq-a\na = b\n```", r"$$ a = b \tag{7} $$"),
    "note": (":::{note}\nText $x$.\n:::", "> **Note**\n>\n> Text $x$."),
    "tip": (":::{tip}\nText\n:::", "> **Tip**\n>\n> Text"),
    "warning": ("```{warning}\nText\n```", "> **Warning**\n>\n> Text"),
    "admonition": (":::{admonition} By {eq}`eq-a`\n:class: tip\nText\n:::", "> **By (7)**\n>\n> Text"),
    "dropdown": (":::{dropdown} More\nText\n:::", "<details>\n<summary>More</summary>\n\nText\n\n</details>"),
    "figure": (":::{figure} ../theme/picture.png\n:name: fig-a\n:alt: A line\nConclude.\n:::",
               f"![A line]({URL}_images/picture1.png)\n\n**Fig. 4.** Conclude."),
    "exercise": (":::{exercise} Try\n:label: ex-a\nText\n:::", "> **Exercise 2 (Try)**\n>\n> Text"),
    "solution": (":::{solution} ex-a\n:class: dropdown\nText\n:::",
                 "<details>\n<summary>Solution of exercise 2</summary>\n\nText\n\n</details>"),
    "prf:theorem": (":::{prf:theorem} Big\n:label: thm-a\nText\n:::", "> **Theorem 1 (Big)**\n>\n> Text"),
    "prf:proposition": (":::{prf:proposition}\nText\n:::", "> **Proposition**\n>\n> Text"),
    "prf:proof": (":::{prf:proof}\nText\n:::", "> **Proof**\n>\n> Text"),
    "prf:remark": (":::{prf:remark}\nText\n:::", "> **Remark**\n>\n> Text"),
    "prf:definition": (":::{prf:definition}\nText\n:::", "> **Definition**\n>\n> Text"),
    "prf:example": (":::{prf:example}\nText\n:::", "> **Example**\n>\n> Text"),
    "glossary": (":::{glossary}\ncode\n  What stands for x.\n:::", "**code**\n  What stands for x."),
    "bibliography": ("```{bibliography}\n```", f"[See this on the book's page]({URL}references.html)."),
    "objective": (":::{objective}\n:code: the number $k$\n  of a centre\n:learn: means\n:::",
                  f"> **The objective, {colab.OBJECTIVE}, in this chapter**\n>\n"
                  "> - code $z$: the number $k$ of a centre\n> - who moves $m$: means"),
    "doors": (":::{doors}\n- {doc}`../idea/b`\n:::", f"- [Another page]({URL}idea/b.html)"),
    "facts": (":::{facts}\n- algebra\n:::", "> **Before you start**\n>\n> - algebra"),
    "model-map": (":::{model-map}\n:::", f"[See this on the book's page]({URL}intro.html)."),
    "parity-table": (":::{parity-table}\n:::", f"[See this on the book's page]({URL}parity.html)."),
    "bar-table": (":::{bar-table}\n:::", f"[See this on the book's page]({URL}bars.html)."),
    "chapter-table": (":::{chapter-table}\n:::", f"[See this on the book's page]({URL}teaching/teachers.html)."),
    "errata": (":::{errata}\n:::", f"[See this on the book's page]({URL}errata.html)."),
    "measured-table": (":::{measured-table}\n:::", f"[See this on the book's page]({URL}practice/choosing.html)."),
    "card-table": (":::{card-table}\n:::", f"[See this on the book's page]({URL}practice/choosing.html)."),
    "source-code": (":::{source-code} gaelib/joints/__init__.py\n:::",
                    "<details>\n<summary>All of gaelib/joints/__init__.py: 1 lines</summary>\n\n"
                    '```python\n"""What the joint is: points and flats, linear Gaussians, mixtures."""\n```\n\n</details>'),
    "ledger-table": (":::{ledger-table}\n:::", f"[See this on the book's page]({URL}ledger.html)."),
}  # fmt: skip
REST = {
    "a labelled equation": ("$$ a = b $$ (eq-a)", r"$$ a = b \tag{7} $$"),
    "a labelled display": ("$$\n\\begin{aligned}\na &= b\n\\end{aligned}\n$$ (eq-a)",
                           r"$$ \begin{aligned} a &= b \end{aligned} \tag{7} $$"),
    "a display in a quote": (":::{note}\n$$\na\n= b\n$$\n:::", "> **Note**\n>\n> $$ a = b $$"),
    "a label": ("(sec-a)=\n## A section", "## A section"),
    "a comment": ("a\n% hidden\nb", "a\nb"),
    "a nested fence": ("::::{note}\na\n\n:::{tip}\nb\n:::\n::::",
                       "> **Note**\n>\n> a\n>\n> > **Tip**\n> >\n> > b"),
    "code": ("`{eq}` and `:::`", "`{eq}` and `:::`"),
    "a code block": ("```python\nx = '{eq}`eq-a`'\n```", "```python\nx = '{eq}`eq-a`'\n```"),
    "a link": ("[signs](../notation.md#here)", f"[signs]({URL}notation.html#here)"),
    "an image": ("![A line](../theme/picture.png)", f"![A line]({URL}_images/picture1.png)"),
    "an address": ("[far](https://example.org/a)", "[far](https://example.org/a)"),
    "a definition list": ("word\n: what it means", "**word**: what it means"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"),
    [*ROLES.values(), *DIRECTIVES.values(), *REST.values()],
    ids=[*ROLES, *DIRECTIVES, *REST],
)
def test_lowering(lower, source, expected):
    assert lower(source) == expected
    assert not raw(lower(source))


def test_the_closed_list_is_covered():
    assert set(bookext.ROLES) <= set(ROLES) and set(bookext.DIRECTIVES) <= set(DIRECTIVES)


def test_raw_myst_is_noticed():
    for source, _ in [*ROLES.values(), *DIRECTIVES.values()]:
        assert raw(source), source
    assert raw("(sec-a)=\n") == ["a label"] and raw("$$ a $$ (eq-a)") == ["a labelled equation"]


@pytest.mark.parametrize(("source", "named"), [
    ("{frobnicate}`x`", "{frobnicate}"),
    (":::{frobnicate}\nx\n:::", "{frobnicate}"),
    ("{eq}`eq-none`", "eq-none"),
    ("{ref}`none`", "none"),
    ("{cite}`none`", "none"),
    ("{ledger}`Z9`", "Z9"),
    ("[a](../none.md)", "none.md"),
    ("A note[^1].", "[^1]"),
    ("A {{value}}.", "{{value}}"),
    (":::{note}\nopen", ":::{note}"),
    ("$$\na % why\n$$", "% why"),
])  # fmt: skip
def test_what_cannot_be_lowered_is_named(lower, source, named):
    with pytest.raises(colab.Unknown, match=re.escape(named)) as error:
        lower(source)
    assert "cases/a" in str(error.value)


def test_cells(site):
    new = nbformat.v4
    figure = {"name": "fig-a", "caption": "By {eq}`eq-a`."}
    output = new.new_output("error", ename="CheckFailed", evalue="no", traceback=["claim     no"])
    nb = new.new_notebook(cells=[
        new.new_markdown_cell("# A", id="a"),
        new.new_code_cell("1 + 1", id="b", metadata={"mystnb": {"figure": figure}},
                          outputs=[new.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]),
        new.new_markdown_cell("Ask.\n\n:::{solution} ex-a\nBecause.\n:::\n", id="q"),
        new.new_code_cell("y = 1", id="s", metadata={"tags": ["exercise-stub"]}),
        new.new_code_cell("y = 2", id="c", metadata={"tags": ["solution", "hide-cell"]}),
        new.new_code_cell("check('x', 1, 0)", id="d", metadata={"tags": ["break-it"]}, outputs=[output]),
    ], metadata={"accelerator": "GPU", "myst": {"html_meta": {"description": "d"}}})  # fmt: skip
    before = book.dumps(nb)
    made = colab.copy(nb, "cases/a", site, PROJECT, "v1.2.3")
    assert book.dumps(nb) == before, "the copy changed its original"
    install, where, title, shown, caption, asks, stub, words, solution, broken = made.cells
    assert (
        '%pip install -q --no-deps "generative-autoencoders @ git+https://example.org/owner/name@v1.2.3"'
        in install.source
    )
    assert f"{URL}cases/a.html" in where.source and title.source == "# A"
    assert shown.outputs[0].data["text/plain"] == "2" and "mystnb" not in shown.metadata
    assert caption.source == "**Fig. 4.** By (7)."
    assert solution.source == "#@title Solution\ny = 2" and solution.metadata.cellView == "form"
    assert (asks.source, stub.source) == ("Ask.", "y = 1")
    assert words.source == "<details>\n<summary>Solution of exercise 2</summary>\n\nBecause.\n\n</details>"
    compile(broken.source, "broken", "exec")
    assert broken.outputs == [{"output_type": "stream", "name": "stdout", "text": "CheckFailed\nclaim     no\n"}]
    assert made.metadata.accelerator == "GPU" and made.metadata.colab.toc_visible and "myst" not in made.metadata


def test_the_copies_install_what_the_release_holds():
    """Published at a tag alone, and each copy names that tag."""
    text = (ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}  # YAML reads on as true
    assert 'tools/colab.py --out _build/html/colab --ref "$GITHUB_REF_NAME"' in text


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The copies of all committed notebooks, by the tool's own command."""
    out = tmp_path_factory.mktemp("colab")
    assert colab.ENVIRONMENT.exists(), "equation numbers come from a build: run make book first"
    assert colab.main(["--out", str(out)]) == 0
    return out


@lru_cache
def anchors(page):
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))


def stands(address):
    """Does the built site have this page, picture or anchor?"""
    path, _, anchor = address.partition("#")
    path = book.ROOT / "_build/html" / path
    return path.exists() and (not anchor or anchor in anchors(path))


def test_a_dead_address_is_noticed():
    assert stands("intro.html") and not stands("intr.html") and not stands("intro.html#nowhere")


def test_the_book_has_notebooks():
    assert PATHS, "no notebook found below book/"


@each
def test_a_copy_of_the_book(copies, path):
    nb = nbformat.read(copies / f"{book.name(path)}.ipynb", as_version=4)
    nbformat.validate(nb)
    project = book.project()
    address = f"git+{project['repository']}@v{project['version']}"
    assert nb.cells[0].cell_type == "code" and address in nb.cells[0].source
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            assert not raw(cell.source), f"{raw(cell.source)} in {cell.source[:300]!r}"
        for address in re.findall(r"\]\(([^)\s]+)", cell.source if cell.cell_type == "markdown" else ""):
            assert not address.startswith(project["site"]) or stands(address.removeprefix(project["site"])), address
    kept = [cell.id for cell in book.read(path).cells]
    assert [cell.id for cell in nb.cells if cell.id in kept] == kept, "a cell was lost"
    assert "myst" not in nb.metadata and nb.metadata.colab.toc_visible
