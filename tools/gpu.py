"""What a CUDA card gives: `python tools/gpu.py [--quick]` writes gaelib/results/gpu.json (`make gpu`).

First what is timed, alone: fits beside the same fits on this machine's CPU, where the time of one of them goes, a VAE's
epochs, a map of 70,000 digits, a picture restored.  Then the CUDA tests, and every notebook: its checks must pass
there, and numbers that differ by more than 2 % from the stored ones are listed.  Eight minutes in all: every part has a
limit, and what is found is stored row by row, with the seconds of each part.
"""

import argparse
import cProfile
import json
import os
import pstats
import signal
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ET
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.harness import machine, round_to, source_hash  # noqa: E402

STORED = ROOT / "gaelib" / "results" / "gpu.json"
LAST = json.loads(STORED.read_text()).get("notebooks", {}).get("by notebook", {}) if STORED.exists() else {}
SEED, DEVICES = {"random_state": 0}, ("cuda", "cpu")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
EARLIER = ("seeds", "holes")  # of an earlier visit: hours of a card, which the pages still use
MINUTES = 8  # in all; the last part gets what is left


# --- What is timed ------------------------------------------------------------------------------------------------


def quiet(run):
    """What ``run`` returns, and its seconds; steps that run out are meant to."""
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(), time.perf_counter() - begun


def garments(quick):
    from gaelib import data

    return data.fashion_mnist()[0][: 2000 if quick else None]


def fits(quick):
    """Seconds a fit, from the same NumPy array: on the card the median of three after a first, on the CPU one."""
    from gaelib import LGAE, LLGAE, MPPCA, KMeans

    X, llgae = garments(quick), {"n_clusters": 11, "n_components": 20, **SEED}
    models = {
        "LLGAE, K = 11, p = 20, its defaults, 100 passes": (lambda device: LLGAE(**llgae, device=device), 0.5),
        "LLGAE, K = 11, p = 20, 10 passes": (lambda device: LLGAE(**llgae, max_iter=10, tol=0, device=device), None),
        "KMeans, K = 256, 20 passes": (
            lambda device: KMeans(256, init=X[:256], max_iter=20, tol=0, device=device),
            None,
        ),
        "LGAE, 20 axes": (lambda device: LGAE(20, device=device), None),
        "MPPCA, K = 20, p = 20, 10 passes": (
            lambda device: MPPCA(20, 20, max_iter=10, tol=0, device=device, **SEED),
            None,
        ),
    }
    for name, (make, goal) in models.items():
        row = {"model": name, "rows": len(X)} | ({"goal seconds": goal} if goal else {})
        for device in DEVICES:
            found = [quiet(lambda: make(device).fit(X)) for _ in range(4 if device == "cuda" else 1)]
            model, seconds = found[-1][0], [seconds for _, seconds in found]
            row |= {f"{device} seconds": round_to(median(seconds[1:] or seconds)), f"{device} passes": model.n_iter_}
            row[f"{device} nats"] = round_to(model.score(X), 7)
        yield row


def breakdown(quick):
    """Where ten passes of LLGAE spend their time: torch's calls and the card's kernels, then the library's functions."""
    from gaelib import LLGAE
    from torch.profiler import ProfilerActivity, profile

    X = garments(quick)

    def fit():
        model = LLGAE(11, 20, max_iter=10, tol=0, device=DEVICES[0], **SEED)
        return quiet(lambda: model.fit(X))[1]

    fit()
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + torch.cuda.is_available()]
    with profile(activities=kinds) as seen:
        seconds = fit()
    yield {"what": "all of the fit, under the profiler", "calls": 1, "ms": round_to(1e3 * seconds)}
    parts = list(seen.key_averages())
    for of in ("self_cpu_time_total", "self_device_time_total"):
        parts.sort(key=lambda part: -getattr(part, of, 0))
        waits = [
            part for part in parts[10:] if any(word in part.key for word in ("Synchronize", "Memcpy", "_local_scalar"))
        ]
        for part in parts[:10] + waits:
            if ms := getattr(part, of, 0) / 1e3:
                yield {"of": of.split("_")[1], "what": part.key[:80], "calls": part.count, "ms": round_to(ms)}
    watch = cProfile.Profile()
    watch.runcall(fit)
    found = [
        {"of": "python", "what": f"{Path(file).name}:{name}", "calls": calls, "ms": round_to(1e3 * total)}
        for (file, _, name), (_, calls, _, total, _) in pstats.Stats(watch).stats.items()
        if "gaelib" in file
    ]
    yield from sorted(found, key=lambda row: -row["ms"])[:20]


