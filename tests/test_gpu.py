"""`make gpu` without a card: what it reads from a run, what it keeps, its limits; and the page that shows its file."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
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
    assert gpu.told([tmp_path / "gpu.xml", tmp_path / "none.xml"]) == {
        "passed": 2,
        "failed": [{"where": "a two", "why": "long\nassert 1 == 2"}],
        "skipped": 1,
        "drift": [{"where": "b four", "stored -> card": "1.0 -> 1.1", "more": 1}],
    }


def test_a_notebook_that_hangs_is_named_and_loses_the_others_nothing(tmp_path, monkeypatch):
    """Three processes in place of pytest: one writes its report, one a failure, one never ends."""
    (tmp_path / "book/idea").mkdir(parents=True)
    for name in ("good", "bad", "stuck"):
        (tmp_path / f"book/idea/{name}.ipynb").write_text("")
    failed = '<testsuites><testcase classname="bad" name="Cell 3"><failure>no</failure></testcase></testsuites>'
    said = {"good": (REPORT, 1), "bad": (failed, 1), "stuck": (None, 1000)}

    def command(path, *_, report):
        text, seconds = said[Path(path).stem]
        lines = f"import pathlib, time\nif {text!r}: pathlib.Path({str(report)!r}).write_text({text!r}); raise SystemExit(1)\n"
        return [sys.executable, "-c", f"{lines}time.sleep({seconds})"]

    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "command", command)
    ended = gpu.ended  # the limit that counts is short, and the others' long enough for a busy machine
    monkeypatch.setattr(gpu, "ended", lambda words, limit: ended(words, 1 if "stuck" in words[-1] else limit))
    rows = list(gpu.notebooks(True, 100))
    assert len(rows) == 3 and not any(row["whole"] for row in rows)
    assert rows[-1]["left"] == ["stuck"] and rows[-1]["by notebook"].keys() == {"good", "bad"}
    assert (rows[-1]["passed"], rows[-1]["skipped"]) == (2, 1)
    assert {row["where"] for row in rows[-1]["failed"]} == {"a two", "bad Cell 3"}


def whole_run(monkeypatch, path, *words, card=True):
    """`make gpu` with parts that take no time: one row after another, an error, tests."""
    ask = lambda quick: iter([{"n": 1}, {"n": 2}])
    parts = {
        "fits": (9, ask),
        "maps": (9, lambda quick: 1 / 0),
        "tests": (40, lambda quick, limit: iter([{"passed": limit}])),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "STORED", path)
    monkeypatch.setattr(gpu, "DEVICES", gpu.DEVICES)
    monkeypatch.setattr(gpu.torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr(gpu, "machine", lambda: {"gpu": "a card"})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(path), *words])
    gpu.main()
    return json.loads(path.read_text()) if path.exists() else None


def test_a_part_that_fails_is_noted_and_the_others_are_stored(tmp_path, monkeypatch):
    found = whole_run(monkeypatch, tmp_path / "gpu.json")
    assert found["fits"] == [{"n": 1}, {"n": 2}] and 39 < found["tests"]["passed"] <= 40
    assert found["errors"] == {"maps": "ZeroDivisionError: division by zero"} and found["machine"]["gpu"] == "a card"
    assert found["seconds"].keys() == {"fits", "maps", "tests"}
    (tmp_path / "gpu.json").write_text(json.dumps(found | {"fits": [], "evidence": [3]}))
    again = whole_run(monkeypatch, tmp_path / "gpu.json", "--parts", "fits")
    assert again["fits"] == found["fits"] and again["evidence"] == [3] and again["errors"] == found["errors"]


def test_without_a_card_it_is_refused_and_quick_stores_nothing(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"0 CUDA cards here: .*--quick"):
        whole_run(monkeypatch, tmp_path / "gpu.json", card=False)
    assert whole_run(monkeypatch, tmp_path / "gpu.json", "--quick", card=False) is None
    assert gpu.DEVICES == ("cpu",)


def test_a_part_has_a_limit():
    with pytest.raises(TimeoutError, match="1 s"), gpu.at_most(1):
        time.sleep(60)


def test_runs_of_an_earlier_visit_stay(tmp_path):
    path = tmp_path / "gpu.json"
    assert gpu.kept(path) == {}
    old = {"source": "abc", "machine": {"gpu": "card"}, "seeds": [1], "fits": [2]}
    path.write_text(json.dumps(old))
    assert gpu.kept(path) == {"seeds": [1], "earlier": {"source": "abc", "machine": {"gpu": "card"}}}
    path.write_text(json.dumps(gpu.kept(path) | {"source": "new", "machine": {}}))
    assert gpu.kept(path)["earlier"]["source"] == "abc"


def test_the_page_reads_what_the_run_writes(monkeypatch):
    """The rows of all that is timed, of fits that take no time; nothing is learned."""
    rng = np.random.default_rng(0)
    made = SimpleNamespace(n_iter_=3, score=lambda X: -1.0, kl_divergence_=2.0, averaged=rng.random((8, 8)))
    made.set_params = lambda **_: made
    monkeypatch.setattr(gpu, "quiet", lambda run: (made, 2.0))
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setattr(f"gaelib.data.{name}", lambda train=True: (rng.integers(255, size=(70, 4)), None))
    monkeypatch.setattr("gaelib.data.image", lambda name: rng.random((8, 8)))
    monkeypatch.setattr("benchmarks.image_prior.denoised", lambda *_: {})
    found = {name: list(gpu.PARTS[name][1](False)) for name in ("fits", "evidence", "maps", "restorations")}
    monkeypatch.syspath_prepend(ROOT / "tools")
    measured = tool("measured")
    lines = {what: seconds for what, *seconds in measured.timed(json.loads(json.dumps(found)))}
    assert len(lines) == len(found["fits"]) + 3 and len(found["fits"]) > 3
    assert lines["VAE, 784-200-200-50, an epoch"] == [[0.4] * 3, [0.4] * 3, [1.0]]
    assert lines["LGAE, 20 axes"] == [[2.0], [2.0], []] and lines["TSNE, 140 rows, 3 steps"] == [[2.0], [], [10.0]]
    assert lines["Deep image prior, 8 × 8, 1,800 steps"] == [[2.0], [], [60.0]]
    assert measured.by_device(found["evidence"], "held-out bound") == [[-1.0] * 3] * 2
    cells = {"passed": 1234, "failed": [1], "whole": False, "left": ["maps", "parts"]}
    assert measured.of_notebooks(cells).endswith(
        "1,234 cells kept their checks and their words, and 1 did not; left were maps, parts."
    )
    assert "did not; 2 print a number" in measured.of_notebooks(cells | {"whole": True, "drift": [1, 2]})
    assert measured.failures({"failed": [1, 2]}) == 2 and measured.failures({"failed": 3}) == 3
