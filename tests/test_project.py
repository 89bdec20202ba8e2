"""What newcomers read and run: README's code, the environment files, the ledger's account of itself."""

import functools
import json
import operator
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = {".md", ".ipynb", ".py", ".yml", ".toml", ".cff", ".svg"}
WITHOUT_CUDA = "https://download.pytorch.org/whl/cpu"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_code_in_the_readme_runs(capsys):
    code, _ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    scope = {}
    exec(code, scope)
    assert "nats per digit" in capsys.readouterr().out
    assert scope["history"] == sorted(scope["history"])


def test_the_code_for_own_files_runs(tmp_path, monkeypatch, capsys):
    """As a stranger would: a folder of parquet files, the lines of the README, and the rows that were made strange."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet as pq

    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 5))[rng.integers(3, size=600)] * 9 + rng.normal(size=(600, 5))
    X[::60] += rng.normal(size=(10, 5)) * 40
    (tmp_path / "measurements").mkdir()
    for i, part in enumerate(np.split(X, 2)):
        table = pa.table({f"column {j}": values for j, values in enumerate(part.T)})
        pq.write_table(table, tmp_path / f"measurements/{i}.parquet")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1], scope)
    assert "passes over parquet(600 rows, 5 columns" in capsys.readouterr().out
    assert len(set(scope["strange"]) & set(range(0, 600, 60))) >= 8


def test_the_code_for_own_data_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "book/practice/choosing.md").read_text(), re.S)
    scope = {}
    exec(code, scope)
    best = scope["search"].best_params_["ppca__n_components"]
    assert 1 < best < 12 and scope["codes"].shape == (178, best)  # neither the fewest axes nor the most
    assert (scope["again"] == scope["codes"]).all() and (tmp_path / "model.joblib").exists()


def test_environment_yml_is_in_step():
    (pip,) = [
        part["pip"]
        for part in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if isinstance(part, dict)
    ]
    assert pip == [f"--extra-index-url {WITHOUT_CUDA}", "-c constraints.txt", "-e .[book,test]"]


@pytest.mark.parametrize("workflow", ["publish", "test", "weekly"])
def test_no_workflow_downloads_cuda(workflow):
    text = (ROOT / f".github/workflows/{workflow}.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["env"] == {"PIP_EXTRA_INDEX_URL": WITHOUT_CUDA}


def test_the_name_that_pip_installs_is_ours():
    """`gaelib` is another project's distribution: no page or file may tell anybody to install it."""
    pages = [path for part in ("book", "tools", ".github") for path in (ROOT / part).rglob("*") if path.suffix in TEXT]
    for path in [*ROOT.glob("*.*"), *pages]:
        if path.suffix in TEXT:
            for line in path.read_text(encoding="utf-8").splitlines():
                wrong = re.search(r"pip install (-\S+ )*[\"']?gaelib\b|\bgaelib @ git", line)
                assert not wrong or line.startswith("Not `pip install gaelib`"), f"{path.name}: {line.strip()}"


def test_the_addresses_of_the_project(monkeypatch):
    from tools import nb

    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    urls = PROJECT["urls"]
    assert urls["Documentation"] == nb.project()["site"]
    assert urls["Issues"] == urls["Repository"] + "/issues"
    assert urls["Changelog"].startswith(urls["Repository"]) and (ROOT / urls["Changelog"].rpartition("/")[2]).exists()


def test_what_a_fork_builds_leads_to_the_fork(monkeypatch):
    from tools import nb

    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/copy")
    assert nb.project()["repository"] == "https://github.com/someone/copy"
    assert nb.project()["site"] == "https://someone.github.io/copy/"


# --- what GitHub, Zenodo and pre-commit read ------------------------------------------------------------------

WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")}


def loose(text):
    """The actions of a workflow that are not pinned by a commit with its version beside it."""
    used = re.findall(r"uses: *(.*)", text)
    return [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]


def test_actions_are_pinned_by_commit():
    everywhere = [line for text in WORKFLOWS.values() for line in re.findall(r"uses: *(.*)", text)]
    assert [line for text in WORKFLOWS.values() for line in loose(text)] == [] and len(everywhere) > 10
    assert len({line.partition("@")[0] for line in everywhere}) == len(set(everywhere)), "one action, two versions"
    assert loose("uses: actions/checkout@v4") and loose(f"uses: a/b@{'0' * 40}") and loose("uses: a/b@main # v1.2.3")


def test_only_what_publishes_may_write():
    """Rights are given job by job, and the job that PyPI trusts runs nothing but the upload of what was tested."""
    for name, text in WORKFLOWS.items():
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, name
        rights = {job: part["permissions"] for job, part in workflow["jobs"].items() if "permissions" in part}
        wanted = {"site": {"contents": "write"}, "pypi": {"id-token": "write"}} if name == "publish" else {}
        assert rights == wanted, name
    jobs = yaml.safe_load(WORKFLOWS["publish"])["jobs"]
    assert "secrets." not in WORKFLOWS["publish"].replace("secrets.GITHUB_TOKEN", "")
    assert jobs["pypi"]["environment"] == "pypi" and (jobs["pypi"]["needs"], jobs["package"]["needs"]) == (
        "package",
        "site",
    )
    assert all("run" not in step for step in jobs["pypi"]["steps"])
    assert any(step.get("run") == ".ci/run" for step in jobs["site"]["steps"]), "nothing untested is published"


