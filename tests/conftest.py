"""What a run leaves for the pages: the commit, the device, digests, comparisons with references; and the time limit.
And the browser for all tests that look at pages: one a process."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from browsing import pages

sys.path.append(str(Path(__file__).parents[1] / "tools"))
import account

# --doctest-modules would import the first beside book/conftest.py; the second is for mypy alone.
collect_ignore = ["conftest.py", "typed.py"]
# The longest files first, so that at the end no core waits for one: `--no-loadscope-reorder` in the Makefile keeps it.
LONGEST = ("tests/test_pages.py", "tests/test_builds.py", "book/", "tests/test_browser.py", "tests/test_explore.py")
NOTEBOOK_SECONDS = 60  # the pages promise it
seconds = Counter()
HTML = Path(__file__).parents[1] / "_build" / "html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def real_data():
    """The folder of MNIST and Fashion-MNIST: GAELIB_DATA, else shared/data beside the repository, else skip.

    A folder that is there but does not load makes its tests fail, not skip.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = os.environ.get("GAELIB_DATA") or beside
    if folder is beside and not os.path.lexists(beside):
        pytest.skip(f"no {beside}: put the data there, or set GAELIB_DATA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAELIB_DATA", str(folder))
        yield Path(folder)


@pytest.fixture(scope="session")
def digits():
    """All of scikit-learn's digits, (1797, 64); a file that needs fewer has its own."""
    from gaelib import data

    return data.digits()[0]


@pytest.fixture(scope="session")
def site():
    """The address of a server for the built pages."""
    if not any(HTML.rglob("*.html")):
        pytest.fail("no pages in _build/html: run make book first")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, site):
    """Opens a page for one test."""
    with pages(browser, site) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def screen(browser, site, request):
    """(path, page): loaded once, in the dark, for all that a file asks of it by mouse, keys and finger.

    pytest puts these tests together. With "phone, " before its path the page is on one from the start.
    """
    mobile, path = request.param.startswith("phone, "), request.param.removeprefix("phone, ")
    size = {"size": {"width": 390, "height": 844}, "is_mobile": True} if mobile else {}
    with pages(browser, site) as open_page:
        yield path, open_page(path, scheme="dark", has_touch=True, **size)


def commit(root):
    command = ["git", "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device():
    try:
        import torch
    except ImportError:
        return "CPU"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: [*(item.nodeid.startswith(part) for part in LONGEST), True].index(True))
    # Properties of tests travel from xdist's workers to the report; properties of the whole suite do not.
    if items:
        digests = account.digests(config.rootpath).items()
        items[0].user_properties += [("commit", commit(config.rootpath)), ("device", device())]
        items[0].user_properties += [("digest", f"{what} {digest}") for what, digest in digests]


@pytest.fixture
def parity(record_property):
    """One row of the parity page: `parity(KMeans, sklearn.cluster.KMeans, "centres, largest difference", 3e-15, 1e-10)`.

    Writes down the difference, then asserts that it keeps the bound. The reference is a class or function of
    another library, which the page names with its version, or words.
    """

    def compare(model, reference, quantity, difference, bound):
        if not isinstance(reference, str):
            library = packages_distributions()[reference.__module__.partition(".")[0]][0]
            reference = f"{library} {version(library)}, {reference.__name__}"
        difference, name = float(difference), model if isinstance(model, str) else model.__name__
        row = {"model": name, "reference": reference, "quantity": quantity, "difference": difference}
        record_property("parity", json.dumps(row))
        assert difference <= bound, f"{name}: {quantity} differs from {reference} by {difference:.1e} > {bound:.0e}"

    return compare


def pytest_runtest_logreport(report):
    path = report.nodeid.partition("::")[0]
    if path.endswith(".ipynb"):
        seconds[path] += sum(
            float(value) for name, value in report.user_properties if name == "cpu" and report.when == "call"
        )


def pytest_terminal_summary(terminalreporter):
    """A note, no verdict: what a notebook costs differs between machines."""
    if slow := {path: round(s) for path, s in seconds.items() if s > NOTEBOOK_SECONDS}:
        terminalreporter.write_line(f"More than the {NOTEBOOK_SECONDS} s of CPU time that the pages promise: {slow}")
