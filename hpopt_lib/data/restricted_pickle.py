"""Load the pickled graphs of Open Catalyst LMDBs, and nothing else that a pickle could hold.

A pickle is a program: loading one may run any code. The graphs are read only when the user says that the
file is trusted, and even then only the few names they need are known here; every other name is refused before
it is imported. The names stand for functions of this module, so torch_geometric need not be installed and
nothing that torch would load for itself is loaded.
"""

from __future__ import annotations

import io
from pickle import Unpickler, UnpicklingError
from typing import Any

import numpy as np


class Graph:
    """Stands for every class of torch_geometric; keeps the attributes that a pickle gives it.

    Version 1 of torch_geometric pickles attributes of ``Data`` itself, version 2 a ``_store`` with a
    ``_mapping``.
    """

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnpicklingError(f"state of a graph is a {type(state).__name__}")
        self.__dict__.update(state)

    def fields(self) -> dict[str, Any]:
        """The graph's named values."""
        stored = self.__dict__.get("_store", self)
        mapping = getattr(stored, "_mapping", None)
        found = mapping if isinstance(mapping, dict) else self.__dict__
        return {key: value for key, value in found.items() if not key.startswith("_")}


def _storage_from_bytes(data: bytes) -> Any:
    """What ``torch.storage._load_from_bytes`` does, but with tensors alone allowed inside."""
    import torch

    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Any:
    import torch

    if not isinstance(storage, torch.storage.TypedStorage):
        raise UnpicklingError("a tensor without numbers")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


def _array(subtype: object, shape: tuple[int, ...], typecode: bytes) -> np.ndarray:
    """What NumPy makes before it fills in the data (``numpy.core.multiarray._reconstruct``)."""
    if subtype is not NDARRAY or shape != (0,):
        raise UnpicklingError("an array of an unknown kind")
    return np.empty(0, dtype=np.int8)


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    return np.frombuffer(data, _plain(dtype))[0]


def _from_buffer(data: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(data, _plain(dtype)).reshape(shape, order="F" if order == "F" else "C")


def _plain(dtype: object) -> np.dtype:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise UnpicklingError("numbers of an unknown kind")
    return dtype


def _encode(text: str, encoding: str) -> bytes:
    """Pickles of protocol 2 hold bytes as text in latin1 (and no bytes as a call of ``bytes``)."""
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


#: Stands for the class ``numpy.ndarray``, which a pickle passes on but need not call.
NDARRAY = "numpy.ndarray"
_CORES = ("numpy.core", "numpy._core")
#: Everything that a pickle may name, besides torch_geometric.
ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage_from_bytes,
    ("collections", "OrderedDict"): dict,
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): lambda: b"",
    **{(f"{core}.multiarray", "_reconstruct"): _array for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _CORES},
}


class _GraphUnpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "torch_geometric":
            return Graph
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise UnpicklingError(f"it asks for {module}.{name}, which no graph needs: refused") from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnpicklingError("it refers to something outside of itself: refused")


def load_graph(data: bytes) -> dict[str, Any]:
    """The named values of one pickled graph; tensors become NumPy arrays.

    Parameters
    ----------
    data : bytes
        A pickled ``torch_geometric.data.Data``.

    Raises
    ------
    ValueError
        When the pickle is damaged, holds something else, or names anything that is not needed for that.
    """
    import torch

    try:
        graph = _GraphUnpickler(io.BytesIO(data)).load()
        if not isinstance(graph, Graph):
            raise UnpicklingError(f"a {type(graph).__name__}, not a graph of torch_geometric")
        found = graph.fields()
        return {key: v.numpy() if isinstance(v, torch.Tensor) else v for key, v in found.items()}
    except Exception as error:  # damaged pickles raise whatever they like
        raise ValueError(f"pickle: {str(error) or type(error).__name__}") from error
