"""What a reader does with the pages: searches, rests on a link, prints, reads without scripts."""

import re

import pytest
from test_browser import CHAPTERS, DESKTOP, HTML

LONGEST = CHAPTERS[-1]


# --- search -------------------------------------------------------------------------------------------------


def found(page):
    page.wait_for_function("!/Searching|Preparing/.test(document.querySelector('#search-results').textContent)")
    page.wait_for_timeout(200)
    return [link.get_attribute("href").split("#")[0] for link in page.locator("#search-results li a").all()]


@pytest.mark.parametrize(("words", "wanted"), [
    ("k-means", "cases/discrete-codes.html"),
    ("PCA", "cases/linear-codes.html"),
    ("deep image prior", "cases/deep-image-prior.html"),
    ("ELBO", "glossary.html"),
    ("install", "intro.html"),
    ("自编码器", "crosswalk.html"),
    ("局部线性", "crosswalk.html"),
])  # fmt: skip
def test_search_finds_the_page_among_the_first_three(open_page, words, wanted):
    assert wanted in list(dict.fromkeys(found(open_page(f"search.html?q={words}"))))[:3]


@pytest.mark.parametrize("words", ["KMeans", "LLGAE", "fit", "prior"])
def test_search_puts_chapters_before_the_api(open_page, words):
    pages = found(open_page(f"search.html?q={words}"))
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

PAPER = {"width": 717, "height": 1047}  # A4 between the browser's margins
ON_PAPER = """() => {
  const seen = e => e.checkVisibility({contentVisibilityAuto: true}) && e.getClientRects().length;
  const all = q => [...document.querySelectorAll('article ' + q)].filter(seen), text = e => e.textContent.trim().slice(0, 60);
  const edge = document.querySelector('article').getBoundingClientRect().right + 2;
  return {
    pictures: all('img').map(e => [e.complete && e.naturalWidth > 0, e.getAttribute('src')]),
    cut: [...all('pre').filter(e => e.scrollWidth > e.clientWidth + 2 || e.getBoundingClientRect().right > edge).map(text),
      ...all('mjx-container').filter(e => e.querySelector('mjx-math').getBoundingClientRect().right > edge)
        .map(e => e.querySelector('mjx-assistive-mml').textContent)],
    empty: all('.cell, .cell_input, .cell_output, details, .output, .admonition').filter(e => e.getBoundingClientRect().height > 4
      && !e.textContent.trim() && !e.querySelector('img, svg')).map(e => e.outerHTML.slice(0, 80)),
    solutions: all('.tag_solution, .gae-solution, .gae-hint').length,
    sources: [...document.querySelectorAll('details.gae-source > :not(summary)')].filter(e => !seen(e)).length,
    stills: all('.gae-slider').map(e => [...e.querySelectorAll('g.frame')].filter(seen).length),
    titles: [...document.querySelectorAll('h1')].filter(seen).length, wide: document.scrollingElement.scrollWidth,
    controls: all('input, button').length, paper: getComputedStyle(document.body).backgroundColor,
    aside: [...document.querySelectorAll('.bd-sidebar, .bd-header-article, .prev-next-footer')].filter(seen).length,
  }; }"""


@pytest.mark.parametrize("path", CHAPTERS)
def test_a_chapter_on_paper(open_page, path):
    """Every figure, a still of each slider, nothing cut, no empty box, no solution; white, whatever the screen was."""
    page = open_page(path, PAPER, "dark")
    page.emulate_media(media="print")
    page.wait_for_function("[...document.querySelectorAll('article img')].every(e => e.complete)", timeout=5000)
    shown = page.evaluate(ON_PAPER)
    wanted = page.locator("article .cell:not(.tag_solution) img").count()
    assert [fine for fine, _ in shown["pictures"]].count(True) >= wanted and all(fine for fine, _ in shown["pictures"])
    assert set(shown["stills"]) <= {1} and len(shown["stills"]) == page.locator(".gae-slider:has(g.frame)").count()
    assert (shown["cut"], shown["empty"], shown["solutions"], shown["sources"], shown["controls"]) == ([], [], 0, 0, 0)
    assert shown["titles"] == 1 and shown["wide"] <= PAPER["width"]
    assert shown["paper"] == "rgb(255, 255, 255)" and shown["aside"] == 0
    page.emulate_media(media="screen")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'", timeout=5000)


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
