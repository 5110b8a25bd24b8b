"""Train as the GMP paper did on QM9 or OC20, as near as this package comes.

    hpopt data fetch qm9
    python benchmarks/reproduce_gmp_paper.py qm9 data/qm9/dsgdb9nsd.xyz.tar.bz2 --work work --device cuda
    python benchmarks/reproduce_gmp_paper.py oc20 train_200K --validation val_id.a val_id.b --work work

Featurises (it goes on where it was stopped), then trains with each number of training frames and each seed,
prints errors beside those of the median and the linear baseline, and leaves all numbers in
WORK/NAME-results.json. On QM9 the verdict on chemical accuracy comes last. One training on 110,000 molecules
of QM9 needs about 4 GB of memory.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import commit, machine

from hpopt_lib.errors import HpoptError
from hpopt_lib.experiments.full_reproduction import FULL_SETUPS, make_full_store, run_full
from hpopt_lib.experiments.records import write_record
from hpopt_lib.report.paper_claims import chemical_accuracy


def line(found: dict[str, Any]) -> str:
    """One result for a person."""
    test = found["test"]
    median, linear = (test[f"{name}_energy_mae_mev_per_atom"] for name in ("median", "linear"))
    return (
        f"{found['n_train']:>9} frames, seed {found['seed']}: {1000 * test['energy_mae_ev']:9.1f} meV, "
        f"{test['energy_mae_mev_per_atom']:7.2f} meV/atom (median baseline {median:.1f}, "
        f"linear {linear:.1f}), {found['seconds']:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(FULL_SETUPS))
    parser.add_argument("files", nargs="+", type=Path, help="training files, in any format that hpopt reads")
    parser.add_argument("--validation", nargs=2, type=Path, default=(), metavar="FILE")
    parser.add_argument("--work", type=Path, default=Path("gmp_paper_work"))
    parser.add_argument("--sizes", nargs="+", type=int, default=[0], help="training frames; 0: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=0, help="instead of the set-up's")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    setup = FULL_SETUPS[options.name]
    print(f"{setup.name}: {setup.differs}", flush=True)
    at, wall, cpu = commit(), time.perf_counter(), time.process_time()
    try:
        store = make_full_store(
            setup, options.files, options.work,
            validation=options.validation, processes=options.processes,
        )  # fmt: skip
        results = run_full(
            setup, store, sizes=options.sizes, seeds=range(options.seeds), epochs=options.epochs,
            device=options.device, on_result=lambda found: print(line(found), flush=True),
        )  # fmt: skip
    except HpoptError as error:
        sys.exit(f"Error: {error}")
    origin = {
        "command": f"python {shlex.join(sys.argv)}",
        "commit": at,
        "date": datetime.date.today().isoformat(),
        "hardware": machine(),
        "versions": {name: version(name) for name in ("hpopt_lib", "torch", "numpy")},
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
    }
    settings = {"gmp": setup.gmp.to_dict(), "training": asdict(setup.training), "epochs": options.epochs}
    out = options.work / f"{setup.name}-results.json"
    write_record(out, f"gmp_paper_{setup.name}", settings=settings, results={"runs": results}, origin=origin)
    if setup.name == "qm9":
        print(f"chemical accuracy {chemical_accuracy(results)}")
    print(out)


if __name__ == "__main__":
    main()
