"""Exercise stubs, made from their solutions. The solution is the source:

    centres = start.clone()
    # your turn: centres = start
    centres = KMeans(3).fit(X).cluster_centers_
    # end
    check("the centres moved", gap(centres, start), 0.1)

becomes the cell that the reader gets: a plausible wrong line in the solution's place, and the checks asleep.

    centres = start.clone()
    # your turn
    centres = start
    # end
    # then run:
    # check("the centres moved", gap(centres, start), 0.1)
"""

import re

import nbformat

from tools import nb as book

OPEN = re.compile(r"^(\s*)# your turn\b:?[ \t]*(.*)$")
CLOSE = re.compile(r"^\s*# end\s*$")
RUN = "# then run:"
WORDED = re.compile(r"^(:{3,})\{solution\}.*?^\1[ \t]*$\n?", re.M | re.S)


class Malformed(ValueError):
    """A solution cell from which no stub can be made."""


def parted(source):
    """A Markdown cell as (what asks, what answers): the text without its {solution} fences, and the fences."""
    return WORDED.sub("", source).strip("\n"), "\n".join(match[0].strip("\n") for match in WORDED.finditer(source))


def stub(solution, where="this cell"):
    """The stub of a solution.

    `where` names notebook and cell in the error. Raises `Malformed` when a `# your turn: …` has no text, no
    `# end`, or nothing between the two, when one opens inside another, and when no line after the last
    `# end` checks the answer.
    """
    out, opened, inside = [], 0, False
    kept = 0  # lines of solution seen since the block opened
    last = 0  # how much of `out` stands up to the last "# end"
    for number, line in enumerate(solution.splitlines(), 1):
        spot = f"{where}, line {number}"
        if turn := OPEN.match(line):
            if inside:
                raise Malformed(f'{spot}: "# your turn:" opens a block before line {opened} was closed: add "# end"')
            if not turn[2].strip():
                raise Malformed(f'{spot}: "# your turn:" needs a plausible wrong line after its colon')
            opened, inside, kept = number, True, 0
            out += [f"{turn[1]}# your turn", turn[1] + turn[2].rstrip()]
        elif CLOSE.match(line):
            if not inside:
                raise Malformed(f'{spot}: "# end" closes nothing: put "# your turn: <wrong line>" above the solution')
            if not kept:
                raise Malformed(f'{spot}: nothing stands between "# your turn:" (line {opened}) and "# end"')
            out.append(line.rstrip())
            inside, last = False, len(out)
        elif inside:
            kept += bool(line.strip())
        else:
            out.append(line.rstrip())
    if inside:
        raise Malformed(f'{where}, line {opened}: "# your turn:" is never closed: add "# end" below the solution')
    if not last:
        raise Malformed(f'{where}: a solution cell needs "# your turn: <wrong line>" and "# end"')
    checks = "\n".join(out[last:]).strip("\n").splitlines()
    if not any(re.search(r"\bcheck\(", line) for line in checks):
        raise Malformed(f'{where}: add a check(...) after the last "# end", so that the reader sees the verdict')
    return "\n".join(out[:last] + [RUN] + [f"# {line}" if line else "" for line in checks])


def awake(stub_source):
    """The stub with its check lines uncommented: what the reader runs after answering."""
    head, _, checks = stub_source.partition(f"\n{RUN}\n")
    return head + "\n" + "\n".join(line.removeprefix("# ") for line in checks.splitlines())


def exercises(nb, where="notebook"):
    """The pairs (stub cell or None, solution cell), in order; `Malformed` for a stub without its solution."""
    pairs, waiting = [], None
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type != "code":
            continue
        if "exercise-stub" in book.tags(cell):
            if waiting:
                raise Malformed(f"{where}, cell {waiting[0]}: an exercise stub whose next code cell is no solution")
            waiting = (number, cell)
        elif "solution" in book.tags(cell):
            pairs.append((waiting[1] if waiting else None, cell))
            waiting = None
        elif waiting:
            raise Malformed(f"{where}, cell {waiting[0]}: an exercise stub whose next code cell is no solution")
    if waiting:
        raise Malformed(f"{where}, cell {waiting[0]}: an exercise stub without a solution after it")
    return pairs


def fill(nb, where="notebook"):
    """Write every stub from its solution, in place, and add the stubs that are missing. Returns nb."""
    for cell, solution in exercises(nb, where):
        text = stub(solution.source, f"{where}, cell {nb.cells.index(solution) + 1}")
        if cell is None:
            cell = nbformat.v4.new_code_cell(id=f"{solution.id[:58]}-stub", metadata={"tags": ["exercise-stub"]})
            nb.cells.insert(nb.cells.index(solution), cell)
        if cell.source != text:
            cell.source, cell.outputs, cell.execution_count = text, [], None
    return nb
