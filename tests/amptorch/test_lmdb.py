"""LMDBs of AMPtorch: written for its own data set class, read without it, and never by mistake."""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch

from hpopt_lib.amptorch.lmdb_reader import read_amptorch_lmdb
from hpopt_lib.amptorch.pickles import read_pickle
from hpopt_lib.errors import HpoptError


class Attack:
    """What a hostile file holds: a call that its reader shall make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "owned"),)


def write(path: Path, entries: dict) -> Path:
    with (
        lmdb.open(str(path), subdir=False, map_size=1 << 24, lock=False) as env,
        env.begin(write=True) as txn,
    ):
        for key, value in entries.items():
            data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=-1)
            txn.put(key.encode(), data)
    return path


@pytest.fixture(params=["torch_geometric 1", "torch_geometric 2"])
def entries(request, monkeypatch) -> dict:
    """Two frames as AmpOpt stores them, pickled as the classes of AMPtorch would be."""

    def stand_in(module: str, name: str, **values):
        parts = module.split(".")
        for package in (".".join(parts[: n + 1]) for n in range(len(parts))):
            if package not in sys.modules:  # pickle imports what it names
                monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        if not hasattr(sys.modules[module], name):
            setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
        made = object.__new__(getattr(sys.modules[module], name))
        made.__dict__.update(values)
        return made

    for module in (
        "torch_geometric.data.data",
        "torch_geometric.data.storage",
        "amptorch.preprocessing.utils",
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)

    def data(**values):
        if request.param.endswith("1"):
            return stand_in("torch_geometric.data.data", "Data", edge_index=None, **values)
        inner = stand_in("torch_geometric.data.storage", "GlobalStorage", _mapping=values)
        return stand_in("torch_geometric.data.data", "Data", _store=inner)

    one = {"offset": torch.tensor([1.0, 0.0]), "scale": torch.tensor([0.5, 2.0])}
    eight = {"offset": torch.tensor([0.0, 1.0]), "scale": torch.tensor([4.0, 1.0])}
    scaler = stand_in(
        "amptorch.preprocessing.utils", "FeatureScaler", transform="normalize", elementwise=True,
        unique=[1, 8], scales={1: one, 8: eight}, forcetraining=False, threshold=1e-6,
    )  # fmt: skip
    target = stand_in(
        "amptorch.preprocessing.utils", "TargetScaler", forcetraining=False,
        target_mean=torch.tensor(-100.0, dtype=torch.float64), target_std=torch.tensor(2.0),
    )  # fmt: skip
    numbers = torch.tensor([1, 8])
    frames = [
        data(
            fingerprint=torch.tensor([[2.0, 4.0], [8.0, 3.0]], dtype=torch.float64), atomic_numbers=numbers,
            num_nodes=2, energy=torch.tensor(energy, dtype=torch.float64), forces=torch.ones(2, 3),
        )
        for energy in (0.5, -1.0)
    ]  # fmt: skip
    parameters = {
        "MCSHs": {"0": {"groups": [1], "sigmas": [0.02]}},
        "atom_gaussians": {"H": Path("H.g")},
        "cutoff": 5,
    }
    return {
        "0": frames[0], "1": frames[1], "length": 2, "feature_scaler": scaler, "target_scaler": target,
        "descriptor_setup": ("gmp", parameters, {"cutoff": 5}, ["H", "O"]), "elements": ["H", "O"],
    }  # fmt: skip


def test_a_file_of_ampopt_is_read_in_its_own_units(entries: dict, tmp_path: Path) -> None:
    content = read_amptorch_lmdb(write(tmp_path / "old.lmdb", entries), trust_pickle=True)
    assert content.energy.tolist() == [-99.0, -102.0]
    assert content.features.tolist() == [[2.0, 2.0], [2.0, 2.0]] * 2
    assert content.numbers.tolist() == [1, 8, 1, 8] and content.n_atoms.tolist() == [2, 2]
    assert content.forces is not None and (content.forces == 2.0).all()
    assert (content.scheme, content.elements) == ("gmp", ["H", "O"])
    assert "2 frames" not in content.describe() and "frames   2, 4 atoms, forces yes" in content.describe()


def test_nothing_is_read_without_trust(entries: dict, tmp_path: Path) -> None:
    path = write(tmp_path / "old.lmdb", {**entries, "length": Attack(tmp_path)})
    with pytest.raises(HpoptError, match="can run code when they are read; pass --trust-pickle"):
        read_amptorch_lmdb(path)
    # and with trust, only what AMPtorch stores
    with pytest.raises(HpoptError, match=r"length: (posix|nt).mkdir is not on the list"):
        read_amptorch_lmdb(path, trust_pickle=True)
    assert not (tmp_path / "owned").exists()


def test_a_tensor_hides_no_pickle_of_its_own(tmp_path: Path) -> None:
    """The bytes inside of a pickled tensor are a file of torch.save, which unpickles too."""
    torch.save(Attack(tmp_path), tmp_path / "inner.pt")
    inner = (tmp_path / "inner.pt").read_bytes()

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner,)

    with pytest.raises(HpoptError, match="damaged"):
        read_pickle(pickle.dumps(Outer()), where="file")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("broken", ["missing", "key", "pickle", "layout", "text", "empty"])
def test_broken_files_are_named(entries: dict, tmp_path: Path, broken: str) -> None:
    path = tmp_path / "old.lmdb"
    if broken == "text":
        path.write_text("not LMDB" * 1000, encoding="utf-8")
    elif broken == "key":
        write(path, {key: value for key, value in entries.items() if key != "target_scaler"})
    elif broken == "pickle":
        write(path, {**entries, "1": pickle.dumps(entries["1"])[:-20]})
    elif broken == "layout":
        write(path, {**entries, "descriptor_setup": ("gmp",)})
    elif broken == "empty":
        write(path, {**entries, "length": 0})
    expected = {
        "missing": "no such file", "key": "target_scaler: missing, so not", "pickle": "1: damaged",
        "layout": "not in AMPtorch's layout", "text": "not a readable LMDB", "empty": "no frame",
    }  # fmt: skip
    with pytest.raises(HpoptError, match=expected[broken]):
        read_amptorch_lmdb(path, trust_pickle=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_upstream_reads_and_trains_on_what_we_write(amptorch, store_path, upstream, dtype: str) -> None:
    from hpopt_lib.amptorch.compat import running
    from hpopt_lib.amptorch.lmdb_writer import write_amptorch_lmdbs
    from hpopt_lib.store import Store

    store = Store.open(store_path)
    paths = write_amptorch_lmdbs(store, amptorch / "lmdb", splits=["train", "val"], dtype=dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for path, arrays in zip(paths, (upstream.train, upstream.validation), strict=True):
        content = read_amptorch_lmdb(path, trust_pickle=True)
        assert content.features.dtype == dtype and content.scheme == "gmpordernorm"
        assert content.energy == pytest.approx(arrays.energy, rel=tolerance)
        scale = np.abs(arrays.features).max(axis=0)
        assert (np.abs(content.features - arrays.features) < tolerance * scale).all()
        assert (content.numbers == arrays.numbers).all()
    with pytest.raises(HpoptError, match="output exists already"):
        write_amptorch_lmdbs(store, amptorch / "lmdb", splits=["val"], dtype=dtype)
    tensor = "torch.DoubleTensor" if dtype == "float64" else "torch.FloatTensor"
    config = {
        "model": {"get_forces": False, "num_layers": 2, "num_nodes": 8, "name": "singlenn"},
        "optim": {"lr": 1e-2, "batch_size": 16, "epochs": 10, "loss": "mae"},
        "dataset": {"lmdb_path": [str(paths[0])], "cache": "full", "val_split": 0.2},
        "cmd": {"run_dir": str(amptorch), "seed": 1, "dtype": tensor, "verbose": False, "identifier": "l"},
    }
    with running() as package:
        seen = package.dataset_lmdb.get_lmdb_dataset([str(path) for path in paths], "no")
        assert len(seen) == 80 and str(seen[70].fingerprint.dtype) == f"torch.{dtype}"
        for env in seen.envs:  # AMPtorch leaves them open, and LMDB opens a file once
            env.close()
        trainer = package.trainer.AtomsTrainer(config)
        trainer.train()
    errors = trainer.net.history[:, "val_energy_mae"]
    assert min(errors) < errors[0]
