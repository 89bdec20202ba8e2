"""``python -m benchmarks [names] [--quick]``: run, print, and (unless quick) store."""

import argparse
import importlib
from pathlib import Path

from .harness import store

NAMES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if "\ndef measure(" in p.read_text(encoding="utf-8"))

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("names", nargs="*", default=NAMES)
parser.add_argument("--quick", action="store_true", help="two repeats, nothing stored: does it run?")
parser.add_argument(
    "--full", action="store_true", help="the long runs of a benchmark that has some, each stored at its end"
)
options = parser.parse_args()
repeats = 2 if options.quick else 7
for name in options.names:
    if name not in NAMES:
        parser.error(f"no benchmark {name!r} among {', '.join(NAMES)}: pass one of them")
    benchmark = importlib.import_module(f"benchmarks.{name}")
    if options.full:
        if not hasattr(benchmark, "full"):
            parser.error(f"benchmark {name!r} has no long runs: leave --full out, or name image_prior")
        benchmark.full()
        continue
    tables = benchmark.measure(repeats)
    for row in (row for table in tables.values() for row in table):
        print(", ".join(f"{key} {value}" for key, value in row.items())[:400])
    if not options.quick:
        print("stored", store(name, tables, repeats).name)
