"""Record trials per hour of 1, 2, 4 and 8 workers, of `hpopt tune` and of bare trainings.

    python benchmarks/record_workers.py [--rounds N] [--trials N] [--out FILE]

The studies are real: workers that share a journal. Counted is the time between the first trials that all
workers have finished and the last trial, so neither the start of processes nor the imports.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from bench_batched import alone, in_processes, together
from measure import Recording

from hpopt_lib.experiments.records import write_record
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.tuning.config import StudyConfig
from hpopt_lib.tuning.study import tune
from hpopt_lib.workspace import embedded_store

RESULTS = Path(__file__).resolve().parents[1] / "book" / "results"
WORKERS = [1, 2, 4, 8]
#: Bare trainings are timed in at most so many processes: more than cores are no use to them.
BARE = 2
STRIDE, EPOCHS = 12, 20
FIXED = {"num_layers": 2, "num_nodes": 32, "epochs": EPOCHS}
SPACE = '[lr]\ntype = "float"\nlow = 1e-3\nhigh = 1e-2\nlog = true\n'


def tune_rate(store: str, workers: int, trials: int, folder: str, name: str) -> float:
    """Finished trials per hour of a study by some workers, once all of them work."""
    config = StudyConfig(
        store=store, space=SPACE, fixed=FIXED, validation="val_id", sampler="random", pruner="none", seed=0
    )
    storage = f"journal:///{folder}/{name}.log"
    study = tune(name, config, trials=trials, storage=storage, jobs=workers)
    ends = sorted(trial.datetime_complete for trial in study.trials if trial.datetime_complete)
    first = workers  # by then every worker had time to begin
    return 3600 * (len(ends) - 1 - first) / (ends[-1] - ends[first]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--out", type=Path, default=RESULTS / "workers.json")
    options = parser.parse_args()
    recording = Recording()
    store = str(embedded_store("oc20-like", stride=STRIDE).path.resolve())
    settings, seeds = TrainSettings(**FIXED), range(options.trials)
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):  # all ways before the next round: slow moments hit all alike
            for workers in WORKERS:
                made = {"hpopt tune": tune_rate(store, workers, options.trials, folder, f"s{turn}-{workers}")}
                bare = (("one by one", alone), ("in stacks", together)) if workers <= BARE else ()
                for name, work in bare:
                    made[name] = 3600 / in_processes(workers, store, settings, seeds, "cpu", work)
                for name, rate in made.items():
                    results.setdefault(f"{name}, {workers}", []).append(round(rate, 1))
                    print(f"{name}, {workers}: {rate:,.0f}/h", flush=True)
    times = os.times()
    origin = recording.origin("torch", "optuna", "numpy", cpu_s=sum(times[:4]))
    told = {
        "workers": WORKERS, "rounds": options.rounds, "trials": options.trials, "stride": STRIDE,
        "fixed": FIXED, "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip
    write_record(options.out, "workers", settings=told, results=results, origin=origin)


if __name__ == "__main__":
    main()
