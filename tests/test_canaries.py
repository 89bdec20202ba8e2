"""Things broken on purpose, on copies: each must turn its run red, and the copy that is whole stays green.

The runs are the real ones: nbval with the book's conftest, the tests of stored notebooks, tools/run.py, the
book build with `-W -n`, and a ledger check under pytest.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import IPyNbCell, IPyNbFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools import exercises
from tools import nb as book
from tools import run as runner


def run(*command, cwd):
    """Exit code and all output of a command that knows nothing of the test run around it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def pytest_run(*args, cwd):
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", *args, cwd=cwd)


# --- notebooks: what is broken, in one run each of nbval, of the tests of stored notebooks, and of tools/run.py --

CELLS = [
    ("values = [0.125, 0.25]", []),
    ("print(f'mean {sum(values) / 2:.3f} of {len(values)}')",
     [new_output("stream", text="mean 0.188 of 2\n")]),
    ("max(values)\nvalues[1]",
     [new_output("execute_result", {"text/plain": "0.25"}, execution_count=3)]),
]  # fmt: skip


def small(change=lambda nb: None):
    """A small executed notebook, whole or changed."""
    cells = [
        new_code_cell(source, id=f"c{n}", outputs=[nbformat.from_dict(out) for out in outputs], execution_count=n)
        for n, (source, outputs) in enumerate(CELLS, 1)
    ]
    nb = new_notebook(cells=[new_markdown_cell("# Small", id="c0"), *cells])
    runner.normalise(nb)
    change(nb)
    return nb


def set_text(text):
    return lambda nb: nb.cells[2].outputs[0].update(text=text)


def strip(nb):
    for cell in book.code_cells(nb):
        cell.outputs, cell.execution_count = [], None


def fail(nb):
    nb.cells[3].source += "\n1 / 0"


def check(source, says):
    """One more cell, which calls `check` and prints a line."""

    def change(nb):
        out = new_output("stream", text=f"ok: {says}\n")
        nb.cells.append(new_code_cell(f"from gaelib import check\n{source}", id="c4", outputs=[out], execution_count=4))

    return change


def exercise(wrong, right="root = 2 ** 0.5"):
    """An exercise: the stub's line, and the solution's."""

    def change(nb):
        check("check('one is one', 0, 0)", "one is one (bound 0)")(nb)
        source = f"# your turn: {wrong}\n{right}\n# end\ncheck('root', abs(root**2 - 2), 1e-9, why='a margin')"
        out = new_output("stream", text="ok: root (bound 1e-09; a margin)\n")
        made = new_code_cell(source, id="c6", outputs=[out], execution_count=6, metadata={"tags": ["solution"]})
        nb.cells.append(made)
        exercises.fill(nb)
        nb.cells[-2].execution_count = 5

    return change


def library(root, notebooks):
    """A copy of the project that holds these notebooks and no other."""
    for name in ("book", "tests"):
        (root / name).mkdir()
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("book/conftest.py", "book/witness.py", "tests/test_notebooks.py"):
        shutil.copy(ROOT / name, root / name)
    for name, nb in notebooks.items():
        path = root / "book" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(book.dumps(nb), encoding="utf-8")
    return root


def verdicts(root, *args):
    """Test -> what its failure says, "" where it passed; and all that the run printed."""
    code, told = pytest_run(*args, "--junitxml=results.xml", cwd=root)
    assert code in (0, 1), told
    cases = ET.parse(root / "results.xml").getroot().iter("testcase")
    return {
        (case.get("classname"), case.get("name")): "".join(f.text for f in case.iter("failure")) for case in cases
    }, told


