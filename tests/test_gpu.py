"""`make gpu` without a card: what it reads from a run, what it keeps, its limits; and the page that shows its file."""

import importlib.util
import json
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gpu = tool("gpu")
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="short">long
assert 1 == 2</failure></testcase>
<testcase classname="a" name="three"><skipped/></testcase>
<testcase classname="b" name="four"><properties>
<property name="drift" value="1.0 -&gt; 1.1"/><property name="drift" value="2 -&gt; 3"/><property name="cpu" value="1"/>
</properties></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted(tmp_path):
    (tmp_path / "gpu.xml").write_text(REPORT)
    assert gpu.told(tmp_path / "gpu.xml") == {
        "passed": 2,
        "failed": [{"where": "a two", "why": "long\nassert 1 == 2"}],
        "skipped": 1,
        "drift": [{"where": "b four", "stored -> card": "1.0 -> 1.1", "more": 1}],
    }


def test_a_part_has_a_limit():
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="1 s"), gpu.at_most(1):
        time.sleep(5)
    assert time.monotonic() - begun < 3


def test_runs_of_an_earlier_visit_stay(tmp_path):
    path = tmp_path / "gpu.json"
    assert gpu.kept(path) == {}
    old = {"source": "abc", "machine": {"gpu": "card"}, "seeds": [1], "fits": [2]}
    path.write_text(json.dumps(old))
    assert gpu.kept(path) == {"seeds": [1], "earlier": {"source": "abc", "machine": {"gpu": "card"}}}
    path.write_text(json.dumps(gpu.kept(path) | {"source": "new", "machine": {}}))
    assert gpu.kept(path)["earlier"]["source"] == "abc"


def test_the_page_reads_what_the_run_writes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    measured = tool("measured")
    rows = [{"model": "VAE", "device": device, "seconds an epoch": 2.0, "goal seconds": 1.0} for device in gpu.DEVICES]
    found = json.loads((ROOT / "gaelib/results/gpu.json").read_text()) | {"evidence": rows}
    lines = {what: seconds for what, *seconds in measured.timed(found)}
    assert lines["VAE, an epoch"] == [[2.0], [2.0], [1.0]] and len(lines) > len(found["fits"]) + 1
    assert all(0 < seconds[0][0] < 100 for seconds in lines.values())
    assert measured.failures({"failed": [1, 2]}) == 2 and measured.failures({"failed": 3}) == 3
