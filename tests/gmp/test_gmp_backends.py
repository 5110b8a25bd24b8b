"""Tables and compiled kernels against the exact sums: all orders, cells and periodicities, and bad requests."""

from __future__ import annotations

import json

import ase
import numba
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from hpopt_lib.data import embedded
from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp import backends, numba_simd
from hpopt_lib.gmp.densities import ElementDensity, load_densities
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.harmonics import gradient_terms, recursion_terms, solid_harmonics
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.gmp.tables import TABLE_TOLERANCE, radial_derivatives, radial_table

FAST = [
    ("numba", "float64", 1e-8),
    ("numba", "float32", 1e-5),
    ("torch", "float64", 1e-8),
    ("torch", "float32", 1e-5),
]
SIGMAS = (0.16, 0.32, 0.69, 1.1, 2.2)


def skewed(pbc) -> ase.Atoms:
    """Atoms on faces of a small oblique cell and far outside of it."""
    return ase.Atoms(
        "CuOPtH",
        [[0.0, 0.1, 0.0], [1.7, 9.4, 0.3], [-7.2, 1.9, 2.0], [3.4, 0.2, 1.3]],
        cell=[[3.4, 0.2, 0.0], [0.0, 3.6, 0.3], [0.4, 0.0, 3.8]],
        pbc=pbc,
    )


STRUCTURES = {
    "molecule": molecule("CH3CH2OH"),
    "chain": skewed((True, False, False)),
    "layer": skewed((True, False, True)),
    "crystal": skewed(True),
    "cluster in a cell": skewed(False),
    "one atom": ase.Atoms("Pt"),
    "one atom, periodic": bulk("Cu"),
    "rock salt": bulk("NaCl", "rocksalt", a=5.6, cubic=True),
    "far apart": ase.Atoms("Cu2", [[0, 0, 0], [0, 0, 1e5]]),
}


def largest_deviation(ours, exact):
    """In units of the largest value of each column over all structures."""
    scale = np.abs(np.concatenate(exact)).max(0)
    assert (scale > 0).all()
    return (np.abs(np.concatenate(ours) - np.concatenate(exact)).max(0) / scale).max()


@pytest.mark.parametrize("max_order", range(9))
def test_structures_of_all_kinds(max_order):
    for smooth in (True, False):
        settings = GMPSettings(sigmas=SIGMAS, max_order=max_order, cutoff=4.4, smooth_cutoff=smooth)
        exact = [GMPFeaturizer(settings, backend="exact")(atoms) for atoms in STRUCTURES.values()]
        for backend, dtype, tolerance in FAST:
            featurizer = GMPFeaturizer(settings, backend=backend, dtype=dtype)
            ours = [featurizer(atoms) for atoms in STRUCTURES.values()]
            assert all(values.dtype == np.float64 for values in ours)
            assert largest_deviation(ours, exact) < tolerance


@pytest.mark.parametrize(("backend", "dtype", "tolerance"), FAST)
def test_embedded_frames(backend, dtype, tolerance):
    settings = GMPSettings()
    frames = embedded.load_embedded("oc20-like", "val_ood_both", stride=40)
    frames += embedded.load_embedded("ethanol-like", "test", stride=50)
    assert len(frames) > 10
    exact, fast = (
        GMPFeaturizer(settings, backend="exact"),
        GMPFeaturizer(settings, backend=backend, dtype=dtype),
    )
    assert largest_deviation([fast(a) for a in frames], [exact(a) for a in frames]) < tolerance


