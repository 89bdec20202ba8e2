"""What a reader does with the pages: searches, rests on a link, prints, reads without scripts."""

import re
import sys
from html import unescape

import pytest
from browsing import pages
from test_browser import CHAPTERS, DESKTOP, HTML, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import styles

LONGEST = CHAPTERS[-1]


# --- search -------------------------------------------------------------------------------------------------


# The words go into the page's address too, where our own score reads them.
ASK = """(words, answer) => {
    history.replaceState(null, "", "?q=" + encodeURIComponent(words));
    return answer(Search._parseQuery(words)); }"""


@pytest.fixture(scope="module")
def search_page(browser, site):
    """Loaded once; the theme's own functions ask again."""
    with pages(browser, site) as open_page:
        page = open_page("search.html?q=k-means")
        page.wait_for_selector("#search-results li")
        yield page


@pytest.fixture(scope="module")
def search(search_page):
    """The addresses that the search page finds."""

    def found(words):
        clear = "document.querySelector('#search-results').replaceChildren()"
        search_page.evaluate(f"words => ({ASK})(words, () => ({clear}, Search.performSearch(words)))", words)
        ready = "!/Searching|Preparing/.test(document.querySelector('#search-results').textContent)"
        search_page.wait_for_function(ready)
        search_page.wait_for_timeout(200)
        links = search_page.evaluate(
            "[...document.querySelectorAll('#search-results li a')].map(a => a.getAttribute('href'))"
        )
        return [link.split("#")[0] for link in links]

    return found


@pytest.mark.parametrize(("words", "wanted"), [
    ("k-means", "cases/discrete-codes.html"),
    ("PCA", "cases/linear-codes.html"),
    ("deep image prior", "cases/deep-image-prior.html"),
    ("ELBO", "glossary.html"),
    ("install", "intro.html"),
    ("自编码器", "crosswalk.html"),
    ("局部线性", "crosswalk.html"),
])  # fmt: skip
def test_search_finds_the_page_among_the_first_three(search, words, wanted):
    assert wanted in list(dict.fromkeys(search(words)))[:3]


def test_a_keyword_finds_its_chapter_first(search_page):
    asked = {}
    for path in CHAPTERS:
        found = re.search(r'<meta content="([^"]*)" name="keywords"', (HTML / path).read_text("utf-8"))
        asked |= {unescape(word): path for word in found[1].split(", ")} if found else {}
    first = f"all => all.map(words => ({ASK})(words, ask => Search._performSearch(...ask).at(-1)?.[0] + '.html'))"
    assert len(asked) > 40 and dict(zip(asked, search_page.evaluate(first, list(asked)))) == asked


@pytest.mark.parametrize("words", ["KMeans", "LLGAE", "fit", "prior"])
def test_search_puts_chapters_before_the_api(search, words):
    pages = search(words)
    kinds = [
        "api" if page.startswith("api") else "chapter" for page in pages if re.match("idea/|cases/|family/|api", page)
    ]
    assert "chapter" in kinds and kinds == sorted(kinds, key=lambda kind: kind == "api")


# --- numbers and previews -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CHAPTERS)
def test_numbers_begin_with_the_chapters(path):
    html = (HTML / path).read_text("utf-8")
    (chapter,) = set(re.findall(r"<title>(\d+)\. ", html))
    numbers = re.findall(r'class="eqno">\(([\d.]+)\)', html)
    numbers += re.findall(r'caption-number">(?:Figure|Exercise) ([\d.]+) ', html)
    assert len(numbers) > 5 and {number.split(".")[0] for number in numbers} == {chapter}


def preview(page, link):
    link.scroll_into_view_if_needed()
    link.hover()
    page.locator(".gae-preview").wait_for(state="visible", timeout=5000)
    return page.locator(".gae-preview")


def test_a_link_shows_what_it_leads_to(open_page):
    page = open_page(LONGEST)
    assert page.locator(".gae-preview").count() == 0
    card = preview(page, page.locator('article p a.reference[href*="#term-"]').first)
    assert len(card.inner_text()) > 30 and card.locator("[href], [id]:not(svg [id])").count() == 0
    box = card.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= DESKTOP["width"]
    page.keyboard.press("Escape")
    assert page.locator(".gae-preview").count() == 0
    equation = page.locator('article a.reference[href*="#equation-"]:visible')
    assert preview(page, equation.first).locator("mjx-container").count() >= 1
    page.mouse.move(2, 2)
    page.wait_for_timeout(700)
    assert page.locator(".gae-preview").count() == 0


