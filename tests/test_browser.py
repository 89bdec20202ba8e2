"""Every page as a reader sees it: Chromium, a fresh profile, and no way out but the local server."""

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Every page that was built; index.html only leads to the first, and _static holds pieces of the theme.
BUILT = {p.relative_to(HTML) for p in HTML.rglob("*.html")} - {Path("index.html")}
PAGES = sorted(p.as_posix() for p in BUILT if p.parts[0] != "_static")


def test_search(open_page):
    page = open_page("search.html?q=centroid")
    page.wait_for_selector("#search-results li", timeout=10_000)
    assert page.locator("#search-results li a").count() >= 1


CHAPTERS = sorted(
    (p for p in PAGES if (ROOT / "book" / p).with_suffix(".ipynb").exists()), key=lambda p: (HTML / p).stat().st_size
)
FORMULAS = max(CHAPTERS, key=lambda p: (HTML / p).read_text("utf-8").count('class="math'), default=None)


@pytest.mark.parametrize("path", ["intro.html", *CHAPTERS[-3:]])
def test_first_load_is_light(browser, site, path):
    """The bytes that a first visit asks for, as a server with gzip sends them."""
    context, loaded = browser.new_context(viewport=DESKTOP), {}
    page = context.new_page()
    page.on("requestfinished", lambda request: loaded.update({request.url: request}))
    page.goto(site + path, wait_until="networkidle")
    page.wait_for_function("document.querySelectorAll('mjx-container').length > 5")
    page.wait_for_load_state("networkidle")
    size = {}
    for url, request in list(loaded.items()):  # asking for a body lets a late request in
        body = request.response().body()
        packed = re.search(r"\.(png|woff2?)(\?|$)", url)
        size[url] = len(body if packed else gzip.compress(body, 6)) if url.startswith(site) else 0
    context.close()
    fonts = {url.split("/")[-1] for url in size if "mathjax" not in url and re.search(r"woff2?$", url)}
    assert fonts == {"icons.woff2"}  # a sign outside gae.css's list would fetch the theme's 150 KB
    assert len(size) > 15 and sum(size.values()) <= 600_000, sorted(size.items(), key=lambda x: -x[1])[:8]


RAW = """() => [...document.querySelectorAll("article .math:not(:has(mjx-container))")].filter(e => {
    const {top, bottom, height} = e.getBoundingClientRect();
    return e.checkVisibility() && height && bottom > 0 && top < innerHeight; }).map(e => e.textContent.slice(0, 60))"""


def test_formulas_come_when_they_are_needed(browser, site):
    """After the first picture of the page, those near the screen; the rest below as the reader comes or moves; on paper all."""
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto(site + FORMULAS)
    page.wait_for_selector("html[data-formulas]")
    times = page.evaluate("""() => [performance.getEntriesByName("first-contentful-paint")[0].startTime,
        ...performance.getEntriesByType("resource").filter(e => e.name.includes("mathjax")).map(e => e.startTime)]""")
    assert len(times) > 4 and times[0] == min(times)
    count = "document.querySelectorAll('article .math:has(mjx-container)').length"
    first, every = page.evaluate(count), page.locator("article .math").count()
    assert page.evaluate(RAW) == [] and 0 < first < every / 3
    page.evaluate("scrollTo({top: document.body.scrollHeight / 2, behavior: 'instant'})")
    page.wait_for_function(f"({RAW})().length == 0 && {count} > {first}")
    assert page.evaluate(count) < every
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(count) == every
    context.close()


def test_the_formulas_of_a_wide_table_are_set(open_page):
    """Unset they are long, so that some lie beside the window of their table, where none is ever near."""
    page = open_page("errata.html#errata", DESKTOP)
    assert page.evaluate(RAW) == []


