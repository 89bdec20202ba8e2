"""The form of a chapter: what the build makes of its markup, and whether each chapter has it.

`python tests/test_form.py idea/self-map …` lists what a chapter lacks.
"""

import pickle
import posixpath
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from docutils import nodes
from sphinx_exercise.nodes import exercise_node, solution_node

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import form
from gaelib import CheckFailed, check

from tools import exercises
from tools import nb as book


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


# --- the chapters -------------------------------------------------------------------------------------------

TOC = yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
ORDER = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHAPTERS = [name for name in map(book.name, book.notebooks()) if name.split("/")[0] in ("idea", "cases", "family")]
LEDGER = yaml.safe_load((ROOT / "book/ledger.yml").read_text(encoding="utf-8"))["rows"]

COLUMNS, LINES, BYTES = 76, 15, 8192
WORDS, CELLS = (1500, 3000), (12, 36)
APART = {"exercise-stub", "solution", "remove-cell"}  # cells that the budget does not count
HIDDEN = {"hide-input", "hide-cell", "remove-cell", "solution"}
DRAWS = re.compile(r"\bplot\.(?:axes|images|slider|explore|Canvas)\b|\bplt\.|\.imshow\(")
BOX = r"^(:{3,}|`{3,})\{%s\}[ \t]*(%s[^\n]*)\n(.*?)^\1[ \t]*$"


def boxes(text, name, title=""):
    """(title, body) of each directive `name` whose title begins so."""
    return [(found[2].strip(), found[3]) for found in re.finditer(BOX % (name, title), text, re.M | re.S)]


def drawn(path):
    """What is wrong with a drawing's file."""
    if not path.exists():
        return [f"no {path.name}"]
    svg = path.read_text(encoding="utf-8")
    faults = [f"{path.name} lacks {word}" for word in ("viewBox", "currentColor") if word not in svg]
    return faults + [f"{path.name} has {len(svg.encode())} bytes, at most {BYTES}"] * (len(svg.encode()) > BYTES)


def opening(text, folder):
    """What the first screen lacks: a drawing and the sentence."""
    first = re.split(r"^## ", text, maxsplit=1, flags=re.M)[0]
    faults = [] if "The idea in one sentence" in first else ["no idea in one sentence"]
    found = re.search(BOX % ("figure", r"\S+\.svg"), first, re.M | re.S)
    if not found:
        return [*faults, "no {figure} of an .svg before the first section"]
    said = dict(re.findall(r"^:(\w+): (.*)$", found[3], re.M))
    if not (40 <= len(said.get("alt", "")) <= 250 and "name" in said):
        faults.append("the drawing needs :name: and an :alt: of 40 to 250 characters")
    return faults + drawn(folder / found[2].strip())


def code(cells):
    """Lines too wide, cells too long, plots in sight, and long runs of code without a sentence."""
    faults, run = [], 0
    for n, cell in enumerate(cells, 1):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "markdown":
            words = re.sub(r"^#.*$|\$[^$]*\$|^ *:.*$", " ", cell.source, flags=re.M)
            run = run if len(words.split()) < 5 else 0  # a heading alone is no sentence
            continue
        if wide := max((len(line) for line in lines if len(line) > COLUMNS), default=0):
            faults.append(f"cell {n} ({cell.id}): a line of {wide} columns, at most {COLUMNS}")
        if book.tags(cell) & HIDDEN:
            continue
        run += len(lines)
        if run > LINES:
            faults.append(f"cell {n} ({cell.id}): {run} lines of code in sight without a sentence, at most {LINES}")
        if DRAWS.search(cell.source) and "exercise-stub" not in book.tags(cell):
            faults.append(f"cell {n} ({cell.id}) plots in sight: tag it hide-input")
    return faults


def asked(text):
    """Exercises without a title, a hint or a solution in words."""
    faults, solved = [], {title: body for title, body in boxes(text, "solution")}
    parts = re.split(r"^(?=:{3,}\{exercise\})", text, flags=re.M)[1:]
    for part in parts:
        ((title, body),) = boxes(part, "exercise")
        label = re.search(r"^:label: *(\S+)", body, re.M)
        name = label[1] if label else title
        if not (title and label):
            faults.append(f"exercise {name!r} needs a title and a label")
        if not boxes(part, "dropdown", "Hint"):
            faults.append(f"exercise {name!r} has no hint")
        if len(solved.get(name, "").split()) < 8:
            faults.append(f"exercise {name!r} has no solution in words")
    return faults + [f"{len(parts)} exercises, 3 to 6 are wanted"] * (not 3 <= len(parts) <= 6)


def prerequisites(text, name):
    """Links of {facts} to pages that do not come earlier."""
    links = re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", "".join(body for _, body in boxes(text, "facts")))
    targets = [posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links]
    if name not in ORDER:
        return [f"{name} stands in no line of book/_toc.yml"]
    before = ORDER[: ORDER.index(name)]
    return [f"the prerequisite {target} does not come earlier" for target in targets if target not in before]


def sources(text, name):
    """The document is spoken of in its boxes alone."""
    theirs = [row["id"] for row in LEDGER if row["chapter"] == name and row["verdict"] != "ours"]
    found = boxes(text, "dropdown", "In the source")
    outside = re.sub(BOX % ("dropdown", "In the source"), "", text, flags=re.M | re.S)
    said = re.findall(r"\b[Tt]he document\b", outside)
    faults = [f'"the document" stands {len(said)} times outside of In the source'] * bool(said)
    return faults + [f"rows {theirs} of the ledger and no box In the source"] * bool(theirs and not found)


