"""The book built again: at another address, beside a made-up test run; as an EPUB; as archives for teachers. No browser."""

import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
sys.path.append(str(ROOT / "tools"))

import account
import bookext
import reading
import teacher
from test_backmatter import ROWS, blocks, docnames, maths, written
from test_site import CHAPTERS

REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
FORK = "https://github.com/somebody/a-fork"
BUILD = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--path-output", "."]
BUILD += ["--config", "_config.yml", "-W", "-n", "--keep-going"]
EPUB = ["--builder", "custom", "--custom-builder", "epub"]

RUN = """<testsuites><testsuite timestamp="2031-02-03T04:05:06">
<testcase classname="tests.test_x" name="a" time="1"><properties><property name="commit" value="abc1234"/>
  <property name="device" value="CPU"/><property name="ledger" value="E1"/>{digests}
  <property name="bar" value="{{&quot;model&quot;: &quot;KMeans&quot;, &quot;chapter&quot;: &quot;cases/discrete-codes&quot;,
    &quot;lacks&quot;: &quot;a soul&quot;, &quot;lines&quot;: {{&quot;code&quot;: &quot;k, one of 3&quot;}}}}"/>
  <property name="parity" value="{{&quot;model&quot;: &quot;KMeans&quot;, &quot;reference&quot;: &quot;lib 1.2, Their&quot;,
    &quot;quantity&quot;: &quot;centres&quot;, &quot;difference&quot;: 3.21e-15}}"/></properties></testcase>
<testcase classname="tests.test_x" name="b" time="1"><properties><property name="ledger" value="E2"/>
  <property name="parity" value="{{&quot;model&quot;: &quot;LGAE&quot;, &quot;reason&quot;: &quot;nobody has it&quot;}}"/></properties>
  <failure message="no"/></testcase>
<testcase classname="tests.test_x" name="c" time="1"><skipped/></testcase>
{cells}</testsuite></testsuites>"""
DIGEST = '<property name="digest" value="{} {}"/>'
CELL = '<testcase classname="book.{}.ipynb" name="Cell 0" time="2.5">{}</testcase>'


def test_account(tmp_path):
    cells = CELL.format("cases.a-b", "") * 2
    (tmp_path / "r.xml").write_text(RUN.format(cells=cells, digests=DIGEST.format("cases/a-b", "f00")))
    run = account.read(tmp_path / "r.xml")
    assert (run.date, run.commit, run.device) == ("2031-02-03", "abc1234", "CPU")
    assert (run.total.passed, run.total.failed, run.total.skipped) == (3, 1, 1)
    assert (run.ledger["E1"].passed, run.ledger["E2"].failed) == (1, 1)
    assert (run.notebooks["cases/a-b"].passed, run.notebooks["cases/a-b"].seconds) == (2, 5.0)
    assert run.digest == {"cases/a-b": "f00"}
    assert run.bars[0]["lines"] == {"code": "k, one of 3"}
    assert run.parity["KMeans"][0]["difference"] == 3.21e-15 and run.parity["KMeans"][0]["passed"]
    assert account.read(tmp_path / "none.xml") is None


