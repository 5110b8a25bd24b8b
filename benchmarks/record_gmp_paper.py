"""Record the checks of the claims of the GMP paper that this machine's data allow.

    python benchmarks/record_gmp_paper.py [--part PART] [--work FOLDER] [--out FILE]

A part is a claim and a set, such as ``a:ethanol-like``; each leaves its results in the folder of --work,
so that parts may run side by side, and a recording that was stopped goes on. Without --part, all that are
missing run and the record is written. The sets ethanol and acetylacetone are real (``molecules_data.py``) and
are left out where they are absent; the chapter needs the embedded sets only.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measure import Recording, commit
from molecules_data import CASES, FOLDER, make_store

from hpopt_lib.experiments import gmp_paper as paper
from hpopt_lib.experiments.records import write_record
from hpopt_lib.files import atomic_path
from hpopt_lib.store import Store
from hpopt_lib.workspace import embedded_store, work_folder

OUT = Path(__file__).resolve().parents[1] / "book" / "results" / "gmp_paper.json"
SEEDS = list(range(5))
REAL = {case.name: case for case in CASES} if FOLDER.is_dir() else {}


def molecules(name: str, work: Path) -> tuple[Store, str, list[str]]:
    """Store, validation split and test splits of a set of molecules."""
    if name not in REAL:
        return embedded_store(name, settings=paper.MOLECULE_FEATURES), "val", ["test", "test_hot"]
    case = REAL[name]
    return make_store(case, work, paper.MOLECULE_FEATURES), "validation", list(case.tests)


def parts() -> dict[str, Callable[[Path], dict[str, Any]]]:
    """What each part computes."""
    found: dict[str, Callable[[Path], dict[str, Any]]] = {}
    for name in ("ethanol-like", *REAL):
        found[f"a:{name}"] = lambda work, name=name: paper.compare(
            *molecules(name, work), seeds=SEEDS, long=True
        )
    for name in ("ethanol-like", *[name for name in REAL if name == "ethanol"]):
        found[f"b:{name}"] = lambda work, name=name: paper.trends(*molecules(name, work), seeds=SEEDS)
    found["c:oc20-like"] = lambda work: paper.unseen(embedded_store("oc20-like"), seeds=SEEDS)
    return found


def run_part(name: str, work: Path) -> dict[str, Any]:
    """Results of a part with what it cost, from its file when it was done before."""
    path = work / f"{name.replace(':', '-')}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    at, wall, cpu = commit(), time.perf_counter(), time.process_time()
    results = parts()[name](work)
    done = {
        "results": paper.rounded(results),
        "commit": at,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
    }
    with atomic_path(path) as temporary:
        Path(temporary).write_text(json.dumps(done), encoding="utf-8")
    print(f"{name}: {done['wall_s']:.0f} s", flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--part", choices=list(parts()))
    parser.add_argument("--work", type=Path, default=work_folder() / "gmp_paper")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if options.part:
        run_part(options.part, options.work)
        return
    done = {name: run_part(name, options.work) for name in parts()}
    origin = Recording().origin(
        "torch",
        "numpy",
        "dscribe",
        "numba",
        wall_s=sum(found["wall_s"] for found in done.values()),
        cpu_s=sum(found["cpu_s"] for found in done.values()),
    )
    settings = {
        "commits": {name: found["commit"] for name, found in done.items()},
        "seeds": SEEDS,
        "network": asdict(paper.NETWORK),
        "epochs": {**paper.EPOCHS, "a, long": paper.LONG},
        "unseen": {**asdict(paper.UNSEEN), "settings": "network"},
        "molecule_features": paper.MOLECULE_FEATURES.to_dict(),
    }
    results = {name: found["results"] for name, found in done.items()}
    write_record(options.out, "gmp_paper", settings=settings, results=results, origin=origin)
    print(f"{options.out}: {', '.join(results)}, {origin['wall_s']} s")


if __name__ == "__main__":
    main()
