"""The built pages, read as text: what every page must have, and what none may have. No browser.

`python tests/test_site.py` adds the anchors of the built pages to tests/anchors.txt; none may leave it.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
sys.path.append(str(ROOT / "tools"))

import bookext
from test_backmatter import ROWS

ANCHORS = ROOT / "tests" / "anchors.txt"
TOC = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
DOCS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))
CHAPTERS = [path.relative_to(ROOT / "book").with_suffix("").as_posix() for path in NOTEBOOKS]


@cache
def page(doc):
    return BeautifulSoup((HTML / f"{doc}.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("doc", DOCS)
def test_page(doc):
    soup = page(doc)
    about = soup.find("meta", attrs={"name": "description"})
    assert about and 50 <= len(about["content"]) <= 250

    # The sign beside the book's name is decoration and says so by an empty text; an article's pictures are not.
    assert [img for img in soup.find_all("img") if img.get("alt") is None] == []
    assert [img for img in soup.select("article img") if not img["alt"].strip()] == []

    loaded = [tag.get("src") for tag in soup.find_all(["script", "img", "iframe", "source"])]
    links = [tag for tag in soup.find_all("link") if set(tag["rel"]) & {"stylesheet", "preload", "icon"}]
    loaded += [tag.get("href") for tag in links]
    assert [url for url in loaded if url and re.match(r"(https?:)?//", url)] == []

    assert len(soup.find_all("h1")) >= 1
    for title in [soup.title, *soup.find_all(re.compile("^h[1-6]$")), *soup.select("nav a")]:
        assert not re.search(r"[\\$]", title.text), title
        assert not title.select(".math, .citation, .bibtex"), title


def test_search_titles_hold_no_tex():
    script = (HTML / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("Search.setIndex(").rstrip(")\n;"))
    assert not [title for title in index["titles"] if re.search(r"[\\$]", title)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_alternative_texts(path):
    """Each picture says what is seen, in words other than its caption's, which says what to conclude."""
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        data = [output.get("data", {}) for output in cell.get("outputs", [])]
        if any("image/png" in d or "image/svg+xml" in d for d in data):
            meta = cell["metadata"].get("mystnb", {})
            alt, caption = meta["image"]["alt"], meta["figure"]["caption"]
            assert 40 <= len(alt) <= 250 and alt.strip() != caption.strip(), f"cell {number}: {alt}"
        for html in ("".join(d["text/html"]) for d in data if "text/html" in d):
            for svg in BeautifulSoup(html, "html.parser").find_all("svg"):
                assert svg.get("role") == "img" and 40 <= len(svg["aria-label"]) <= 250, f"cell {number}"


