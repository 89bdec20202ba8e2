"""Pages opened in a browser, for the tests that look at them."""

from contextlib import contextmanager
from types import MappingProxyType


@contextmanager
def pages(browser, site):
    """Opens pages, each in a fresh profile; at the end no console error and no request to elsewhere may be left."""
    contexts, wrong = [], []

    def open_page(path, size=MappingProxyType({"width": 1280, "height": 900}), scheme="light", **options):
        context = browser.new_context(viewport=dict(size), color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"{path}: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(f"{path}: {e}"))
        page.on("requestfailed", lambda r: wrong.append(f"{path}: failed: {r.url}"))
        page.on(
            "request",
            lambda r: r.url.startswith((site, "data:", "blob:")) or wrong.append(f"{path}: {r.url}"),
        )
        page.goto(site + path, wait_until="load")
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-formulas]")
            if "#" not in path:  # who has moved gets every formula, and is not led back to the place that was asked for
                page.evaluate("dispatchEvent(new Event('wheel'))")
                page.wait_for_selector("html[data-formulas=set]")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    found = list(wrong)  # a request that the closing cuts off is no fault of a page
    for context in contexts:
        context.close()
    assert not found, found
