"""What the last `make test` says: one JUnit file, read for the pages and for the ledger.

The file is `_build/results.xml`. `tests/conftest.py` adds the properties `commit` and `device` to the first
test and `sha256` to every notebook cell; a ledger check adds `ledger`. Without the file there is no
account, and the pages say "not verified in this copy".
"""

from __future__ import annotations

import hashlib
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
    sha256: str | None = None  # of the notebook as it was when it was run

    def add(self, case: ET.Element) -> None:
        verdict = {child.tag for child in case}
        self.failed += bool(verdict & {"failure", "error"})
        self.skipped += "skipped" in verdict
        self.passed += not verdict & {"failure", "error", "skipped"}
        self.seconds += float(case.get("time", 0))


@dataclass
class Account:
    date: str = ""
    commit: str = "an unknown commit"
    device: str = "an unknown device"
    total: Tally = field(default_factory=Tally)
    notebooks: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))  # by docname
    ledger: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))  # by ledger id


def read(path: Path) -> Account | None:
    """The account in the JUnit file at `path`, or None where there is none."""
    if not path.exists():
        return None
    account = Account()
    for suite in ET.parse(path).getroot().iter("testsuite"):
        account.date = max(account.date, suite.get("timestamp", "")[:10])
        for case in suite.iter("testcase"):
            properties = [(p.get("name"), p.get("value")) for p in case.iter("property")]
            for name, value in properties:
                if name in ("commit", "device"):
                    setattr(account, name, value)
                if name == "ledger":
                    account.ledger[value].add(case)
            account.total.add(case)
            # nbval names a cell of book/cases/x.ipynb by the class "book.cases.x.ipynb".
            name = case.get("classname", "")
            if name.startswith("book.") and name.endswith(".ipynb"):
                tally = account.notebooks[name[len("book.") : -len(".ipynb")].replace(".", "/")]
                tally.add(case)
                tally.sha256 = dict(properties).get("sha256", tally.sha256)
    return account


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":  # the last line of .ci/run, which passes its own exit status
    total = (read(Path("_build/results.xml")) or Account()).total
    total.failed = total.failed or int(sys.argv[1] != "0")  # something other than a test failed
    print(f"{total.passed} passed, {total.failed} failed")
