"""What an editor knows of the package: mypy reads `typed`, as a reader might have written it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
SCRIPT = Path(__file__).with_name("typed.py")
ARRAY = "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]"  # how mypy writes np.ndarray


@pytest.mark.slow
def test_every_type_is_named_and_every_mistake_found(tmp_path):
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--show-error-codes", f"--cache-dir={tmp_path}"]
    run = subprocess.run([sys.executable, "-m", "mypy", *options, SCRIPT], capture_output=True, text=True)
    lines = run.stdout.splitlines()
    revealed = [line for line in lines if "Revealed type" in line]
    assert len(revealed) == SCRIPT.read_text().count("\nreveal_type(")
    assert not [line for line in revealed if "Any" in line.replace(ARRAY, "array")]
    found = [int(line.split(":")[1]) for line in lines if ": error:" in line]
    wrong = [n for n, line in enumerate(SCRIPT.read_text().splitlines(), 1) if line.endswith("# wrong")]
    assert found == wrong and wrong, run.stdout
