"""Figures that compute in the page: their numbers are Python's, by mouse, finger and keyboard, and a still is enough."""

import json
import math
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from gaelib import LGAE, KMeans, plot
from gaelib.core import Exact, Soft, objective
from gaelib.joints.flats import Flats
from gaelib.solvers.nearest import project

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "book/theme/explore.js"
PHONE = {"width": 390, "height": 844}
CLOUDS = [
    (-3, -1.4),
    (-2.2, -2.2),
    (-1.8, -1.1),
    (2.2, -1.6),
    (3.1, -1.1),
    (2.6, -0.2),
    (-0.4, 2.4),
    (0.5, 2.9),
    (0.2, 1.5),
]
FIGURES = {
    "kmeans": {"points": CLOUDS, "centres": [(2.6, 1.2), (3.4, 0.9), (-3.0, 2.0)]},
    "pca": {"points": [(-3, -1.4), (-2, -1.3), (-1.1, 0.2), (0, -0.4), (0.9, 0.8), (2, 0.7), (3.1, 1.9)]},
    "flats": {"point": (0.6, 0.4), "means": [(-2.4, -1.2), (1.6, 1.4), (2.2, -1.6)], "directions": [(2, 1), (1, -1.2), (1, 0.2)]},
    "temperature": {"log_joints": [-2, -2.6, -3.9, -4.4, -5.2], "T": 0.5},
}  # fmt: skip
each = pytest.mark.parametrize("kind", FIGURES)


def explorable(kind):
    return plot.explore(kind, f"What is seen in the figure of the kind {kind}.", **FIGURES[kind])


# --- What Python says about a state ---------------------------------------------------------------------------


def kmeans(s):
    centres, points = (torch.tensor(part, dtype=torch.float64) for part in (s["at"][: s["K"]], s["at"][s["K"] :]))
    joint = Flats(centres)
    codes = joint.argmax(points)
    counts, moved = torch.bincount(codes, minlength=len(centres)), Flats(centres)
    moved.update(joint.stats(points, codes))
    empty = counts == 0  # in the page it stays, so that the reader sees it; the library restarts it elsewhere
    return {
        "inertia": (points - joint.decode(codes)).square().sum(),
        "sizes": ", ".join(map(str, counts.tolist())),
        "shift": (moved.means - centres).norm(dim=1)[~empty].max(),
        "note": " ".join(f"Centre {k + 1} has no point and stays." for k in empty.nonzero()[:, 0].tolist()),
    }


def pca(s):
    X = np.array(s["at"])
    both, line = LGAE(2).fit(X), LGAE(1).fit(X)
    along, across = both.explained_variance_
    residual = ((X - line.inverse_transform(line.transform(X))) ** 2).sum()
    return {"along": along, "across": across, "share": along / (along + across), "residual": residual}


def flats(s):
    x, *ends = torch.tensor(s["at"], dtype=torch.float64)
    means, tips = torch.stack(ends[::2]), torch.stack(ends[1::2])
    joint = Flats(means, torch.nn.functional.normalize(tips - means)[:, :, None])
    squares = project(x[None], joint.means, joint.bases)[0][0]
    return {
        **{f"d{k + 1}": d for k, d in enumerate(squares)},
        "winner": str(int(joint.argmax(x[None])[0]) + 1),
        "mean": str(int(Flats(means).argmax(x[None])) + 1),
    }


def temperature(s):
    l = torch.tensor([v for _, v in s["at"]], dtype=torch.float64)
    variance = 1e-6  # so narrow that every log joint is below the largest possible one
    best = -math.log(len(l)) - 0.5 * math.log(2 * math.pi * variance)
    joint, x = (
        Flats((2 * variance * (best - l)).sqrt()[:, None], variance=variance),
        torch.zeros(1, 1, dtype=torch.float64),
    )
    assert (joint.log_joints(x)[0] - l).abs().max() < 1e-9
    (q,), bonus = joint.posterior(x, s["T"])
    return {
        "T": s["T"],
        "F": objective(joint, x, Soft(s["T"])),
        "H": bonus / s["T"],
        "max": objective(joint, x, Exact()),
        "evidence": objective(joint, x, Soft(1.0)),
        **{f"q{k + 1}": v for k, v in enumerate(q[0])},
    }


PYTHON = {"kmeans": kmeans, "pca": pca, "flats": flats, "temperature": temperature}


# --- What the page says -----------------------------------------------------------------------------------------


def state(figure):
    return json.loads(figure.get_attribute("data-state"))


def said(figure):
    return figure.evaluate(
        "f => Object.fromEntries([...f.querySelectorAll('[data-n]')].map(e => [e.dataset.n, e.textContent]))"
    )


