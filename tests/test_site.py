"""The built pages, read as text: what every page must have, and what none may have. No browser."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

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
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
FORK = "https://github.com/somebody/a-fork"


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


@pytest.mark.parametrize(
    "doc", sorted(set(DOCS) - {p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in NOTEBOOKS})
)
def test_a_page_without_a_copy_has_no_colab_button(doc):
    assert not page(doc).find_all("a", href=re.compile("colab.research"))


RUN = """<testsuites><testsuite timestamp="2031-02-03T04:05:06">
<testcase classname="tests.test_x" name="a" time="1"><properties><property name="commit" value="abc1234"/>
  <property name="device" value="CPU"/><property name="ledger" value="E1"/>{digests}
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
    _, bad, changed, _ = docs = [p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in NOTEBOOKS[:4]]
    cells = [CELL.format(doc.replace("/", "."), "<failure/>" * (doc == bad)) for doc in docs[:3]]
    digests = [DIGEST.format(*pair) for pair in account.digests(top).items()]
    (top / "_build").mkdir()
    (top / "_build/results.xml").write_text(RUN.format(cells="".join(cells), digests="".join(digests)))
    with open(top / f"book/{changed}.ipynb", "a") as file:
        file.write("\n")
    with open(top / "book/notation.md", "a") as file:
        file.write("\n{ledger}`Z9`\n")

    build = [Path(sys.executable).with_name("jupyter-book"), "build", "book", "--path-output", "."]
    build += ["--config", "_config.yml", "-W", "-n", "--keep-going"]
    done = subprocess.run(build, check=False, cwd=top, capture_output=True, text=True)
    copies = [sys.executable, "tools/colab.py", "--out", "_build/html/colab"]
    subprocess.run(copies, check=True, cwd=top, capture_output=True)
    return SimpleNamespace(top=top, docs=docs, returncode=done.returncode, stderr=done.stderr)


def test_an_unknown_ledger_id_turns_the_build_red(fork):
    assert fork.returncode != 0 and "unknown ledger id: Z9" in fork.stderr
    assert fork.stderr.count("WARNING") == 1, fork.stderr


def test_pages_carry_the_results(fork):
    def text(doc, selector):
        html = (fork.top / f"_build/html/{doc}.html").read_text(encoding="utf-8")
        return " ".join(BeautifulSoup(html, "html.parser").select_one(selector).text.split())

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
