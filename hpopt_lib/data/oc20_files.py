"""The embedded adsorption set in the files of an OC20 download, to try out what is meant for the real one."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms

from hpopt_lib.data import embedded
from hpopt_lib.errors import HpoptError
from hpopt_lib.files import atomic_path, refuse_existing
from hpopt_lib.progress import progress

#: For each split its name in `hpopt data list` and the name of its archive.
DOWNLOADS = {
    "train": ("oc20-s2ef-200k", "s2ef_train_200K"),
    "val_id": ("oc20-s2ef-val-id", "s2ef_val_id"),
    "val_ood_ads": ("oc20-s2ef-val-ood-ads", "s2ef_val_ood_ads"),
    "val_ood_cat": ("oc20-s2ef-val-ood-cat", "s2ef_val_ood_cat"),
    "val_ood_both": ("oc20-s2ef-val-ood-both", "s2ef_val_ood_both"),
}
CATALOGUE = "catalogue.toml"
#: Frames of one pair of files.
FRAMES_PER_FILE = 5000
#: Columns of every frame.
COLUMNS = ["symbols", "positions", "move_mask", "tags", "forces"]

_README = """# {name}: a stand-in

{frames} frames of {systems} systems in the files of OC20's archive of this name, but **not from OC20**:
slabs with adsorbates labelled by effective-medium theory (split `{split}` of the embedded set oc20-like).
`N.txt.xz` has a line `system id,frame,reference energy` for each frame of `N.extxyz.xz`; energies in eV.
"""


def write_downloads(
    out_dir: str | Path,
    *,
    stride: int = 1,
    frames_per_file: int = FRAMES_PER_FILE,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Write the five archives of a small OC20 S2EF, and a catalogue for ``hpopt data fetch`` that names them.

    The archives have the names, folders and text formats of OC20: ``s2ef_val_id.tar`` holds
    ``s2ef_val_id/s2ef_val_id/0.extxyz.xz`` and ``0.txt.xz``; neighbouring frames are of different systems.
    The catalogue has the names of the packaged one, so that a command for the stand-in differs from that for
    OC20 in ``--catalogue`` and ``--from`` only.

    Parameters
    ----------
    out_dir : str or Path
    stride : int
        Use every so many-th frame of the embedded set.
    frames_per_file : int
    seed : int
        Of the order of frames and the numbers of systems.
    overwrite : bool

    Returns
    -------
    list of Path
        The archives, then the catalogue.

    Raises
    ------
    HpoptError
        When a file exists already, before anything is written.

    References
    ----------
    L. Chanussot et al., ACS Catal. 11, 6059 (2021); ``README`` files of the archives.
    """
    if frames_per_file < 1:
        raise HpoptError(f"frames per file: {frames_per_file} is too few", remedy="use at least 1")
    out_dir = Path(out_dir)
    paths = {split: out_dir / f"{archive}.tar" for split, (_, archive) in DOWNLOADS.items()}
    for path in (*paths.values(), out_dir / CATALOGUE):
        refuse_existing(path, overwrite=overwrite)
    numbers = system_numbers(seed=seed)
    rng = np.random.default_rng([seed, 1])
    entries = [_FAMILY]
    for split, path in progress(paths.items(), total=len(paths), desc="write archives", unit="archive"):
        frames = embedded.load_embedded("oc20-like", split, stride=stride)
        shuffled = [frames[k] for k in rng.permutation(len(frames))]
        with atomic_path(path, overwrite=overwrite) as temporary, tarfile.open(temporary, "w") as tar:
            systems = {str(atoms.info["system_id"]) for atoms in frames}
            readme = _README.format(name=path.stem, split=split, frames=len(frames), systems=len(systems))
            _add(tar, f"{path.stem}/README_{path.stem}.md", readme.encode())
            for name, data in s2ef_files(shuffled, numbers, frames_per_file=frames_per_file):
                _add(tar, f"{path.stem}/{path.stem}/{name}", data)
        entries.append(_entry(split, path, len(frames)))
    with atomic_path(out_dir / CATALOGUE, overwrite=overwrite) as temporary:
        temporary.write_text("\n".join(entries), encoding="utf-8")
    return [*paths.values(), out_dir / CATALOGUE]


