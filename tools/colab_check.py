"""Do the Colab copies run where readers run them? `python tools/colab_check.py [newest oldest …] [--only NAME …]`.

Each environment is new and holds what the wheel asks for, not our pins: the newest versions, the oldest that
pyproject.toml allows, or Colab's own. A fake `google.colab` makes each copy's first cell install the library from
the address that it names, which git reads from a repository made of the files here. Then all cells run. The
last column is the time from an empty kernel to the last cell, that installation included.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
from tools import colab  # noqa: E402
from tools import nb as book  # noqa: E402

WORK = book.ROOT / "_build" / "colab"
SHIPPED = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "gaelib")  # what a wheel is made of
SHOW = "import importlib.metadata as m; print(*(f'{name} {m.version(name)}' for name in %r), sep=', ')"
COLAB = ["numpy==2.1.*", "torch==2.11.*", "scikit-learn==1.6.1", "matplotlib==3.10.*"]  # of August 2026


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]} … failed:\n" + (done.stdout + done.stderr)[-3000:])
    return done.stdout.strip()


def ranges():
    """{name: lowest version} of the dependencies in pyproject.toml."""
    project = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<[\d.]+)?", line).groups() for line in project["dependencies"])


def pins(environment, torch):
    """What pip is told beside the wheel. `torch` is given: an unpinned one brings gigabytes for CUDA."""
    if environment == "colab":
        return COLAB
    oldest = [f"{name}=={low}" for name, low in ranges().items() if name != "torch"]
    return [f"torch=={torch}", *(oldest if environment == "oldest" else [])]


def source(folder, version):
    """A git repository of the files here, tagged with the version."""
    folder.mkdir()
    for name in SHIPPED:
        path, ignore = book.ROOT / name, shutil.ignore_patterns("__pycache__")
        shutil.copytree(path, folder / name, ignore=ignore) if path.is_dir() else shutil.copy(path, folder)
    git = ["git", "-C", folder, "-c", "user.name=check", "-c", "user.email=check@localhost"]
    run("git", "init", "-q", folder)
    run(*git, "add", "-A")
    run(*git, "commit", "-q", "-m", version)
    run(*git, "tag", f"v{version}")
    return folder


def fake(folder):
    """What `import google.colab` finds."""
    (folder / "google/colab").mkdir(parents=True)
    (folder / "google/colab/__init__.py").touch()
    return folder


def environment(name, wheel, torch):
    """The Python of a new environment with the wheel, what it asks for, and a kernel."""
    run(sys.executable, "-m", "venv", WORK / name)
    python = WORK / name / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    run(*pip, wheel, "nbclient", "ipykernel", *pins(name, torch))
    print(f"{name}: {run(python, '-c', SHOW % [*ranges(), 'ipython'])}", flush=True)
    return python


def main(argv=None):
    parser = argparse.ArgumentParser(description="Execute the Colab copies in environments like their readers'.")
    parser.add_argument("environments", nargs="*", default=["newest", "oldest"], metavar="newest|oldest|colab")
    parser.add_argument("--only", nargs="*", default=[], help="names such as cases/memory; default: every copy")
    parser.add_argument("--torch", help="version of torch, but on Colab; default: the one in constraints.txt")
    args = parser.parse_args(argv)
    if strange := set(args.environments) - {"newest", "oldest", "colab"}:
        parser.error(f"no such environment: {', '.join(strange)}")
    project = book.project()
    torch = args.torch or re.search(r"(?m)^torch==(.+)$", (book.ROOT / "constraints.txt").read_text())[1]
    shutil.rmtree(WORK, ignore_errors=True)
    colab.main(["--out", str(WORK / "copies")])
    shipped = source(WORK / "source", project["version"])
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", WORK, shipped)
    (wheel,) = WORK.glob("*.whl")
    asked = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "GAELIB", "JUPYTER"))}
    asked |= {
        "PYTHONPATH": str(fake(WORK / "fake")),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{shipped.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": project["repository"],
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    copies = sorted((WORK / "copies").rglob("*.ipynb"))
    copies = [path for path in copies if not args.only or book.name(path, WORK / "copies") in args.only]
    failed = 0
    for name in args.environments:
        python = environment(name, wheel, torch)
        execute = [python, "-m", "jupyter", "execute", "--timeout=600", "--kernel_name=python3"]
        asked["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # where jupyter looks for its parts
        for path in copies:
            run(python, "-m", "pip", "uninstall", "-q", "-y", project["name"])  # as on Colab: the first cell brings it
            away = WORK / f"away-{name}" / path.stem
            away.mkdir(parents=True)
            start, verdict = time.perf_counter(), "ok"
            try:
                run(*execute, shutil.copy(path, away), env=asked, cwd=away)
                run(python, "-c", "import gaelib", env=asked, cwd=away)  # it came here, and to no other environment
            except RuntimeError as error:
                verdict, failed = f"failed\n{error}", failed + 1
            print(
                f"{name}: {book.name(path, WORK / 'copies')} {verdict} {time.perf_counter() - start:.0f} s", flush=True
            )
    print(f"{len(copies)} copies in {len(args.environments)} environments: {failed} failed")
    return bool(failed) or not copies


if __name__ == "__main__":
    sys.exit(main())
