"""The text that lies beside written trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpopt_lib.data.frames import Arrays

_WHAT = {
    "oc20-like": """Metal slabs with an adsorbate, in OC20's shape: relaxations, rattles, short dynamics.
Labels are synthetic: effective-medium theory as ASE implements it, good enough for metals and no
chemistry at all for H, C, N and O. Use them to learn and test methods, never to rank catalysts.
Tags: 0 below the surface (fixed), 1 surface, 2 adsorbate. `adsorption_energy` in each frame's info is
the energy minus the relaxed clean slab minus gas references (H2, H2O, N2, CO).""",
    "ethanol-like": """Ethanol in Langevin dynamics on the GFN2-xTB energy surface, in MD17's shape: 500 K,
and 800 K in test_hot. Each split has trajectories of its own. Energies are GFN2-xTB total energies.""",
}


def readme(name: str, provenance: dict[str, Any], arrays: Arrays) -> str:
    """Describe a set as Markdown: what it is, its splits, how it was made."""
    split_of_frame = arrays["system_split"][arrays["frame_system"]]
    rows = [
        f"| {split} | {np.sum(arrays['system_split'] == split)} | {np.sum(split_of_frame == split)} |"
        for split in dict.fromkeys(arrays["system_split"].tolist())
    ]
    versions = ", ".join(f"{package} {number}" for package, number in provenance["versions"].items())
    return "\n".join(
        [
            f"# {name}",
            "",
            _WHAT[name],
            "",
            "Energies are in eV, forces in eV/Å (constraints not applied), positions in Å.",
            "",
            "| split | systems | frames |",
            "|---|---|---|",
            *rows,
            "",
            f"Made on {provenance['date']} with seed {provenance['seed']}, scale {provenance['scale']:g};",
            f"{versions}.",
            f"Labels: {provenance['labels']}. Licence: {provenance['licence']}.",
            "",
            "The data card in the book says more, known defects included.",
        ]
    )
