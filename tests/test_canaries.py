"""Things broken on purpose, on copies: each must turn its run red, and the copy that is whole stays green.

The runs are the real ones: nbval with the book's conftest, the tests of stored notebooks, tools/run.py, the
book build with `-W -n`, and a ledger check under pytest.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools import nb as book
from tools import run as runner


def run(*command, cwd):
    """Exit code and all output of a command that knows nothing of the test run around it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def pytest_run(*args, cwd):
    return run("-m", "pytest", "-q", "-p", "no:cacheprovider", *args, cwd=cwd)


# --- notebooks ----------------------------------------------------------------------------------------------

CELLS = [
    ("values = [0.125, 0.25]", []),
    ("print(f'mean {sum(values) / 2:.3f} of {len(values)}')",
     [new_output("stream", text="mean 0.188 of 2\n")]),
    ("max(values)\nvalues[1]",
     [new_output("execute_result", {"text/plain": "0.25"}, execution_count=3)]),
]  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    """A copy of the project with one small executed notebook, and a function that rewrites it."""
    (tmp_path / "book").mkdir()
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "book" / "conftest.py", tmp_path / "book")
    shutil.copy(ROOT / "tests" / "test_notebooks.py", tmp_path / "tests")

    def write(change=lambda nb: None):
        cells = [
            new_code_cell(source, id=f"c{n}", outputs=[nbformat.from_dict(out) for out in outputs], execution_count=n)
            for n, (source, outputs) in enumerate(CELLS, 1)
        ]
        nb = new_notebook(cells=[new_markdown_cell("# Small", id="c0"), *cells])
        runner.normalise(nb)
        change(nb)
        (tmp_path / "book" / "small.ipynb").write_text(book.dumps(nb), encoding="utf-8")
        return tmp_path

    return write


def nbval(root):
    return pytest_run("book", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=60", cwd=root)


def nbval_conftest():
    spec = importlib.util.spec_from_file_location("nbval_conftest", ROOT / "book" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(root):
    return pytest_run("tests/test_notebooks.py", cwd=root)


def set_text(nb, text):
    nb.cells[2].outputs[0].text = text


def strip(nb):
    for cell in book.code_cells(nb):
        cell.outputs, cell.execution_count = [], None


def fail(nb):
    nb.cells[3].source += "\n1 / 0"


def test_a_whole_notebook_is_green(copy):
    root = copy()
    for code, told in (nbval(root), stored(root)):
        assert code == 0, told


def test_a_changed_stored_number(copy):
    code, told = nbval(copy(lambda nb: set_text(nb, "mean 0.186 of 2\n")))
    assert code == 1 and "1 failed, 2 passed" in told, told


def test_one_unit_of_the_last_place_is_another_cpu(copy):
    code, told = nbval(copy(lambda nb: set_text(nb, "mean 0.187 of 2\n")))
    assert code == 0, told


@pytest.mark.parametrize(("stored", "computed", "same"), [
    ("0.123", "0.124", True),
    ("0.123", "0.125", False),
    ("-0.00", "0.00", True),
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


def test_on_a_gpu_far_numbers_are_listed_and_words_still_compared(copy, monkeypatch):
    monkeypatch.setenv("GAELIB_DEVICE", "cuda")
    code, told = nbval(copy(lambda nb: set_text(nb, "mean 0.200 of 2\n")))
    assert code == 0 and "0.200 -> 0.188" in told, told
    cell = type("Cell", (), {"user_properties": []})()
    equal = nbval_conftest().Printed
    a, near, word = equal("loss 1.000"), equal("loss 1.010"), equal("gain 1.000")
    a.cell = cell
    assert a == near and a != word and not cell.user_properties


def test_a_raised_error(copy):
    code, told = nbval(copy(fail))
    assert code == 1 and "ZeroDivisionError" in told, told


def test_a_stripped_notebook(copy):
    code, told = stored(copy(strip))
    assert code == 1 and "test_executed_in_order" in told and "test_outputs_are_stored" in told, told


def test_every_real_notebook_stripped(copy):
    paths = book.notebooks()
    root = copy()
    for path in paths:
        target = root / "book" / path.relative_to(book.BOOK)
        target.parent.mkdir(exist_ok=True)
        nb = book.read(path)
        strip(nb)
        target.write_text(book.dumps(nb), encoding="utf-8")
    code, told = stored(root)
    assert paths and code == 1, told
    for path in paths:
        assert f"FAILED tests/test_notebooks.py::test_executed_in_order[{book.name(path)}]" in told, told


def test_a_book_without_notebooks(copy):
    root = copy()
    (root / "book" / "small.ipynb").unlink()
    code, told = stored(root)
    assert code == 1 and "test_the_book_has_notebooks" in told, told


def test_run_writes_the_same_bytes_twice_and_nothing_where_a_cell_raises(copy):
    root = copy(strip)
    path, command = root / "book" / "small.ipynb", ("tools/run.py", "book/small.ipynb")
    assert run(*command, "--check", cwd=root)[0] == 1, "stripped outputs would be written"
    assert run(*command, cwd=root)[0] == 0
    first = path.read_bytes()
    copy()
    assert path.read_bytes() == first, "tools/run.py wrote something else than the outputs above"
    assert run(*command, "--check", cwd=root)[0] == 0
    copy(fail)
    first = path.read_bytes()
    code, told = run(*command, cwd=root)
    assert code == 1 and "small, cell 4 (id c3)" in told and "ZeroDivisionError" in told, told
    assert path.read_bytes() == first


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
    for name in ("references.bib", "map.yml"):
        shutil.copy(ROOT / "book" / name, pages)
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

def test_ledger():
    assert_ledger(residual, {true}, {{"wrong": {wrong}}}, 1e-12)
"""


@pytest.mark.parametrize(("true", "wrong", "green"), [
    ("2 ** 0.5", "1.4", True),
    ("1.4", "1.5", False),            # the true statement is wrong
    ("2 ** 0.5", "-2 ** 0.5", False),  # the wrong statement is right
], ids=["whole", "a wrong statement as true", "a true statement as wrong"])  # fmt: skip
def test_a_ledger_check(tmp_path, true, wrong, green):
    shutil.copy(ROOT / "tests" / "ledgercheck.py", tmp_path)
    (tmp_path / "test_it.py").write_text(CHECK.format(true=true, wrong=wrong))
    code, told = pytest_run("test_it.py", cwd=tmp_path)
    assert code == (0 if green else 1), told
    assert green or "AssertionError" in told, told
