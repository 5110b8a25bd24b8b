"""Numbers of a pickled torch tensor as a NumPy array, without torch."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

#: Classes of storages and their little-endian NumPy types; bfloat16 has none.
STORAGE_DTYPES: dict[str, np.dtype] = {
    f"{name}Storage": np.dtype(code)
    for name, code in {
        "Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2",
        "Char": "i1", "Byte": "u1", "Bool": "?",
    }.items()
}  # fmt: skip


class Storage:
    """Numbers that one or several tensors look at.

    Parameters
    ----------
    kind : str
        A key of `STORAGE_DTYPES`.
    key : str
        Name of the numbers within the bytes they come in.
    count : int
        How many there are.
    """

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.key, self.count = key, count
        self.numbers = np.empty(0, STORAGE_DTYPES[kind])

    def read(self, stream: BinaryIO) -> None:
        """Take the numbers from where they lie: their count in eight bytes, then they themselves.

        Raises
        ------
        ValueError
            When there are fewer or more.
        """
        count = int.from_bytes(stream.read(8), "little")
        data = stream.read()
        if count != self.count or len(data) != count * self.numbers.itemsize:
            raise ValueError(f"{len(data)} bytes for {self.count} numbers of a tensor")
        self.numbers = np.frombuffer(data, self.numbers.dtype)


def tensor_of(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any
) -> np.ndarray:
    """The array that a tensor is: numbers of a storage at an offset, with strides counted in numbers.

    Raises
    ------
    ValueError
        When it would reach beyond the storage.
    """
    if not isinstance(storage, Storage) or len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError("a tensor of an unknown kind")
    if 0 in size:
        return np.empty(size, storage.numbers.dtype)
    if offset + sum((n - 1) * step for n, step in zip(size, stride)) >= len(storage.numbers):
        raise ValueError(f"a tensor of shape {tuple(size)} looks beyond its {len(storage.numbers)} numbers")
    width = storage.numbers.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage.numbers[offset:], size, [step * width for step in stride], writeable=False
    )
    return view.copy()
