"""What the tests need from the machine, and what happens when it is not there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Hear Ctrl-C, as the tests of it need: a shell that starts a suite in the background lets it be ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _chromium() -> str | None:
    if any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))) and shutil.which(
        "chromedriver"
    ):
        return None
    return "chromium and chromedriver are not installed"


def _programs(*names: str) -> Callable[[], str | None]:
    """Programs that all must be there; daemons lie in folders that are not on everybody's PATH."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

    def reason() -> str | None:
        missing = [name for name in names if not shutil.which(name, path=path)]
        return (
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed"
            if missing
            else None
        )

    return reason


def _module(name: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(name) else f"the Python package {name} is not installed"


def shared_folder() -> Path:
    """Folder with material that is too large for the repository (``HPOPT_SHARED``)."""
    return Path(os.environ.get("HPOPT_SHARED", ROOT.parent / "shared"))


def _shared() -> str | None:
    folder = shared_folder()
    return (
        None
        if folder.is_dir()
        else f"there is no folder {folder.name!r} beside the repository (see HPOPT_SHARED)"
    )


def _amptorch() -> str | None:
    from hpopt_lib.amptorch.compat import missing

    absent = missing()
    return f"{', '.join(absent)} not installed: run make amptorch" if absent else None


#: What a test can ask for by name: each gives None when it is there, else the reason.
NEEDS: dict[str, Callable[[], str | None]] = {
    "chromium": _chromium,
    "mariadbd": _programs("mariadbd"),
    "slurm": _programs("sbatch", "slurmctld", "slurmd", "munged"),
    "tblite": _module("tblite"),
    "pyscf": _module("pyscf"),
    "dscribe": _module("dscribe"),
    "shared": _shared,
    "amptorch": _amptorch,
}


def requires(name: str) -> None:
    """Skip the running test, with the reason, when `name` is not on this machine.

    When the environment variable ``HPOPT_REQUIRE`` (names separated by commas) lists it, the
    test fails instead: a machine that ought to have something must not skip quietly.
    """
    reason = NEEDS[name]()
    if reason is None:
        return
    required = {entry.strip() for entry in os.environ.get("HPOPT_REQUIRE", "").split(",")}
    if name in required:
        pytest.fail(f"HPOPT_REQUIRE names {name}, but {reason}")
    pytest.skip(reason)


@pytest.fixture
def shared() -> Path:
    """The shared folder, or a skip with the reason."""
    requires("shared")
    return shared_folder()


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """The function `requires`, for tests that cannot import this file."""
    return requires


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.traj (60 slabs), val.traj (20) and ood.traj (20); see synthetic.py."""
    from synthetic import slabs, write

    folder = tmp_path_factory.mktemp("inputs")
    for name, start, stop in (("train", 0, 60), ("val", 60, 80), ("ood", 80, 100)):
        write(folder / f"{name}.traj", slabs(start, stop))
    return folder


@pytest.fixture(scope="session")
def store_path(inputs: Path) -> Path:
    """A feature store of `inputs`, float64 so that gradients can be checked."""
    from synthetic import GMP

    from hpopt_lib.inputs import Input
    from hpopt_lib.preprocess import preprocess

    out = inputs / "store.lmdb"
    splits = [Input(name, inputs / f"{name}.traj") for name in ("train", "val", "ood")]
    preprocess(splits, out, settings=GMP, dtype="float64")
    return out


@pytest.fixture(scope="session")
def dataset(store_path: Path):
    """The training set of `store_path`, validated on its split val."""
    from hpopt_lib.potential.training import Dataset
    from hpopt_lib.store import Store

    return Dataset.from_store(Store.open(store_path), validation="val")


@pytest.fixture(autouse=True)
def _one_thread():
    """Torch on one thread, so that tests side by side do not fight for cores."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
