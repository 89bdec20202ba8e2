"""What is stored in the committed notebooks: executed in order, complete, small, and free of this machine."""

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import exercises
from tools import nb as book

PATHS = book.notebooks()
LINES, BYTES = 25, 1.5e6
SHOWS = {"print", "check", "show", "display", "slider", "explore"}
FOREIGN = {
    "an absolute path": r"(?<![\w.:/<])/(?:home|root|usr|tmp|work|opt|var|Users)/|\b[A-Z]:\\|site-packages",
    "a library version": r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])|\b\d+\.\d+(?:\.\d+)?\+(?:cpu|cu\d+)",
    "a progress bar": r"\d+%\||\bit/s\b",
    "a memory address": r"\bat 0x[0-9a-f]+",
    "a warning": r"WARNING|\bWarning\b|Warning:",
}

each = pytest.mark.parametrize("path", PATHS, ids=book.name)


def cells(path):
    """(number on the page of code cells, cell) for messages a reader of the notebook understands."""
    return list(enumerate(book.code_cells(book.read(path)), 1))


def texts(output):
    """All text of an output that a reader sees."""
    data = output.get("data", {})
    yield from (value for kind, value in data.items() if kind.startswith("text/") and isinstance(value, str))
    yield output.get("text", "")
    yield output.get("evalue", "")
    yield "\n".join(output.get("traceback", []))


def speaks(source):
    """Whether a cell must show something: it calls print, check or show, or ends in a value."""
    body = ast.parse(source).body
    names = {
        getattr(call.func, "id", getattr(call.func, "attr", None))
        for statement in body if not isinstance(statement, (ast.FunctionDef, ast.ClassDef))
        for call in ast.walk(statement) if isinstance(call, ast.Call)
    }  # fmt: skip
    last = body[-1] if body else None
    value = isinstance(last, ast.Expr) and not isinstance(last.value, (ast.Call, ast.Constant))
    return value or bool(names & SHOWS)


def test_the_book_has_notebooks():
    assert PATHS, "no notebook found below book/: every other test here would pass without looking at anything"


@each
def test_executed_in_order(path):
    counts = [cell.execution_count for _, cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "counts must be 1..n: run tools/run.py"


@each
def test_outputs_are_stored(path):
    silent = [n for n, cell in cells(path) if speaks(cell.source) and not cell.outputs]
    assert not silent, f"code cells {silent} print or show something, but nothing is stored: run tools/run.py"
    assert any(cell.outputs for _, cell in cells(path)), "no output at all: run tools/run.py"


@each
def test_cells_are_short_and_the_file_small(path):
    long = {n: count for n, cell in cells(path) if (count := len(cell.source.splitlines())) > LINES}
    assert not long, f"code cells of more than {LINES} lines: {long}"
    assert path.stat().st_size <= BYTES, f"{path.stat().st_size / 1e6:.2f} MB, at most {BYTES / 1e6} MB"


@each
def test_tags_come_from_the_list_and_give_reasons(path):
    for n, cell in cells(path):
        tags = book.tags(cell)
        assert tags <= book.TAGS, f"code cell {n}: unknown tags {sorted(tags - book.TAGS)}"
        odd = {tag for tag in tags if tag == "raises-exception" or tag.startswith("nbval-")}
        if odd and "break-it" not in tags:
            reason = cell.metadata.get("reason", "")
            assert reason.strip(), f"code cell {n}: {sorted(odd)} needs a reason in the cell's metadata"
        if "break-it" in tags:
            assert "raises-exception" in tags, f"code cell {n}: a break-it cell is also tagged raises-exception"


@each
def test_only_break_it_cells_fail_and_only_in_check(path):
    for n, cell in cells(path):
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if "break-it" in book.tags(cell):
            assert errors == ["CheckFailed"], f"code cell {n}: a break-it cell stores one CheckFailed, not {errors}"
        else:
            assert not errors or "raises-exception" in book.tags(cell), f"code cell {n} stores the error {errors}"


@each
def test_outputs_say_nothing_about_this_machine(path):
    for n, cell in cells(path):
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"code cell {n} writes to stderr: {output.text[:200]!r}"
            for what, pattern in FOREIGN.items():
                for text in texts(output):
                    found = re.search(pattern, text)
                    assert not found, f"code cell {n} shows {what}: {text[max(found.start() - 40, 0) :][:90]!r}"


@each
def test_figures_have_captions_and_alternative_texts(path):
    for n, cell in cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            meta = cell.metadata.get("mystnb", {})
            caption, alt = meta.get("figure", {}).get("caption", ""), meta.get("image", {}).get("alt", "")
            assert caption.strip() and meta["figure"].get("name"), f"code cell {n}: a figure needs name and caption"
            assert 40 <= len(alt) <= 250, f"code cell {n}: alt text of {len(alt)} characters, must be 40 to 250"
            assert alt.strip() != caption.strip(), f"code cell {n}: alt says what is seen, the caption what follows"


@each
def test_metadata_is_what_run_writes(path):
    meta = book.read(path).metadata
    assert set(meta) <= {"kernelspec", "language_info", "myst", "models", "colab", "accelerator"}, sorted(meta)
    assert meta.kernelspec.name == "python3" and meta.language_info.pygments_lexer == "ipython3"
    assert "version" not in meta.language_info, "language_info carries a version: run tools/run.py"
    assert path.read_text(encoding="utf-8").endswith("}\n"), "the file must end with one newline"


@each
def test_chapter_checks_itself(path):
    if book.name(path).split("/")[0] in book.CHAPTERS:
        checks = sum(bool(re.search(r"^\s*(?:gaelib\.)?check\(", cell.source, re.M)) for _, cell in cells(path))
        assert checks, "no cell calls check(...)"


@each
def test_stubs_are_what_their_solutions_say(path):
    before = path.read_text(encoding="utf-8")
    assert book.dumps(exercises.fill(book.read(path), book.name(path))) == before, "stale stub: run tools/run.py"
