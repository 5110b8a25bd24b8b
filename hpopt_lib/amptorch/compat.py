"""What the unmodified AMPtorch needs to run on today's libraries, in force only while it is used.

AMPtorch's last release (2023) was written for skorch 0.10, torch 1.10 with torch_scatter, and torch_geometric
2.2. `running` imports it behind the shims listed in `SHIMS` and takes them, and everything that AMPtorch
changes for a whole process (default type of numbers, random numbers, working folder), back afterwards.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import random
import sys
import types
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from hpopt_lib.errors import HpoptError

#: Commit of the upstream repository that this module was written for and is tested with.
COMMIT = "02e5af3639484feda2a01a4e721f434ad54a70a1"
#: Modules that AMPtorch imports and `hpopt` itself does not need.
NEEDED = ("amptorch", "skorch", "torch_geometric", "h5py")
#: What is shimmed, by name, and why.
SHIMS = {
    "torch_scatter.scatter": "compiled package without builds for current torch; torch's own index_add sums",
    "skorch.dataset.CVSplit": "renamed ValidSplit in skorch 0.11 (only while amptorch is imported)",
    "MemEffEpochScoring.on_batch_end": "skorch passes the whole batch since 0.11, not y",
    "MemEffEpochScoring.get_test_data": "skorch joins targets with numpy.concatenate, and numpy refuses"
    " ragged lists since 1.24",
    "torch.sparse.FloatTensor, DoubleTensor": "they refuse numbers of another type than their name says;"
    " sparse_coo_tensor keeps the type, so that forces work in float32 and float64",
    "skorch.net.to_tensor": "AMPtorch replaces it for the whole process; here while it is used only",
    "torch.load": "reads AMPtorch's pickled config only since weights_only=False is passed; only on trust",
    "default dtype, random numbers, cuDNN flags, working folder": "AMPtorch sets them; put back afterwards",
    "standard output": "AMPtorch prints its progress; kept back",
}


def missing() -> list[str]:
    """Names of the modules that AMPtorch needs and that are not installed."""
    return [name for name in NEEDED if not _installed(name)]


def _installed(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None  # a mere folder of that name has no origin


def require() -> None:
    """Check that AMPtorch can be imported.

    Raises
    ------
    HpoptError
        Names what is not installed.
    """
    if absent := missing():
        raise HpoptError(
            f"backend amptorch: not installed: {', '.join(absent)}",
            remedy="run make amptorch, or pip install -r requirements-amptorch.txt (see the README)",
        )


@contextlib.contextmanager
def running(*, trust_pickle: bool = False, quiet: bool = True) -> Iterator[types.ModuleType]:
    """Make AMPtorch usable inside of a ``with`` block and leave no trace of it behind.

    Parameters
    ----------
    trust_pickle : bool
        Let ``torch.load`` unpickle any object, which AMPtorch's checkpoints need. Unpickling runs
        code that the file may hold: only for files that you made yourself.
    quiet : bool
        Keep back what AMPtorch prints.

    Yields
    ------
    module
        The package ``amptorch``, with its submodules ``trainer``, ``metrics`` and ``dataset_lmdb`` imported.

    Raises
    ------
    HpoptError
        When AMPtorch, or something that it needs, is not installed.

    Examples
    --------
    >>> with running() as amptorch:  # doctest: +SKIP
    ...     trainer = amptorch.trainer.AtomsTrainer(config)
    ...     trainer.train()
    """
    require()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process_state())
        stack.enter_context(_known_warnings())
        if quiet:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        amptorch = _import()
        for owner, name, value in _patches(amptorch, trust_pickle=trust_pickle):
            stack.enter_context(_patched(owner, name, value))
        yield amptorch


def quiet_import(name: str) -> Any:
    """Import a module without the warnings that it, or torch_geometric, gives while it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _import() -> types.ModuleType:
    with contextlib.ExitStack() as stack:
        if not _installed("torch_scatter"):
            shim: Any = types.ModuleType("torch_scatter")
            shim.scatter = scatter
            stack.enter_context(_module("torch_scatter", shim))
        skorch = quiet_import("skorch.dataset")
        if not hasattr(skorch, "CVSplit"):
            stack.enter_context(_patched(skorch, "CVSplit", skorch.ValidSplit))
        amptorch = quiet_import("amptorch")
        for name in ("trainer", "metrics", "dataset_lmdb", "ase_utils"):
            quiet_import(f"amptorch.{name}")
    return amptorch


