"""Every page as a reader sees it: Chromium, a fresh profile, and no way out but the local server.

Each page is loaded once, for all its tests: `screen` in conftest.py.
"""

import base64
import json
import os
import re
import struct

import pytest
from gaelib import plot
from test_browser import CHAPTERS, DESKTOP, PAGES, PHONE, ROOT
from test_explore import compare, drag, middle, press, touch


def outputs(path):
    """What the cells of a page's notebook show, as HTML."""
    source = (ROOT / "book" / path).with_suffix(".ipynb")
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"] if source.exists() else []
    return ["".join(o.get("data", {}).get("text/html", "")) for cell in cells for o in cell.get("outputs", [])]


def sliders(path):
    """The texts of each slider on a page, as Python stored them in its notebook."""
    found = [html for html in outputs(path) if "gae-slider" in html]
    return [json.loads(re.search(r"t=(\[.*?\]);", html)[1]) for html in found]


def explorable(path):
    """How many figures of a page compute."""
    return sum("gae-explore" in html for html in outputs(path))


SLIDERS = [path for path in PAGES if sliders(path)]
FIGURES = [path for path in PAGES if explorable(path)]


def on(paths):
    return pytest.mark.parametrize("screen", paths, indirect=True)


def scrolling_bars(page):
    """An objective bar, or a part of it, that is wider than its place: it scrolls, and the Tab key stops at it."""
    return page.evaluate("""() => [...document.querySelectorAll("dl.gae-objective, dl.gae-objective > *")]
        .filter(e => e.scrollWidth > e.clientWidth).map(e => [e.scrollWidth - e.clientWidth, e.textContent.slice(0, 60)])""")


@on(PAGES)
def test_formulas_are_set(screen):
    """And the console is silent, and nothing is asked for from elsewhere: `pages` in conftest.py."""
    _, page = screen
    assert page.locator("mjx-container").count() >= page.locator("span.math, div.math").count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert scrolling_bars(page) == []


# --- figures that move ------------------------------------------------------------------------------------------


def shown(figure):
    """The words under the figure, and the frames that can be seen."""
    return figure.evaluate("""f => [f.querySelector("output").textContent, [...f.querySelectorAll("svg g.frame")]
        .flatMap((g, n) => getComputedStyle(g).display != "none" ? [n] : [])]""")


@on(SLIDERS)
def test_sliders_by_keyboard_and_mouse(screen):
    path, page = screen
    for number, texts in enumerate(sliders(path)):
        last, figure = len(texts) - 1, page.locator("figure.gae-slider").nth(number)
        handle = figure.locator("input[type=range]")
        handle.scroll_into_view_if_needed()
        handle.focus()
        page.keyboard.press("Home")
        for n in range(min(3, last) + 1):
            assert shown(figure) == [texts[n], [n]]
            assert handle.get_attribute("aria-valuetext") == texts[n]
            page.keyboard.press("ArrowRight")
        page.keyboard.press("End")
        assert shown(figure) == [texts[last], [last]]
        page.keyboard.press("ArrowLeft")
        assert shown(figure) == [texts[last - 1], [last - 1]]

        box = handle.bounding_box()
        height = box["y"] + box["height"] / 2
        page.mouse.click(box["x"] + 3, height)
        assert shown(figure) == [texts[0], [0]]
        page.mouse.move(box["x"] + 3, height)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, height, steps=5)
        page.mouse.move(box["x"] + box["width"] - 1, height, steps=5)
        page.mouse.up()
        assert shown(figure) == [texts[last], [last]]


