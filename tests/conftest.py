"""What a run leaves for the pages: the commit, the device, digests, comparisons with references; and the time limit."""

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "tools"))
import account

collect_ignore = ["conftest.py"]  # --doctest-modules would import it beside book/conftest.py
NOTEBOOK_SECONDS = 60  # the pages promise it
seconds = Counter()


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


def pytest_sessionfinish(session):
    if slow := {path: round(s) for path, s in seconds.items() if s > NOTEBOOK_SECONDS}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nMore than the {NOTEBOOK_SECONDS} s of CPU time that the pages promise: {slow}")