def test_the_digests_follow_the_package_and_the_pages(tmp_path):
    for name in ("gaelib/models/a.py", "gaelib/results/b.json", "book/cases/c.ipynb", "book/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = account.digests(tmp_path)
    assert set(before) == {"gaelib", "cases/c", "d"}
    for name, what in {
        "gaelib/results/b.json": "gaelib",
        "gaelib/models/a.py": "gaelib",
        "book/cases/c.ipynb": "cases/c",
    }.items():
        (tmp_path / name).write_text("changed")
        after = account.digests(tmp_path)
        assert {key for key in after if after[key] != before[key]} == {what}
        before = after


@pytest.mark.parametrize(("changed", "words"), [
    ({}, "Verified on 2031-02-03, commit abc1234, CPU, in 5.0 s: 2 cells gave the results that you see."),
    ({"gaelib": "new"}, "Stale: the package changed after the run on 2031-02-03, commit abc1234, CPU, in 5.0 s."),
    ({"a": "new", "gaelib": "new"}, "Stale: this page and the package changed after"),
])  # fmt: skip
def test_stamp(changed, words):
    tally, digest = account.Tally(passed=2, seconds=5.0), {"gaelib": "1", "a": "2"}
    run = account.Account("2031-02-03", "abc1234", "CPU", digest, tally, {"a": tally})
    assert bookext.stamp(run, digest | changed, "a", notebook=True).startswith(words)
    tally.skipped = 3
    assert changed or bookext.stamp(run, digest, "a", notebook=True).endswith("that you see; 3 were skipped.")
    assert bookext.stamp(run, digest | changed, "b", notebook=True) == "This page is not verified in this copy."
    assert bookext.stamp(None, digest, "a", notebook=False) == "This page is not verified in this copy."


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    """The book at another address, beside a made-up test run; with an unknown ledger id in it, and its Colab copies."""
    top = tmp_path_factory.mktemp("fork") / "book"
    made = shutil.ignore_patterns(
        ".git", ".venv", "_build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "mathjax"
    )
    shutil.copytree(ROOT, top, ignore=made)
    toml = (top / "pyproject.toml").read_text(encoding="utf-8")
    assert toml.count(REPOSITORY) >= 1
    pages = "https://{}.github.io/{}/".format(*REPOSITORY.split("/")[-2:])
    toml = toml.replace(REPOSITORY, FORK).replace(pages, "https://somebody.github.io/a-fork/")
    (top / "pyproject.toml").write_text(toml, encoding="utf-8")
    _, bad, changed, _ = docs = CHAPTERS[:4]
    cells = [CELL.format(doc.replace("/", "."), "<failure/>" * (doc == bad)) for doc in docs[:3]]
    digests = [DIGEST.format(*pair) for pair in account.digests(top).items()]
    (top / "_build").mkdir()
    (top / "_build/results.xml").write_text(RUN.format(cells="".join(cells), digests="".join(digests)))
    with open(top / f"book/{changed}.ipynb", "a") as file:
        file.write("\n")
    with open(top / "book/notation.md", "a") as file:
        file.write("\n{ledger}`Z9`\n")

    done = subprocess.run(BUILD, check=False, cwd=top, capture_output=True, text=True)
    copies = [sys.executable, "tools/colab.py", "--out", "_build/html/colab"]
    subprocess.run(copies, check=True, cwd=top, capture_output=True)
    return SimpleNamespace(top=top, docs=docs, returncode=done.returncode, stderr=done.stderr)


def test_an_unknown_ledger_id_turns_the_build_red(fork):
    assert fork.returncode != 0 and "unknown ledger id: Z9" in fork.stderr
    assert fork.stderr.count("WARNING") == 1, fork.stderr


def test_pages_carry_the_results(fork):
    @cache
    def soup(doc):
        return BeautifulSoup((fork.top / f"_build/html/{doc}.html").read_text(encoding="utf-8"), "html.parser")

    def text(doc, selector):
        return " ".join(soup(doc).select_one(selector).text.split())

    good, bad, changed, silent = (text(doc, ".gae-stamp") for doc in fork.docs)
    where = "on 2031-02-03, commit abc1234, CPU, in 2.5 s"
    assert good == f"Verified {where}: 1 cells gave the results that you see."
    assert bad == f"Failed {where}: 1 of 1 cells."
    assert changed == f"Stale: this page changed after the run {where}."
    assert silent == "This page is not verified in this copy."
    assert text("references", ".gae-stamp").endswith("2 of 5 tests of the book.")
    assert "2 s of CPU time to run" in text(fork.docs[0], ".gae-times")
    assert "1 passed" in text("ledger", "#ledger-e1") and "1 failed" in text("ledger", "#ledger-e2")
    assert "none yet" in text("ledger", "#ledger-h7")
    assert "KMeans its chapter code: k, one of 3 lacks: a soul" in text("bars", "table.gae-parity")
    assert "cases/discrete-codes.html" in str(soup("bars").select_one("table.gae-parity"))
    table = text("parity", "table.gae-parity")
    assert (
        "KMeans beside lib 1.2, Their centres: 3.2e\N{NON-BREAKING HYPHEN}15" in table
        and "LGAE without a reference nobody has it" in table
    )


def test_the_address_stands_in_pyproject_alone(fork):
    """With another one there, no trace of the old one is left in any file, page, badge, cell or workflow."""
    owner = REPOSITORY.split("/")[-2]
    old = [REPOSITORY.split("://")[1].encode(), f"{owner}.github.io".encode(), f"github/{owner}/".encode()]
    files = [path for path in fork.top.rglob("*") if path.is_file()]
    assert [path for path in files if any(trace in path.read_bytes().lower() for trace in old)] == []
    html = fork.top / "_build/html"
    doc, mine = fork.docs[0], FORK.removeprefix("https://github.com/")
    shown = (html / f"{doc}.html").read_text(encoding="utf-8")
    assert f"colab.research.google.com/github/{mine}/blob/gh-pages/colab/{doc}.ipynb" in shown
    copy = (html / f"colab/{doc}.ipynb").read_text(encoding="utf-8")
    assert f"git+{FORK}@" in copy and "https://somebody.github.io/a-fork/" in copy


# --- archives -------------------------------------------------------------------------------------------------


STUB = re.compile(r'<div class="[^"]*\btag_exercise-stub\b')


def test_teachers_get_the_site_with_and_without_solutions(tmp_path):
    teacher.pack(HTML, tmp_path)
    solved, bare = (zipfile.ZipFile(tmp_path / f"{name}.zip") for name in ("book", "book-without-solutions"))
    name = bare.namelist()[0].split("/")[0]
    assert {n.split("/", 1)[1] for n in solved.namelist()} == {n.split("/", 1)[1] for n in bare.namelist()}
    for doc in CHAPTERS:
        full, cut = (f"{folder}/{doc}.html" for folder in ("book", name))
        text = bare.read(cut).decode()
        stubs = [len(STUB.findall(html)) for html in (solved.read(full).decode(), text)]
        assert stubs[0] == stubs[1] >= 3
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


def test_epub(fork):
    """The pages that the fork has read, written once more, as by `make epub`."""
    done = subprocess.run([*BUILD, "-q", *EPUB], check=False, cwd=fork.top, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    book = zipfile.ZipFile(fork.top / "_build/epub/gaelib.epub")
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
