"""Exercises, both ways: an unsolved stub fails in its check and nowhere else, and the solution passes.

Each notebook's cells run once, in order, in one namespace without a kernel. On the way every `check` is
recorded: a bound far above what was measured must say why.
"""

import os
import sys
import traceback
from functools import cache
from pathlib import Path

import gaelib
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import exercises
from tools import nb as book

matplotlib.use("Agg")
PATHS = book.notebooks()
LOOSE = 1000  # a bound of more than so many times the value needs a reason

each = pytest.mark.parametrize("path", PATHS, ids=book.name)


def play(source, namespace, where):
    exec(compile(source, where, "exec"), namespace)


@cache
def walk(path):
    """Run a notebook: (what each stub raised, what each solution raised, every check's arguments)."""
    nb, name = book.read(path), book.name(path)
    stubs = {stub.id: solution for stub, solution in exercises.exercises(nb, name) if stub is not None}
    solved = {solution.id for solution in stubs.values()}
    unsolved, answers, checks, where = {}, {}, [], ""
    real = gaelib.check

    def check(claim, value, bound, digits=None, why=None):
        checks.append((where, claim, float(value), float(bound), why))
        real(claim, value, bound, digits, why)

    def attempt(source, space):
        try:
            play(source, space, where)
        except Exception as error:
            return error

    patch = pytest.MonkeyPatch()
    here, namespace = Path.cwd(), {"__name__": "__main__", "display": lambda *things: None}
    with matplotlib.rc_context(), patch.context() as p:
        p.setattr(gaelib, "check", check)
        p.setattr(gaelib.verify, "check", check)
        p.setattr(plt, "show", lambda *a, **k: plt.close("all"))
        os.chdir(path.parent)
        try:
            for n, cell in enumerate(book.code_cells(nb), 1):
                where = f"{name}, code cell {n}"
                if cell.id in stubs:
                    unsolved[where] = attempt(exercises.awake(cell.source), dict(namespace))
                if cell.id in solved:
                    answers[where] = attempt(cell.source, namespace)
                elif "raises-exception" in book.tags(cell):
                    error = attempt(cell.source, namespace)
                    assert error is not None, f"{where} is tagged raises-exception and raised nothing"
                elif "nbval-skip" not in book.tags(cell):
                    play(cell.source, namespace, where)
                plt.close("all")
        finally:
            os.chdir(here)
    return unsolved, answers, checks


SOLUTION = """x = 1
# your turn: y = 0
y = x + 1

z = 3
# end
if x:
    # your turn: w = None
    w = y + z
    # end
# a remark

check("w is five", abs(w - 5), 0)"""
STUB = """x = 1
# your turn
y = 0
# end
if x:
    # your turn
    w = None
    # end
# then run:
# # a remark

# check("w is five", abs(w - 5), 0)"""


def test_a_stub_is_made_from_its_solution():
    assert exercises.stub(SOLUTION) == STUB
    assert exercises.awake(STUB).endswith('    # end\n# a remark\n\ncheck("w is five", abs(w - 5), 0)')


@pytest.mark.parametrize(("source", "named"), [
    ("check('a', 0, 0)", "needs"),
    ("# your turn: y = 0\ny = 1\ncheck('a', 0, 0)", "never closed"),
    ("# your turn:\ny = 1\n# end\ncheck('a', 0, 0)", "wrong line"),
    ("# your turn\ny = 1\n# end\ncheck('a', 0, 0)", "wrong line"),
    ("# your turn: y = 0\n\n# end\ncheck('a', 0, 0)", "nothing stands between"),
    ("# your turn: y = 0\n# your turn: y = 0\ny = 1\n# end\ncheck('a', 0, 0)", "before line 1 was closed"),
    ("y = 1\n# end\ncheck('a', 0, 0)", "closes nothing"),
    ("# your turn: y = 0\ny = 1\n# end", "add a check"),
])  # fmt: skip
def test_a_malformed_solution_is_named(source, named):
    with pytest.raises(exercises.Malformed, match=named) as error:
        exercises.stub(source, "cases/a, cell 7")
    assert str(error.value).startswith("cases/a, cell 7")


def test_stubs_and_solutions_come_in_pairs():
    def cell(tag):
        return nbformat.v4.new_code_cell(SOLUTION, metadata={"tags": [tag]})

    made = exercises.fill(nbformat.v4.new_notebook(cells=[cell("solution")]), "cases/a")
    assert [book.tags(c) for c in made.cells] == [{"exercise-stub"}, {"solution"}] and made.cells[0].source == STUB
    assert exercises.fill(made).cells == made.cells
    for tags in (
        ["exercise-stub"],
        ["exercise-stub", "exercise-stub", "solution"],
        ["exercise-stub", "hide-input"],
    ):
        with pytest.raises(exercises.Malformed, match="cases/a, cell 1"):
            exercises.fill(nbformat.v4.new_notebook(cells=[cell(tag) for tag in tags]), "cases/a")


def test_the_book_has_notebooks():
    assert PATHS, "no notebook found below book/"
    assert any(walk(path)[0] for path in PATHS), "no exercise found in the whole book"


@each
def test_an_unsolved_stub_fails_in_its_check(path):
    for where, error in walk(path)[0].items():
        assert error is not None, f"{where}: the unsolved stub passes its checks: they test nothing"
        told = "".join(traceback.format_exception(error))
        assert type(error).__name__ == "CheckFailed", f"{where}: the unsolved stub must fail in check(), but:\n{told}"
        last = traceback.extract_tb(error.__traceback__)[-1]
        raised = Path(last.filename).resolve() == Path(gaelib.verify.__file__).resolve() and last.name == "check"
        assert raised, f"{where}: CheckFailed was not raised by gaelib.check:\n{told}"


@each
def test_every_solution_passes(path):
    for where, error in walk(path)[1].items():
        told = "" if error is None else "".join(traceback.format_exception(error))
        assert error is None, f"{where}: the solution does not pass:\n{told}"


@each
def test_a_loose_bound_says_why(path):
    loose = [
        f"{where}: {claim!r}: measured {value:.3g}, bound {bound:g}, no why"
        for where, claim, value, bound, why in walk(path)[2]
        if value <= bound and bound > LOOSE * abs(value) and not why
    ]
    assert not loose, "\n".join(loose)