def evidence(quick):
    """Epochs of a VAE on the bits of 60,000 digits: seconds, and the bound on 10,000 held-out ones, by each device."""
    from gaelib import VAE, data

    n = 2000 if quick else 60000
    X, T = (np.asarray(data.mnist(train)[0][:n], np.float32) / 255 for train in (True, False))
    T = torch.bernoulli(torch.tensor(T), generator=torch.Generator().manual_seed(0)).numpy()
    options = {"hidden": (200, 200), "noise": "bernoulli", "binarise": True, "batch_size": 256, "patience": 10**6}

    def make(device, epochs, seed):
        return VAE(50, **options, validation=1 / 60, max_epochs=epochs, device=device, random_state=seed)

    for device in DEVICES:
        quiet(lambda: make(device, 1, 0).fit(X[:4096]))  # what is paid once
    for seed in range(1 if quick else 3):
        for device in DEVICES:
            epochs = 1 if quick else 5
            model, seconds = quiet(lambda: make(device, epochs, seed).fit(X))
            row = {"model": "VAE, 784-200-200-50", "rows": n, "seed": seed, "device": device, "epochs": epochs}
            row |= {"goal seconds": 1.0, "seconds an epoch": round_to(seconds / epochs)}
            yield row | {"held-out bound": round_to(model.set_params(device=DEVICES[0]).score(T), 6)}


def maps(quick):
    """t-SNE of all 70,000 digits."""
    from gaelib import TSNE, data

    X = np.concatenate([data.mnist(train)[0] for train in (True, False)])[:: 70 if quick else 1] / np.float32(255)
    make = lambda steps: TSNE(max_iter=steps, device=DEVICES[0], **SEED)  # noqa: E731
    quiet(lambda: make(20).fit(X[:2000]))
    model, seconds = quiet(lambda: make(20 if quick else 900).fit(X))
    row = {"model": "TSNE", "rows": len(X), "steps": model.n_iter_, "goal seconds": 10.0}
    yield row | {"seconds": round_to(seconds), "KL, nats": round_to(model.kl_divergence_, 4)}


def restorations(quick):
    """A picture of 512 x 512 with noise of 25/255 by the reference network, 1800 steps.

    Beside it what non-local means and total variation reach, tuned on another picture of that size.
    """
    from gaelib import data, deep_image_prior
    from gaelib.pictures.image_prior import psnr

    from benchmarks.image_prior import denoised, noisy

    every = slice(None, None, 8 if quick else 1)
    picture, other = (data.image(name)[every, every] for name in ("F16", "astronaut"))
    measured, steps = noisy(picture), 3 if quick else 1800
    options = {"network": "reference", "average": 0.99, "device": DEVICES[0], **SEED}
    found, seconds = quiet(lambda: deep_image_prior(measured, steps=steps, **options))
    row = {"picture": "F16", "size": list(picture.shape), "steps": steps, "precision": "float32"}
    row |= {"goal seconds": 60.0, "seconds": round_to(seconds), "psnr": round_to(psnr(found.averaged, picture), 4)}
    row |= {"noisy": round_to(psnr(measured, picture), 4)}
    yield row | denoised(picture, measured, other, noisy(other), quick)


# --- What must pass -----------------------------------------------------------------------------------------------


def command(*what, report):
    """Tests by pytest in a process of its own."""
    ours = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--timeout=150", f"--junitxml={report}"]
    return [sys.executable, "-m", "pytest", *what, *ours]


