"""AMPtorch's features are ours, squared, where it is given structures that it can handle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from synthetic import GMP, slab

from hpopt_lib.amptorch.descriptor import columns_settings, densities_of, placed, upstream_features, write_g
from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import load_densities
from hpopt_lib.gmp.density_files import read_g
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.network import feature_columns
from hpopt_lib.potential.settings import TrainSettings

SHARP = replace(GMP, smooth_cutoff=False)


def on_faces() -> Atoms:
    """Atoms on the faces of the cell up to rounding, where AMPtorch by itself loses neighbours."""
    corners = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    atoms = Atoms("Cu4", scaled_positions=corners, cell=[3.6] * 3, pbc=True)
    atoms.positions -= 1e-17
    return atoms


@pytest.mark.parametrize(
    "atoms", [slab(1), on_faces(), molecule("CH3CH2OH")], ids=["slab", "faces", "molecule"]
)
def test_values_are_the_squares_of_ours(amptorch, atoms: Atoms) -> None:
    ours = GMPFeaturizer(SHARP, backend="exact")(atoms) ** 2
    (theirs,) = upstream_features([atoms], SHARP, atoms.numbers)
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 1e-10 * ours.max()


def test_placing_keeps_all_distances() -> None:
    atoms = slab(5)
    copy = placed(atoms)
    assert copy.get_all_distances(mic=True) == pytest.approx(atoms.get_all_distances(mic=True))
    scaled = copy.get_scaled_positions(wrap=False)
    assert scaled.min() > 1e-3 and scaled.max() < 1 - 1e-3
    alone = placed(molecule("H2O"))
    assert alone.cell.rank == 3 and not alone.pbc.any()
    assert alone.get_all_distances() == pytest.approx(molecule("H2O").get_all_distances())


def test_columns_name_the_same_features() -> None:
    settings = GMPSettings(sigmas=(0.2, 0.5, 1.0, 2.0), max_order=3)
    columns = feature_columns(settings, TrainSettings(max_order=1, num_sigmas=2))
    assert columns_settings(settings, columns)["MCSHs"] == {"orders": [0, 1], "sigmas": [0.2, 2.0]}


def test_densities_survive_the_file(tmp_path) -> None:
    density = load_densities()[29]
    (read,) = read_g(write_g(density, tmp_path)).values()
    assert read.amplitudes.tolist() == density.amplitudes.tolist()
    assert read.exponents.tolist() == density.exponents.tolist()
    with pytest.raises(HpoptError, match="not the shipped table; preprocess with the shipped"):
        densities_of(GMPSettings(densities="sha256:other"))


def test_features_are_computed_once(upstream, dataset, store_path, monkeypatch) -> None:
    from hpopt_lib.amptorch import features
    from hpopt_lib.potential.dataset import Dataset
    from hpopt_lib.store import Store

    store = Store.open(store_path)
    monkeypatch.setattr(features, "upstream_features", None)  # computing again would fail
    again = features.upstream_split(store, "val")
    assert (again.features == upstream.validation.features).all()
    assert again.features.shape == dataset.validation.features.shape
    some = Dataset.from_store(store, validation="val", n_train=7, seed=4)
    chosen = features.upstream_dataset(some, store, "val").train
    assert (chosen.energy == some.train.energy).all() and (chosen.positions == some.train.positions).all()
    whole = {row.tobytes() for row in upstream.train.features}
    assert all(row.tobytes() in whole for row in chosen.features)

    path = features.cache_path(store, "val")
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[: len(kept) // 2])
        with pytest.raises(HpoptError, match=r"features: damaged .*; remove it; it is made again"):
            features.upstream_split(store, "val")
    finally:
        path.write_bytes(kept)
