"""Checkpoints of a training: NumPy archives of plain arrays and one JSON text, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpopt_lib.archives import write_archive
from hpopt_lib.errors import HpoptError

FORMAT, VERSION = "hpopt-checkpoint", 1


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> Path:
    """Write a state of plain values and tensors, replacing an older one in one step.

    Parameters
    ----------
    path : str or Path
        Ends in ``.npz``.
    state : dict
        As `hpopt_lib.potential.training.Training.state` gives it; values are JSON-able, tensors,
        or dictionaries of tensors by name.
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            arrays[f"tensor/{key}"] = value.cpu().numpy()
        elif isinstance(value, dict) and value and all(isinstance(v, torch.Tensor) for v in value.values()):
            arrays.update({f"tensors/{key}/{name}": v.cpu().numpy() for name, v in value.items()})
        else:
            plain[key] = value
    header = {"format": FORMAT, "version": VERSION, "plain": plain}
    return write_archive(path, header, arrays, overwrite=True)


def load_checkpoint(path: str | Path) -> dict[str, Any] | None:
    """Read what `save_checkpoint` wrote; None when there is no such file.

    Raises
    ------
    HpoptError
        When the file is damaged or of another kind or version.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            if (header["format"], header["version"]) != (FORMAT, VERSION):
                raise ValueError("another format or version")
            state: dict[str, Any] = header["plain"]
            for name in archive.files:
                kind, _, rest = name.partition("/")
                if kind == "tensor":
                    state[rest] = torch.from_numpy(np.array(archive[name]))
                elif kind == "tensors":
                    group, _, key = rest.partition("/")
                    state.setdefault(group, {})[key] = torch.from_numpy(np.array(archive[name]))
            return state
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive fails in zipfile, zlib, NumPy or json
        raise HpoptError(f"{path}: not a checkpoint, or damaged ({error})", remedy="remove it") from error
