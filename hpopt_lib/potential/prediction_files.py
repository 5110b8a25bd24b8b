"""Predicted energies and forces in one .npz file, in the layout of the Open Catalyst evaluation.

For each split ``NAME_ids``, ``NAME_energy``, ``NAME_forces`` with the forces of all frames below each other,
and ``NAME_chunk_idx``, the rows before which ``numpy.split`` divides the forces into frames.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path
from hpopt_lib.potential.oc20_evaluation import adsorption_offset, evaluation_ids, evaluation_splits
from hpopt_lib.potential.predicting import (
    PredictedShard,
    chosen_frames,
    predicted_shards,
    shard_parts,
    take_part,
)
from hpopt_lib.progress import progress
from hpopt_lib.store import SplitArrays, Store
from hpopt_lib.units import PER_ANGSTROM, PER_EV

KEYS = ("ids", "energy", "forces", "chunk_idx")


@dataclass(frozen=True)
class Layout:
    """What is written, and how.

    Attributes
    ----------
    splits : dict of str to str
        Name in the file -> name in the store.
    oc20 : bool
        OC20's names of frames, and adsorption energies.
    free_only : bool
        Forces of free atoms only.
    energy_unit, length_unit : str
        Of the numbers in the file.
    """

    splits: dict[str, str]
    oc20: bool
    free_only: bool
    energy_unit: str = "eV"
    length_unit: str = "Å"

    @classmethod
    def of(
        cls, store: Store, *, splits: Sequence[str] = (), oc20: bool = False, all_atoms: bool = False
    ) -> Layout:
        """The layout for a store: with `oc20` its four evaluation splits, else all or the given splits."""
        if oc20:
            if splits:
                raise HpoptError(
                    f"--split: {splits[0]}: a submission holds the four splits", remedy="leave --split out"
                )
            return cls(evaluation_splits(store), oc20=True, free_only=not all_atoms)
        names = [store.check_split(split) for split in splits] or store.validation_splits()
        if not names:
            raise HpoptError(f"{store.path}: only a training split", remedy="name it with --split")
        units = store.header.get("input_units", {})
        return cls(dict(zip(names, names)), False, False, units.get("energy", "eV"), units.get("length", "Å"))


def write_predictions(
    path: str | Path,
    model: str | Path,
    store: str | Path,
    *,
    splits: Sequence[str] = (),
    oc20: bool = False,
    all_atoms: bool = False,
    frames: int | None = None,
    processes: int = 1,
    overwrite: bool = False,
) -> dict[str, int]:
    """Predict frames of a store and write them, in memory that is bounded but for ids and energies.

    With `oc20` the file is what the evaluation of OC20's S2EF task takes: splits ``id``, ``ood_ads``,
    ``ood_cat``, ``ood_both``; ids ``SID_FID``; adsorption energies in eV; forces in eV/Å of the free atoms,
    or with `all_atoms` of all, as a later page of the leaderboard shows. Numbers are float32: the
    project's own trainer writes float16 by default, which rounds an energy of 5 eV to 0.004 eV, and float32
    on demand. Without `oc20` energies are of the kind and in the unit of the files that were preprocessed
    (float64), and forces are those of all atoms (float32).

    Parameters
    ----------
    path : str or Path
    model, store : str or Path
        A saved potential, and a feature store with the features that it takes.
    splits : sequence of str
        All but the training split by default.
    oc20, all_atoms : bool
    frames : int, optional
        At most so many frames of each split, at even distances.
    processes : int
    overwrite : bool

    Returns
    -------
    dict of str to int
        Number of frames for each split in the file.

    Raises
    ------
    HpoptError
        When the output exists, a split or label is missing, or the features do not fit the model.

    References
    ----------
    FAIR-Chem/fairchem, version 1: ``predict`` of the trainers and ``make_submission_file.py``.
    FAIR-Chem/fairchem, version 2: OC20 Leaderboard in the documentation.
    """
    counts = {}
    with atomic_path(path, overwrite=overwrite) as temporary, Store.open(store) as opened:
        layout = Layout.of(opened, splits=splits, oc20=oc20, all_atoms=all_atoms)
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, split in layout.splits.items():
                chosen = chosen_frames(opened.header["splits"][split]["n_frames"], frames)
                shards = predicted_shards(model, store, split, chosen, processes=processes)
                counts[name] = _write_split(archive, name, split, opened, layout, chosen, shards)
            if not oc20:
                _write(archive, "energy_unit", np.array(layout.energy_unit))
                _write(archive, "force_unit", np.array(f"{layout.energy_unit}/{layout.length_unit}"))
    return counts


def _write_split(
    archive: zipfile.ZipFile, name: str, split: str, store: Store, layout: Layout, frames: np.ndarray,
    shards: Iterator[PredictedShard],
) -> int:  # fmt: skip
    """Write one split and return its number of frames; labels are looked at before hours of prediction."""
    where = f"{store.path}: {split}"
    ids: list[str] = []
    rows: list[np.ndarray] = []
    for part in shard_parts(store, split, frames):
        arrays = take_part(store, *part)
        rows.append(rows_of_frames(arrays, free_only=layout.free_only))
        if layout.oc20:
            adsorption_offset(store, arrays.info, where=where, first=len(ids))
            ids += evaluation_ids(arrays, where=where, first=len(ids))
        else:
            ids += [plain_id(info, number) for number, info in enumerate(arrays.info, start=len(ids))]
    refuse_repeated(ids, where)
    counts = np.concatenate(rows)
    energy_scale = PER_EV[layout.energy_unit]
    force_scale = energy_scale / PER_ANGSTROM[layout.length_unit]
    energies = []
    with _member(archive, f"{name}_forces") as stream:
        shape = (int(counts.sum()), 3)
        header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        total = f"predict {split}"
        for shard in progress(shards, total=len(rows), desc=total, unit="shard"):
            offset: Any = (
                adsorption_offset(store, shard.arrays.info, where=where, first=shard.first)
                if layout.oc20
                else 0.0
            )
            energies.append((shard.energy_ev - offset) * energy_scale)
            forces = shard.forces_ev_per_angstrom * force_scale
            chosen = forces[shard.arrays.free] if layout.free_only else forces
            stream.write(np.ascontiguousarray(chosen, dtype="<f4").tobytes())
    _write(archive, f"{name}_ids", np.array(ids))
    _write(archive, f"{name}_energy", np.concatenate(energies).astype("<f4" if layout.oc20 else "<f8"))
    # numpy.split needs no end of the last frame
    _write(archive, f"{name}_chunk_idx", np.cumsum(counts)[:-1])
    return len(ids)


def rows_of_frames(arrays: SplitArrays, *, free_only: bool) -> np.ndarray:
    """Number of atoms of each frame whose forces are written, shape (n_frames,)."""
    if not free_only:
        return arrays.n_atoms.astype(np.int64)
    frame = np.repeat(np.arange(len(arrays)), arrays.n_atoms)
    return np.bincount(frame[arrays.free], minlength=len(arrays))


def plain_id(info: dict[str, Any], number: int) -> str:
    """System and number of a frame, which is that in its split where the input gave none."""
    return f"{info['system_id']}_{info.get('frame', number)}"


def refuse_repeated(ids: Sequence[str], where: str) -> None:
    """Raise when two frames have one id."""
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise HpoptError(
                f"{where}: {name}: two frames of this system and number",
                remedy="remove one, or give frames numbers of their own",
            )
        seen.add(name)


def _member(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    member = zipfile.ZipInfo(
        f"{key}.npy"
    )  # without the time, so that the same predictions give the same bytes
    member.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(member, "w", force_zip64=True)


def _write(archive: zipfile.ZipFile, key: str, array: np.ndarray) -> None:
    with _member(archive, key) as stream:
        np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
