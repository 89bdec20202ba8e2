"""One execution of a notebook, a cell at a time, for all that is asked of it.

Its outputs are compared with the stored ones. An exercise's stub, which is what the reader gets, must fail once its
checks are awake, in `check` and nowhere else; its solution is a cell like any other, and passes. A bound far above what
was measured must say why; a GPU rounds otherwise, and is not asked.

Words and whole numbers must agree exactly; a number with decimals may differ by one unit of its last printed
place. nbval does not compare pictures (image/png). On a GPU the words must agree too and every `check` must
pass, but numbers that differ by more than 2 % are listed, not failed, and drawings are not compared either: another
start names its groups in another order. nbval compares what `sanitize` returns, hence one class.
"""

import ast
import json
import os
import re
import sys
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tools import exercises
from tools import nb as book

collect_ignore = ["witness.py"]  # it runs in a notebook's kernel; --doctest-modules would import it

# Blanks before a number belong to it: 9.99 may become 10.00 in a column of fixed width.
NUMBER = re.compile(r" *([+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d{1,3}(?!\d))?)")
# An interactive figure's name is a digest of its content: it changes with the last place of a coordinate.
DIGEST = re.compile(r"\bgae-[0-9a-f]{8}\b")
DRAWN = re.compile(r"<svg.*?</svg>", re.S)
DRIFT = 0.02
LOOSE = 1000  # a bound of more than so many times the value needs a reason
ROUNDING = 1e-8  # a bound below it only leaves room for rounding, which differs between processors


def on_gpu():
    """Asked only where an output differs: importing torch takes a second."""
    if device := os.environ.get("GAELIB_DEVICE"):
        return device.startswith("cuda")
    import torch

    return torch.cuda.is_available()


def near(a, b):
    """Within one unit of the last place shown, the finer of the two; whole numbers exactly."""
    if not any(re.search(r"\.\d|[eE]", text) for text in (a, b)):
        return Decimal(a) == Decimal(b)
    a, b = Decimal(a), Decimal(b)
    return abs(a - b) <= Decimal((0, (1,), min(a.as_tuple().exponent, b.as_tuple().exponent)))


def apart(mine, theirs):
    """The pairs of numbers that are not near each other in two texts; None where their words differ."""
    mine, theirs = (DIGEST.sub("gae", text).replace("\N{MINUS SIGN}", "-") for text in (mine, theirs))
    if NUMBER.sub("#", mine) != NUMBER.sub("#", theirs):
        return None
    return [pair for pair in zip(NUMBER.findall(mine), NUMBER.findall(theirs)) if not near(*pair)]


class Printed(str):
    """A printed text that equals another one up to the last place of its numbers."""

    cell = None

    def __eq__(self, other):
        if str.__eq__(self, other):
            return True
        if (pairs := apart(self, other)) == [] or not on_gpu():
            return pairs == []
        if (pairs := apart(*(DRAWN.sub("", text) for text in (self, other)))) is None:
            return False
        far = [f"{a} -> {b}" for a, b in pairs if abs(float(a) - float(b)) > DRIFT * abs(float(a))]
        self.cell.user_properties += [("drift", text) for text in far]
        return True

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def sanitize(cell, text):
    if isinstance(text, str):
        text = Printed(text)
        text.cell = cell
    return text


IPyNbCell.sanitize = sanitize


start, run_and_compare = IPyNbFile.setup, IPyNbCell.runtest


def ask(file, question):
    """The answer of the witness in the notebook's kernel, which shows and counts nothing of it."""
    if not file.witness:
        return None
    reply = file.kernel.kc.execute_interactive(
        "", silent=True, user_expressions={"told": f"get_ipython().witness.{question}"}, timeout=120,
        output_hook=lambda message: None,
    )  # fmt: skip
    told = reply["content"]["user_expressions"]["told"]
    assert told["status"] == "ok", f"the witness: {told}"
    return json.loads(ast.literal_eval(told["data"]["text/plain"]))


def setup(file):
    start(file)
    file.witness = any("gaelib" in cell.source for cell in book.code_cells(file.nb))
    if file.witness:
        place = Path(__file__).with_name("witness.py")
        text = place.read_text(encoding="utf-8")
        source = f"exec(compile({text!r}, {str(place)!r}, 'exec'), {{'get_ipython': get_ipython}})"
        reply = file.kernel.kc.execute_interactive(source, silent=True, timeout=120)
        assert reply["content"]["status"] == "ok", reply["content"]


def runtest(cell):
    run_and_compare(cell)
    for claim, value, bound, why in ask(cell.parent, "report()") or ():
        if value <= bound and bound > max(LOOSE * abs(value), ROUNDING) and not why and not on_gpu():
            cell.raise_cell_error(f"{claim!r}: measured {value:.3g}, bound {bound:g}, no why")
    if "exercise-stub" in book.tags(cell.cell):
        failed = ask(cell.parent, f"attempt({exercises.awake(cell.cell.source)!r})")
        if failed is None:
            cell.raise_cell_error("the unsolved stub passes its checks: they test nothing")
        elif failed[:2] != ["CheckFailed", True]:
            cell.raise_cell_error("the unsolved stub must fail in check() of gaelib", failed[2])


IPyNbFile.setup, IPyNbCell.runtest = setup, runtest


def seconds(file):
    """CPU time of a notebook's kernel so far: what a busy neighbour does not change."""
    process = psutil.Process(file.kernel.km.provisioner.process.pid)
    return sum(process.cpu_times()[:2])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    if not isinstance(item, IPyNbCell):
        yield
        return
    before = seconds(item.parent)
    yield
    item.user_properties.append(("cpu", f"{seconds(item.parent) - before:.2f}"))


def pytest_terminal_summary(terminalreporter):
    reports = [
        report for group in terminalreporter.stats.values() for report in group if hasattr(report, "user_properties")
    ]
    lines = [
        f"{report.nodeid}: {value}"
        for report in reports
        if getattr(report, "when", None) == "call"
        for key, value in report.user_properties
        if key == "drift"
    ]
    if lines:
        terminalreporter.section("numbers more than 2 % from the stored ones (GPU)")
        terminalreporter.write("\n".join(lines) + "\n")
