"""The book as readers and teachers get it: links, anchors, words, tables, archives, the EPUB. No browser.

`python tests/test_reading.py` adds the anchors of the built pages to tests/anchors.txt; none may leave it.
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
ANCHORS = ROOT / "tests" / "anchors.txt"
sys.path.append(str(ROOT / "tools"))

import reading
import teacher
from test_backmatter import ROWS, blocks, docnames, maths, written

CHAPTERS = [name for name in docnames() if (ROOT / f"book/{name}.ipynb").exists()]


@cache
def page(path):
    return BeautifulSoup((HTML / path).read_text(encoding="utf-8"), "html.parser")


@cache
def ids(path):
    return {tag["id"] for tag in page(path).find_all(id=True)} | {"", "top"}


# --- links and anchors --------------------------------------------------------------------------------------


def broken(path):
    """Links of a page that lead to no page, or to no place on it."""
    faults = []
    for link in page(path).find_all("a", href=True):
        target, place = urldefrag(link["href"])
        if re.match(r"[a-z]+:", target):
            continue
        file = ((HTML / path).parent / unquote(target)).resolve() if target else (HTML / path).resolve()
        if not file.is_file() or (
            file.suffix == ".html" and unquote(place) not in ids(file.relative_to(HTML.resolve()).as_posix())
        ):
            faults.append(link["href"])
    return faults


@pytest.mark.parametrize("doc", docnames())
def test_every_link_leads_somewhere(doc):
    assert len(page(f"{doc}.html").find_all("a", href=True)) > 10
    assert broken(f"{doc}.html") == []


def anchors(doc):
    """The addresses on a page that others may link to: sections, equations, figures, exercises, rows, terms."""
    found = {tag["id"] for tag in page(f"{doc}.html").select("article [id]")}
    passing = r"id\d+|codecell\d+|gae-[0-9a-f]{8}|.*-content|.*-solution-\d+|term-\d+"  # counted by the machine
    return sorted(name for name in found if not re.fullmatch(passing, name))


def kept():
    """tests/anchors.txt: page -> its anchors."""
    lines = (line.split() for line in ANCHORS.read_text(encoding="utf-8").splitlines())
    return {doc: set(names) for doc, *names in lines}


def test_no_anchor_is_lost():
    """Others link to them. Who renames one keeps the old name beside it: `(old-name)=`."""
    stored = kept()
    assert sum(map(len, stored.values())) > 300
    assert {doc: lost for doc, names in stored.items() if (lost := names - set(anchors(doc)))} == {}


# --- words and tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_links_to_the_glossary(doc):
    links = [a["href"].split("#term-")[1] for a in page(f"{doc}.html").select('article a[href*="glossary.html#term-"]')]
    assert len(set(links)) >= 5


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_is_in_the_table_for_teachers(doc):
    rows = page("teaching/teachers.html").select("table.gae-stack tr")
    (row,) = [row for row in rows if row.select(f'a[href$="{doc}.html"]') and row.td.select(f'a[href$="{doc}.html"]')]
    assert re.search(r"[1-9]\d* minutes?, [1-9] exercises", row.text)
    assert row.find_all("td")[2].text.strip()
    shown = re.findall(r"[A-Z]\d\S*", row.find_all("td")[3].text)
    assert shown == [r["id"] for r in ROWS if r["chapter"] == doc]


@pytest.mark.parametrize("doc", CHAPTERS)
def test_a_chapter_has_its_lesson(doc):
    """Aim, misconception, board plan, and a question for the room."""
    text = (ROOT / "book/teaching/teachers.md").read_text(encoding="utf-8")
    (lesson,) = re.findall(rf"^### \{{doc\}}`\.\./{doc}`\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    said = re.findall(r"^- \*\*(.*?)\.\*\* (\S.{20,})", lesson, re.M)
    assert [name for name, _ in said] == ["Aim", "Usual misconception", "On the board", "Ask"]
    assert said[-1][1].endswith("?")


def test_each_row_of_the_page_on_choosing_has_its_picture():
    rows = page("practice/choosing.html").select("#the-table tbody tr")
    assert len(rows) >= 13 and all(row.td.select("svg[aria-label]") for row in rows)
    assert any("Strange points" in row.text for row in rows)


def test_errata_list_what_the_document_gets_wrong():
    rows = page("errata.html").select("table.gae-stack tbody tr")
    shown = [row.td.text.split()[0] for row in rows]
    assert shown == [row["id"] for row in ROWS if row["verdict"] in ("typo", "fails")]
    assert all(len(row.find_all("td")[2].text) > 30 for row in rows)


def test_the_page_on_choosing_knows_every_model():
    import gaelib

    models = {name for name in gaelib.__all__ if hasattr(getattr(gaelib, name), "fit")}
    assert len(models) >= 6
    named = {code.text for code in page("practice/choosing.html").select("#the-table code")}
    assert models - named == set()


def test_planned_pages_are_no_links():
    grey = [span.text for span in page("teaching/paths.html").select("span.gae-quiet")]
    assert all(words.endswith("(planned)") for words in grey)


# --- what a page does without ---------------------------------------------------------------------------------


@pytest.mark.parametrize("doc", docnames())
def test_a_page_is_light(doc):
    scripts = [tag["src"] for tag in page(f"{doc}.html").find_all("script", src=True)]
    assert not [src for src in scripts if re.search("fontawesome|sphinx-design|searchindex|searchtools|menu", src)]
    assert not [tag for tag in page(f"{doc}.html").head.find_all("script", src=True) if not tag.has_attr("defer")]
    solved = page(f"{doc}.html").select(".tag_solution .cell_input")
    assert all(code.find_parent("details", class_="gae-solution").summary.text == "Solution" for code in solved)
    pictures = page(f"{doc}.html").select('article img[src*="_images"]')
    assert all(img.get("loading") == "lazy" and img.get("width") and img.get("height") for img in pictures)


# --- archives -------------------------------------------------------------------------------------------------


def test_teachers_get_the_site_with_and_without_solutions(tmp_path):
    teacher.pack(HTML, tmp_path)
    solved, bare = (zipfile.ZipFile(tmp_path / f"{name}.zip") for name in ("book", "book-without-solutions"))
    name = bare.namelist()[0].split("/")[0]
    assert {n.split("/", 1)[1] for n in solved.namelist()} == {n.split("/", 1)[1] for n in bare.namelist()}
    for doc in CHAPTERS:
        full, cut = (f"{folder}/{doc}.html" for folder in ("book", name))
        stubs = [
            BeautifulSoup(z.read(n), "html.parser").select(".tag_exercise-stub")
            for z, n in ((solved, full), (bare, cut))
        ]
        assert len(stubs[0]) == len(stubs[1]) >= 3
        text = bare.read(cut).decode()
        assert "tag_solution" in solved.read(full).decode() and "tag_solution" not in text
        sources = bare.read(f"{name}/_sources/{doc}.ipynb").decode()
        assert "your turn:" not in text and "your turn:" not in sources and "{solution}" not in sources
    table = (tmp_path / "chapters.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + len(CHAPTERS)


# --- the EPUB ---------------------------------------------------------------------------------------------------


def test_every_formula_becomes_mathml():
    formulas = [tex for source in written() for text in blocks(source) for tex in maths(text)]
    formulas += [tex for row in ROWS for tex in maths(f"{row['statement']} {row['note']}")]
    assert len(formulas) > 1000
    for tex in formulas:
        assert ET.fromstring(reading.mathml(tex, True)).tag.endswith("math")


def test_a_figure_that_moves_becomes_its_first_frame():
    html = '<figure class="gae-slider"><svg viewBox="0 0 1 1"><g class="frame">a</g><g class="frame" style=display:none>b</g></svg>'
    html += "<label>x<input></label><output>c</output></figure><script>1 < 2</script>"
    text = "".join(ET.fromstring(reading.xhtml(html)).itertext())
    assert text == "ac" and 'viewBox="' in reading.xhtml(html)


def test_epub(tmp_path):
    build = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--path-output", tmp_path]
    build += [
        "--config",
        "_config.yml",
        "-W",
        "-n",
        "--keep-going",
        "-q",
        "--builder",
        "custom",
        "--custom-builder",
        "epub",
    ]
    done = subprocess.run(build, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    book = zipfile.ZipFile(tmp_path / "_build/epub/gaelib.epub")
    assert book.infolist()[0].filename == "mimetype" and book.infolist()[0].compress_type == zipfile.ZIP_STORED

    package = ET.fromstring(book.read("content.opf"))
    space = {"o": "http://www.idpf.org/2007/opf"}
    items = {item.get("id"): item for item in package.iterfind(".//o:item", space)}
    spine = [items[ref.get("idref")].get("href") for ref in package.iterfind(".//o:itemref", space)]
    assert spine == [f"{doc}.xhtml" for doc in docnames()]
    assert {item.get("href") for item in items.values()} <= set(book.namelist())
    navigation = book.read("nav.xhtml").decode()
    assert all(f'href="{name}"' in navigation for name in spine)
    for name in spine:
        text = book.read(name).decode()
        ET.fromstring(text)  # an e-reader refuses a page that is not well formed
        assert "<script" not in text and not re.search(
            r"\\[(\[]", re.sub(r"<pre.*?</pre>|<code.*?</code>", "", text, flags=re.S)
        )
    assert b"<math" in book.read("cases/linear-codes.xhtml")


if __name__ == "__main__":
    stored = kept() if ANCHORS.exists() else {}
    for doc in docnames():
        stored[doc] = stored.get(doc, set()) | set(anchors(doc))
    lines = (" ".join([doc, *sorted(names)]) for doc, names in stored.items())
    ANCHORS.write_text("\n".join(lines) + "\n", encoding="utf-8")
