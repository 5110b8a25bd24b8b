"""What the storages of studies cost: trials per second and the overhead of a trial.

    python benchmarks/bench_storage.py [--quick | --record] [--only SECTION] [--out FILE]

Prints Markdown. Starts a private server (`hpopt db`) in a temporary folder when its program is installed.
--out replaces the section of this benchmark in a file and leaves the others as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import signal
import sys
import tempfile
import time
import uuid
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from measure import commit, machine, publish, table
from storage_growth import Grown, growth
from storage_limits import limits
from storage_load import SPACE, Cost, Load, run
from storage_places import Place, places, private_server

from hpopt_lib.tuning.config import StudyConfig
from hpopt_lib.tuning.joining import make_study
from hpopt_lib.tuning.storage import open_storage
from hpopt_lib.workspace import embedded_store

#: By name of the storage and number of workers.
Costs = dict[tuple[str, int], list[Cost]]
TITLE = "# What the storages of studies cost"
#: A study of trials of this length is what the requirement speaks of.
TRIAL_S, SHARE, SHARE_WORKERS = 5.0, 0.03, 16


def new_study(address: str, store: str, trials: int) -> str:
    """A fresh study in a storage; its name."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    config = StudyConfig(store=store, space=SPACE, validation="val_id", sampler="random")
    make_study(name, config, open_storage(address), trials=trials)
    return name


def measure(place: Place, store: str, *, workers: int, trials: int, seconds: float = 0.0) -> Cost:
    """One run on a fresh study."""
    name = new_study(place.address, store, trials)
    return run(Load(name, workers, trials, seconds), place.prepare, *place.arguments, server=place.server)


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    low, middle, high = np.min(values), np.median(values), np.max(values)
    if np.isnan(middle):
        return "–"
    return f"{middle:,.{digits}f}" + (f" ({low:,.{digits}f}–{high:,.{digits}f})" if len(values) > 1 else "")


def throughput(everywhere: dict[str, Place], store: str, costs: Costs, *, counts, trials, repeats) -> str:
    """Trials that train nothing: as many as the storage can take; fills in `costs`."""
    for _ in range(repeats):  # all storages before the next round: slow moments hit all alike
        for workers in counts:
            for name, place in everywhere.items():
                costs.setdefault((name, workers), []).append(
                    measure(place, store, workers=workers, trials=max(trials, 2 * workers))
                )
    head = ["storage", "workers", "trials/s", "ms of a trial", "CPU-ms in the worker", "in the server"]
    rows = []
    for (name, workers), made in sorted(costs.items(), key=lambda item: list(everywhere).index(item[0][0])):
        rows.append(
            [
                name,
                workers,
                spread([cost.rate for cost in made]),
                spread([1e3 * float(np.mean(cost.overhead_s)) for cost in made], 0),
                spread([1e3 * cost.cpu_s for cost in made], 0),
                spread([1e3 * cost.server_s for cost in made], 0),
                spread([float(np.median([cost.statements for cost in made]))], 0),
                spread([float(np.median([cost.transactions for cost in made]))], 0),
            ]
        )
    return table([*head, "SQL statements", "transactions"], rows)