def _patches(amptorch: Any, *, trust_pickle: bool) -> list[tuple[Any, str, Any]]:
    import skorch.net

    patches = [
        (amptorch.metrics.MemEffEpochScoring, "on_batch_end", _on_batch_end),
        (amptorch.metrics.MemEffEpochScoring, "get_test_data", _get_test_data),
        (skorch.net, "to_tensor", amptorch.utils.to_tensor),
        (torch.sparse, "FloatTensor", _sparse_tensor),
        (torch.sparse, "DoubleTensor", _sparse_tensor),
    ]
    if trust_pickle:
        load = torch.load

        def load_all(*args: Any, **options: Any) -> Any:
            return load(*args, **{"weights_only": False, **options})

        patches.append((torch, "load", load_all))
    return patches


def scatter(
    src: torch.Tensor, index: torch.Tensor, dim: int = -1, dim_size: int | None = None, reduce: str = "sum"
) -> torch.Tensor:
    """Sum entries that share an index, as ``torch_scatter.scatter`` does by default.

    Parameters
    ----------
    src : torch.Tensor
    index : torch.Tensor of int64, shape (src.shape[dim],)
    dim : int
    dim_size : int, optional
        Length of the result along `dim`; the largest index and one by default.
    reduce : {"sum", "add"}

    Raises
    ------
    NotImplementedError
        For another reduction, which AMPtorch does not use.
    """
    if reduce not in ("sum", "add"):
        raise NotImplementedError(f"torch_scatter shim: reduce={reduce!r}")
    size = list(src.shape)
    size[dim] = dim_size if dim_size is not None else int(index.max()) + 1 if index.numel() else 0
    return src.new_zeros(size).index_add(dim, index, src)


def _sparse_tensor(indices: torch.Tensor, values: torch.Tensor, size: Any = None) -> torch.Tensor:
    return torch.sparse_coo_tensor(indices, values, tuple(int(n) for n in size), check_invariants=False)


def _on_batch_end(self: Any, net: Any, batch: Any, y_pred: Any, training: bool, **kwargs: Any) -> None:
    """`MemEffEpochScoring.on_batch_end` with the arguments that skorch passes today."""
    from amptorch.metrics import to_cpu

    if not self.use_caching or training != self.on_train:
        return
    if batch[1] is not None:
        self.y_trues_.append(to_cpu(batch[1]))
    self.y_preds_.append(to_cpu(y_pred))


def _get_test_data(self: Any, dataset_train: Any, dataset_valid: Any, use_caching: bool) -> tuple:
    """`EpochScoring.get_test_data` that keeps energies and forces, of different lengths, in a list."""
    dataset = dataset_train if self.on_train else dataset_valid
    targets = [pair for batch in self.y_trues_ for pair in self.target_extractor(batch)]
    return dataset, targets, self.y_preds_


@contextlib.contextmanager
def _patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    absent = object()
    before = getattr(owner, name, absent)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is absent:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextlib.contextmanager
def _module(name: str, module: types.ModuleType) -> Iterator[None]:
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


@contextlib.contextmanager
def _process_state() -> Iterator[None]:
    """Put back what AMPtorch sets for the whole process."""
    cudnn = torch.backends.cudnn
    dtype, folder = torch.get_default_dtype(), os.getcwd()
    python_random, numpy_random = random.getstate(), np.random.get_state()
    flags = cudnn.deterministic, cudnn.benchmark
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            random.setstate(python_random)
            np.random.set_state(numpy_random)
            cudnn.deterministic, cudnn.benchmark = flags
            os.chdir(folder)


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    """Silence what is known to be harmless in AMPtorch's calls, and nothing else."""
    with warnings.catch_warnings():
        for message in (
            "torch.set_default_tensor_type",
            "'pin_memory' argument is set as true but no accelerator",
            ".*Converting a tensor with requires_grad=True to a scalar",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