def test_who_moves_gets_the_formulas_below_and_keeps_the_place(open_page):
    """What is above is not set while it is far: it would push down what is read."""
    path = FORMULAS
    name = re.findall(r'id="(equation-eq-[^"]+)"', (HTML / path).read_text("utf-8"))[-1]
    page = open_page(f"{path}#{name}", PHONE)
    where = "name => document.getElementById(name).getBoundingClientRect().top"
    page.keyboard.press("Shift")
    place = page.evaluate(where, name)
    page.wait_for_timeout(1500)
    assert abs(page.evaluate(where, name) - place) < 2
    shown = "e => e.checkVisibility() && !e.matches(':has(mjx-container)')"
    raw = page.locator("article .math").evaluate_all(
        f"all => all.map(e => ({shown})(e) && e.getBoundingClientRect().top)"
    )
    assert all(top is False or top < 0 for top in raw) and any(raw)


@pytest.mark.parametrize("view", [DESKTOP, {"width": 320, "height": 844}], ids=["desktop", "narrow phone"])
def test_a_formula_has_the_width_of_the_column(open_page, view):
    """So it stands in the middle, and one that is too long scrolls inside itself: what is cut cannot be reached."""
    page = open_page(FORMULAS, view)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    found = page.locator("article div.math:visible").evaluate_all("""all => all.map(e => [e.id, e.scrollWidth - e.clientWidth,
        e.querySelector("mjx-container").getBoundingClientRect().left - e.getBoundingClientRect().left])""")
    assert len(found) > 3
    assert [name for name, cut, left in found if cut > 1 or abs(left) > 1] == []


