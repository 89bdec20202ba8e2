"""What a run leaves for the pages: the commit, the device, each notebook's digest; and the time limit."""

import hashlib
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

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
        items[0].user_properties += [("commit", commit(config.rootpath)), ("device", device())]
    notebooks = {item.path for item in items if item.path.suffix == ".ipynb"}
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in notebooks}
    for item in items:
        if item.path in digests:
            item.user_properties.append(("sha256", digests[item.path]))


def pytest_runtest_logreport(report):
    path = report.nodeid.partition("::")[0]
    if path.endswith(".ipynb"):
        seconds[path] += report.duration


def pytest_sessionfinish(session):
    if slow := {path: round(s) for path, s in seconds.items() if s > NOTEBOOK_SECONDS}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nSlower than the {NOTEBOOK_SECONDS} s that the pages promise: {slow}")
