"""Featurising a data set of many frames, as `hpopt preprocess` does it."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from hpopt_lib.data import embedded
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.inputs import Input
from hpopt_lib.preprocess import preprocess


def write_frames(path: Path, n_frames: int, *, seed: int = 0) -> int:
    """Rattled copies of the embedded slabs; returns the number of atoms."""
    sources = embedded.load_embedded("oc20-like", "val_ood_both", stride=3)
    generator, n_atoms = np.random.default_rng(seed), 0
    with Trajectory(path, "w") as trajectory:
        for number in range(n_frames):
            atoms = sources[number % len(sources)].copy()
            atoms.positions += generator.normal(0.0, 0.05, atoms.positions.shape)
            forces = generator.normal(0.0, 1.0, atoms.positions.shape)
            atoms.calc = SinglePointCalculator(atoms, energy=float(generator.normal()), forces=forces)
            atoms.info = {}
            trajectory.write(atoms)
            n_atoms += len(atoms)
    return n_atoms


class Memory(threading.Thread):
    """Largest resident memory (MB) of this process while it runs, as a series in time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.series: list[float] = []
        self.done = threading.Event()

    @staticmethod
    def now() -> float:
        """Resident memory in MB."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def run(self) -> None:
        while not self.done.wait(0.2):
            self.series.append(self.now())


def stream(n_frames: int, *, processes: int | None = None) -> str:
    """Write synthetic frames, featurise them into a store, and say what 100,000 would take."""
    processes = processes or min(2, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "train.traj", Path(folder) / "train.lmdb"
        n_atoms = write_frames(path, n_frames)
        warm = Path(folder) / "warm.traj"
        ase.io.write(warm, ase.io.read(path, ":64"))
        preprocess([Input("train", warm)], Path(folder) / "warm.lmdb", settings=GMPSettings())
        memory = Memory()
        before = memory.now()
        memory.start()
        start = time.perf_counter()
        preprocess([Input("train", path)], out, settings=GMPSettings(), processes=processes)
        seconds = time.perf_counter() - start
        memory.done.set()
        memory.join()
        series = memory.series
        size = out.stat().st_size / 2**20
    half, end = np.median(series[len(series) // 3 : len(series) // 2]) - before, max(series) - before
    return (
        f"{n_frames:,} synthetic frames ({n_atoms / n_frames:.0f} atoms each, default settings) from a .traj "
        f"file into a store of {size:.0f} MB, read, checked, featurised and written by {processes} "
        f"processes: {seconds:.0f} s of wall time ({n_frames / seconds:.0f} frames/s). At that rate 100,000 "
        f"frames take {100_000 / n_frames * seconds / 60:.1f} minutes. Memory of the main process over its "
        f"start: {half:.0f} MB half-way, {end:.0f} MB at most."
    )
