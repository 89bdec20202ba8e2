"""Execute notebooks and write what they print: `python tools/run.py [notebooks …] [--check]`.

Stubs are regenerated from solutions first. A second run on the same machine writes the same bytes: cell ids
stay; timestamps, versions, the library's traceback frames and execution metadata go. A cell that raises
without the tag `raises-exception` leaves its file untouched and the exit code non-zero. `--check` writes
nothing and exits 1 when a file would change.
"""

import argparse
import asyncio
import os
import platform
import re
import sys
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import exercises
from tools import nb as book

TIMEOUT = 120  # seconds a cell
AT_ONCE = 2

# One thread and the same vector instructions: sums are added in the same order on most x86-64 machines.
STEADY = {"OMP_NUM_THREADS": "1"}
if platform.machine() in ("x86_64", "AMD64"):
    STEADY |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

ANSI = re.compile(r"\x1b\[[0-9;]*m")
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "name": "python",
    "pygments_lexer": "ipython3",
    "file_extension": ".py",
    "mimetype": "text/x-python",
}


def normalise(nb):
    """Drop from a notebook what differs between machines and moments. In place; returns nb."""
    kept = {key: nb.metadata[key] for key in ("accelerator", "colab", "models", "myst") if key in nb.metadata}
    nb.metadata = NotebookNode(kept | {"kernelspec": NotebookNode(KERNELSPEC), "language_info": NotebookNode(LANGUAGE)})
    for cell in nb.cells:
        for key in ("execution", "collapsed", "ExecuteTime"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if output.output_type == "error":
                # Frames inside the library carry this machine's paths; the cell's own and the message stay.
                frames = [ANSI.sub("", frame) for frame in output.traceback]
                output.traceback = [frame for frame in frames if not frame.startswith("File ")]
    return nb


async def execute(path, gate):
    """The notebook at `path`, run. Raises what nbclient raises, with a line that names notebook and cell."""
    nb = exercises.fill(book.read(path), book.name(path))
    client = NotebookClient(
        nb,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # a remark on encryption for every kernel helps nobody
        resources={"metadata": {"path": str(path.parent)}},
    )
    async with gate, client.async_setup_kernel():
        count = 0
        for index, cell in enumerate(nb.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            count += 1
            try:
                await client.async_execute_cell(cell, index, execution_count=count)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                raise RuntimeError(f"{book.name(path)}, cell {index + 1} (id {cell.id}): {error}") from None
    return normalise(nb)


async def run(paths, check=False):
    """(files that changed or would, messages of those that failed)."""
    gate = asyncio.Semaphore(AT_ONCE)
    done = await asyncio.gather(*(execute(path, gate) for path in paths), return_exceptions=True)
    changed, failed = [], []
    for path, nb in zip(paths, done):
        if isinstance(nb, (RuntimeError, exercises.Malformed)):
            failed.append(str(nb))
        elif isinstance(nb, BaseException):
            raise nb
        elif (text := book.dumps(nb)) != path.read_text(encoding="utf-8"):
            changed.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    return changed, failed


def main(argv=None):
    parser = argparse.ArgumentParser(description="Execute the book's notebooks and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every notebook of the book")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    args = parser.parse_args(argv)
    for key, value in STEADY.items():
        os.environ.setdefault(key, value)
    paths = [path.resolve() for path in args.notebooks] or book.notebooks()
    if not paths:
        parser.error("no notebook found")
    changed, failed = asyncio.run(run(paths, args.check))
    for path in changed:
        print(f"{'would change' if args.check else 'wrote'}: {book.name(path)}")
    for message in failed:
        print(f"failed: {message}", file=sys.stderr)
    print(f"{len(paths)} notebooks: {len(changed)} changed, {len(failed)} failed")
    return 1 if failed or (args.check and changed) else 0


if __name__ == "__main__":
    sys.exit(main())
