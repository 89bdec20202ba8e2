"""What the last `make test` says: one JUnit file, read for the ledger, the parity table and the stamps.

The file is `_build/results.xml`. `tests/conftest.py` adds the properties `commit`, `device` and the `digest` of the
package and of every page to the first test; a cell adds `cpu`, its kernel's seconds of CPU time; a ledger check adds `ledger`, a comparison with a reference
adds `parity`, the bar of a model `bar`. Without the file there is no account, and the pages say "not verified in this copy".
"""

from __future__ import annotations

import hashlib
import json
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    def add(self, case: ET.Element) -> None:
        verdict = {child.tag for child in case}
        self.failed += bool(verdict & {"failure", "error"})
        self.skipped += "skipped" in verdict
        self.passed += not verdict & {"failure", "error", "skipped"}
        cpu = [p.get("value") for p in case.iter("property") if p.get("name") == "cpu"]
        self.seconds += float(cpu[0] if cpu else case.get("time", 0))


@dataclass
class Account:
    date: str = ""
    commit: str = "an unknown commit"
    device: str = "an unknown device"
    digest: dict[str, str] = field(default_factory=dict)  # of "gaelib", and of pages by docname, as they were tested
    total: Tally = field(default_factory=Tally)
    notebooks: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))  # by docname
    ledger: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))  # by ledger id
    parity: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))  # by model
    bars: list[dict] = field(default_factory=list)  # what each model says of itself


def read(path: Path) -> Account | None:
    """The account in the JUnit file at `path`, or None where there is none."""
    if not path.exists():
        return None
    account = Account()
    for suite in ET.parse(path).getroot().iter("testsuite"):
        account.date = max(account.date, suite.get("timestamp", "")[:10])
        for case in suite.iter("testcase"):
            for name, value in ((p.get("name"), p.get("value")) for p in case.iter("property")):
                if name in ("commit", "device"):
                    setattr(account, name, value)
                elif name == "digest":
                    what, _, account.digest[what] = value.partition(" ")
                elif name == "ledger":
                    account.ledger[value].add(case)
                elif name == "parity":
                    row = json.loads(value)
                    passed = not {child.tag for child in case} & {"failure", "error"}
                    account.parity[row["model"]].append(row | {"passed": passed})
                elif name == "bar":
                    account.bars.append(json.loads(value))
            account.total.add(case)
            # nbval names a cell of book/cases/x.ipynb by the class "book.cases.x.ipynb".
            name = case.get("classname", "")
            if name.startswith("book.") and name.endswith(".ipynb"):
                account.notebooks[name[len("book.") : -len(".ipynb")].replace(".", "/")].add(case)
    return account


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of the package, under "gaelib", and of every page by docname."""
    package = hashlib.sha256()
    for path in sorted(p for p in (root / "gaelib").rglob("*") if p.suffix in (".py", ".json")):
        package.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    pages = (p for p in (root / "book").rglob("*") if p.suffix in (".md", ".ipynb"))
    return {"gaelib": package.hexdigest()} | {
        p.relative_to(root / "book").with_suffix("").as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in pages
    }


if __name__ == "__main__":  # the last line of .ci/run, which passes its own exit status
    total = (read(Path("_build/results.xml")) or Account()).total
    total.failed = total.failed or int(sys.argv[1] != "0")  # something other than a test failed
    print(f"{total.passed} passed, {total.failed} failed")
