"""Exercises: how stubs are made from their solutions."""

import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import exercises
from tools import nb as book

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


def test_the_book_has_exercises():
    """Its notebooks run once, under book/conftest.py: there the stubs fail and the solutions pass."""
    assert sum(len(exercises.exercises(book.read(path), book.name(path))) for path in book.notebooks()) > 30
