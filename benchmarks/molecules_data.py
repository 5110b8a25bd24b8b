"""Frames of the benchmark of molecules, and their stores."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import ase.io

from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.store import Store

SHARED = Path(os.environ.get("HPOPT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
FOLDER = SHARED / "data" / "molecules"


@dataclass(frozen=True)
class Case:
    """Frames for training, of which the last ones validate, and frames for tests that nothing is tuned on."""

    name: str
    train: str
    n_validation: int
    tests: dict[str, str]

    def frames(self, name: str) -> list[ase.Atoms]:
        if name.endswith(".xyz"):
            return ase.io.read(FOLDER / name, ":")
        split, _, stride = name.partition("/")
        return load_embedded("ethanol-like", split, stride=int(stride))


CASES = (
    Case("ethanol", "ethanol_train.xyz", 100, {"test": "ethanol_test_MD.xyz"}),
    Case(
        "acetylacetone", "acac_train_300K.xyz", 50,
        {"test, 300 K": "acac_test_300K.xyz", "test, 600 K": "acac_test_600K.xyz"},
    ),
)  # fmt: skip
EMBEDDED = Case("ethanol-like", "train/8", 25, {"test, 500 K": "test/20", "test, 800 K": "test_hot/20"})


def make_store(case: Case, folder: Path, gmp: GMPSettings, *, name: str = "") -> Store:
    """A store of the case; energies are relative to the fit on its training frames."""
    out = folder / f"{name or case.name}.lmdb"
    if not out.exists():
        frames = case.frames(case.train)
        parts = {"train": frames[: -case.n_validation], "validation": frames[-case.n_validation :]}
        parts |= {name: case.frames(source) for name, source in case.tests.items()}
        inputs = []
        for name, part in parts.items():
            path = folder / f"{case.name}-{name}.traj"
            ase.io.write(path, part)
            inputs.append(Input(name, path))
        preprocess(inputs, out, settings=gmp)
    store = Store.open(out)
    if store.settings != gmp:
        sys.exit(f"{out}: made with other settings; give an empty folder with --work")
    return store
