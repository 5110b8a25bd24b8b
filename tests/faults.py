"""Break a running study at random, and prove from its database that nothing was lost.

    python tests/faults.py --seeds 1,2,3 --workers 4 --trials 40

Workers are processes of this computer, the server is a private one (`hpopt db`) in a temporary folder. Faults are
drawn by the seed: kill -9 of a worker, SIGTERM of a worker, kill -9 of the server, a clean stop of the server and
a start on another port. Afterwards every trial must be accounted for; see tests/cluster/proof.py. Without a
server program: --storage sqlite or --storage journal, with faults of workers only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS / "cluster")]

from proof import problems, summary  # noqa: E402

SPACE = '[lr]\ntype = "float"\nlow = 1e-3\nhigh = 1e-1\nlog = true\n'
EPOCHS = 100


class Faults:
    """One study that is broken by one seed."""

    def __init__(
        self, folder: Path, seed: int, *, workers: int, trials: int, storage: str, store: Path
    ) -> None:
        self.folder, self.random, self.seed = folder, random.Random(seed), seed
        self.workers, self.trials, self.store = workers, trials, store
        self.server = storage == "server"
        self.address = "team" if self.server else f"{storage}:///{folder}/study.{storage}"
        self.environment = {
            **os.environ,
            "HPOPT_HOME": str(folder / "home"),
            "HPOPT_HEARTBEAT_S": "2",
            "HPOPT_GRACE_S": "20",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        os.environ["HPOPT_HOME"] = self.environment["HPOPT_HOME"]
        self.running: list[subprocess.Popen[bytes]] = []
        self.done = Counter[str]()
        self.ports: list[int] = []

    def hpopt(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["hpopt", *map(str, arguments)], env=self.environment, cwd=self.folder, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise SystemExit(f"hpopt {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done

    def log(self, text: str) -> None:
        print(f"  seed {self.seed} {time.monotonic() - self.start:5.1f} s: {text}", flush=True)

    # ---- the study ----

    def prepare(self) -> None:
        self.start = time.monotonic()
        (self.folder / "space.toml").write_text(SPACE)
        if self.server:
            self.hpopt("db", "init", "team", "--dir", self.folder / "server")
            self.start_server()
        self.hpopt(
            "study", "create", "broken", self.store, "--trials", self.trials, "--storage", self.address, "--space",
            "space.toml", "--sampler", "random", "--pruner", "none", "--seed", self.seed, "--set", f"epochs={EPOCHS}",
            "--set", "num_layers=2", "--set", "num_nodes=32", "--set", "batch_size=4",
        )  # fmt: skip
        for _ in range(self.workers):
            self.start_worker()

    def start_worker(self) -> None:
        with open(self.folder / "workers.log", "ab") as stream:
            self.running.append(
                subprocess.Popen(
                    ["hpopt", "worker", "broken", "--storage", self.address], env=self.environment, cwd=self.folder,
                    stdout=stream, stderr=stream, start_new_session=True,
                )
            )  # fmt: skip

    def start_server(self) -> None:
        from hpopt_lib.tuning.endpoint import read_endpoint

        self.hpopt("db", "start", "team")
        endpoint = read_endpoint(self.folder / "server")
        self.ports.append(endpoint.port if endpoint else 0)

    # ---- what happens to it ----

    def fault(self) -> None:
        kinds = ["kill worker", "kill worker", "stop worker"]
        if self.server:
            kinds += ["kill server", "move server"]
        kind = self.random.choice(kinds)
        alive = [process for process in self.running if process.poll() is None]
        if "worker" in kind:
            if not alive:
                return
            victim = self.random.choice(alive)
            victim.send_signal(signal.SIGKILL if kind == "kill worker" else signal.SIGTERM)
            code = victim.wait(120)
            self.log(f"{kind}: {victim.pid} ended with {code}")
            self.start_worker()
        elif kind == "kill server":
            from hpopt_lib.cluster.server_lock import read_state

            state = read_state(self.folder / "server")
            os.kill(state.pid, signal.SIGKILL)
            time.sleep(self.random.uniform(0.5, 6))
            self.start_server()
            self.log(f"{kind}: back on port {self.ports[-1]}")
        else:
            self.hpopt("db", "stop", "team")
            time.sleep(self.random.uniform(0.5, 6))
            self.start_server()
            self.log(f"{kind}: back on port {self.ports[-1]}")
        self.done[kind] += 1

    def study(self):
        from hpopt_lib.tuning.storage import load_study

        return load_study("broken", self.address)

    def finished(self) -> int:
        states = Counter(trial.state.name for trial in self.study().get_trials(deepcopy=False))
        return states["COMPLETE"] + states["PRUNED"]

    def run(self, *, pause: tuple[float, float], faults: int, limit_s: float) -> list[str]:
        """Break the study until it is done; what the proof finds."""
        self.prepare()
        end = time.monotonic() + limit_s
        for _ in range(faults):
            if self.finished() >= 0.8 * self.trials or time.monotonic() > end:
                break
            time.sleep(self.random.uniform(*pause))
            self.fault()
        self.log(f"no more faults; {self.finished()} of {self.trials} trials are finished")
        while any(process.poll() is None for process in self.running):
            if time.monotonic() > end:
                return [f"the workers have not ended after {limit_s:.0f} s: {self.folder / 'workers.log'}"]
            time.sleep(0.3)
        codes = Counter(process.returncode for process in self.running)
        study = self.study()
        self.log(f"{summary(study)}; exit codes {dict(codes)}; faults {dict(self.done)}")
        found = problems(study, self.trials, epochs=EPOCHS)
        if unexpected := set(codes) - {0, 75, -signal.SIGKILL, -signal.SIGTERM}:
            found.append(f"workers ended with {sorted(unexpected)}")
        return found

    def tidy(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self.server:
            self.hpopt("db", "stop", "team", check=False)


def make_store(folder: Path) -> Path:
    """A small feature store of synthetic slabs."""
    from synthetic import GMP, slabs, write

    from hpopt_lib.inputs import Input
    from hpopt_lib.preprocess import preprocess

    inputs = []
    for name, start, stop in (("train", 0, 60), ("val", 60, 80)):
        write(folder / f"{name}.traj", slabs(start, stop))
        inputs.append(Input(name, folder / f"{name}.traj"))
    preprocess(inputs, folder / "store.lmdb", settings=GMP, dtype="float64")
    return folder / "store.lmdb"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="1,2,3", help="seeds of the faults, separated by commas")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--storage", choices=["server", "sqlite", "journal"], default="server")
    parser.add_argument("--pause", default="1,5", help="shortest and longest seconds between two faults")
    parser.add_argument("--faults", type=int, default=12, help="most faults of each seed")
    parser.add_argument("--limit", type=float, default=600, help="seconds for each seed")
    parser.add_argument("--keep", type=Path, help="work in this folder and keep it")
    options = parser.parse_args(arguments)
    # workers and server must not outlive this program
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    low, high = (float(part) for part in options.pause.split(","))
    bad = 0
    with tempfile.TemporaryDirectory(prefix="hpopt-faults-") as temporary:
        base = options.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        store = make_store(base)
        for seed in (int(part) for part in options.seeds.split(",")):
            folder = base / f"seed-{seed}"
            folder.mkdir()
            faults = Faults(
                folder,
                seed,
                workers=options.workers,
                trials=options.trials,
                storage=options.storage,
                store=store,
            )
            try:
                found = faults.run(pause=(low, high), faults=options.faults, limit_s=options.limit)
            finally:
                faults.tidy()
            print(f"seed {seed}: {'all trials accounted for' if not found else 'NOT WELL'}", flush=True)
            for problem in found:
                print(f"    {problem}")
            bad += bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