def test_the_keyboard_sees_previews_too(open_page):
    page = open_page(LONGEST)
    page.keyboard.press("Tab")
    page.evaluate("document.querySelector('article p a.reference[href*=\"#term-\"]').focus({focusVisible: true})")
    page.locator(".gae-preview").wait_for(state="visible", timeout=5000)


# --- paper ----------------------------------------------------------------------------------------------------


def test_the_browser_prints_every_picture(open_page):
    """The file that the browser makes, at once after the page came: pictures below the first screen are in it."""
    page = open_page(LONGEST)
    pictures = page.locator("article .cell:not(.tag_solution) img").count()
    assert pictures >= 3 and page.pdf(format="A4").count(b"/Subtype /Image") >= pictures


# --- no scripts -------------------------------------------------------------------------------------------------


def test_a_page_without_scripts_still_reads(open_page):
    """Formulas as MathML, none twice and none as raw TeX; folds open; the first frame of each slider is there."""
    page = open_page(LONGEST, java_script_enabled=False)
    text = page.locator("article").inner_text()
    assert not re.search(r"\\[(\[a-zA-Z]", re.sub(r"(?s)\n.*your turn.*?# end", "", text)), re.findall(
        r".{30}\\[(\[a-zA-Z].{20}", text
    )[:5]
    assert page.locator("article math").count() == page.locator("article .math").count() > 20
    fold = page.locator("details.gae-fold").first
    fold.locator("summary").click()
    assert fold.get_attribute("open") is not None


# --- the ledger -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scripts", [True, False])
def test_the_ledger_shows_the_rows_of_one_verdict(open_page, scripts):
    page = open_page("ledger.html", java_script_enabled=scripts)
    rows, wrong = page.locator("table.gae-ledger tbody tr"), page.locator("tr.gae-row-fails")
    assert rows.count() > 70 and rows.filter(visible=True).count() == rows.count()
    page.locator("#only-fails").check()
    assert 5 <= wrong.count() == rows.filter(visible=True).count()
    assert page.locator(".gae-filter label", has_text="fails").inner_text().split()[-1] == str(wrong.count())
    assert page.locator("article .rubric").filter(visible=True).count() < page.locator("article .rubric").count()
    page.locator("#only-all").check()
    assert rows.filter(visible=True).count() == rows.count()
    assert "To be reproduced" not in page.locator("article").inner_text()


# --- weight -------------------------------------------------------------------------------------------------


def test_styles_that_no_page_can_use_are_dropped_and_no_other(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "base.css").write_text(
        """@charset "utf-8"; .in { background: url(file.png) } /* } .no { */ .out { top: 0 }"""
    )
    (tmp_path / "a/theme.css").write_text("""@import "../base.css";
        :root { --read: 1px; --unread: 2px; --by-unread: var(--gone) }
        .in, .out, #here:not(.out) > p { left: var(--read); }
        .out .in, #gone { left: 0 }  .out::-webkit-x, .in { right: 0 }
        :is(.in, .out:not(.in)) a[href$=".out"], .out { content: "} .out { /* , "; }
        @media (min-width: 9px) { .out { top: 0 } .in { top: 1px; } }  @media print { .out { top: 0 } }
        @font-face { src: url("f.woff2") }  @keyframes out { from { top: 0 } }  .in\\:wide, .out\\:wide { top: 2px }""")
    assert styles.bundle(tmp_path, ["a/theme.css"], {"in", "here", "in:wide"}) == "".join(
        [
            ".in{background: url(file.png)}",
            ":root{--read: 1px;}",
            ".in, #here:not(.out) > p{left: var(--read)}",
            ".out::-webkit-x, .in{right: 0}",
            ':is(.in, .out:not(.in)) a[href$=".out"]{content: "} .out { /* , "}',
            "@media (min-width: 9px){.in{top: 1px}}",
            "@font-face{src: url(a/f.woff2)}@keyframes out{from{top: 0}}.in\\:wide{top: 2px}",
        ]
    )


def test_every_page_has_the_one_sheet_and_no_idle_script():
    paths = [p for p in HTML.rglob("*.html") if "_static" not in p.parts and p.name != "index.html"]
    assert len(paths) > 10
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r'rel="stylesheet"[^>]*href="[^"]*_static/([^"?]+)', text) == ["book.css"], path
        assert "togglebutton" not in text, path
    sheet = (HTML / "_static/book.css").read_text(encoding="utf-8")
    assert len(sheet) <= 150_000 and all(
        rule in sheet for rule in (".gae-explore", ".bd-sidebar", 'html[data-theme="dark"] .highlight .k')
    )