NBVAL = ("book", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=60", "--color=no")
EXECUTED = {  # a notebook -> how it is changed, the code cell that must turn red, what must be said
    "whole": (lambda nb: None, None, ""),
    "changed": (set_text("mean 0.186 of 2\n"), 1, "Cell outputs differ"),
    "rounded": (set_text("mean 0.187 of 2\n"), None, ""),  # one unit of the last place is another CPU
    "raising": (fail, 2, "ZeroDivisionError"),
    "exercise": (exercise("root = 1.4"), None, ""),
    "solved": (exercise("root = -(2 ** 0.5)"), 4, "the unsolved stub passes its checks: they test nothing"),
    "elsewhere": (exercise("root = 'two'"), 4, "must fail in check() of gaelib"),
    "unsolvable": (exercise("root = 1.4", "root = 1.5"), 5, "measured  0.25"),
    "loose": (check("check('small', 1e-9, 1)", "small (bound 1)"), 3, "measured 1e-09, bound 1, no why"),
    "reasoned": (check("check('small', 1e-9, 1, why='a limit')", "small (bound 1; a limit)"), None, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    root = library(tmp_path_factory.mktemp("executed"), {name: small(row[0]) for name, row in EXECUTED.items()})
    return verdicts(root, *NBVAL)[0]


@pytest.mark.parametrize("name", EXECUTED)
def test_one_execution_sees_it(name, executed):
    _, red, says = EXECUTED[name]
    cells = {cell: told for (path, cell), told in executed.items() if path == f"book.{name}.ipynb"}
    assert len(cells) >= 3
    assert {cell for cell, told in cells.items() if told} == ({f"Cell {red}"} if red is not None else set()), cells
    assert says in cells.get(f"Cell {red}", ""), cells


def nbval_conftest():
    spec = importlib.util.spec_from_file_location("nbval_conftest", ROOT / "book" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # it wraps nbval's methods anew
        patch.setattr(IPyNbFile, "setup", IPyNbFile.setup)
        patch.setattr(IPyNbCell, "runtest", IPyNbCell.runtest)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("stored", "computed", "same"), [
    ("0.123", "0.124", True),
    ("0.123", "0.125", False),
    ("-0.00", "0.00", True),
    ("\N{MINUS SIGN}0.0 dB", "0.0 dB", True),
    ("\N{MINUS SIGN}0.5 dB", "0.5 dB", False),
    ("9.99 dB", "10.00 dB", True),
    ("[ 9.99  1.  ]", "[10.00  1.  ]", True),
    ("1.2e-05", "1.3e-05", True),
    ("1.2e-05", "1.2e-06", False),
    ("9.99e-05", "1.00e-04", True),
    ("12 of 300", "12 of 301", False),
    ("1.", "2.", False),
    ("0.5 nats", "0.5 bits", False),
    ("nan", "0.1", False),
    ("0.1", "nan", False),
    ("0.1", "0.1 0.1", False),
    ('<path d="M12.50,3.25L4.10-2.00"/>', '<path d="M12.51,3.24L4.10-2.01"/>', True),
    ('<path d="M12.50,3.25L4.10-2.00"/>', '<path d="M12.50,3.25L4.10-2.50"/>', False),
    ('<circle r="2.5"/>', '<ellipse r="2.5"/>', False),
    ('<g id="gae-3a3fb843"/>', '<g id="gae-91e0cc07"/>', True),  # a digest of the figure's content
])  # fmt: skip
def test_what_counts_as_the_same_output(monkeypatch, stored, computed, same):
    monkeypatch.setenv("GAELIB_DEVICE", "cpu")
    equal = nbval_conftest().Printed
    assert (equal(stored) == equal(computed)) is same
    assert (equal(stored) != equal(computed)) is not same


def test_on_a_gpu_far_numbers_are_listed_and_words_still_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("GAELIB_DEVICE", "cuda")
    loose = check("check('small', 1e-9, 1)", "small (bound 1)")  # a card rounds otherwise: no bound is asked why
    found = {"small": small(set_text("mean 0.200 of 2\n")), "loose": small(loose)}
    red, told = verdicts(library(tmp_path, found), *NBVAL)
    assert not any(red.values()) and "0.200 -> 0.188" in told, told
    cell = type("Cell", (), {"user_properties": []})()
    equal = nbval_conftest().Printed
    a, near, word = equal("loss 1.000"), equal("loss 1.010"), equal("gain 1.000")
    a.cell = cell
    assert a == near and a != word and not cell.user_properties
    a, moved = (equal(f'<svg><path d="M1.0{to}"/></svg>error 2.0') for to in ("", "L5.0"))
    a.cell = cell
    assert a == moved and a != equal(str(moved).replace("error", "gain"))  # words are compared, drawings are not


def test_stored_notebooks_stripped(tmp_path):
    """A small one and every real one turn red; the small one that is whole does not."""
    stripped = {"small": small(strip)} | {book.name(path): book.read(path) for path in book.notebooks()}
    for nb in stripped.values():
        strip(nb)
    red, told = verdicts(library(tmp_path, stripped | {"whole": small()}), "tests/test_notebooks.py")
    red = {test for (_, test), failure in red.items() if failure}
    assert len(stripped) > 1 and {f"test_executed_in_order[{name}]" for name in stripped} <= red, told
    assert "test_outputs_are_stored[small]" in red and not any(test.endswith("[whole]") for test in red), told


def test_a_book_without_notebooks(tmp_path):
    red, told = verdicts(library(tmp_path, {}), "tests/test_notebooks.py")
    assert red[("tests.test_notebooks", "test_the_book_has_notebooks")], told


def test_run_writes_the_same_bytes_twice_and_nothing_where_a_cell_raises(tmp_path):
    root = library(tmp_path, {"small": small(strip), "raising": small(fail)})
    path, raising = root / "book/small.ipynb", root / "book/raising.ipynb"
    kept = raising.read_bytes()
    code, told = run("tools/run.py", "book/small.ipynb", "book/raising.ipynb", cwd=root)
    assert code == 1 and "raising, cell 4 (id c3)" in told and "ZeroDivisionError" in told, told
    assert raising.read_bytes() == kept
    assert path.read_text(encoding="utf-8") == book.dumps(small()), "tools/run.py wrote other outputs than those above"
    assert run("tools/run.py", "book/small.ipynb", "--check", cwd=root)[0] == 0
    raising.write_text(book.dumps(small(strip)), encoding="utf-8")
    assert run("tools/run.py", "book/raising.ipynb", "--check", cwd=root)[0] == 1, "stripped outputs would be written"


# --- pages --------------------------------------------------------------------------------------------------

PAGE = """# A page

$$ a = b $$ (eq-one)

(here)=
## A section

By {eq}`eq-one` of {ref}`here`, which {ledger}`E1` says.
"""
LEDGER = """sections: {E: Discrete codes}
rows:
  - {id: E1, section: E, statement: "$a = b$", verdict: holds, note: "", chapter: page, anchor: eq-one}
"""


@pytest.fixture
def build(tmp_path):
    """Builds a book of two pages, the second with a line of its own, by the command of `make book`."""
    pages = tmp_path / "book"
    shutil.copytree(ROOT / "book" / "theme", pages / "theme", ignore=shutil.ignore_patterns("mathjax"))
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / "book" / "references.bib", pages)
    (pages / "ledger.yml").write_text(LEDGER)
    (pages / "_toc.yml").write_text("format: jb-book\nroot: ledger\nchapters:\n  - file: page\n")
    (pages / "ledger.md").write_text("# Ledger\n\n:::{ledger-table}\n:::\n")

    def make(line=""):
        (pages / "page.md").write_text(f"{PAGE}\n{line}\n")
        tool = str(Path(sys.executable).with_name("jupyter-book"))
        return run(
            tool,
            "build",
            "book",
            "--path-output",
            ".",
            "--config",
            "_config.yml",
            "--all",
            "-W",
            "-n",
            "--keep-going",
            "-q",
            cwd=tmp_path,
        )

    return make


def test_a_whole_book_is_green(build):
    code, told = build()
    assert code == 0 and "WARNING" not in told, told


BROKEN = {  # a line -> the word that its warning must name
    "See {ref}`nowhere-ref`.": "nowhere-ref",
    "See {eq}`nowhere-eq`.": "nowhere-eq",
    "See {numref}`nowhere-fig`.": "nowhere-fig",
    "See {doc}`nowhere-doc`.": "nowhere-doc",
    "See {cite}`nowhere1999nothing`.": "nowhere1999nothing",
    "See {ledger}`Z99`.": "Z99",
    "See {nonsense-role}`this`.": "nonsense-role",
    ":::{nonsense-directive}\nthis\n:::": "nonsense-directive",
}


def warnings(told):
    return [line for line in told.splitlines() if "WARNING" in line]


def test_one_dangling_reference_is_enough(build):
    code, told = build(next(iter(BROKEN)))
    assert code != 0 and len(warnings(told)) == 1, told


def test_every_broken_line_is_warned_about(build):
    """One build for all of them: by the test above one warning turns it red."""
    code, told = build("\n\n".join(BROKEN))
    assert code != 0, told
    for line, word in BROKEN.items():
        assert sum(word in warning for warning in warnings(told)) == 1, f"{line}: not warned about once\n{told}"
    assert len(warnings(told)) == len(BROKEN), told


# --- the ledger ---------------------------------------------------------------------------------------------

CHECK = """
from ledgercheck import assert_ledger

def residual(root):  # "root squared is two"
    return root * root - 2

def test_whole():
    assert_ledger(residual, 2 ** 0.5, {"wrong": 1.4}, 1e-12)

def test_a_wrong_statement_as_true():
    assert_ledger(residual, 1.4, {"wrong": 1.5}, 1e-12)

def test_a_true_statement_as_wrong():
    assert_ledger(residual, 2 ** 0.5, {"wrong": -2 ** 0.5}, 1e-12)
"""


def test_ledger_checks(tmp_path):
    shutil.copy(ROOT / "tests" / "ledgercheck.py", tmp_path)
    (tmp_path / "test_it.py").write_text(CHECK)
    red, told = verdicts(tmp_path, "test_it.py")
    assert {test: "AssertionError" in failure for (_, test), failure in red.items()} == {
        "test_whole": False, "test_a_wrong_statement_as_true": True, "test_a_true_statement_as_wrong": True,
    }, told  # fmt: skip
