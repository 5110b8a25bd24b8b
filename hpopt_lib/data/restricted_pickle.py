"""Load the pickled graphs of Open Catalyst LMDBs, and nothing else that a pickle could hold.

A pickle is a program: loading one may run any code. The graphs are read only when the user says that the
file is trusted, and even then only the few names they need are known here; every other name is refused before
it is imported. Each name stands for a function of this module that makes NumPy arrays, so torch_geometric
need not be installed and nothing of torch runs (`torch.load` could be made to run code by tensors in the old
format, even with ``weights_only``, before torch 2.6).
"""

from __future__ import annotations

import io
from pickle import Unpickler, UnpicklingError
from typing import Any

import numpy as np

from hpopt_lib.data.torch_storage import STORAGE_DTYPES, Storage, tensor_of

#: First number in the bytes of a storage, and the version of their format.
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001


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


def _storage_from_bytes(data: bytes) -> Storage:
    """What ``torch.storage._load_from_bytes`` gives for the numbers of one tensor."""
    stream = io.BytesIO(data)
    if (_StorageUnpickler(stream).load(), _StorageUnpickler(stream).load()) != (_MAGIC, _VERSION):
        raise UnpicklingError("numbers of a tensor in an unknown format")
    _StorageUnpickler(stream).load()  # sizes of C types on the machine that wrote it
    storage = _StorageUnpickler(stream).load()
    keys = _StorageUnpickler(stream).load()
    if not isinstance(storage, Storage) or keys != [storage.key]:
        raise UnpicklingError("numbers of a tensor in an unknown format")
    storage.read(stream)
    return storage


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
    ("torch._utils", "_rebuild_tensor"): tensor_of,
    ("torch._utils", "_rebuild_tensor_v2"): tensor_of,
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


class _Restricted(Unpickler):
    allowed: dict[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise UnpicklingError(f"it asks for {module}.{name}, which no graph needs: refused") from None

    def persistent_load(self, pid: Any) -> Any:
        raise UnpicklingError("it refers to something outside of itself: refused")


class _GraphUnpickler(_Restricted):
    allowed = ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        return Graph if module.partition(".")[0] == "torch_geometric" else super().find_class(module, name)


class _StorageUnpickler(_Restricted):
    allowed = {("torch", name): name for name in STORAGE_DTYPES}

    def persistent_load(self, pid: Any) -> Storage:
        kind, name, key, _device, count, *view = pid
        if kind != "storage" or name not in STORAGE_DTYPES or any(part is not None for part in view):
            raise UnpicklingError("numbers of a tensor of an unknown kind")
        return Storage(name, key, int(count))


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
    try:
        graph = _GraphUnpickler(io.BytesIO(data)).load()
        if not isinstance(graph, Graph):
            raise UnpicklingError(f"a {type(graph).__name__}, not a graph of torch_geometric")
        return graph.fields()
    except Exception as error:  # damaged pickles raise whatever they like
        raise ValueError(f"pickle: {str(error) or type(error).__name__}") from error
