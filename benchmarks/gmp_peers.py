"""Other GMP codes as functions of a frame, for the benchmark; none of them is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.settings import GMPSettings

HOW_TO_GET = (
    "AMPtorch: git clone https://github.com/ulissigroup/amptorch, then in that folder, with the package cffi "
    "and a C++ compiler: python amptorch/descriptor/GMPOrderNorm/libgmpordernorm_builder.py, and put the "
    "folder on PYTHONPATH (empty amptorch/__init__.py if its other requirements are not installed). "
    "GMP-Featurizer: git clone https://github.com/TRI-AMDD/GMP-featurizer and pip install that folder"
)


def amptorch(
    settings: GMPSettings, densities: Mapping[int, ElementDensity], frames: list[Atoms], folder: Path
) -> Callable[[Atoms], np.ndarray] | None:
    """AMPtorch's compiled GMPOrderNorm (solid harmonics, not squared), or None when it is not importable.

    Densities are handed over as files in `folder`.
    """
    if find_spec("amptorch") is None:
        return None
    from amptorch.descriptor.GMPOrderNorm import GMPOrderNorm

    elements = sorted({number for atoms in frames for number in atoms.numbers.tolist()})
    files = {}
    for number in elements:
        density = densities[number]
        path = folder / f"{chemical_symbols[number]}.g"
        pairs = zip(density.amplitudes.tolist(), density.exponents.tolist())
        path.write_text("".join(f"{amplitude!r} {exponent!r}\n" for amplitude, exponent in pairs))
        files[chemical_symbols[number]] = str(path)
    setup = {
        "MCSHs": {"orders": list(range(settings.max_order + 1)), "sigmas": list(settings.sigmas)},
        "atom_gaussians": files,
        "cutoff": settings.cutoff,
        "square": False,
        "solid_harmonics": True,
    }
    descriptor = GMPOrderNorm(setup, list(files))

    def features(atoms: Atoms) -> np.ndarray:
        values = np.empty((len(atoms), settings.num_features))
        for symbol in sorted(set(atoms.get_chemical_symbols())):
            mine = atoms.numbers == chemical_symbols.index(symbol)
            values[mine] = descriptor.calculate_fingerprints(atoms, symbol, False, False)[1]
        return values

    return features


def gmp_featurizer(
    settings: GMPSettings, densities: Mapping[int, ElementDensity], frames: list[Atoms], folder: Path
) -> Callable[[Atoms], np.ndarray] | None:
    """GMP-Featurizer with the given cutoff, or None when it is not importable."""
    if find_spec("GMPFeaturizer") is None:
        return None
    from GMPFeaturizer import ASEAtomsConverter, GMPFeaturizer

    elements = sorted({number for atoms in frames for number in atoms.numbers.tolist()})
    blocks = [f"! {len(elements)} elements"]
    for number in elements:
        density = densities[number]
        pairs = list(zip(density.amplitudes.tolist(), density.exponents.tolist()))
        head = f"{chemical_symbols[number]} {number} {len(pairs)}"
        blocks.append("\n".join([head, *(f"{a!r} {b!r}" for a, b in pairs)]))
    path = folder / "densities.gpsp"
    path.write_text("\n****\n".join(blocks) + "\n")  # a closing line of stars would cost the last element
    setup = {
        "GMPs": {"orders": list(range(settings.max_order + 1)), "sigmas": list(settings.sigmas)},
        "psp_path": str(path),
        "square": False,
        "custom_cutoff": -1,
        "cutoff": settings.cutoff,
    }
    featurizer = GMPFeaturizer(GMPs=setup, converter=ASEAtomsConverter(), verbose=False)
    return lambda atoms: np.array(featurizer.prepare_features([atoms])[0]["features"])
