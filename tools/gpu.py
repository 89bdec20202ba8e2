"""What a CUDA card gives: `python tools/gpu.py [--quick]` writes gaelib/results/gpu.json (`make gpu`).

Runs the CUDA tests; every notebook, whose checks must all pass there, with the numbers that differ by more than 2 % from
the stored ones listed; and a few fits beside the same fits on this machine's CPU.  Eight minutes on one card.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.harness import machine, round_to, source_hash  # noqa: E402

SEED = {"random_state": 0}


def suite(*what, workers):
    """Tests by pytest: how many passed, the names of those that failed, and what a card rounds otherwise."""
    report = ROOT / "_build" / "gpu.xml"
    report.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", *what, f"--junitxml={report}", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:benchmark", "-n", str(workers), "--dist", "loadfile", "--timeout=400"]
    begun, threads = time.perf_counter(), {"OMP_NUM_THREADS": "2"}  # many workers: two threads each
    subprocess.run(command, cwd=ROOT, env=os.environ | threads, check=False)
    cases = list(ET.parse(report).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    drift = [
        {"where": f"{case.get('classname')} {case.get('name')}", "stored -> card": each.get("value")}
        for case in cases
        for each in case.iter("property")
        if each.get("name") == "drift"
    ]
    return {
        "passed": len(cases) - len(bad) - sum(case.find("skipped") is not None for case in cases),
        "failed": [f"{case.get('classname')} {case.get('name')}" for case in bad],
        "skipped": sum(case.find("skipped") is not None for case in cases),
        "seconds": round(time.perf_counter() - begun, 1),
        "drift": drift,
    }


def fits(quick):
    """Seconds a fit on the card and on the CPU, from the same NumPy array; medians of the fits after the first."""
    from gaelib import LGAE, LLGAE, MPPCA, KMeans, data

    X = data.fashion_mnist()[0][: 2000 if quick else None]
    models = {
        "KMeans, K = 256, 20 passes": lambda device: KMeans(256, init=X[:256], max_iter=20, tol=0, device=device),
        "LGAE, 20 axes": lambda device: LGAE(20, device=device),
        "LLGAE, K = 11, p = 20, 10 passes": lambda device: LLGAE(11, 20, max_iter=10, tol=0, device=device, **SEED),
        "MPPCA, K = 20, p = 20, 10 passes": lambda device: MPPCA(20, 20, max_iter=10, tol=0, device=device, **SEED),
    }
    table = []
    for name, make in models.items():
        row = {"model": name, "rows": len(X)}
        for device, repeats in (("cuda", 4), ("cpu", 2)):
            seconds = []
            for _ in range(repeats):
                begun = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of steps that ran out: they are given
                    model = make(device).fit(X)
                seconds.append(time.perf_counter() - begun)
            row |= {f"{device} seconds": round_to(median(seconds[1:])), f"{device} nats": round_to(model.score(X), 7)}
        table.append(row)
    return table


def restorations(quick):
    """A picture of 512 x 512 with noise of 25/255 by the reference network, 1800 steps, in both precisions.

    Beside it what non-local means and total variation reach, tuned on another picture of that size.
    """
    from gaelib import data, deep_image_prior
    from gaelib.pictures.image_prior import psnr

    from benchmarks.image_prior import denoised, noisy

    every = slice(None, None, 8 if quick else 1)
    picture, other = (data.image(name)[every, every] for name in ("F16", "astronaut"))
    measured = noisy(picture)
    rivals = denoised(picture, measured, other, noisy(other), quick)
    table = []
    for precision in ("float32", "bfloat16"):
        begun, steps = time.perf_counter(), 3 if quick else 1800
        found = deep_image_prior(measured, network="reference", steps=steps, average=0.99, precision=precision, **SEED)
        row = {"picture": "F16", "size": list(picture.shape), "steps": steps, "precision": precision}
        row |= {"seconds": round_to(time.perf_counter() - begun), "psnr": round_to(psnr(found.averaged, picture), 4)}
        table.append(row | {"noisy": round_to(psnr(measured, picture), 4)} | rivals)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small data, nothing stored: does it run?")
    parser.add_argument("--out", type=Path, default=ROOT / "gaelib" / "results" / "gpu.json")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.quick:
        raise SystemExit("0 CUDA cards here: run this on a machine with one, or pass --quick")
    found = {"machine": machine(), "source": source_hash(), "cuda": torch.version.cuda}
    parts = {
        "fits": lambda: fits(options.quick),
        "restorations": lambda: restorations(options.quick),
        "tests": lambda: suite("tests/test_cuda.py", workers=6),
        "notebooks": lambda: suite("book", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=300", workers=12),
    }
    for name, part in parts.items():
        begun = time.perf_counter()
        try:
            found[name] = part()
        except Exception as error:  # the other parts still count
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(name, f"{time.perf_counter() - begun:.0f} s", json.dumps(found[name])[:3000], flush=True)
        if not options.quick:
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
