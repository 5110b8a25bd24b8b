"""Prediction files read back, whoever wrote them."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.prediction_files import KEYS


@dataclass(frozen=True)
class SubmittedSplit:
    """One split of a prediction file.

    Attributes
    ----------
    rows : dict of str to int
        Place of each id.
    energy : numpy.ndarray, shape (n_frames,)
        In eV.
    forces : numpy.ndarray, shape (n_rows, 3)
        In eV/Å.
    edges : numpy.ndarray of int, shape (n_frames + 1,)
        Frame k has the rows from ``edges[k]`` to ``edges[k + 1]``.
    """

    rows: dict[str, int]
    energy: np.ndarray
    forces: np.ndarray
    edges: np.ndarray


def read_submission(path: str | Path, name: str) -> SubmittedSplit:
    """One split of a prediction file, checked.

    Raises
    ------
    HpoptError
        When the file is missing or damaged, holds pickled objects, or its arrays do not fit together.
    """
    remedy = "write it with hpopt predict --oc20-submission"
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found = {key: archive[f"{name}_{key}"] for key in KEYS}
    except FileNotFoundError:
        raise HpoptError(f"{path}: no such file", remedy="check the name of the prediction file") from None
    except KeyError as error:
        raise HpoptError(f"{path}: {name}: missing ({error.args[0]})", remedy=remedy) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HpoptError(f"{path}: not a readable prediction file: {error}", remedy=remedy) from error
    ids, energy, forces, chunks = (found[key] for key in KEYS)
    problem = ""
    if ids.ndim != 1 or not len(ids) or len(set(ids.tolist())) != len(ids):
        problem = "ids: not a vector of different names"
    elif energy.shape != ids.shape or not np.isfinite(energy).all():
        problem = f"energy: not {len(ids)} finite numbers"
    elif forces.ndim != 2 or forces.shape[1] != 3 or not np.isfinite(forces).all():
        problem = "forces: not finite numbers in three columns"
    elif chunks.shape != (len(ids) - 1,) or (np.diff([0, *chunks.tolist(), len(forces)]) < 0).any():
        problem = f"chunk_idx: does not divide {len(forces)} rows into {len(ids)} frames"
    if problem:
        raise HpoptError(f"{path}: {name}_{problem}", remedy=remedy)
    rows = {str(one): row for row, one in enumerate(ids.tolist())}
    return SubmittedSplit(rows, energy, forces, np.concatenate([[0], chunks, [len(forces)]]).astype(int))
