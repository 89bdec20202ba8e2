"""What newcomers read and run: README's code, the environment files, the ledger's account of itself."""

import functools
import operator
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_code_in_the_readme_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    scope = {}
    exec(code, scope)
    assert "nats per digit" in capsys.readouterr().out
    assert scope["history"] == sorted(scope["history"])


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
    assert pip == ["-c constraints.txt", "-e .[book,test]"]


def test_every_requirement_is_pinned_and_none_is_for_cuda():
    pins = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    wanted = PROJECT["dependencies"] + functools.reduce(operator.iadd, PROJECT["optional-dependencies"].values(), [])
    missing = {re.split(r"[><=]", requirement)[0].lower() for requirement in wanted} - pins
    assert not missing
    assert not [pin for pin in pins if re.match(r"nvidia|cuda|triton", pin)]


def test_versions_agree():
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_checked_row_of_the_ledger_has_a_check_and_every_check_a_row():
    from test_ledger import CHECKS

    rows = {row["id"]: row for row in yaml.safe_load((ROOT / "book/ledger.yml").read_text())["rows"]}
    written = {id for id, row in rows.items() if row["chapter"] and row["verdict"] != "definition"}
    assert set(CHECKS) == written, "a row with a chapter needs a check, and a check needs a row"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(command):
    """The rules of pyproject.toml, over every file of the repository."""
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
