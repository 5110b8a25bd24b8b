"""AMPtorch runs unmodified, and leaves no trace."""

from __future__ import annotations

import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from synthetic import labelled

from hpopt_lib.amptorch import compat
from hpopt_lib.errors import HpoptError


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "NEEDED", ("numpy", "a_module_of_nobody"))
    with pytest.raises(HpoptError, match="not installed: a_module_of_nobody; run make amptorch"):
        with compat.running():
            pytest.fail("nothing to run")


def test_a_folder_of_that_name_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "a_mere_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(compat, "NEEDED", ("a_mere_folder",))
    assert compat.missing() == ["a_mere_folder"]


def test_the_sum_over_an_index() -> None:
    index = torch.tensor([0, 0, 2])
    assert compat.scatter(torch.tensor([1.0, 2.0, 4.0]), index, dim=0).tolist() == [3.0, 0.0, 4.0]
    with pytest.raises(NotImplementedError, match="mean"):
        compat.scatter(torch.ones(3), index, reduce="mean")


def test_everything_is_put_back(amptorch) -> None:
    import skorch.dataset
    import skorch.net

    def state() -> tuple:
        return (
            skorch.net.to_tensor, torch.sparse.FloatTensor, torch.sparse.DoubleTensor, torch.load,
            hasattr(skorch.dataset, "CVSplit"), "torch_scatter" in sys.modules,
            torch.get_default_dtype(), os.getcwd(), random.getstate(), np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(), torch.backends.cudnn.benchmark, list(warnings.filters),
        )  # fmt: skip

    before = state()
    (amptorch / "other").mkdir()
    with pytest.raises(ZeroDivisionError), compat.running(trust_pickle=True) as package:
        trainer = package.trainer.AtomsTrainer({"cmd": {"run_dir": "other", "seed": 3}, "optim": {}})
        trainer.load_config()
        trainer.load_rng_seed()
        assert torch.get_default_dtype() == torch.float64 and os.getcwd().endswith("other")
        assert state()[3:] != before[3:]
        _ = 1 / 0
    assert state() == before


@pytest.mark.parametrize("dtype", ["torch.DoubleTensor", "torch.FloatTensor"])
def test_upstream_trains_on_energies_and_forces(amptorch, dtype: str) -> None:
    """AMPtorch's own trainer, data set and calculator, as its examples use them."""
    from hpopt_lib.amptorch.calculator import UpstreamCalculator
    from hpopt_lib.amptorch.descriptor import write_g
    from hpopt_lib.gmp.densities import load_densities

    files = {}
    for number in (29, 6, 8):
        density = load_densities()[number]
        files[density.symbol] = str(write_g(density, amptorch))
    frames = []
    for distance in np.linspace(2.0, 4.0, 24):
        x, y = distance * np.sin(0.65), distance * np.cos(0.65)
        atoms = Atoms("CuCO", [(5 - x, 5 + y, 5), (5, 5, 5), (5 + x, 5 + y, 5)], cell=[10] * 3, pbc=True)
        atoms.calc = EMT()
        frames.append(labelled(atoms, atoms.get_potential_energy(), atoms.get_forces()))
    config = {
        "model": {"get_forces": True, "num_layers": 2, "num_nodes": 10, "name": "singlenn"},
        "optim": {"force_coefficient": 0.04, "lr": 1e-2, "batch_size": 8, "epochs": 30, "metric": "mae"},
        "dataset": {
            "raw_data": list(frames),
            "fp_scheme": "gmpordernorm",
            "fp_params": {
                "MCSHs": {"orders": [0, 1], "sigmas": [0.5, 1.0]}, "cutoff": 6.0, "atom_gaussians": files
            },
            "elements": list(files), "save_fps": False, "val_split": 0.25,
            "scaling": {"type": "normalize", "range": (-1, 1)},
        },
        "cmd": {"run_dir": str(amptorch), "seed": 1, "dtype": dtype, "verbose": False, "identifier": "t"},
    }  # fmt: skip
    with compat.running() as package:
        trainer = package.trainer.AtomsTrainer(config)
        trainer.train()
        predicted = trainer.predict(frames)
    history = trainer.net.history
    wanted = "float64" if "Double" in dtype else "float32"
    assert str(next(trainer.net.module_.parameters()).dtype) == f"torch.{wanted}"
    for name in ("train_energy_mae", "val_energy_mae", "val_forces_mae"):
        assert np.isfinite(history[:, name]).all()
    assert min(history[:, "val_energy_mae"]) < history[0, "val_energy_mae"]
    (folder,) = (amptorch / "checkpoints").iterdir()
    with pytest.raises(HpoptError, match="can run code when they are read; pass --trust-pickle"):
        UpstreamCalculator(folder)
    frames[3].calc = UpstreamCalculator(folder, trust_pickle=True)
    assert frames[3].get_potential_energy() == pytest.approx(predicted["energy"][3], rel=1e-5)
    assert np.abs(frames[3].get_forces() - predicted["forces"][3]).max() < 1e-4
    (folder / "params.pt").unlink()
    with pytest.raises(HpoptError, match=r"params.pt: missing"):
        UpstreamCalculator(folder, trust_pickle=True)
