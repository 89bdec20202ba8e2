"""What an editor knows of the package: mypy reads `typed`, as a reader might have written it."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import gaelib
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


def untyped(label, thing):
    """What a function, or a class's constructor and public methods of ours, leave without a type."""
    if inspect.isclass(thing):
        named = {name: inspect.getattr_static(thing, name) for name in dir(thing) if not name.startswith("_")}
        for name, value in {"__init__": thing.__init__, **named}.items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(function) and function.__module__.startswith("gaelib"):
                yield from untyped(f"{label}.{name}", function)
        return
    signature = inspect.signature(thing)
    yield from (
        f"{label}: {p.name}" for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"
    )
    if signature.return_annotation is signature.empty and thing.__name__ != "__init__":
        yield f"{label}: what it returns"


def test_every_public_signature_is_typed():
    things = {name: getattr(gaelib, name) for name in gaelib.__all__}
    public = {name: thing for name, thing in things.items() if not inspect.ismodule(thing)}
    for name, module in things.items() - public.items():
        for each in getattr(module, "__all__", vars(module)):
            thing = getattr(module, each)
            if not each.startswith("_") and getattr(thing, "__module__", "") == module.__name__ and callable(thing):
                public[f"{name}.{each}"] = thing
    assert len(public) > 60
    assert [fault for name, thing in public.items() for fault in untyped(name, thing)] == []
    assert len([*untyped("untyped", lambda x, self: x)]) == 2  # and one that is not, is seen


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
