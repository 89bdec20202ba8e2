"""Every page as a reader sees it: Chromium, a fresh profile, and no way out but the local server."""

import base64
import gzip
import json
import os
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Every page that was built; index.html only leads to the first, and _static holds pieces of the theme.
BUILT = {p.relative_to(HTML) for p in HTML.rglob("*.html")} - {Path("index.html")}
PAGES = sorted(p.as_posix() for p in BUILT if p.parts[0] != "_static")
# What axe-core reads: every rule at every level, best practices too. Only contrast depends on the colours: the dark
# pages are asked for nothing else.
AXE = """axe.run({resultTypes: ['violations'], rules: {'target-size': {enabled: true}}, %s})"""
RULES = {"dark": "runOnly: ['color-contrast']", "light": ""}
# Its time goes with the number of elements. The glyphs inside MathJax's formulas are hidden from screen readers: a box
# of the same size stands for them. Of the spans that colour code one of each class and look is kept.
LEAN = """() => {
    const seen = new Set(), look = (e, ...names) => names.map(name => getComputedStyle(e)[name]);
    const again = [...document.querySelectorAll("pre span")].filter(e => {
        const all = [e.className, ...look(e, "color", "backgroundColor", "fontWeight", "fontSize"),
                     ...look(e.closest("pre"), "backgroundColor")].join();
        return !e.children.length && (seen.has(all) || !seen.add(all)); });
    const boxes = [...document.querySelectorAll("mjx-container")].map(e => [e, e.getBoundingClientRect()]);
    again.forEach(e => e.replaceWith(e.textContent));
    for (const [e, {width, height}] of boxes) {
        const box = document.createElement("span");
        box.style = `display: inline-block; width: ${width}px; height: ${height}px`;
        e.replaceWith(box); } }"""


