"""What an editor knows of the package: mypy reads `typed`, as a reader might have written it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
SCRIPT = Path(__file__).with_name("typed.py")
# Parts of libraries that none of our types comes from, and that most of the seconds would go into.
SKIPPED = (
    "torch._dynamo.*,torch._functorch.*,torch._higher_order_ops.*,torch._inductor.*,torch.ao.*,torch.cuda.*,"
    "torch.distributed.*,torch.export.*,torch.fx.*,torch.jit.*,torch.onnx.*,torch.testing.*,torch.utils.*,"
    "matplotlib.*,pandas.*,PIL.*,pyarrow.*,sympy.*"
)
ARRAY = "numpy.ndarray[tuple[Any, ...], numpy.dtype[Any]]"  # how mypy writes np.ndarray


@pytest.mark.slow
def test_every_type_is_named_and_every_mistake_found(tmp_path):
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n[mypy-{SKIPPED}]\nfollow_imports = skip\n")
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--show-error-codes", "--cache-dir", os.devnull]
    options += ["--config-file", tmp_path / "mypy.ini"]
    run = subprocess.run([sys.executable, "-m", "mypy", *options, SCRIPT], capture_output=True, text=True)
    lines = run.stdout.splitlines()
    revealed = [line for line in lines if "Revealed type" in line]
    assert len(revealed) == SCRIPT.read_text().count("\nreveal_type(")
    assert not [line for line in revealed if "Any" in line.replace(ARRAY, "array")]
    found = [int(line.split(":")[1]) for line in lines if ": error:" in line]
    wrong = [n for n, line in enumerate(SCRIPT.read_text().splitlines(), 1) if line.endswith("# wrong")]
    assert found == wrong and wrong, run.stdout