def ended(words, limit):
    """Whether pytest came to its end within ``limit`` seconds; after them it is told to, and reports what it has."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    running = subprocess.Popen(words, cwd=ROOT, env=env)
    try:
        running.wait(limit)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            running.wait(20)
    finally:
        running.kill()
    return running.wait() in (0, 1)


def report_of(name):
    """Where the report of one process goes; an old one is removed."""
    report = ROOT / "_build" / "gpu" / f"{name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    return report


def told(reports):
    """How many tests passed, which failed and why, and which numbers a card rounds otherwise."""
    cases = [case for report in reports if report.exists() for case in ET.parse(report).iter("testcase")]
    drift = defaultdict(list)
    name = lambda case: f"{case.get('classname')} {case.get('name')}"  # noqa: E731
    bad = {name(case): part for case in cases for part in (*case.findall("failure"), *case.findall("error"))}
    for case in cases:
        for each in case.iter("property"):
            if each.get("name") == "drift":
                drift[name(case)].append(each.get("value"))
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - len(bad) - skipped,
        "failed": [{"where": where, "why": (part.text or part.get("message"))[-600:]} for where, part in bad.items()],
        "skipped": skipped,
        "drift": [
            {"where": where, "stored -> card": values[0]} | ({"more": len(values) - 1} if values[1:] else {})
            for where, values in drift.items()
        ],
    }


def tests(quick, limit):
    begun, report = time.perf_counter(), report_of("tests")
    whole = ended(command("tests/test_cuda.py", "-n", str(CORES), report=report), limit)
    yield told([report]) | {"seconds": round(time.perf_counter() - begun, 1), "whole": whole}


def notebooks(quick, limit):
    """Each in a process of its own, as many at a time as there are cores, those first that were slow the last time.

    A row after each that ends: what is cut off loses the others nothing, and is named.
    """
    begun, paths = time.monotonic(), sorted(ROOT.glob("book/idea/*.ipynb" if quick else "book/*/*.ipynb"))
    paths.sort(key=lambda path: -LAST.get(path.stem, path.stat().st_size))
    reports = {path.stem: report_of(path.stem) for path in paths}

    def one(path):
        start = time.monotonic()
        options = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", "-n", "0")
        words = command(str(path), *options, report=reports[path.stem])
        whole = ended(words, max(1, limit - (start - begun)))
        return path.stem, round(time.monotonic() - start, 1), whole

    seconds = {}
    with ThreadPoolExecutor(CORES) as pool:
        for done in as_completed([pool.submit(one, path) for path in paths]):
            name, spent, whole = done.result()
            seconds |= {name: spent} if whole else {}
            left = sorted(reports.keys() - seconds.keys())
            row = told(reports.values()) | {"seconds": round(time.monotonic() - begun, 1)}
            yield row | {"by notebook": seconds, "left": left, "whole": not left}


# --- All of it ----------------------------------------------------------------------------------------------------

PARTS = {  # name -> (seconds at most, its rows); of the last two the last row is all
    "fits": (130, fits),
    "breakdown": (40, breakdown),
    "evidence": (80, evidence),
    "maps": (40, maps),
    "restorations": (90, restorations),
    "tests": (90, tests),
    "notebooks": (60 * MINUTES, notebooks),
}
WHOLE = ("tests", "notebooks")


@contextmanager
def at_most(seconds):
    def end(*_):
        raise TimeoutError(f"not done after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(max(1, int(seconds)))
    try:
        yield
    finally:
        signal.alarm(0)


def kept(path):
    """What stays of the stored file: runs of an earlier visit, and what they were made by."""
    old = json.loads(path.read_text()) if path.exists() else {}
    found = {name: old[name] for name in EARLIER if name in old}
    return found | {"earlier": old.get("earlier", {name: old[name] for name in ("source", "machine")})} if found else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small data, the CPU will do, nothing stored: does it run?"
    )
    parser.add_argument("--out", type=Path, default=STORED)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="these alone; the others stay")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        if not options.quick:
            raise SystemExit("0 CUDA cards here: run this on a machine with one, or pass --quick")
        global DEVICES
        DEVICES = ("cpu",)
    torch.set_num_threads(CORES)
    begun, here = time.monotonic(), {"machine": machine() | {"cores": CORES}, "source": source_hash()}
    found = here | {"cuda": torch.version.cuda} | kept(STORED)
    if set(options.parts) != set(PARTS) and options.out.exists():
        found = json.loads(options.out.read_text())

    def store():
        if not options.quick:
            options.out.write_text(json.dumps(found, indent=1) + "\n")

    for name in options.parts:
        limit, part = PARTS[name]
        start, limit = time.monotonic(), min(limit, 60 * MINUTES - (time.monotonic() - begun))
        found[name] = {} if name in WHOLE else []
        found.get("errors", {}).pop(name, None)
        try:
            with at_most(limit + 45 * (name in WHOLE)):
                for row in part(options.quick, *([max(limit, 30)] if name in WHOLE else [])):
                    print(name, json.dumps(row)[:6000], flush=True)
                    found[name] = row if name in WHOLE else [*found[name], row]
                    store()
        except Exception as error:  # the other parts still count
            found.setdefault("errors", {})[name] = f"{type(error).__name__}: {error}"
            print(name, found["errors"][name], flush=True)
        found.setdefault("seconds", {})[name] = round(time.monotonic() - start, 1)
        print(name, f"{found['seconds'][name]:.0f} s", flush=True)
        store()


if __name__ == "__main__":
    main()