def share(everywhere: dict[str, Place], store: str, *, rounds: int, repeats: int) -> str:
    """Trials of five seconds: what the storage adds to them."""
    chosen = {name: place for name, place in everywhere.items() if place.server and "gRPC" not in name}
    costs: dict[str, list[Cost]] = {}
    for _ in range(repeats):
        for name, place in chosen.items():
            costs.setdefault(name, []).append(
                measure(place, store, workers=SHARE_WORKERS, trials=SHARE_WORKERS * rounds, seconds=TRIAL_S)
            )
    rows = []
    for name, made in costs.items():
        each = [float(np.mean(cost.overhead_s)) for cost in made]
        tail = [float(np.quantile(cost.overhead_s, 0.95)) for cost in made]
        settled = [float(np.mean(cost.settled_s)) for cost in made]
        rows.append(
            [
                name,
                spread([1e3 * value for value in each], 0),
                spread([1e3 * value for value in tail], 0),
                spread([100 * value / TRIAL_S for value in each], 2),
                spread([100 * value / TRIAL_S for value in settled], 2),
                spread([1e3 * cost.cpu_s for cost in made], 0),
                spread([1e3 * cost.server_s for cost in made], 0),
            ]
        )
    head = ["storage", "ms of a trial", "95 %", "share, %", "from the third trial on, %"]
    return (
        table([*head, "CPU-ms in the worker", "in the server"], rows)
        + f"\n\nAsked for: below {100 * SHARE:g} %. {rounds} trials of each worker. In its first two it also "
        "prepares its statements and loads modules, as all others do at that moment."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few trials, workers and repeats")
    size.add_argument("--record", action="store_true", help="write into benchmarks/RESULTS.md")
    parser.add_argument(
        "--only", action="append", help="throughput, share, growth or limits (of the two others)"
    )
    parser.add_argument("--no-server", action="store_true", help="storages in files only")
    parser.add_argument("--repeats", type=int, default=2, help="of the trials that train nothing")
    parser.add_argument("--out", type=Path, help="also write to this file")
    options = parser.parse_args()
    quick = options.quick
    # the server and the folder go when this is ended, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = Path(__file__).with_name("RESULTS.md") if options.record else options.out
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-storage-")))
        # processes of this benchmark inherit them
        os.environ.update(HPOPT_HOME=str(folder / "home"), OMP_NUM_THREADS="1")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        store = str(embedded_store("oc20-like", stride=16).path.resolve())
        server = None if options.no_server else stack.enter_context(private_server(folder))
        everywhere = places(folder, server)
        counts, trials, repeats = ((1, 4), 12, 1) if quick else ((1, 4, 16, 32), 48, options.repeats)
        packages = ("optuna", "sqlalchemy", "pymysql", *(("grpcio",) if find_spec("grpc") else ()))
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        text = [
            TITLE,
            f"{datetime.date.today()}, commit {commit()}, `python {shlex.join(sys.argv)}`\n\n{machine()}, "
            f"{versions}{f', {server[0]}' if server else ''}",
            "One process per worker, all on this machine with the server. A trial draws 2 hyperparameters at "
            "random, reports 10 values, asks the pruner after each and stores the 9 attributes of a "
            "training. The workers of hpopt add where a trial ran, look for twins and dead workers, keep the "
            "budget of the study and beat; they prune by successive halving, their default, Optuna alone by "
            "the median, its own. Optuna alone is `Study.optimize` with `RDBStorage` on the same "
            f"server, each process with its share of them. Medians and ranges of {repeats} runs (share: 2) "
            "on fresh studies, taken in turn; imports and connecting do not count.",
        ]
        costs: Costs = {}
        grown: Grown = {}
        sections = {
            "throughput": (
                "Trials that train nothing",
                lambda: throughput(everywhere, store, costs, counts=counts, trials=trials, repeats=repeats),
            ),
            "share": (
                f"Trials of {TRIAL_S:g} seconds, {SHARE_WORKERS} workers",
                lambda: share(everywhere, store, rounds=3 if quick else 8, repeats=1 if quick else 2),
            ),
            "growth": (
                "With many trials in the study, one worker",
                lambda: growth(
                    {name: place for name, place in everywhere.items() if "gRPC" not in name},
                    lambda address, n: new_study(address, store, n),
                    grown,
                    sizes=(10, 100) if quick else (100, 1000, 5000),
                    trials=10 if quick else 20,
                ),
            ),
            "limits": ("How far this goes", lambda: limits(costs, grown)),
        }
        for key, (title, work) in sections.items():
            if options.only and key not in options.only:
                continue
            if key in ("share", "limits") and not server:
                continue  # they speak of the server
            start = time.perf_counter()
            text.append(f"## {title}\n\n{work()}")
            print(f"{key}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    publish(TITLE, text, out)


if __name__ == "__main__":
    main()