def swipe(page, x0, y0, x1, y1, steps=8):
    """A finger, once the page stands still: one that scrolls takes the touch for a part of it."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_timeout(250)
    devtools = page.context.new_cdp_session(page)
    for k in range(steps + 1):
        point = {"x": x0 + (x1 - x0) * k / steps, "y": y0 + (y1 - y0) * k / steps}
        kind = "touchMove" if k else "touchStart"
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        page.wait_for_timeout(16)
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)


def explored(page, number, move):
    """A figure's numbers are Python's: as it stands, after a handle was moved, and after keys."""
    figure = middle(page.locator("figure.gae-explore").nth(number))
    before = compare(figure)["at"]
    move(page, figure.locator(".gae-handle").nth(1), 25, 30)
    moved = compare(figure)["at"]
    press(figure, 2, "ArrowUp", "ArrowUp")
    assert before[1] != moved[1] and moved[2] != compare(figure)["at"][2]


@on(FIGURES)
def test_figures_that_compute_by_mouse_and_keyboard(screen):
    path, page = screen
    for number in range(explorable(path)):
        explored(page, number, drag)


@on([*SLIDERS, f"phone, {SLIDERS[0]}"])
def test_sliders_by_touch(screen):
    path, page = screen
    page.set_viewport_size(PHONE)
    for number, texts in enumerate(sliders(path)):
        last, figure = len(texts) - 1, page.locator("figure.gae-slider").nth(number)
        handle = figure.locator("input[type=range]")
        centre = "e => e.scrollIntoView({block: 'center', behavior: 'instant'})"
        handle.evaluate(centre)
        box = handle.bounding_box()
        height = box["y"] + box["height"] / 2
        assert box["height"] >= 44  # a finger finds it

        page.touchscreen.tap(box["x"] + box["width"] - 4, height)
        assert shown(figure) == [texts[last], [last]]
        for _ in range(
            4
        ):  # a busy machine loses a touch now and then; a slider that no finger moves fails all the same
            swipe(page, box["x"] + box["width"] - 4, height, box["x"] + 2, height)
            handle.evaluate(centre)  # what loads above may have moved it
            box = handle.bounding_box()
            height = box["y"] + box["height"] / 2
            if shown(figure) == [texts[0], [0]]:
                break
        assert shown(figure) == [texts[0], [0]]

        # A finger that goes up the page scrolls it: from the picture, and from the slider too.
        for y in (figure.locator("svg").bounding_box()["y"] + 40, height):
            assert shown(figure) == [texts[0], [0]]
            before = page.evaluate("scrollY")
            swipe(page, box["x"] + box["width"] / 2, y, box["x"] + box["width"] / 2, y - 150)
            assert page.evaluate("scrollY") > before + 50
            handle.evaluate(centre)


@on([*FIGURES, f"phone, {FIGURES[0]}"])
def test_figures_that_compute_by_touch(screen):
    path, page = screen
    page.set_viewport_size(PHONE)
    for number in range(explorable(path)):
        explored(page, number, touch)


# --- paper --------------------------------------------------------------------------------------------------------

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


@on(CHAPTERS)
def test_a_chapter_on_paper(screen):
    """Every figure, a still of each slider, nothing cut, no empty box, no solution; white, whatever the screen was."""
    _, page = screen
    page.set_viewport_size(PAPER)
    page.emulate_media(media="print")
    page.wait_for_function("[...document.querySelectorAll('article img')].every(e => e.complete)", timeout=5000)
    shown = page.evaluate(ON_PAPER)
    page.emulate_media(media="screen")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'", timeout=5000)
    wanted = page.locator("article .cell:not(.tag_solution) img").count()
    assert [fine for fine, _ in shown["pictures"]].count(True) >= wanted and all(fine for fine, _ in shown["pictures"])
    assert set(shown["stills"]) <= {1} and len(shown["stills"]) == page.locator(".gae-slider:has(g.frame)").count()
    assert (shown["cut"], shown["empty"], shown["solutions"], shown["sources"], shown["controls"]) == ([], [], 0, 0, 0)
    assert shown["titles"] == 1 and shown["wide"] <= PAPER["width"]
    assert shown["paper"] == "rgb(255, 255, 255)" and shown["aside"] == 0


# --- a narrow screen ------------------------------------------------------------------------------------------------

FONT = plot.STYLE["font.size"]  # of everything that no cell writes in a size of its own, in points
COLUMN = 342  # pixels of a phone's 390


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


@on(PAGES)
def test_nothing_is_wider_than_a_phone(screen):
    path, page = screen
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"], wide(page)
    assert cut(page) == [] and scrolling_bars(page) == []
    for (width, height, ratio), figure in zip(shown_figures(page), figures(path), strict=True):
        assert height == 0 or abs(width / height / ratio - 1) < 0.02, f"cell {figure['cell']}: distorted"
        smallest = figure["text"] * min(width, COLUMN) / figure["width"]
        assert smallest >= 9.95, f"cell {figure['cell']}: text {smallest:.1f} px high on a phone"


# --- who sees little, or listens --------------------------------------------------------------------------------------

# What axe-core reads: every rule at every level, best practices too. Only contrast depends on the colours: it is asked
# for in the dark and in the light, of one word in each colour, size, weight and place; the rest once, of everything.
AXE = "axe.run({resultTypes: ['violations'], rules: {'target-size': {enabled: true}, 'color-contrast': {enabled: false}}})"
CONTRAST = """() => {
    const seen = new Set(), plain = ["rgba(0, 0, 0, 0)", "none", "1"];
    const behind = (e, name) => e ? [getComputedStyle(e)[name], ...behind(e.parentElement, name)] : [];
    const include = [...document.querySelectorAll("body *")].filter(e => {
        if (!e.checkVisibility() || !(e.matches("input, button, select") || [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))) return;
        const {color, fontSize, fontWeight, textShadow} = getComputedStyle(e);
        const look = [color, fontSize, fontWeight, textShadow, ...["backgroundColor", "backgroundImage", "opacity"].map(
            name => behind(e, name).filter(value => !plain.includes(value)).join())].join("|");
        return !seen.has(look) && seen.add(look); });
    return axe.run({include}, {resultTypes: ["violations"], runOnly: ["color-contrast"]}); }"""
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


def found(report):
    return [(v["id"], n["target"], n["failureSummary"]) for v in report["violations"] for n in v["nodes"]]


@on(PAGES)
def test_accessibility(screen):
    """The last test of a page: it takes formulas apart."""
    _, page = screen
    page.set_viewport_size(DESKTOP)
    page.evaluate((ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8"))
    page.evaluate(LEAN)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour is caught half-way to another
        page.wait_for_function("scheme => document.documentElement.dataset.theme == scheme", arg=scheme)
        assert found(page.evaluate(CONTRAST)) == [], scheme
    assert found(page.evaluate(AXE)) == []


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