def test_the_pythons_that_are_named_are_tested():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert yaml.safe_load(WORKFLOWS["test"])["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_before_a_commit_the_same_checkers_run():
    pinned = re.search(r"(?m)^ruff==.*$", (ROOT / "constraints.txt").read_text())[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    checker = re.search(r"--spec (actionlint\S+) actionlint", WORKFLOWS["test"])[1]
    assert [hook["additional_dependencies"] for hook in hooks] == [[pinned], [pinned], [checker]]
    assert [hook["entry"].split()[:2] for hook in hooks] == [["ruff", "check"], ["ruff", "format"], ["actionlint"]]


def test_those_who_cite_read_one_title():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (zenodo["title"], zenodo["license"]) == (citation["title"], citation["license"]) and zenodo[
        "license"
    ] == PROJECT["license"]
    assert zenodo["creators"] == citation["authors"] == PROJECT["authors"] and zenodo["keywords"] == PROJECT["keywords"]


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")),
    ids=lambda path: path.stem,
)
def test_an_issue_form_asks(path):
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"} and len(form["labels"]) == 1
    names = [part["id"] for part in form["body"]]
    assert names and len(names) == len(set(names))
    for part in form["body"]:
        assert set(part) == {"type", "id", "attributes", "validations"} and part["type"] in ("input", "textarea")
        assert {"label", "description"} <= set(part["attributes"]) <= {"label", "description", "render"}


def test_no_colab_copy_asks_for_a_card():
    """Every cell is made for two cores: a copy that holds a card keeps it from somebody else, and gains little."""
    from tools import nb

    assert [nb.name(path) for path in nb.notebooks() if "accelerator" in nb.read(path).metadata] == []


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked source distribution")
def test_the_source_distribution_holds_what_its_tests_need(tmp_path):
    """It is built, every file of the repository is in it, and README's links lead somewhere from another site too."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if (ROOT / name).exists():  # a file that is deleted and not yet committed
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    build = [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_sdist('.')"]
    subprocess.run(build, cwd=tmp_path, capture_output=True, check=True)
    (made,) = tmp_path.glob("generative_autoencoders-*.tar.gz")
    with tarfile.open(made) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
        (told,) = (
            held.extractfile(name).read().decode()
            for name in held.getnames()
            if name.count("/") == 1 and name.endswith("/PKG-INFO")
        )
    assert set(tracked) - names - {".gitignore"} == set()
    links, page = re.findall(r"\]\(([^)]+)\)", told), PROJECT["urls"]["Repository"]
    assert len(links) > 5 and [link for link in links if not link.startswith("https://")] == []
    assert f"[![test]({page}/actions/workflows/test.yml/badge.svg)]({page}/actions/workflows/test.yml)" in told
    inside = [
        link.split(f"/v{PROJECT['version']}/")[1]
        for link in links
        if link.startswith((f"{page}/raw/", f"{page}/blob/"))
    ]
    assert [name for name in inside if not (ROOT / name).exists()] == [] and "book/theme/page.png" in inside


def test_no_file_of_the_package_is_long():
    lines = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "gaelib").rglob("*.py"))
    assert lines[-1] <= 350 and lines[len(lines) // 2] <= 200, lines


def test_every_requirement_is_pinned_and_none_is_for_cuda():
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = PROJECT["dependencies"] + functools.reduce(operator.iadd, PROJECT["optional-dependencies"].values(), [])
    missing = {re.split(r"[\[><=]", requirement)[0].lower() for requirement in wanted} - pins
    assert not missing
    assert not [pin for pin in pins if re.match(r"nvidia|cuda|triton", pin)]


def test_the_oldest_numpy_can_import_the_package():
    """Before NumPy 2, ``np.typing`` was there only once somebody had imported it."""
    used = [path.name for path in (ROOT / "gaelib").rglob("*.py") if "np.typing" in path.read_text(encoding="utf-8")]
    assert not used


def test_versions_agree():
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_checked_row_of_the_ledger_has_a_check_and_every_check_a_row():
    from test_ledger import CHECKS

    rows = {row["id"]: row for row in yaml.safe_load((ROOT / "book/ledger.yml").read_text())["rows"]}
    written = {id for id, row in rows.items() if row["chapter"] and row["verdict"] != "definition"}
    assert not (bare := written - set(CHECKS)), f"rows that have a chapter and no check in CHECKS: {bare}"
    assert not (stray := set(CHECKS) - written), f"checks without a row in book/ledger.yml that has a chapter: {stray}"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(command):
    """The rules of pyproject.toml, over every file of the repository."""
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
