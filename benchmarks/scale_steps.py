"""The steps of bench_scale.py, each run in a process of its own."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_gmp_stream import Memory, write_frames
from measure import peak_memory_mb

from hpopt_lib.data.duplicates import SeenFrames
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.memory_bound import memory_needed_mb
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.streaming import StreamingDataset, load_dataset
from hpopt_lib.potential.training import Training, train
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.store import Store
from hpopt_lib.workspace import embedded_store

SPLITS = ("train", "val")


def generate(folder: str, frames: int) -> dict[str, float]:
    """Write a training file and one of a twentieth of its size for validation."""
    start = time.perf_counter()
    for seed, (split, count) in enumerate(zip(SPLITS, (frames, max(frames // 20, 64)), strict=True)):
        write_frames(Path(folder) / f"{split}.traj", count, seed=seed)
    for seed, split in enumerate(SPLITS, start=2):
        write_frames(Path(folder) / f"small-{split}.traj", 64, seed=seed)
    return {"seconds": time.perf_counter() - start}


def featurise(folder: str) -> dict[str, float]:
    """Preprocess both files with two processes."""
    inputs = [Input(split, Path(folder) / f"{split}.traj") for split in SPLITS]
    small = [Input(split, Path(folder) / f"small-{split}.traj") for split in SPLITS]
    preprocess(small, Path(folder) / "small.lmdb", settings=GMPSettings())
    before, out = _cpu(), Path(folder) / "frames.lmdb"
    start = time.perf_counter()
    peak = peak_memory_mb(lambda: preprocess(inputs, out, settings=GMPSettings(), processes=2))
    wall = time.perf_counter() - start
    after = _cpu()
    with Store.open(out) as store:
        entries, size = store.header["splits"], out.stat().st_size
        features = store.settings.num_features
    count = 200_000
    with tempfile.TemporaryDirectory() as other, SeenFrames(Path(other) / "seen", cache_mb=1) as seen:
        for number in range(count):
            seen.first(os.urandom(16), (0, number))
        index_bytes = seen.path.stat().st_size / count
    frames = entries["train"]["n_frames"] + entries["val"]["n_frames"]
    return {
        "wall_s": wall,
        "peak_mb": peak,
        "cpu_main_s": after[0] - before[0],
        "cpu_workers_s": after[1] - before[1],
        "worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "frames": entries["train"]["n_frames"],
        "validation_frames": entries["val"]["n_frames"],
        "atoms": entries["train"]["n_atoms"],
        "features": features,
        "feature_bytes": entries["train"]["n_atoms"] * features * 4,
        "bytes": size,
        "bytes_per_frame": size / frames,
        "seen_bytes": index_bytes,
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Wall and CPU seconds of a block, under ``NAME_s`` and ``NAME_cpu_s``."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[f"{name}_s"], seconds[f"{name}_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu


def _cpu() -> tuple[float, float]:
    """CPU seconds of this process and of its children that ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def one_epoch(folder: str, memory_mb: float) -> dict[str, float]:
    """Train an epoch with a bound on memory."""
    torch.set_num_threads(1)
    with Store.open(Path(folder) / "small.lmdb") as small:
        train(load_dataset(small), TrainSettings(epochs=1), seed=0)
    program = Memory.now()
    seconds: dict[str, float] = {}
    data: dict[str, StreamingDataset] = {}

    def scan() -> None:
        with _timed(seconds, "scan"), Store.open(Path(folder) / "frames.lmdb") as store:
            data["it"] = StreamingDataset(store, memory_mb=memory_mb)

    def epoch() -> None:
        training = Training(data["it"], TrainSettings(epochs=1), seed=0)
        with _timed(seconds, "epoch"):
            training.step()

    scan_mb, epoch_mb = peak_memory_mb(scan), peak_memory_mb(epoch)
    with Store.open(Path(folder) / "frames.lmdb") as store:
        needed = memory_needed_mb(store)
    return {
        **seconds,
        "scan_mb": scan_mb,
        "peak_mb": epoch_mb,
        "program_mb": program,
        "needed_mb": needed,
        "in_memory": data["it"].in_memory,
        "blocks": len(data["it"].train),
    }


def read(folder: str, memory_mb: float) -> dict[str, float]:
    """Read and standardise all training frames without training on them."""
    torch.set_num_threads(1)
    path = Path(folder) / "frames.lmdb"
    with Store.open(path) as store:
        data = StreamingDataset(store, memory_mb=memory_mb)
    batches = Training(data, TrainSettings(), seed=0)._batches
    seconds: dict[str, float] = {}
    for name in ("cold", "warm"):
        if name == "cold":
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with _timed(seconds, name):
            found = sum(len(batch) for batch in batches.epoch(np.random.default_rng(0), 10_000_000))
        assert found == batches.n_frames
    return seconds


def errors(folder: str, seeds: int, quick: bool) -> dict[str, Any]:
    """Validation errors on the embedded set with one block in memory, two, four, eight, and all."""
    torch.set_num_threads(1)
    store, found = embedded_store("oc20-like", stride=4 if quick else 1), {}
    settings = TrainSettings(epochs=2 if quick else 30)
    whole = load_dataset(store, validation="val_id")
    streamed = StreamingDataset(store, validation="val_id", memory_mb=1e6)
    for held in (1, 2, 4, 8):
        if held < len(streamed.train):
            streamed.in_memory = held
            found[str(held)] = [train(streamed, settings, seed=s).best_error for s in range(seeds)]
    results = [train(whole, settings, seed=s) for s in range(seeds)]
    found["all"] = [result.best_error for result in results]
    baselines = whole.validation_errors(results[0].potential)
    return {
        **found,
        "blocks": len(streamed.train),
        "frames": int(streamed.frames_per_block.sum()),
        "epochs": settings.epochs,
        **{name: baselines[f"{name}_energy_mae_mev_per_atom"] for name in ("median", "linear")},
    }


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "generate": generate,
    "preprocess": featurise,
    "train": one_epoch,
    "read": read,
    "errors": errors,
}
