"""The formats that can be read: a registry by name, detection by content and name, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from hpopt_lib.data.format_ase_db import is_ase_db, is_aselmdb, read_ase_db, read_aselmdb
from hpopt_lib.data.format_extxyz import is_extxyz, read_extxyz
from hpopt_lib.data.format_npz import is_md17, is_rmd17, read_md17, read_rmd17
from hpopt_lib.data.format_oc20_lmdb import is_oc20_lmdb, read_oc20_lmdb
from hpopt_lib.data.format_qm9 import is_qm9, read_qm9
from hpopt_lib.data.format_s2ef import is_s2ef, read_s2ef
from hpopt_lib.data.lmdb_files import lmdb_content
from hpopt_lib.data.reader_protocol import Format, ReaderOptions
from hpopt_lib.errors import HpoptError

_REGISTRY: dict[str, Format] = {}


def register(format: Format) -> None:
    """Add a format; it is asked before those that were added earlier.

    Raises
    ------
    HpoptError
        When the name is taken.
    """
    if format.name in _REGISTRY or format.name == "auto":
        raise HpoptError(f"format {format.name!r}: the name is taken", remedy="choose another one")
    _REGISTRY[format.name] = format


def formats() -> list[Format]:
    """All formats, those added last first: the order in which they are asked."""
    return list(reversed(_REGISTRY.values()))


def find_format(path: Path, name: str = "auto") -> Format:
    """The format with that name, or the first that recognises the path.

    Raises
    ------
    HpoptError
        When the name is unknown, or the path is a feature store or an LMDB file of something else.
    """
    if name != "auto":
        if name not in _REGISTRY:
            raise HpoptError(f"--format: {name!r} is unknown", remedy=f"use auto, {', '.join(_REGISTRY)}")
        return _REGISTRY[name]
    for format in formats():
        if format.detect(path):
            return format
    if path.suffix in (".lmdb", ".mdb"):
        _refuse_lmdb(path)
    return _REGISTRY["ase"]


def _refuse_lmdb(path: Path) -> None:
    content = lmdb_content(path) if path.is_file() else "unreadable"
    if content == "store":
        raise HpoptError(
            f"{path}: a feature store, which is made already",
            remedy="give it to hpopt tune, or give structures",
        )
    what = "no readable LMDB file" if content == "unreadable" else "an LMDB file of something else"
    raise HpoptError(
        f"{path}: {what}",
        remedy="give an LMDB of the Open Catalyst project or an .aselmdb; this one may be damaged",
    )


def formats_table() -> str:
    """The formats as a Markdown table, for the book and the command line's help."""
    rows = ["| `--format` | files | units | energies | labels |", "|---|---|---|---|---|"]
    for format in _REGISTRY.values():
        labels = ", ".join(f"`{label}`" for label in format.sets_labels) or "those in the file"
        units = f"{format.energy_unit}, {format.length_unit}"
        rows.append(f"| `{format.name}` | {format.files} | {units} | {format.energies} | {labels} |")
    return "\n".join(rows)


def _read_with_ase(path: Path, options: ReaderOptions) -> Iterator[Atoms]:
    import ase.io

    # a name with an @ is a name, not a name and an index
    return ase.io.iread(str(path), index=":", do_not_split_by_at_sign=True)


def _is_trajectory(path: Path) -> bool:
    return path.is_file() and path.suffix == ".traj"


_SAID = ("system_id", "frame", "energy_kind")

for _format in (
    Format("ase", "any other file that ASE reads, such as `OUTCAR`", lambda path: False, _read_with_ase),
    Format("traj", "ASE trajectory, `.traj`", _is_trajectory, _read_with_ase),
    Format("extxyz", "extended XYZ: `.extxyz`, `.xyz`, also `.xz`, `.gz`, `.bz2`", is_extxyz, read_extxyz),
    Format("ase-db", "ASE database, `.db`", is_ase_db, read_ase_db),
    Format("aselmdb", "fairchem's ASE database, `.aselmdb` or a folder of them", is_aselmdb, read_aselmdb),
    Format(
        "oc20-lmdb",
        "Open Catalyst IS2RE and S2EF, `.lmdb` or a folder of them; needs `--trust-pickle`",
        is_oc20_lmdb,
        read_oc20_lmdb,
        energies="IS2RE: adsorption; S2EF: as the file was made",
        sets_labels=(*_SAID, "state"),
    ),
    Format(
        "oc20-s2ef",
        "OC20 S2EF download: folder or `.tar` of `N.extxyz[.xz]` with `N.txt[.xz]`",
        is_s2ef,
        read_s2ef,
        energies="raw, and adsorption by the reference in the `.txt`",
        sets_labels=(*_SAID, "reference_energy"),
    ),
    Format(
        "md17",
        "MD17 `.npz` with `z`, `R`, `E`, `F`",
        is_md17,
        read_md17,
        energy_unit="kcal/mol",
        energies="raw",
        sets_labels=("frame", "energy_kind"),
    ),
    Format(
        "rmd17",
        "revised MD17 `.npz` with `nuclear_charges`, `coords`, `energies`, `forces`",
        is_rmd17,
        read_rmd17,
        energy_unit="kcal/mol",
        energies="raw",
        sets_labels=("frame", "energy_kind"),
    ),
    Format(
        "qm9",
        "QM9 `dsgdb9nsd_*.xyz`, folder or `.tar.bz2`, with `uncharacterized.txt` beside it",
        is_qm9,
        read_qm9,
        energy_unit="Hartree",
        energies="raw: U₀, internal energy at 0 K",
        sets_labels=_SAID,
    ),
):
    register(_format)