def system_numbers(*, seed: int = 0) -> dict[str, int]:
    """A number of up to seven digits for every system of the embedded set, as OC20's system ids have one."""
    systems = embedded.shipped_arrays("oc20-like")["system_id"].tolist()
    drawn = np.random.default_rng(seed).choice(10**7, size=len(systems), replace=False)
    return dict(zip(systems, drawn.tolist(), strict=True))


def s2ef_files(
    frames: Sequence[Atoms], numbers: dict[str, int], *, frames_per_file: int = FRAMES_PER_FILE
) -> Iterator[tuple[str, bytes]]:
    """Names and compressed contents of the files of one split, a pair at a time.

    Parameters
    ----------
    frames : sequence of Atoms
        With energy (eV), forces (eV/Å), tags and, in ``info``, system_id, frame and adsorption_energy (eV).
    numbers : dict of str to int
        From `system_numbers`.
    frames_per_file : int

    Yields
    ------
    name : str
        ``0.extxyz.xz``, ``0.txt.xz``, ``1.extxyz.xz`` and so on.
    data : bytes
    """
    rest = iter(frames)
    for number, chunk in enumerate(iter(lambda: list(islice(rest, frames_per_file)), [])):
        yield f"{number}.extxyz.xz", lzma.compress(_extxyz(chunk).encode())
        lines = [
            f"random{numbers[atoms.info['system_id']]},frame{atoms.info['frame']},{_reference(atoms):.8f}\n"
            for atoms in chunk
        ]
        yield f"{number}.txt.xz", lzma.compress("".join(lines).encode())


def _reference(atoms: Atoms) -> float:
    """What is subtracted from the energy to give the adsorption energy, in eV."""
    return float(atoms.get_potential_energy()) - float(atoms.info["adsorption_energy"])


def _extxyz(frames: Iterable[Atoms]) -> str:
    """Frames as OC20 has them: eight decimals, and no labels, which are in the other file of the pair."""
    from ase.io.extxyz import write_xyz

    text = io.StringIO()
    for atoms in frames:
        plain, energy = atoms.copy(), round(float(atoms.get_potential_energy()), 8)
        plain.cell[:] = plain.cell.array.round(8)
        # VASP's free energy; effective-medium theory has no electronic entropy
        plain.info = {"energy": energy, "free_energy": energy}
        plain.arrays["forces"] = atoms.get_forces(apply_constraint=False)
        write_xyz(text, [plain], columns=COLUMNS, write_results=False)
    return text.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


_FAMILY = """# A stand-in for OC20 S2EF, made by hpopt data make --layout oc20-s2ef.
# Use it with --from and this folder.
[family.oc20-s2ef]
homepage = ""
base = "https://stand-in.invalid/"
citation = ""
license = "MIT"
method = "effective-medium theory"
format = "*.extxyz.xz with *.txt.xz: system id, frame, reference energy"
energy = "raw total energies; minus the reference energy of the .txt they are adsorption energies"
energy_unit = "eV"
force_unit = "eV/Å"
length_unit = "Å"
facts = "the files beside this one"
checked = ""
"""


def _entry(split: str, path: Path, n_frames: int) -> str:
    name, archive = DOWNLOADS[split]
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return (
        f'[set.{name}]\nfamily = "oc20-s2ef"\ntitle = "stand-in for OC20 S2EF, {split}"\n'
        f'frames = "{n_frames}"\n'
        f'files = [{{ name = "{archive}.tar", size = {path.stat().st_size}, md5 = "{md5}" }}]\n'
    )
