"""The form of a chapter: what the build makes of its markup."""

import pickle
import sys
from pathlib import Path

import pytest
from docutils import nodes
from sphinx_exercise.nodes import exercise_node, solution_node

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import form
from gaelib import CheckFailed, check

from tools import exercises


def tree(*parts):
    """A section with an exercise, a solution in words, a stub, a solved cell; `parts` names those wanted."""
    cell = {"nb_element": "cell_code", "hide_mode": "all"}
    made = {
        "ask": exercise_node("", nodes.title("", "Exercise")),
        "words": solution_node("", nodes.title("", "Solution to"), nodes.section("", nodes.paragraph("", "Because."))),
        "stub": nodes.container("", nodes.paragraph("", "stub"), classes=["cell", "tag_exercise-stub"]),
        "solved": nodes.container("", nodes.paragraph("", "solved"), classes=["cell", "tag_solution"], **cell),
    }
    section = nodes.section("", *(made[part].deepcopy() for part in parts))
    form.one_toggle(None, section)
    form.fold_cells(None, section)
    return section


def test_one_toggle_opens_words_and_then_code_below_the_stub():
    _ask, stub, box = tree("ask", "words", "stub", "solved")
    assert "tag_exercise-stub" in stub["classes"] and isinstance(box, form.fold) and "gae-solution" in box["classes"]
    assert [part.astext() for part in box] == ["Solution", "Because.", "solved"]
    assert not list(box.findall(form.fold))[1:], "a fold inside the fold: two toggles"


def test_words_stay_where_no_solved_cell_belongs_to_them():
    _ask, box, _other, _stub, solved = tree("ask", "words", "ask", "stub", "solved")
    assert [part.astext() for part in box] == ["Solution", "Because."]
    assert [type(part) for part in solved] == [form.fold]  # the other exercise's cell keeps its own


def test_folded_code_leaves_what_it_prints_in_sight():
    code, shown = nodes.container("", nodes.paragraph("", "1 + 1")), nodes.container("", nodes.paragraph("", "2"))
    cell = nodes.container("", code, shown, classes=["cell"], hide_mode="input")
    form.fold_cells(None, nodes.section("", cell))
    assert [type(part) for part in cell] == [form.fold, nodes.container] and cell[0].astext() == "code\n\n1 + 1"


@pytest.mark.parametrize(("title", "name"), [
    ("In the source: E1 holds", "gae-source"), ("What you should have seen", "gae-seen"), ("Hint", "gae-hint"),
    ("Predict, then run", "gae-predict"),
])  # fmt: skip
def test_a_box_looks_as_its_title_begins(title, name):
    assert form.kind(title) == [name] and form.kind(f"More: {title}") == []


def test_a_markdown_cell_is_parted_into_question_and_answer():
    cell = ":::{exercise} A\nAsk\n:::\n\n::::{solution} a\n:::{note}\nx\n:::\n::::\n\nAfter."
    assert exercises.parted(cell) == (
        ":::{exercise} A\nAsk\n:::\n\n\nAfter.",
        "::::{solution} a\n:::{note}\nx\n:::\n::::",
    )
    assert exercises.parted("Text.") == ("Text.", "")


def test_a_failed_check_shows_claim_measured_and_bound():
    with pytest.raises(CheckFailed, match=r"^two is one: measured 2, bound 1$") as caught:
        check("two is one", 2, 1)
    assert caught.value._render_traceback_() == ["claim     two is one", "measured  2", "bound     1"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