def test_structures_and_widths_of_the_published_values(shared):
    with np.load(shared / "reference" / "gmp_golden.npz", allow_pickle=False) as arrays:
        golden = {key: arrays[key] for key in arrays.files}
    info, tables = json.loads(str(golden["info_json"])), json.loads(str(golden["densities_json"]))
    for name, columns, power in (
        ("B_ordernorm_solid", slice(None), 1), ("D_tri", slice(1, None), 1), ("E_highorder_sq", slice(None), 2),
    ):  # fmt: skip
        parameters = info["params"][name]
        densities = {
            int(number): ElementDensity(
                number, int(number), 0, np.array(pairs)[:, 0], np.array(pairs)[:, 1], 0.0, "published"
            )
            for number, pairs in tables[parameters["densities"]].items()
        }
        settings = GMPSettings(
            parameters["sigmas"], max(parameters["orders"]), parameters["cutoff"], smooth_cutoff=False
        )
        for backend, dtype, tolerance in FAST:
            featurizer = GMPFeaturizer(settings, densities, backend=backend, dtype=dtype)
            ours, theirs = [], []
            for k in range(len(info["structures"])):
                numbers, positions, cell, pbc = (
                    golden[f"s{k:02d}_{part}"] for part in ("numbers", "positions", "cell", "pbc")
                )
                ours.append(featurizer(ase.Atoms(numbers, positions, cell=cell, pbc=pbc)) ** power)
                theirs.append(golden[f"s{k:02d}_{name}"][:, columns])
            assert largest_deviation(ours, theirs) < tolerance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_norms_that_vanish_by_symmetry_are_zero(dtype):
    settings = GMPSettings(sigmas=SIGMAS, max_order=3, cutoff=5.0)
    featurizer = GMPFeaturizer(settings, backend="numba", dtype=dtype)
    odd = [k for k, name in enumerate(settings.feature_names()) if name[:2] in ("l1", "l3")]
    high = [k for k, name in enumerate(settings.feature_names()) if name[:2] != "l0"]
    for atoms in (bulk("Cu"), bulk("Cu", cubic=True) * (2, 2, 2), bulk("NaCl", "rocksalt", a=5.6)):
        values = featurizer(atoms)
        assert (values[:, odd] == 0).all() and (values[:, : len(SIGMAS)] > 0).all()
    assert (featurizer(ase.Atoms("Pt"))[:, high] == 0).all()
    assert featurizer(ase.Atoms()).shape == (0, settings.num_features)
    # a small displacement is not mistaken for symmetry
    moved = bulk("Cu", cubic=True)
    moved.positions[0, 0] += 1e-3
    assert (featurizer(moved)[0, odd[: len(SIGMAS)]] > 0).all()


def test_invariance_of_the_compiled_kernels():
    featurizer = GMPFeaturizer(GMPSettings(sigmas=SIGMAS, max_order=4, cutoff=4.4), backend="numba")
    atoms = skewed((True, True, False))
    values = featurizer(atoms)
    turned, wrapped = atoms.copy(), atoms.copy()
    turned.rotate(37.0, (1.0, 2.0, -0.5), rotate_cell=True)
    wrapped.wrap()
    wrapped.positions += [0.3, -4.1, 1.7]
    order = np.array([2, 0, 3, 1])
    for other, expected in (
        (turned, values), (wrapped, values), (atoms[order], values[order]),
        (atoms.repeat((2, 3, 1)), np.tile(values, (6, 1))),
    ):  # fmt: skip
        assert (np.abs(featurizer(other) - expected).max(0) < 1e-10 * np.abs(values).max(0)).all()


def test_threads_change_nothing():
    atoms = bulk("Cu", cubic=True) * (5, 4, 4)
    atoms.rattle(0.1, seed=1)
    settings = GMPSettings(cutoff=5.0)
    one, three = (GMPFeaturizer(settings, backend="numba", threads=n) for n in (1, 3))
    assert len(atoms) == 320 and np.array_equal(one(atoms), three(atoms))
    gradients = []
    for featurizer in (one, three):
        positions = torch.tensor(atoms.positions, requires_grad=True)
        values = featurizer.features_torch(
            positions, atoms.numbers, torch.tensor(atoms.cell.array), atoms.pbc
        )
        gradients.append(torch.autograd.grad(values.square().sum(), positions)[0])
    assert torch.allclose(*gradients, rtol=0.0, atol=1e-12 * float(gradients[0].abs().max()))


