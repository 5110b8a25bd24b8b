"""Read pickles of AMPtorch with a list of what may occur in them; the one module of the station that pickles.

Unpickling in general runs whatever code a file names. Here only tensors, arrays, plain containers and
the attributes of AMPtorch's and torch_geometric's objects are rebuilt; anything else is refused. That narrows
what a hostile file can do and is no proof against all of it, so callers still ask for ``trust_pickle``.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from hpopt_lib.errors import HpoptError

#: Objects that are rebuilt as `Record`, their attributes only.
RECORDS = {
    ("torch_geometric.data.data", "Data"),
    ("torch_geometric.data.data", "DataEdgeAttr"),
    ("torch_geometric.data.data", "DataTensorAttr"),
    ("torch_geometric.data.storage", "GlobalStorage"),
    ("amptorch.preprocessing.utils", "FeatureScaler"),
    ("amptorch.preprocessing.utils", "TargetScaler"),
}
#: Functions and types without side effects, as torch's own reader of weights allows them.
ALLOWED = {
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("torch", "Size"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.serialization", "_get_layout"),
}


class Record:
    """Attributes of an object whose class is not imported."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class RefusedError(pickle.UnpicklingError):
    """A pickle names something that is not on the list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in RECORDS:
            return Record
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage  # torch's own would unpickle the bytes without limits
        if (module, name) in {("pathlib", "PosixPath"), ("pathlib._local", "PosixPath")}:
            return PurePosixPath
        if (module, name) in ALLOWED:
            # numpy.core is the name of numpy._core before NumPy 2
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise RefusedError(f"{module}.{name} is not on the list of what AMPtorch stores")


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def require_trust(path: str | Path, *, trust_pickle: bool) -> None:
    """Refuse to read a pickled file that its owner did not vouch for.

    Raises
    ------
    HpoptError
        When `trust_pickle` is false; says why.
    """
    if not trust_pickle:
        raise HpoptError(
            f"{path}: holds pickled objects, which can run code when they are read",
            remedy="pass --trust-pickle when you made the file yourself or know who did",
        )


def read_pickle(data: bytes, *, where: str) -> Any:
    """Rebuild an object from bytes that AMPtorch pickled.

    Parameters
    ----------
    data : bytes
    where : str
        File and key, for messages.

    Raises
    ------
    HpoptError
        When the bytes are damaged or name something that is not on the list.
    """
    try:
        return _Reader(io.BytesIO(data)).load()
    except RefusedError as error:
        raise HpoptError(f"{where}: {error}", remedy="the file is not AMPtorch's; do not use it") from error
    except Exception as error:  # damaged pickles fail in many ways
        raise HpoptError(
            f"{where}: damaged ({type(error).__name__}: {error})", remedy="copy or make the file again"
        ) from error


def write_pickle(value: Any) -> bytes:
    """Pickle an object the way AMPtorch does."""
    return pickle.dumps(value, protocol=-1)