def compare(figure):
    """Every number that is shown, to half a unit of its last digit; the state that it belongs to comes back."""
    s, shown = state(figure), said(figure)
    truth = PYTHON[s["kind"]](s)
    assert set(truth) == set(shown)
    for name, value in truth.items():
        if isinstance(value, str):
            assert shown[name] == value, name
        else:
            assert abs(float(shown[name].replace("−", "-")) - float(value)) <= 0.005 + 1e-9, name
    return s


def drag(page, handle, right, up):
    """By mouse, in pixels."""
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right / 2, y - up / 2)
    page.mouse.move(x + right, y - up)
    page.mouse.up()


def touch(page, handle, right, up):
    """By a finger, in pixels."""
    send, box = page.context.new_cdp_session(page).send, handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for part in (0, 0.3, 0.6, 1):
        kind = "touchMove" if part else "touchStart"
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x + part * right, "y": y - part * up}]})
        page.wait_for_timeout(16)
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def press(figure, number, *keys):
    handle = figure.locator(".gae-handle").nth(number)
    for key in keys:
        handle.press(key)


def middle(figure):
    figure.evaluate("f => f.scrollIntoView({block: 'center', behavior: 'instant'})")
    return figure


@pytest.fixture
def demo(browser, tmp_path):
    """Opens the demonstration of one kind; at the end no error and no request but for its own files may be left."""
    contexts, wrong = [], []

    def open_demo(kind, theme="light", viewport=PHONE, **options):
        for name in ("gae.css", "explore.js"):
            shutil.copy(ROOT / "book/theme" / name, tmp_path)
        colours = "background:#14181e;color:#ced6dd" if theme == "dark" else "background:#fff;color:#222"
        (tmp_path / "demo.html").write_text(
            f'<!doctype html><html lang="en" data-theme="{theme}"><meta charset="utf-8"><title>Demonstration</title>'
            f'<meta name="viewport" content="width=device-width"><style>html{{font:16px sans-serif;{colours}}}</style>'
            '<link rel="stylesheet" href="gae.css"><script defer src="explore.js"></script>'
            f"<main><h1>Demonstration</h1>{explorable(kind)._repr_html_()}<p style='height:1000px'></p></main>",
            encoding="utf-8",
        )
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: r.url.startswith(tmp_path.as_uri()) or wrong.append(r.url))
        page.goto((tmp_path / "demo.html").as_uri())
        return page, page.locator("figure.gae-explore")

    yield open_demo
    for context in contexts:
        context.close()
    assert not wrong


# --- The numbers --------------------------------------------------------------------------------------------------


@each
def test_numbers_are_pythons_at_the_start_after_a_drag_and_after_keys(demo, kind):
    page, figure = demo(kind)
    states = [compare(figure)["at"]]
    drag(page, figure.locator(".gae-handle").nth(1), 30, -40)
    states.append(compare(figure)["at"])
    press(figure, 2, "ArrowUp", "ArrowRight", "Shift+ArrowUp", "Shift+ArrowLeft", "Shift+ArrowUp")
    states.append(compare(figure)["at"])
    assert states[0][1] != states[1][1] and states[1][2] != states[2][2]
    press(figure, len(states[0]) - 1, *["Shift+ArrowDown"] * 3)
    compare(figure)
    figure.get_by_role("button", name="Reset").click()
    assert compare(figure)["at"] == states[0]


def test_lloyd_ends_where_kmeans_ends(demo):
    for options in ({"reduced_motion": "reduce"}, {}):
        page, figure = demo("kmeans", **options)
        s = state(figure)
        model = KMeans(s["K"], init=np.array(s["at"][: s["K"]]), tol=0).fit(np.array(s["at"][s["K"] :]))
        figure.get_by_role("button", name="Step").click()
        first = compare(figure)
        figure.get_by_role("button", name="Reset").click()
        figure.get_by_role("button", name="Run").click()
        if not options:  # one step at a time, for eyes; whoever asks for less motion sees the end at once
            assert said(figure)["shift"] != "0.00"
            page.wait_for_function("document.querySelector('[data-n=shift]').textContent == '0.00'")
        last = compare(figure)
        assert first["at"] != last["at"] and said(figure)["shift"] == "0.00"
        assert np.abs(model.cluster_centers_ - last["at"][: s["K"]]).max() < 1e-9
        assert abs(model.inertia_ - float(said(figure)["inertia"])) <= 0.005 + 1e-9


