"""Which code computes features: the choice, and the names that users may give."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from hpopt_lib.errors import HpoptError

BACKENDS = ("auto", "exact", "torch", "numba")
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Backend:
    """How features are computed.

    Parameters
    ----------
    name : {"auto", "exact", "torch", "numba"}
        ``exact`` sums Gaussians in PyTorch, to rounding; ``torch`` takes radial parts from tables, on the
        device of the positions; ``numba`` does so in compiled loops on the CPU. ``auto`` is numba for
        features alone when it is installed, and exact for everything else.
    dtype : {"float64", "float32"}
        Type of tables and sums; the exact sums are in float64 always.
    threads : int
        Threads of the compiled loops, for one structure.

    Raises
    ------
    HpoptError
        An unknown name, numba is asked for and missing, or float32 is asked of the exact sums.
    """

    name: str = "auto"
    dtype: str = "float64"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.name not in BACKENDS:
            raise HpoptError(f"GMP backend: {self.name!r}", remedy=f"choose {', '.join(BACKENDS)}")
        if self.dtype not in DTYPES:
            raise HpoptError(f"GMP backend: type {self.dtype!r}", remedy=f"choose {' or '.join(DTYPES)}")
        if self.name == "exact" and self.dtype != "float64":
            raise HpoptError(
                "GMP backend: exact sums lose too many digits in float32", remedy="choose torch or numba"
            )
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise HpoptError(f"GMP backend: {self.threads!r} threads", remedy="give 1 or more")
        if self.name == "numba" and not have_numba():
            raise HpoptError(
                "GMP backend: numba is not installed", remedy="pip install numba, or choose torch or exact"
            )

    @property
    def plain(self) -> str:
        """What computes features without derivatives: exact, torch or numba."""
        if self.name != "auto":
            return self.name
        if have_numba():
            return "numba"
        return "exact" if self.dtype == "float64" else "torch"

    @property
    def differentiable(self) -> str:
        """What computes features that will be differentiated: exact, torch or numba."""
        if self.name != "auto":
            return self.name
        return "exact" if self.dtype == "float64" else self.plain


def have_numba() -> bool:
    """Whether numba can be imported."""
    return find_spec("numba") is not None
