"""The feature store: what goes in comes out, in place, without pickle, from any number of processes."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from synthetic import GMP, environment, slabs

from hpopt_lib.errors import HpoptError
from hpopt_lib.featurise import featurise_shard
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.store import SplitArrays, Store, StoreWriter, describe
from hpopt_lib.store.arrays import ATOM_FIELDS, FRAME_FIELDS

FIELDS = (*FRAME_FIELDS, *ATOM_FIELDS)
HEADER = {
    "created": "2026-01-01", "hpopt_version": "0", "dtype": "float32", "units": {"energy": "eV", "forces": "eV/Å"},
    "gmp": GMP.to_dict(), "constant_features": [], "splits": {}, "scaler": {}, "reference": {},
}  # fmt: skip


def shard_of(start: int, stop: int, dtype: str = "float32") -> SplitArrays:
    frames = [(f"frame {i}", atoms) for i, atoms in enumerate(slabs(start, stop))]
    return featurise_shard(GMPFeaturizer(GMP), frames, np.dtype(dtype))


def write_store(path: Path, shards: list[SplitArrays], *, first_split: int | None = None, **options) -> Path:
    """A store with the splits `train` and, from shard number `first_split` on, `val`."""
    writer = StoreWriter(path, **options)
    for shard in shards:
        writer.add(shard)
    cut = len(shards) if first_split is None else first_split
    splits = {"train": (0, cut), "val": (cut, len(shards))}
    entries = {
        name: {"first_shard": low, "n_shards": high - low, "n_frames": 1, "n_atoms": 1, "elements": ["Cu"]}
        for name, (low, high) in splits.items()
        if high > low
    }
    writer.finish({**HEADER, "splits": entries})
    return path


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def mapped_ranges(path: Path) -> list[tuple[int, int]]:
    """Where this process has mapped a file."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ours = [line[0] for line in lines if len(line) > 5 and line[5] == str(path.resolve())]
    return [(int(low, 16), int(high, 16)) for low, high in (entry.split("-") for entry in ours)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_of_every_field_and_dtype(tmp_path, dtype):
    shards = [shard_of(0, 3, dtype), shard_of(3, 5, dtype), shard_of(5, 6, dtype)]
    shards[1].forces[:] = np.nan
    with Store.open(write_store(tmp_path / "s.lmdb", shards, first_split=2)) as store:
        assert store.splits == ["train", "val"] and store.train_split == "train"
        assert store.validation_splits() == ["val"] and store.settings == GMP
        read = store.read("train")
        for name in FIELDS:
            expected = np.concatenate([getattr(s, name) for s in shards[:2]])
            found = getattr(read, name)
            assert found.dtype == expected.dtype and np.array_equal(
                found, expected, equal_nan=name == "forces"
            ), name
        assert read.features.dtype == dtype and read.energy.dtype == read.positions.dtype == np.float64
        assert read.info == shards[0].info + shards[1].info and len(read) == 5
        assert np.array_equal(store.read("val").features, shards[2].features)


def test_take_and_system_ids(tmp_path):
    arrays = shard_of(0, 6)
    taken = arrays.take(np.array([4, 1]))
    assert taken.system_ids.tolist() == [arrays.info[4]["system_id"], arrays.info[1]["system_id"]]
    assert np.array_equal(taken.features, np.concatenate([arrays.features[36:45], arrays.features[9:18]]))
    assert taken.energy.tolist() == [arrays.energy[4], arrays.energy[1]]
    assert len(arrays.take(np.array([], int))) == 0


def test_arrays_lie_in_the_map_and_are_read_only(tmp_path):
    path = write_store(tmp_path / "s.lmdb", [shard_of(0, 4)])
    store = Store.open(path)
    (shard,) = store.shards("train")
    ranges = mapped_ranges(path)
    assert ranges, "the file must be mapped"
    for name in FIELDS:
        array = getattr(shard, name)
        assert not array.flags.owndata and not array.flags.writeable, name
        start = address(array)
        assert any(low <= start and start + array.nbytes <= high for low, high in ranges), name
    with pytest.raises(ValueError, match="read-only"):
        shard.features[0, 0] = 1.0
    assert address(next(store.shards("train")).features) == address(shard.features)


def test_arrays_outlive_the_store(tmp_path):
    expected = shard_of(0, 4)
    path = write_store(tmp_path / "s.lmdb", [expected])
    store = Store.open(path)
    features = next(store.shards("train")).features
    store.close()
    del store
    assert mapped_ranges(path) and np.array_equal(features, expected.features)
    part = features[2:5]
    del features
    assert np.array_equal(part, expected.features[2:5])
    del part
    assert not mapped_ranges(path)  # and nothing is kept longer than needed


def test_a_closed_store_says_so(tmp_path):
    store = Store.open(write_store(tmp_path / "s.lmdb", [shard_of(0, 1)]))
    store.close()
    with pytest.raises(HpoptError, match="the store is closed"):
        store.read("train")


def test_two_stores_of_one_file_in_one_process(tmp_path):
    path = write_store(tmp_path / "s.lmdb", [shard_of(0, 2)])
    with Store.open(path) as one, Store.open(path) as two:
        first = next(one.shards("train")).features
        one.close()
        assert np.array_equal(first, two.read("train").features)


def test_no_pickle_in_writing_and_reading(tmp_path, monkeypatch):
    shard = shard_of(0, 2)

    def forbidden(*_args, **_kwargs):
        raise AssertionError("pickle was used")

    for name in ("loads", "load", "dumps", "dump", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, forbidden)
    for name in ("load", "save", "savez"):
        monkeypatch.setattr(np, name, forbidden)
    path = write_store(tmp_path / "s.lmdb", [shard])
    assert np.array_equal(Store.open(path).read("train").features, shard.features)


def test_every_value_is_json_or_the_bytes_of_an_array(tmp_path):
    shard = shard_of(0, 2)
    path = write_store(tmp_path / "s.lmdb", [shard])
    arrays = {f"shard/00000000/{name}": getattr(shard, name).tobytes() for name in FIELDS}
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        for key, value in txn.cursor():
            if key.decode() in arrays:
                assert value.startswith(arrays.pop(key.decode()))
            else:
                assert isinstance(json.loads(value.rstrip(b"\0")), dict)
    assert not arrays


def test_the_map_grows_from_a_tiny_one(tmp_path):
    shards = [shard_of(i, i + 2) for i in range(0, 12, 2)]
    path = write_store(tmp_path / "s.lmdb", shards, initial_map_bytes=8192)
    assert path.stat().st_size > 20 * 8192
    read = Store.open(path).read("train")
    assert np.array_equal(read.positions, np.concatenate([s.positions for s in shards]))
    assert [p.name for p in tmp_path.iterdir()] == ["s.lmdb"]  # no lock file, no rest


def read_sum(path: Path, repeats: int = 5) -> tuple[float, int]:
    store = Store.open(path)
    return sum(
        float(store.read(s).positions.sum()) for s in store.splits for _ in range(repeats)
    ), os.getpid()


def sum_of_open_store(store: Store) -> tuple[float, int]:
    return sum(float(store.read(split).positions.sum()) for split in store.splits), os.getpid()


def test_several_processes_read_at_once(store_path):
    with Store.open(store_path) as store:
        expected = sum_of_open_store(store)[0]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            sums = [pool.apply_async(read_sum, (store_path,)) for _ in range(4)]
            sums += [pool.apply_async(sum_of_open_store, (store,)) for _ in range(2)]  # a store can be sent
            found = [result.get(60) for result in sums]
    assert [value / 5 for value, _ in found[:4]] == pytest.approx([expected] * 4)
    assert [value for value, _ in found[4:]] == pytest.approx([expected] * 2)
    assert os.getpid() not in {pid for _, pid in found}


def test_a_store_survives_a_fork(store_path):
    """Parent and child go on reading with a store opened before the fork; the child's end harms nothing."""
    code = """
import os, sys
from hpopt_lib.store import Store
store = Store.open(sys.argv[1])
kept = next(store.shards("train")).positions
expected = store.read("val").positions.sum()
child = os.fork()
if child == 0:
    same = store.read("val").positions.sum() == expected and abs(kept.sum()) >= 0
    store.close()
    del kept, store
    sys.exit(0 if same else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.read("val").positions.sum() == expected and abs(kept.sum()) >= 0
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(store_path)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


READ_ALL = """
import sys
import numpy as np
from hpopt_lib.errors import HpoptError
from hpopt_lib.store import Store
for path in sys.argv[1:]:
    try:
        store = Store.open(path)
        total = sum(float(np.nansum(getattr(shard, field)))
                    for split in store.splits for shard in store.shards(split)
                    for field in ("energy", "positions", "forces", "features", "tags"))
        print("read", total)
    except HpoptError as error:
        assert error.remedy, error
        print(error)
"""


def read_elsewhere(paths: list[Path]) -> list[str]:
    """What reading each file says; in another process, since a signal such as SIGBUS would end it."""
    result = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, paths)], env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, f"exit {result.returncode}: {result.stderr}"
    return result.stdout.splitlines()


def test_a_truncated_store_is_an_error_at_every_length(store_path, tmp_path):
    whole = store_path.read_bytes()
    lengths = [0, 1, 100, 4095, 4096, 4097, 8191, 8192, 8193, 12288, 40000]
    lengths += [len(whole) // 2, len(whole) - 8192, len(whole) - 4096, len(whole) - 1]
    paths = []
    for length in lengths:
        paths.append(tmp_path / f"{length}.lmdb")
        paths[-1].write_bytes(whole[:length])
    said = read_elsewhere([*paths, store_path])
    assert len(said) == len(paths) + 1 and said[-1].startswith("read")
    for line, path in zip(said, paths):
        assert line.startswith(f"{path}: ") and ("truncated" in line or "not a readable LMDB" in line), line


def test_damage_anywhere_gives_an_error_or_numbers_but_never_a_signal(store_path, tmp_path):
    whole, rng = store_path.read_bytes(), random.Random(0)
    pages, paths = len(whole) // 4096, []
    for number in range(60):
        damaged = bytearray(whole)
        start = 4096 * rng.randrange(pages) + (0 if number % 2 else rng.randrange(4000))
        damaged[start : start + 64] = rng.randbytes(64)
        paths.append(tmp_path / f"{number}.lmdb")
        paths[-1].write_bytes(damaged)
    said = read_elsewhere(paths)
    assert len(said) == 60 and sum("damaged; make it again" in line for line in said) >= 3


def test_random_bytes_and_text_are_not_stores(tmp_path):
    paths = [tmp_path / name for name in ("random.lmdb", "zeros.lmdb", "text.lmdb")]
    for path, data in zip(paths, (random.Random(1).randbytes(30000), bytes(30000), b"energy,1\n" * 2000)):
        path.write_bytes(data)
    assert all("not a readable LMDB file" in line for line in read_elsewhere(paths))


def put(path: Path, items: dict[bytes, bytes], *, subdir: bool = False) -> Path:
    with lmdb.open(str(path), subdir=subdir, lock=False) as env, env.begin(write=True) as txn:
        for key, value in items.items():
            txn.put(key, value)
    return path


def test_foreign_lmdb_files_and_folders(tmp_path):
    file = put(tmp_path / "ase.lmdb", {b"0": pickle.dumps({"natoms": 3}), b"length": b"1"})
    with pytest.raises(HpoptError, match="an LMDB file, but not a feature store"):
        Store.open(file)
    folder = put(tmp_path / "folder.lmdb", {b"header": b"{}"}, subdir=True)
    with pytest.raises(HpoptError, match="a folder, not a feature store"):
        Store.open(folder)
    with pytest.raises(HpoptError, match="no such store; make one with hpopt preprocess"):
        Store.open(tmp_path / "missing.lmdb")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"not json", "not a feature store"),
        (b"\xff\xfe\x00", "not a feature store"),
        (b"[]", "not a feature store"),
        (b'{"format": "other", "version": 1}', "not a feature store"),
        (
            b'{"format": "hpopt-feature-store", "version": 3}',
            "format version 3, this hpopt reads versions 1 and 2",
        ),
        (b'{"format": "hpopt-feature-store"}', "format version None"),
        (b'{"format": "hpopt-feature-store", "version": 1}', "header: lacks constant_features, created"),
        (b'{"format": "hpopt-feature-store", "version": 2}', "header: lacks constant_features, created"),
    ],
)
def test_headers_that_are_not_ours(tmp_path, header, message):
    with pytest.raises(HpoptError, match=message):
        Store.open(put(tmp_path / "s.lmdb", {b"header": header}))


def test_an_unpickled_value_never_runs(tmp_path):
    """A foreign store whose values are pickles with a payload: opening it must not run them."""
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    path = put(tmp_path / "evil.lmdb", {b"header": pickle.dumps(Payload()), b"0": pickle.dumps(Payload())})
    with pytest.raises(HpoptError, match="not a feature store"):
        Store.open(path)
    assert not marker.exists()


def test_missing_or_short_arrays(store_path, tmp_path):
    for key, value in ((b"shard/00000000/energy", None), (b"shard/00000000/energy", b"short")):
        path = tmp_path / f"{value}.lmdb"
        path.write_bytes(store_path.read_bytes())
        with lmdb.open(str(path), subdir=False, lock=False) as env, env.begin(write=True) as txn:
            assert txn.delete(key) if value is None else txn.put(key, value)
        with pytest.raises(HpoptError, match="shard/00000000/energy: missing or short; the store is damaged"):
            Store.open(path).read("train")


def test_an_unfinished_store_is_not_a_store(tmp_path):
    writer = StoreWriter(tmp_path / "s.lmdb")
    writer.add(shard_of(0, 2))
    writer.abandon()
    with pytest.raises(HpoptError, match="not a feature store"):
        Store.open(tmp_path / "s.lmdb")


def test_unknown_split(store_path):
    with pytest.raises(HpoptError, match="no split 'test'; it has train, val, ood"):
        Store.open(store_path).read("test")


def test_description_names_what_is_in_it(store_path):
    text = describe(Store.open(store_path))
    for part in (
        "float64",
        "orders 0 to 1",
        "0.4, 0.8, 1.6",
        "cutoff 4 Å",
        "5 elements, rank 4",
        "energy eV",
    ):
        assert part in text
    rows = [line.split() for line in text.splitlines()]
    assert ["train", "60", "540", "yes", "N", "O", "Ni", "Cu", "Pd"] in rows
    assert ["ood", "20", "180", "yes", "N", "O", "Ni", "Cu", "Pd"] in rows


def test_a_header_of_the_store_is_not_changed_by_its_user(store_path):
    store = Store.open(store_path)
    before = copy.deepcopy(store.header)
    store.scaler.update(np.ones((1, GMP.num_features)))
    assert store.header == before