def test_a_centre_without_points_says_so(demo):
    page, figure = demo("kmeans")
    drag(page, figure.locator(".gae-handle").first, 60, 60)  # to the upper right corner, far from all points
    before = state(figure)["at"][0]
    assert "Centre 1 has no point and stays." in figure.locator("output").text_content()
    figure.get_by_role("button", name="Step").click()
    assert state(figure)["at"][0] == before


def test_the_line_is_drawn_where_pca_has_it(demo):
    page, figure = demo("pca")
    drag(page, figure.locator(".gae-handle").last, -120, 60)
    s = state(figure)
    x1, y1, x2, y2 = (float(figure.locator("svg line").first.get_attribute(name)) for name in ("x1", "y1", "x2", "y2"))
    direction = np.array([(x2 - x1) / s["map"][1], (y2 - y1) / s["map"][3]])
    cosine = LGAE(1).fit(np.array(s["at"])).components_[0] @ direction / np.linalg.norm(direction)
    assert 1 - abs(cosine) < 1e-6


def test_a_mean_takes_its_direction_along_and_all_stays_in_the_picture(demo):
    page, figure = demo("flats")
    before = state(figure)["at"]
    drag(page, figure.locator(".gae-handle").nth(1), 60, 20)
    after = compare(figure)["at"]
    assert np.allclose(np.subtract(after[2], after[1]), np.subtract(before[2], before[1]))
    for number in range(7):
        press(figure, number, *["Shift+ArrowLeft", "Shift+ArrowDown"] * 12)
    s = compare(figure)
    x0, x1, y0, y1 = s["box"]
    assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in s["at"])


def test_cooling_and_heating(demo):
    page, figure = demo("temperature")
    slider = figure.get_by_role("slider", name="Temperature T")
    values = []
    for key in ("Home", "ArrowRight", "PageUp", "PageUp", "End"):
        slider.press(key)
        s = compare(figure)
        number = {name: float(text.replace("−", "-")) for name, text in said(figure).items()}
        values.append((s["T"], number["F"]))
        assert slider.get_attribute("aria-valuetext") == f"T = {s['T']:.2f}"
        assert number["max"] <= number["F"] and (s["T"] > 1 or number["F"] <= number["evidence"])
    assert values == sorted(values) and values[0][0] < 0.05 and values[-1][0] > 3.5
    page.evaluate("document.querySelector('input').value = 0")
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    assert compare(figure)["T"] == 1 and said(figure)["F"] == said(figure)["evidence"]


def test_every_kind_stands_in_the_book():
    stored = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.ipynb"))
    assert [kind for kind in FIGURES if f"&quot;kind&quot;:&quot;{kind}&quot;" not in stored] in (
        [],
        ["flats"],
    )  # its chapter is full


# --- Every hand, every eye ------------------------------------------------------------------------------------------


@each
def test_finger_and_keys_move_the_same_handle_and_the_page_still_scrolls(demo, kind):
    page, figure = demo(kind, is_mobile=True, has_touch=True)
    before, handle = compare(figure)["at"], figure.locator(".gae-handle").nth(1)
    touch(page, handle, 24, 40)
    by_finger = compare(figure)["at"]
    assert page.evaluate("scrollY") == 0  # the finger was on a handle
    press(figure, 1, "ArrowUp")
    by_keys = compare(figure)["at"]
    changed = lambda a, b: [i for i, (p, q) in enumerate(zip(a, b)) if p != q]
    moved = [1, 2] if kind == "flats" else [1]  # a flat's direction goes with its mean
    assert changed(before, by_finger) == changed(by_finger, by_keys) == moved
    assert by_keys[1][1] == pytest.approx(by_finger[1][1] + 0.1)
    assert handle.evaluate("h => h == document.activeElement")

    touch(page, figure.locator("output"), 0, 200)
    page.wait_for_timeout(200)
    assert page.evaluate("scrollY") > 50