def test_no_line_begins_with_the_stop_after_a_formula(open_page):
    """A browser may end a line beside a formula: reading.py makes one of the two."""
    page = open_page(CHAPTERS[-1], PHONE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    found = page.locator("article span.math:visible").evaluate_all("""all => all.map(e => {
        const text = e.nextSibling, range = new Range();
        if (!/^[),.:;?!]/.test(text?.data)) return null;
        range.setStart(text, 0), range.setEnd(text, 1);
        return range.getBoundingClientRect().top >= e.getBoundingClientRect().bottom && e.textContent; })""")
    assert found.count(False) > 10 and [formula for formula in found if formula] == []


def test_keyboard(open_page):
    """The first stop skips to the text; the sign beside it is seen; dialogues open and close without a mouse."""
    page = open_page(CHAPTERS[-1])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.wait_for_function("document.querySelector('.skip-link').getBoundingClientRect().y >= 0")  # it slides in
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')")
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("centroid")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li", timeout=10_000)


def test_every_stop_of_the_tab_key_is_seen(open_page):
    page, blind = open_page(CHAPTERS[-1]), []
    for _ in range(60):
        page.keyboard.press("Tab")
        blind += page.evaluate("""() => { const e = document.activeElement, s = getComputedStyle(e);
            return s.outlineStyle != "none" || s.boxShadow != "none" ? [] : [e.outerHTML.slice(0, 90)]; }""")
    assert blind == []


def test_a_table_is_chosen_and_sorted_by_keyboard(open_page):
    """The comparison: radio buttons choose rows, the head of a column sorts them, and no text is lost without scripts."""
    page = open_page("practice/comparison.html")
    wide = "all => all.filter(e => e.closest('.output').scrollWidth > e.closest('.output').clientWidth).length"
    assert page.locator("table.gae-sort").evaluate_all(wide) == 0  # as it is first seen, every column fits
    table = page.locator("table.gae-sort").nth(1)
    rows = "e => [...e.tBodies[0].rows].filter(r => r.offsetParent).map(r => [...r.cells].map(c => c.textContent))"
    first = table.evaluate(rows)
    box = table.locator("xpath=preceding-sibling::fieldset[1]//input").nth(0)
    box.focus()
    page.keyboard.press("Space")  # "all"
    assert len(table.evaluate(rows)) > len(first)
    page.keyboard.press("ArrowRight")
    few = table.evaluate(rows)
    of = table.evaluate("e => [...e.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith('data'))")
    assert few and len(few) < len(table.evaluate("e => [...e.tBodies[0].rows]")) and len({row[of] for row in few}) == 1
    head = table.locator("thead button", has_text="error")
    at = table.evaluate("e => [...e.tHead.rows[0].cells].findIndex(c => c.textContent.startsWith('error'))")
    for sign in (1, -1):
        head.focus()
        page.keyboard.press("Enter")
        seen = [row[at] for row in table.evaluate(rows)]
        numbers = [sign * float(text.split()[0]) for text in seen if text != "-"]
        assert (
            len(numbers) > 2
            and numbers == sorted(numbers)
            and seen[len(numbers) :] == ["-"] * (len(seen) - len(numbers))
        )
    assert table.locator("[aria-sort=descending]").count() == 1
    context = open_page("practice/comparison.html", java_script_enabled=False).locator("table.gae-sort")
    assert context.nth(1).locator("tbody tr").count() > 20


def test_less_motion(open_page):
    page = open_page(CHAPTERS[-1], reduced_motion="reduce")
    assert page.evaluate("matchMedia('(prefers-reduced-motion: reduce)').matches")
    moving = """() => [document.documentElement, ...document.querySelectorAll("body *")].filter(e => { const s = getComputedStyle(e);
        return s.scrollBehavior == "smooth" || parseFloat(s.transitionDuration) > 0 || s.animationName != "none"; })
        .map(e => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(moving) == []


def test_the_theme_still_works(open_page):
    """What the page keeps after unused scripts are gone."""
    page = open_page(CHAPTERS[-1])
    assert page.locator("div.cell_input button.copybtn").count() == page.locator("div.cell_input pre").count() > 5
    page.locator("button.theme-switch-button").first.click()
    assert page.evaluate("document.documentElement.dataset.mode") != "auto"
    phone = open_page(CHAPTERS[-1], PHONE)
    phone.locator("button.primary-toggle").click()
    assert phone.locator(".sidebar-primary-items__start, dialog[open] nav").first.is_visible()


def test_a_badge_lands_on_its_row(open_page):
    """On a phone, where the formulas above the row take the most room."""
    for name in ("ledger-e1", "ledger-r3"):
        page = open_page(f"ledger.html#{name}", PHONE)
        page.wait_for_timeout(300)
        assert 0 <= page.evaluate("name => document.getElementById(name).getBoundingClientRect().top", name) <= 200, (
            name
        )


def test_the_drawer_closes_behind_its_link(open_page):
    page = open_page("cases/discrete-codes.html", PHONE)
    page.locator("button.secondary-toggle").click()
    link = page.locator("dialog[open] a[href^='#']").nth(3)
    target = link.get_attribute("href")
    link.click()
    page.wait_for_timeout(300)
    assert page.locator("dialog[open]").count() == 0 and page.url.endswith(target)
    assert -20 <= page.evaluate("id => document.getElementById(id).getBoundingClientRect().top", target[1:]) <= 300


def test_the_magnifier_is_beside_the_words(open_page):
    page = open_page("search.html?q=centroid", PHONE)
    sign, field = (page.locator(f"main form.bd-search {part}").bounding_box() for part in ("i, svg", "input"))
    inset = page.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('main form.bd-search input')).paddingInlineStart)"
    )
    assert sign["x"] + sign["width"] <= field["x"] + inset


@pytest.mark.parametrize("path", CHAPTERS[-2:])
def test_a_link_lands_on_its_equation(open_page, path):
    """Formulas grow while they are set; the place that was asked for stays in view."""
    name = re.findall(r'id="(equation-eq-[^"]+)"', (HTML / path).read_text("utf-8"))[-1]
    page = open_page(f"{path}#{name}")
    page.wait_for_timeout(300)
    top = page.evaluate("name => document.getElementById(name).getBoundingClientRect().top", name)
    assert -20 <= top <= 700