def test_recursions_and_gradients_of_harmonics():
    vectors = torch.tensor(np.random.default_rng(3).normal(size=(6, 3)), requires_grad=True)
    expected = solid_harmonics(vectors, 8)
    x = vectors.detach().numpy()
    factors = [*x.T, (x**2).sum(1)]
    ours = np.ones((81, 6))
    for column, u, a, left, v, b, right in recursion_terms(8):
        ours[column] = a * factors[u] * ours[left] + b * factors[v] * ours[right]
    np.testing.assert_allclose(ours.T, expected.detach(), rtol=1e-12, atol=1e-12)
    slopes = np.zeros((81, 6, 3))
    for axis, column, of, factor in gradient_terms(8):
        slopes[column, :, axis] += factor * ours[of]
    for column in range(1, 81):
        (gradient,) = torch.autograd.grad(expected[:, column].sum(), vectors, retain_graph=True)
        np.testing.assert_allclose(
            slopes[column], gradient, rtol=1e-10, atol=1e-10 * float(gradient.abs().max())
        )


@pytest.mark.parametrize("smooth", [True, False])
def test_table_keeps_its_promise_between_the_nodes(smooth):
    settings = GMPSettings(sigmas=SIGMAS, max_order=3, cutoff=6.0, smooth_cutoff=smooth)
    density = load_densities()[29]
    for tolerance in TABLE_TOLERANCE.values():
        table = radial_table(density, settings, tolerance=tolerance)
        assert table.radii()[[0, -1]] == pytest.approx([0.0, 6.0])
        assert np.abs(table.radii() - 4.8).min() < 1e-9  # the switch starts at a node
        nodes = table.nodes
        radii = table.radii(0.5)
        between = 0.5 * (nodes[:-1, 0] + nodes[1:, 0]) + 5 / 32 * (nodes[:-1, 1] - nodes[1:, 1])
        between += (nodes[:-1, 2] + nodes[1:, 2]) / 64
        exact = radial_derivatives(density, settings, radii)[0]
        sizes = np.abs(exact) * radii[:, None, None] ** np.arange(4)[:, None]
        error = np.abs(between - exact) * radii[:, None, None] ** np.arange(4)[:, None]
        far = radii > 0.7
        assert (error[far].max(0) < 1.1 * tolerance * sizes[far].max(0).clip(sizes[far].max() * 1e-12)).all()


def test_kernels_work_where_no_machine_code_can_be_kept(monkeypatch):
    asked = []

    def njit(**options):
        asked.append(options.pop("cache", False))
        if asked[-1]:
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(numba_simd, "njit", njit)
    assert numba_simd.compiled(lambda x: 2.0 * x)(3.0) == 6.0 and asked == [True, False]


def test_requests_that_cannot_be_met(monkeypatch):
    settings = GMPSettings()
    for options, message in (
        ({"backend": "fortran"}, "GMP backend: 'fortran'; choose auto, exact, torch, numba"),
        ({"dtype": "float16"}, "GMP backend: type 'float16'"),
        ({"backend": "exact", "dtype": "float32"}, "exact sums lose too many digits"),
        ({"threads": 0}, "GMP backend: 0 threads"),
    ):
        with pytest.raises(HpoptError, match=message):
            GMPFeaturizer(settings, **options)
    for atoms, message in (
        (ase.Atoms("CuU"), "no element density for U"),
        (ase.Atoms("Cu2", [[0, 0, 0], [np.nan, 0, 0]]), "positions: atom 1"),
        (ase.Atoms("Cu", pbc=True), "cell: a periodic direction"),
    ):
        with pytest.raises(HpoptError, match=message):
            GMPFeaturizer(settings, backend="numba")(atoms)
    monkeypatch.setattr(backends, "find_spec", lambda _: None)
    with pytest.raises(HpoptError, match="numba is not installed; pip install numba"):
        GMPFeaturizer(settings, backend="numba")
    assert np.array_equal(
        GMPFeaturizer(settings)(molecule("H2O")), GMPFeaturizer(settings, backend="exact")(molecule("H2O"))
    )
