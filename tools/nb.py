"""What every tool and test knows about the project and its notebooks: where they are, how they are read."""

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"

# Chapters live in these folders; anything else in the book is a page, not a chapter.
CHAPTERS = ("idea", "cases", "family", "practice")

TAGS = {
    "hide-input",
    "hide-cell",
    "remove-cell",
    "raises-exception",
    "nbval-ignore-output",
    "nbval-skip",
    "exercise-stub",
    "solution",
    "break-it",
}


def notebooks(book=BOOK):
    """Every notebook of the book, in a stable order; build folders and checkpoints are not the book's."""
    return sorted(
        p
        for p in Path(book).rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in p.relative_to(book).parts)
    )


def name(path, book=BOOK):
    """The docname, as Sphinx calls it: `cases/discrete-codes`."""
    path = Path(path).resolve()
    inside = path.is_relative_to(Path(book).resolve())
    return path.relative_to(Path(book).resolve()).with_suffix("").as_posix() if inside else path.stem


def read(path):
    """A notebook in format 4.5. A missing cell id is made from the cell's text: the same every time."""
    raw = json.loads(Path(path).read_text(encoding="utf-8"))
    taken = {cell["id"] for cell in raw["cells"] if "id" in cell}
    for cell in raw["cells"]:
        if "id" not in cell:
            source = "".join(cell["source"])
            salt = 0
            while (new := hashlib.sha1(f"{source}{salt or ''}".encode()).hexdigest()[:8]) in taken:
                salt += 1
            taken.add(new)
            cell["id"] = new
    raw["nbformat"], raw["nbformat_minor"] = 4, 5
    return nbformat.reads(json.dumps(raw), as_version=4)


def dumps(nb):
    """The text of a notebook file, newline at its end."""
    return nbformat.writes(nb, version=4).rstrip("\n") + "\n"


def tags(cell):
    return set(cell.metadata.get("tags", []))


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def project(root=ROOT):
    """Name, version and addresses from pyproject.toml, where alone the repository's address stands.

    A workflow says which repository it runs in: pages and copies that a fork builds lead to the fork.
    """
    table = tomllib.loads((Path(root) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = table["urls"]["Repository"].rstrip("/").removesuffix(".git")
    if fork := os.environ.get("GITHUB_REPOSITORY"):
        address = f"https://github.com/{fork}"
    owner, repository = address.split("/")[-2:]
    return {
        "name": table["name"],
        "version": table["version"],
        "repository": address,
        "site": f"https://{owner}.github.io/{repository}/",
    }


OPTION = re.compile(r"^:[\w-]+:.*$", re.M)
MATHS = re.compile(r"\$\$.*?\$\$(?: *\([\w-]+\))?|\$[^$\n]+\$", re.S)


def words(nb):
    """Words of prose: Markdown without maths, directive options, fences, labels, addresses and code."""
    text = "\n\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    text = re.sub(r"^```\{math\}.*?^```|^```(?!\{)[^\n]*\n.*?^```", " ", text, flags=re.M | re.S)
    text = MATHS.sub(" ", text)
    text = re.sub(r"^\s*(:{3,}|`{3,})(\{[\w:-]+\})?", " ", text, flags=re.M)
    text = re.sub(r"^\([\w-]+\)=\s*$", " ", OPTION.sub(" ", text), flags=re.M)
    text = re.sub(r"\{[\w:]+\}(`[^`]+`)", r"\1", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return len(re.findall(r"[A-Za-z0-9][\w'’-]*", text))
