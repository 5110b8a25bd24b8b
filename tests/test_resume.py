"""A store that was not finished: what is used again, and what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import ase.io
import lmdb
import numpy as np
import pytest
from synthetic import GMP, GMP_OPTIONS, environment, hpopt_command, slab, slabs, write

from hpopt_lib import featurise, preprocess
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.gmp.backends import Backend
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.inputs import Input
from hpopt_lib.store import Store, StoreWriter
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(preprocess, "SHARD_FRAMES", 5)
    write(tmp_path / "train.traj", slabs(0, 20))
    write(tmp_path / "val.traj", slabs(100, 112))
    return [Input("train", tmp_path / "train.traj"), Input("val", tmp_path / "val.traj")]


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Numbers of frames that were featurised, shard after shard."""
    seen, inner = [], featurise.featurise_shard

    def count(featurizer, frames, dtype):
        seen.append(len(frames))
        return inner(featurizer, frames, dtype)

    monkeypatch.setattr(featurise, "featurise_shard", count)
    return seen


def stopped(files, out: Path, *, after: int, **options) -> None:
    """Run until `after` shards are stored, then press Ctrl-C."""
    with pytest.MonkeyPatch.context() as patch:
        inner = StoreWriter.add

        def add(self, shard):
            if self.n_shards == after:
                raise KeyboardInterrupt
            return inner(self, shard)

        patch.setattr(StoreWriter, "add", add)
        with pytest.raises(KeyboardInterrupt):
            preprocess.preprocess(files, out, **{"settings": GMP, **options})
    assert not out.exists() and out.with_name(f".{out.name}.part").exists()


def same_content(one: Store, other: Store) -> bool:
    volatile = {"created"}
    if any(one.header[k] != other.header[k] for k in one.header if k not in volatile):
        return False
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name == "forces") and a.info == b.info
        for split in one.splits
        for a, b in [(one.read(split), other.read(split))]
        for name in (*FRAME_FIELDS, *ATOM_FIELDS)
    )


@pytest.mark.parametrize("after", [1, 3, 4, 6])
def test_goes_on_without_computing_again(files, tmp_path, counted, capsys, after):
    preprocess.preprocess(files, tmp_path / "whole.lmdb", settings=GMP)
    shards = list(counted)
    assert shards == [5, 5, 5, 5, 5, 5, 2]
    stopped(files, tmp_path / "s.lmdb", after=after)
    counted.clear()
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    assert counted == shards[after:]
    assert f"{sum(shards[: min(after, 4)])} frames were stored already" in capsys.readouterr().err
    with Store.open(tmp_path / "whole.lmdb") as one, Store.open(tmp_path / "s.lmdb") as other:
        assert same_content(one, other)
    assert not list(tmp_path.glob(".s.lmdb*"))


def test_nothing_is_used_for_other_settings(files, tmp_path, counted):
    other = GMPSettings(**{**GMP.to_dict(), "cutoff": GMP.cutoff + 0.5})
    for options in ({"settings": other}, {"dtype": "float64"}, {"backend": Backend("exact")}):
        stopped(files, tmp_path / "s.lmdb", after=3)
        counted.clear()
        preprocess.preprocess(files, tmp_path / "s.lmdb", overwrite=True, **{"settings": GMP, **options})
        assert sum(counted) == 32
        (tmp_path / "s.lmdb").unlink()


def test_other_frames_are_computed_again(files, tmp_path, counted):
    stopped(files, tmp_path / "s.lmdb", after=6)
    frames = ase.io.read(files[0].path, ":")
    frames[7] = slab(1000)
    write(files[0].path, frames)
    counted.clear()
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    assert counted == [5, 5, 5, 5, 5, 2]  # all but the first shard
    with Store.open(tmp_path / "s.lmdb") as store:
        assert store.read("train").positions == pytest.approx(np.concatenate([a.positions for a in frames]))


def test_fewer_frames_leave_nothing_behind(files, tmp_path):
    stopped(files, tmp_path / "s.lmdb", after=6)
    write(files[1].path, ase.io.read(files[1].path, ":5"))
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    with Store.open(tmp_path / "s.lmdb") as store:
        assert len(store.read("train")) == 20 and len(store.read("val")) == 5
    with lmdb.open(str(tmp_path / "s.lmdb"), subdir=False, readonly=True, lock=False) as opened:
        with opened.begin() as txn:
            assert txn.get(b"shard/00000004") and txn.get(b"shard/00000005") is None


def test_a_damaged_shard_is_computed_again(files, tmp_path, counted):
    stopped(files, tmp_path / "s.lmdb", after=4)
    with lmdb.open(str(tmp_path / ".s.lmdb.part"), subdir=False, lock=False) as opened:
        with opened.begin(write=True) as txn:
            data = bytearray(txn.get(b"shard/00000002/features"))
            data[40] ^= 1
            txn.put(b"shard/00000002/features", bytes(data))
    counted.clear()
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    assert counted == [5, 5, 5, 5, 2]


@pytest.mark.parametrize("content", [b"", b"no store at all", bytes(50_000)])
def test_any_other_file_under_that_name_is_replaced(files, tmp_path, content):
    (tmp_path / ".s.lmdb.part").write_bytes(content)
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    with Store.open(tmp_path / "s.lmdb") as store:
        assert len(store.read("train")) == 20


def test_only_one_process_at_a_time(files, tmp_path):
    with atomic_path(tmp_path / "s.lmdb", resumable=True) as temporary:
        with pytest.raises(HpoptError, match="s.lmdb: another process is writing it"):
            preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
        temporary.write_bytes(b"x")


SLOW_SHARDS = """
import hpopt_lib.preprocess, hpopt_lib.store.writer as writer, time
hpopt_lib.preprocess.SHARD_FRAMES = 5
add = writer.StoreWriter.add
def slow(self, shard):
    number = add(self, shard)
    print("added", number, flush=True)
    if number == 1:
        time.sleep(60)
    return number
writer.StoreWriter.add = slow
"""


def children(number: int) -> list[int]:
    listed = Path(f"/proc/{number}/task/{number}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def test_kill_9_with_two_processes(files, tmp_path, counted):
    command = hpopt_command(
        "preprocess", "train.traj", "val.traj", "--out", "s.lmdb", "--processes", "2", *GMP_OPTIONS,
        code=SLOW_SHARDS,
    )  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["added 0\n", "added 1\n"]
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (tmp_path / "s.lmdb").exists()
    preprocess.preprocess(files, tmp_path / "s.lmdb", settings=GMP)
    assert counted == [5, 5, 5, 5, 2]
    deadline = time.monotonic() + 20
    while alive := [worker for worker in workers if running(worker)]:
        assert time.monotonic() < deadline, f"workers outlive the killed process: {alive}"
        time.sleep(0.1)


def running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{number}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
