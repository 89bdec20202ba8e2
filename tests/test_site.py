"""The built pages, read as text: what every page must have, and what none may have. No browser."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
sys.path.append(str(ROOT / "tools"))

import account
import bookext

TOC = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
DOCS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = sorted((ROOT / "book").rglob("*.ipynb"))


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


def test_the_address_stands_in_pyproject_alone():
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    needle = address.split("://")[1].encode()
    made = {".git", ".venv", "_build"}  # and what any tool leaves
    left = re.compile(r".*\.egg-info|__pycache__|\..*_cache|\.hypothesis|\.ipynb_checkpoints")
    found = []
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if n not in made and not left.fullmatch(n)]
        found += [path for f in files if needle in (path := Path(folder, f)).read_bytes()]
    assert found == [ROOT / "pyproject.toml"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_colab_button_opens_the_copy(path):
    doc = path.relative_to(ROOT / "book").with_suffix("").as_posix()
    links = [a["href"] for a in page(doc).find_all("a", href=re.compile("colab"))]
    assert links and all(link.endswith(f"/blob/gh-pages/colab/{doc}.ipynb") for link in links)


RUN = """<testsuites><testsuite timestamp="2031-02-03T04:05:06">
<testcase classname="tests.test_x" name="a" time="1"><properties><property name="commit" value="abc1234"/>
  <property name="device" value="CPU"/><property name="ledger" value="E1"/></properties></testcase>
<testcase classname="tests.test_x" name="b" time="1"><properties><property name="ledger" value="E2"/></properties>
  <failure message="no"/></testcase>
<testcase classname="tests.test_x" name="c" time="1"><skipped/></testcase>
{cells}</testsuite></testsuites>"""
CELL = """<testcase classname="book.{}.ipynb" name="Cell 0" time="2.5"><properties>
  <property name="sha256" value="{}"/></properties>{}</testcase>"""


def test_account(tmp_path):
    (tmp_path / "r.xml").write_text(RUN.format(cells=CELL.format("cases.a-b", "f00", "") * 2))
    run = account.read(tmp_path / "r.xml")
    assert (run.date, run.commit, run.device) == ("2031-02-03", "abc1234", "CPU")
    assert (run.total.passed, run.total.failed, run.total.skipped) == (3, 1, 1)
    assert (run.ledger["E1"].passed, run.ledger["E2"].failed) == (1, 1)
    assert (run.notebooks["cases/a-b"].passed, run.notebooks["cases/a-b"].seconds) == (2, 5.0)
    assert account.read(tmp_path / "none.xml") is None


def test_pages_carry_the_results(tmp_path):
    """A copy of the book beside a made-up test run; and an unknown ledger id turns the build red."""
    for name in ("book", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("mathjax", "__pycache__"))
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    good, bad = (path.relative_to(ROOT / "book").with_suffix("").as_posix() for path in NOTEBOOKS[:2])
    digest = account.sha256(ROOT / f"book/{good}.ipynb")
    cells = CELL.format(good.replace("/", "."), digest, "")
    cells += CELL.format(bad.replace("/", "."), "0", "<failure/>")
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build/results.xml").write_text(RUN.format(cells=cells))
    with open(tmp_path / "book/notation.md", "a") as file:
        file.write("\n{ledger}`Z9`\n")

    build = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--path-output", "."]
    build += ["--config", "_config.yml", "-W", "-n", "--keep-going"]
    done = subprocess.run(build, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "unknown ledger id: Z9" in done.stderr
    assert done.stderr.count("WARNING") == 1, done.stderr

    def text(doc, selector):
        html = (tmp_path / f"_build/html/{doc}.html").read_text(encoding="utf-8")
        return " ".join(BeautifulSoup(html, "html.parser").select_one(selector).text.split())

    assert text(good, ".gae-stamp") == (
        "Verified on 2031-02-03, commit abc1234, CPU, in 2.5 s: all 1 cells gave the results that you see."
    )
    assert "This page failed" in text(bad, ".gae-stamp") and "1 of 1 cells" in text(bad, ".gae-stamp")
    assert "2 s to run (CPU)" in text(good, ".gae-times")
    assert "1 passed" in text("ledger", "#ledger-e1") and "1 failed" in text("ledger", "#ledger-e2")
    assert "none yet" in text("ledger", "#ledger-h7")
