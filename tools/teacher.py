"""What a teacher takes along: the site as one archive, the same without solutions, and the table of chapters.

`make teacher` builds the pages first; this script packs `_build/html` into `_build/teacher`.
"""

import csv
import json
import sys
import zipfile
from pathlib import Path

from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools import exercises  # noqa: E402

SOLUTIONS = ".cell.tag_solution, .gae-solution"  # cells, and answers in words


def without_solutions(path: Path) -> bytes:
    """A page or a notebook with its solutions taken out; every other file as it is."""
    if path.suffix == ".ipynb":
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["cells"] = [cell for cell in notebook["cells"] if "solution" not in cell["metadata"].get("tags", [])]
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"], _ = exercises.parted("".join(cell["source"]))
        return json.dumps(notebook, ensure_ascii=False, indent=1).encode()
    if path.suffix == ".html":
        text = path.read_text(encoding="utf-8")
        soup = BeautifulSoup(text, "html.parser")
        if found := soup.select(SOLUTIONS):
            for part in found:
                part.extract()  # one may lie in another, already taken out
            return str(soup).replace(" viewbox=", " viewBox=").encode()
    return path.read_bytes()


def table(page: Path) -> list[list[str]]:
    """The rows of the table on the page for teachers, headings first."""
    rows = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select("table.gae-stack tr")
    return [[cell_text(cell) for cell in row.find_all(["th", "td"])] for row in rows]


def cell_text(cell) -> str:
    parts = cell.find_all("li") or [cell]
    return "; ".join(" ".join(part.get_text().split()) for part in parts)


def pack(html: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = table(html / "teaching/teachers.html")
    with open(out / "chapters.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    for name, read in (("book", Path.read_bytes), ("book-without-solutions", without_solutions)):
        with zipfile.ZipFile(out / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(out / "chapters.csv", f"{name}/chapters.csv")
            for path in sorted(p for p in html.rglob("*") if p.is_file() and "colab" not in p.relative_to(html).parts):
                archive.writestr(f"{name}/{path.relative_to(html).as_posix()}", read(path))


if __name__ == "__main__":
    pack(ROOT / "_build/html", ROOT / "_build/teacher")
    print("Packed:", *sorted(p.name for p in (ROOT / "_build/teacher").iterdir()), file=sys.stderr)