@pytest.mark.parametrize("path", PAGES)
def test_page(open_page, path):
    """Console and requests (see open_page), mathematics, nothing wider than a phone, accessibility; dark and light."""
    page = open_page(path, DESKTOP, "dark", reduced_motion="reduce")  # no colour is caught half-way to another
    assert page.locator("mjx-container").count() >= page.locator("span.math, div.math").count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0

    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], wide(page)
    assert cut(page) == []
    for (width, height, ratio), figure in zip(shown_figures(page), figures(path), strict=True):
        assert height == 0 or abs(width / height / ratio - 1) < 0.02, f"cell {figure['cell']}: distorted"
        smallest = figure["text"] * width / figure["width"]
        assert smallest >= 9, f"cell {figure['cell']}: text {smallest:.1f} px high on a phone"

    page.set_viewport_size(DESKTOP)
    page.evaluate((ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8"))
    page.evaluate(LEAN)
    for scheme, rules in RULES.items():
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("scheme => document.documentElement.dataset.theme == scheme", arg=scheme)
        found = page.evaluate(AXE % rules)["violations"]
        assert [(v["id"], n["target"], n["failureSummary"]) for v in found for n in v["nodes"]] == [], scheme


FONT = 10.5  # gaelib.plot's, in points, unless a cell asks for another


def figures(path):
    """Of each picture stored in a page's notebook: its cell, its width and its smallest text, in points."""
    source = (ROOT / "book" / path).with_suffix(".ipynb")
    for number, cell in enumerate(json.loads(source.read_text("utf-8"))["cells"] if source.exists() else []):
        code = "".join(cell["source"])
        sizes = [float(size) for size in re.findall(r"(?:font|label|title)_?size=([\d.]+)", code)]
        assert not re.search(r"""size=["'](?:x+-)?small""", code), f"cell {number}: name sizes in points"
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                head = base64.b64decode(png)[:200]
                pixels, dots = struct.unpack(">I", head[16:20])[0], head.find(b"pHYs")
                inch = struct.unpack(">I", head[dots + 4 : dots + 8])[0] * 0.0254
                text = min([FONT, *sizes])
                yield {"cell": number, "width": pixels / inch * 72, "text": text}


def shown_figures(page):
    """(width, height, ratio it should have) of each picture; one in a closed cell is as wide as you like."""
    return page.evaluate("""() => [...document.querySelectorAll("article .cell_output img")].map(e => {
        const box = e.getBoundingClientRect(), ratio = e.getAttribute("width") / e.getAttribute("height");
        return e.checkVisibility() ? [box.width, box.height, ratio] : [1e9, 0, ratio]; })""")


def cut(page):
    """Formulas in the text that are wider than the column. Nothing shows that they go on: display them."""
    return page.evaluate("""() => [...document.querySelectorAll("article span.math")].filter(e =>
        e.checkVisibility() && e.querySelector("mjx-math").getBoundingClientRect().right > e.getBoundingClientRect().right + 3)
        .map(e => e.querySelector("mjx-assistive-mml").textContent)""")


def wide(page):
    """What sticks out, for the message."""
    return page.evaluate("""() => [...document.querySelectorAll("body *")].filter(e =>
        e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120)).slice(0, 8)""")


def test_search(open_page):
    page = open_page("search.html?q=centroid")
    page.wait_for_selector("#search-results li", timeout=10_000)
    assert page.locator("#search-results li a").count() >= 1


CHAPTERS = sorted(
    (p for p in PAGES if (ROOT / "book" / p).with_suffix(".ipynb").exists()), key=lambda p: (HTML / p).stat().st_size
)


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
    for url, request in loaded.items():
        body = request.response().body()
        packed = re.search(r"\.(png|woff2?)(\?|$)", url)
        size[url] = len(body if packed else gzip.compress(body, 6)) if url.startswith(site) else 0
    context.close()
    fonts = {url.split("/")[-1] for url in size if "mathjax" not in url and re.search(r"woff2?$", url)}
    assert fonts == {"icons.woff2"}  # a sign outside gae.css's list would fetch the theme's 150 KB
    assert len(size) > 15 and sum(size.values()) <= 700_000, sorted(size.items(), key=lambda x: -x[1])[:8]


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


def sliders():
    """(page, number of the slider on it, its texts), as Python stored them in the notebooks."""
    for path in sorted((ROOT / "book").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        stored = ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
        name = path.relative_to(ROOT / "book").with_suffix(".html").as_posix()
        for number, html in enumerate(h for h in stored if "gae-slider" in h):
            texts = json.loads(re.search(r"t=(\[.*?\]);", html)[1])
            yield pytest.param(name, number, texts, id=f"{name}-{number}")


def shown(figure):
    """The words under the figure, and the frames that can be seen."""
    frames = figure.locator("svg g.frame")
    return figure.locator("output").text_content(), [
        n for n in range(frames.count()) if frames.nth(n).evaluate("g => getComputedStyle(g).display != 'none'")
    ]


@pytest.mark.parametrize(("path", "number", "texts"), list(sliders()))
def test_slider_by_keyboard_and_mouse(open_page, path, number, texts):
    page, last = open_page(path), len(texts) - 1
    figure = page.locator("figure.gae-slider").nth(number)
    handle = figure.locator("input[type=range]")
    handle.scroll_into_view_if_needed()
    handle.focus()
    page.keyboard.press("Home")
    for n in range(min(3, last) + 1):
        assert shown(figure) == (texts[n], [n])
        assert handle.get_attribute("aria-valuetext") == texts[n]
        page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    assert shown(figure) == (texts[last], [last])
    page.keyboard.press("ArrowLeft")
    assert shown(figure) == (texts[last - 1], [last - 1])

    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + 3, middle)
    assert shown(figure) == (texts[0], [0])
    page.mouse.move(box["x"] + 3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    page.mouse.move(box["x"] + box["width"] - 1, middle, steps=5)
    page.mouse.up()
    assert shown(figure) == (texts[last], [last])


@pytest.mark.parametrize(("path", "number", "texts"), list(sliders()))
def test_slider_by_touch(open_page, path, number, texts):
    page, last = open_page(path, PHONE, is_mobile=True, has_touch=True), len(texts) - 1
    figure = page.locator("figure.gae-slider").nth(number)
    handle = figure.locator("input[type=range]")
    handle.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    assert box["height"] >= 44  # a finger finds it

    page.touchscreen.tap(box["x"] + box["width"] - 4, middle)
    assert shown(figure) == (texts[last], [last])

    devtools = page.context.new_cdp_session(page)

    def swipe(x0, y0, x1, y1, steps=12):
        def send(event):
            devtools.send("Input.dispatchTouchEvent", event)

        send({"type": "touchStart", "touchPoints": [{"x": x0, "y": y0}]})
        for k in range(1, steps + 1):
            point = {"x": x0 + (x1 - x0) * k / steps, "y": y0 + (y1 - y0) * k / steps}
            send({"type": "touchMove", "touchPoints": [point]})
            page.wait_for_timeout(16)
        send({"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(300)

    swipe(box["x"] + box["width"] - 4, middle, box["x"] + 2, middle)
    assert shown(figure) == (texts[0], [0])

    # A finger that goes up the page scrolls it: from the picture, and from the slider too.
    for y in (figure.locator("svg").bounding_box()["y"] + 40, middle):
        assert shown(figure) == (texts[0], [0])
        before = page.evaluate("scrollY")
        swipe(box["x"] + box["width"] / 2, y, box["x"] + box["width"] / 2, y - 150)
        assert page.evaluate("scrollY") > before + 50
        handle.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")


if os.environ.get("GAELIB_SHOTS") == "1":  # photographs of every page, to be looked at

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("path", PAGES)
    def test_photograph(open_page, path, scheme):
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            file = f"{path.removesuffix('.html').replace('/', '-')}.{name}.{scheme}.png"
            page = open_page(path, size, scheme)
            page.evaluate("document.querySelectorAll('img').forEach(e => e.loading = 'eager')")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=ROOT / "_build/shots" / file, full_page=True)