def markdown():
    """(where, text) of all that is written in MyST."""
    for path in sorted((ROOT / "book").rglob("*.md")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "markdown":
                yield f"{path.name}, cell {number}", "".join(cell["source"])
    for row in yaml.safe_load((ROOT / "book/ledger.yml").read_text(encoding="utf-8"))["rows"]:
        yield f"ledger {row['id']}", f"{row['statement']} {row['note'] or ''}"


def strangers(text):
    """The roles and directives in `text` that are not on the closed list; plain code may show anything."""
    found, fences = set(), []  # fences: (marker, is it code?), innermost last
    for line in text.splitlines():
        marker, rest = re.match(r"[ >*-]*(:{3,}|`{3,}|~{3,}|)(.*)", line).groups()
        code = bool(fences) and fences[-1][1]
        if marker and fences and marker.startswith(fences[-1][0]) and not rest.strip():
            fences.pop()
        elif marker and not code:
            name = re.match(r"\{([^}]*)\}", rest)
            fences.append((marker, name is None))
            found |= {name[1]} - bookext.DIRECTIVES if name else set()
        elif not code:
            found |= set(re.findall(r"(?<!`)\{([a-zA-Z][\w:.+-]*)\}`", line)) - bookext.ROLES
    return found


def test_roles_and_directives_come_from_the_closed_list():
    assert {where: strange for where, text in markdown() if (strange := strangers(text))} == {}


def test_a_stranger_is_seen():
    code = "````{note}\n````\n```\n{sub}`z`\n```"
    assert strangers(f":::{{tab-set}}\n:::\n\nsee {{download}}`x`, {{eq}}`y`\n\n{code}") == {
        "tab-set", "download"
    }  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_glued_texts_stand_as_they_were_stored(path):
    """Digit for digit: 0.50 is not 0.5."""
    outputs = [o for c in json.loads(path.read_text(encoding="utf-8"))["cells"] for o in c.get("outputs", [])]
    stored = {
        "".join(o["data"]["application/papermill.record/text/plain"])
        for o in outputs
        if "scrapbook" in o.get("metadata", {})
    }
    doc = path.relative_to(ROOT / "book").with_suffix("").as_posix()
    shown = {" ".join(span.text.split()) for span in page(doc).select(".pasted-text")}
    assert shown <= {" ".join(text.split()) for text in stored}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_colab_button_opens_the_copy(path):
    doc = path.relative_to(ROOT / "book").with_suffix("").as_posix()
    links = [a["href"] for a in page(doc).find_all("a", href=re.compile("colab"))]
    assert links and all(link.endswith(f"/blob/gh-pages/colab/{doc}.ipynb") for link in links)


@pytest.mark.parametrize("doc", sorted(set(DOCS) - set(CHAPTERS)))
def test_a_page_without_a_copy_has_no_colab_button(doc):
    assert not page(doc).find_all("a", href=re.compile("colab.research"))


# --- links and anchors --------------------------------------------------------------------------------------


@cache
def ids(doc):
    return {tag["id"] for tag in page(doc).find_all(id=True)} | {"", "top"}


def broken(doc):
    """Links of a page that lead to no page, or to no place on it."""
    faults, here = [], (HTML / f"{doc}.html").resolve()
    for link in page(doc).find_all("a", href=True):
        target, place = urldefrag(link["href"])
        if re.match(r"[a-z]+:", target):
            continue
        file = (here.parent / unquote(target)).resolve() if target else here
        if not file.is_file() or (
            file.suffix == ".html"
            and unquote(place) not in ids(file.relative_to(HTML.resolve()).with_suffix("").as_posix())
        ):
            faults.append(link["href"])
    return faults


@pytest.mark.parametrize("doc", DOCS)
def test_every_link_leads_somewhere(doc):
    assert len(page(doc).find_all("a", href=True)) > 10
    assert broken(doc) == []


def anchors(doc):
    """The addresses on a page that others may link to: sections, equations, figures, exercises, rows, terms."""
    found = {tag["id"] for tag in page(doc).select("article [id]")}
    passing = r"id\d+|codecell\d+|gae-[0-9a-f]{8}(-\d+)*|.*-content|.*-solution-\d+|term-\d+"  # counted by the machine
    return sorted(name for name in found if not re.fullmatch(passing, name))


def kept():
    """tests/anchors.txt: page -> its anchors."""
    lines = (line.split() for line in ANCHORS.read_text(encoding="utf-8").splitlines())
    return {doc: set(names) for doc, *names in lines}


def test_no_anchor_is_lost():
    """Others link to them. Who renames one keeps the old name beside it: `(old-name)=`."""
    stored = kept()
    assert sum(map(len, stored.values())) > 300
    assert not (fresh := set(DOCS) - stored.keys()), f"make anchors writes down the addresses of {fresh}"
    assert {doc: lost for doc, names in stored.items() if (lost := names - set(anchors(doc)))} == {}


# --- words and tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_links_to_the_glossary(doc):
    links = [a["href"].split("#term-")[1] for a in page(doc).select('article a[href*="glossary.html#term-"]')]
    assert len(set(links)) >= 5, f"{len(set(links))} terms of the glossary are linked, at least 5 are wanted"


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_is_in_the_table_for_teachers(doc):
    rows = page("teaching/teachers").select("table.gae-stack tr")
    (row,) = [row for row in rows if row.select(f'a[href$="{doc}.html"]') and row.td.select(f'a[href$="{doc}.html"]')]
    assert re.search(r"[1-9]\d* minutes?, [1-9] exercises", row.text)
    assert row.find_all("td")[2].text.strip()
    shown = re.findall(r"[A-Z]\d\S*", row.find_all("td")[3].text)
    assert shown == [r["id"] for r in ROWS if r["chapter"] == doc]


def test_lessons_stand_in_the_order_of_the_book():
    links = [a["href"] for a in page("teaching/teachers").select("#chapter-by-chapter h3 a[href$='.html']")]
    lessons = [link.removeprefix("../").removesuffix(".html") for link in links]
    contents = (ROOT / "book/_toc.yml").read_text(encoding="utf-8")
    assert lessons == sorted(lessons, key=lambda doc: contents.index(f"file: {doc}\n")) and len(lessons) > 20


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_has_its_lesson(doc):
    """Aim, misconception, board plan, and a question for the room."""
    text = (ROOT / "book/teaching/teachers.md").read_text(encoding="utf-8")
    lessons = re.findall(rf"^### \{{doc\}}`\.\./{doc}`\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert len(lessons) == 1, f"{len(lessons)} lessons on {doc} in book/teaching/teachers.md, not one"
    said = re.findall(r"^- \*\*(.*?)\.\*\* (\S.{20,})", lessons[0], re.M)
    assert [name for name, _ in said] == ["Aim", "Usual misconception", "On the board", "Ask"]
    assert said[-1][1].endswith("?")


def test_each_row_of_the_page_on_choosing_has_its_picture():
    rows = page("practice/choosing").select("#the-table tbody tr")
    assert len(rows) >= 13 and all(row.td.select("svg[aria-label]") for row in rows)
    assert any("Strange points" in row.text for row in rows)


def test_errata_list_what_the_document_gets_wrong():
    rows = page("errata").select("table.gae-stack tbody tr")
    shown = [row.td.text.split()[0] for row in rows]
    assert shown == [row["id"] for row in ROWS if row["verdict"] in ("typo", "fails")]
    assert all(len(row.find_all("td")[2].text) > 30 for row in rows)


def test_the_page_on_choosing_knows_every_model():
    import gaelib

    models = {name for name in gaelib.__all__ if hasattr(getattr(gaelib, name), "fit")}
    assert len(models) >= 6
    named = {code.text for code in page("practice/choosing").select("#the-table code")}
    assert not (left := models - named), f"no row of book/practice/choosing.md takes {left}"


def test_planned_pages_are_no_links():
    grey = [span.text for span in page("teaching/paths").select("span.gae-quiet")]
    assert all(words.endswith("(planned)") for words in grey)


# --- what a page does without ---------------------------------------------------------------------------------


@pytest.mark.parametrize("doc", DOCS)
def test_a_page_is_light(doc):
    scripts = [tag["src"] for tag in page(doc).find_all("script", src=True)]
    assert not [src for src in scripts if re.search("fontawesome|sphinx-design|searchindex|searchtools|menu", src)]
    assert not [tag for tag in page(doc).head.find_all("script", src=True) if not tag.has_attr("defer")]
    solved = page(doc).select(".tag_solution .cell_input")
    assert all(code.find_parent("details", class_="gae-solution").summary.text == "Solution" for code in solved)
    pictures = page(doc).select('article img[src*="_images"]')
    assert all(img.get("loading") == "lazy" and img.get("width") and img.get("height") for img in pictures)


if __name__ == "__main__":
    stored = kept() if ANCHORS.exists() else {}
    for doc in DOCS:
        stored[doc] = stored.get(doc, set()) | set(anchors(doc))
    lines = (" ".join([doc, *sorted(names)]) for doc, names in stored.items())
    ANCHORS.write_text("\n".join(lines) + "\n", encoding="utf-8")