@each
def test_who_listens_hears_it(demo, kind):
    page, figure = demo(kind)
    handle = figure.locator(".gae-handle").nth(1)
    assert handle.get_attribute("role") == "slider" and handle.get_attribute("aria-label")
    before = handle.get_attribute("aria-valuetext")
    press(figure, 1, "ArrowUp")
    assert handle.get_attribute("aria-valuetext") != before
    assert figure.locator("output").count() == 1  # a live region: its words are read when they change
    assert figure.locator("output").is_visible()
    assert all(text in figure.locator("output").text_content() for name, text in said(figure).items() if name[0] != "q")
    page.evaluate((ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run('figure', {preload: false, resultTypes: ['violations'], rules: {'target-size': {enabled: true}}})"
    )
    assert [(v["id"], n["target"]) for v in found["violations"] for n in v["nodes"]] == []


@each
def test_without_scripts_a_still_is_seen(demo, kind):
    _, figure = demo(kind, java_script_enabled=False)
    assert figure.locator("svg").bounding_box()["height"] > 200 and figure.locator("button, input").count() == 0
    assert figure.locator("output").is_visible()
    words = figure.locator("output").text_content()
    assert all(text in words for text in explorable(kind).numbers.values())
    still = (figure.locator(".gae-handle").evaluate_all, figure.locator("line").evaluate_all)
    _, moving = demo(kind)
    assert moving.locator("output").text_content() == words  # the page computes what Python wrote
    script = "e => e.map(x => (x.getAttribute('transform') ?? ['x1', 'y1', 'x2', 'y2'].map(n => x.getAttribute(n)).join()).match(/-?[\\d.]+/g).map(Number))"
    for before, selector in zip(still, (".gae-handle", "line")):
        assert np.allclose(before(script), moving.locator(selector).evaluate_all(script), atol=0.3, rtol=1e-3)


@each
def test_in_the_dark_and_on_a_phone(demo, kind):
    for theme in ("light", "dark"):
        page, figure = demo(kind, theme)
        ink, paper, axes, words = (
            page.evaluate("""() => { const style = (s) => getComputedStyle(document.querySelector(s));
            return [style("html").color, style("html").backgroundColor, style("svg path[stroke=currentColor]").stroke, style("svg text").fill]; }""")
        )
        assert axes == words == ink != paper
        lightness = lambda colour: sum(map(int, re.findall(r"\d+", colour)))
        assert (lightness(ink) > lightness(paper)) == (theme == "dark")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
        assert 12 * figure.locator("svg").bounding_box()["width"] / plot.Canvas.WIDTH >= 9  # text, px
        for control in figure.locator("button, input").all():
            assert control.bounding_box()["height"] >= 44


# --- What it costs, and where it stands still -----------------------------------------------------------------------


def test_the_script_is_small_and_asks_for_nothing():
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.encode()) <= 12 * 1024
    assert not re.search(r"fetch|XMLHttp|WebSocket|sendBeacon|import\b|https?:|\.src\b|innerHTML|eval", text)


def test_only_pages_with_such_a_figure_load_the_script():
    pages = [p for p in (ROOT / "_build/html").rglob("*.html") if "_static" not in p.parts]
    assert pages, "no pages in _build/html: run make book first"
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert bool(re.search(r"<script[^>]*explore\.js", text)) == ('class="gae-explore"' in text), page


@each
def test_colab_and_paper_books_keep_the_still(kind):
    html = explorable(kind)._repr_html_()
    assert "<script" not in html and "<svg" in html and "currentColor" in html
    sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
    import reading

    text = ET.tostring(ET.fromstring(reading.xhtml(html)), encoding="unicode")
    assert "clipPath" in text and "viewBox" in text
    assert all(number in text for number in explorable(kind).numbers.values())


def test_a_figure_says_what_it_is():
    assert repr(explorable("pca")).startswith("explore('pca', along=")
    assert (
        plot.explore("pca", 'Seen: a < b & "c"', points=CLOUDS)
        ._repr_html_()
        .count("Seen: a &lt; b &amp; &quot;c&quot;")
        == 1
    )


BAD = {
    "an unknown kind": ("tsne", {}, "kind='tsne'", "pass one of kmeans"),
    "places in space": ("pca", {"points": np.ones((4, 3))}, "(4, 3)", "(3 or more, 2)", "pass rows"),
    "too few places": ("pca", {"points": np.ones((2, 2))}, "(2, 2)", "3 or more"),
    "a place that is none": ("kmeans", {"points": CLOUDS, "centres": [(0, math.nan)]}, "centres", "finite"),
    "too many centres": ("kmeans", {"points": CLOUDS, "centres": CLOUDS}, "9 centres", "8 colours", "pass fewer"),
    "places too near": ("pca", {"points": np.array(CLOUDS) / 100}, "units apart", "scale them"),
    "places too far": ("pca", {"points": np.array(CLOUDS) * 100}, "units apart", "scale them"),
    "a flat without direction": ("flats", {**FIGURES["flats"], "directions": [(1, 0)]}, "3 means", "1 directions", "pass one"),
    "a table of log joints": ("temperature", {"log_joints": np.ones((2, 2))}, "(2, 2)", "K from 2 to 8"),
    "off the slider": ("temperature", {"log_joints": [0, 1], "T": 9}, "T=9", "0.03 to 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    kind, data, *says = BAD[case]
    with pytest.raises(ValueError, match=re.escape(says[0])) as caught:
        plot.explore(kind, "x", **data)
    assert all(part in str(caught.value) for part in says), caught.value