def moved(text, cells):
    """A slider asks first and answers afterwards."""
    shown = ["".join(o.get("data", {}).get("text/html", "")) for cell in cells for o in cell.get("outputs", [])]
    sliders = sum("gae-slider" in html for html in shown)
    asks, answers = boxes(text, "admonition", "Predict"), boxes(text, "dropdown", "What you should have seen")
    faults = [f"{sliders} sliders, {len(asks)} predictions"] * (len(asks) < sliders)
    return faults + [f"{len(asks)} predictions, {len(answers)} answers"] * (len(answers) < min(len(asks), sliders))


def numbers(text, cells):
    """Numbers in sentences, instances, and names that nobody glued or asked for."""
    asked = set(re.findall(r"\{glue:text\}`([^`]+)`", text))
    faults = [f"{len(asked)} glued numbers in sentences, at least 6"] * (len(asked) < 6)
    instances = len(re.findall(r"\bfor (?:example|instance)\b|\ban example\b", text, re.I))
    faults += [f"{instances} times an example, at least 2"] * (instances < 2)
    stored = {
        o.metadata.get("scrapbook", {}).get("name") for c in cells for o in c.get("outputs", []) if "metadata" in o
    }
    unused = sorted(stored - asked - {None})
    return faults + [f"glued and never used: {unused}"] * bool(unused)


def broken(cells):
    """A failure that is shown stands on three lines."""
    errors = [o for c in cells for o in c.get("outputs", []) if o.output_type == "error" and o.ename == "CheckFailed"]
    starts = [[line.split()[0] for line in o.traceback] for o in errors]
    faults = ['no "break it"'] * (not errors)
    return faults + ["a failed check is stored as a traceback: run tools/run.py"] * any(
        start != ["claim", "measured", "bound"] for start in starts
    )


def budget(cells):
    """Too few or too many words or cells."""
    words = book.words(SimpleNamespace(cells=cells))
    count = sum(cell.cell_type == "code" and not book.tags(cell) & APART for cell in cells)
    found = {"words": (words, WORDS), "code cells besides exercises": (count, CELLS)}
    return [f"{n} {what}, {a} to {b} are wanted" for what, (n, (a, b)) in found.items() if not a <= n <= b]


def faults(name):
    cells = book.read(ROOT / f"book/{name}.ipynb").cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return [
        *opening(text, (ROOT / f"book/{name}").parent), *code(cells), *asked(text), *prerequisites(text, name),
        *sources(text, name), *moved(text, cells), *numbers(text, cells), *broken(cells), *budget(cells),
    ]  # fmt: skip


MARKDOWN, CODE = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
SENTENCE = MARKDOWN("One sentence of five words.")
ASKED = (
    ":::{exercise} A title\n:label: ex-a\nAsk.\n:::\n\n:::{dropdown} Hint\nSo.\n:::\n\n:::{solution} ex-a\n"
    + 8 * "why "
    + "\n:::\n"
)
LONG = CODE("x = 1\n" * 10)


@pytest.mark.parametrize(("found", "named"), [
    (budget([MARKDOWN("word " * 1500), *[LONG] * 12]), None),
    (budget([MARKDOWN("word " * 1499), *[LONG] * 12]), "1499 words, 1500 to 3000"),
    (budget([MARKDOWN("word " * 3000), *[LONG] * 11]), "11 code cells"),
    (code([LONG, SENTENCE, LONG]), None),
    (code([LONG, MARKDOWN("## Heading"), LONG]), "20 lines of code in sight"),
    (code([CODE("x = 1  " + "#" * 80)]), "87 columns"),
    (code([CODE("axes = plot.axes(2)")]), "plots in sight"),
    (code([CODE("axes = plot.axes(2)", metadata={"tags": ["hide-input"]})]), None),
    (asked(3 * ASKED), None),
    (asked(3 * ASKED.replace(" A title", "")), "needs a title"),
    (asked(3 * ASKED.replace("Hint", "Help")), "has no hint"),
    (asked(3 * ASKED.replace("why " * 8, "So.")), "no solution in words"),
    (prerequisites(":::{facts}\n- {doc}`../idea/self-map`\n:::\n", "cases/memory"), None),
    (prerequisites(":::{facts}\n- {doc}`This <linear-codes>`\n:::\n", "cases/memory"), "cases/linear-codes does not come earlier"),
    (sources(":::{dropdown} In the source: E1\nThe document prints.\n:::\n", "cases/memory"), None),
    (sources("The document prints.", "cases/memory"), "outside"),
    (numbers("{glue:text}`a`" + "for example, " * 2, []), "at least 6"),
    (opening("# A\n\n**The idea in one sentence.** So.\n\n## B\n\n:::{figure} a.svg\n:::\n", ROOT), "before the first section"),
])  # fmt: skip
def test_a_fault_of_form_is_seen(found, named):
    assert found == [] if named is None else any(named in fault for fault in found), found


def test_a_drawing_is_small_and_follows_the_colours(tmp_path):
    (tmp_path / "a.svg").write_text('<svg viewBox="0 0 1 1" fill="currentColor">')
    (tmp_path / "b.svg").write_text("<svg>" + "x" * 9000)
    assert drawn(tmp_path / "a.svg") == [] and len(drawn(tmp_path / "b.svg")) == 3 and drawn(tmp_path / "c.svg")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_the_form(name):
    assert not (found := faults(name)), "\n".join(found)


if __name__ == "__main__":
    for chapter in sys.argv[1:] or CHAPTERS:
        print(f"{chapter}:", *faults(chapter), sep="\n  ")
