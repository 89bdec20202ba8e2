"""What a reader does with the pages: searches, rests on a link, prints, reads without scripts."""

import re

import pytest
from test_browser import CHAPTERS, DESKTOP, HTML, browser, open_page, site  # noqa: F401

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
])  # fmt: skip
def test_search_finds_the_page_among_the_first_three(open_page, words, wanted):  # noqa: F811
    assert wanted in list(dict.fromkeys(found(open_page(f"search.html?q={words}"))))[:3]


@pytest.mark.parametrize("words", ["KMeans", "LLGAE", "fit", "prior"])
def test_search_puts_chapters_before_the_api(open_page, words):  # noqa: F811
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


def test_a_link_shows_what_it_leads_to(open_page):  # noqa: F811
    page = open_page(LONGEST)
    assert page.locator(".gae-preview").count() == 0
    card = preview(page, page.locator('article p a.reference[href*="#term-"]').first)
    assert len(card.inner_text()) > 30 and card.locator("[href], [id]:not(svg [id])").count() == 0
    box = card.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= DESKTOP["width"]
    page.keyboard.press("Escape")
    assert page.locator(".gae-preview").count() == 0
    equation = page.locator('article a.reference[href*="#equation-"]')
    assert preview(page, equation.first).locator("mjx-container").count() >= 1
    page.mouse.move(2, 2)
    page.wait_for_timeout(700)
    assert page.locator(".gae-preview").count() == 0


def test_the_keyboard_sees_previews_too(open_page):  # noqa: F811
    page = open_page(LONGEST)
    page.keyboard.press("Tab")
    page.evaluate("document.querySelector('article p a.reference[href*=\"#term-\"]').focus({focusVisible: true})")
    page.locator(".gae-preview").wait_for(state="visible", timeout=5000)
