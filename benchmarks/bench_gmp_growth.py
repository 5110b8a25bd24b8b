"""How the cost of the features grows, and how far it is from what the machine can do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.build import bulk
from measure import interleaved, table

from hpopt_lib.gmp.densities import ElementDensity
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.neighbors import neighbor_pairs
from hpopt_lib.gmp.numba_simd import WIDTH, compiled, load, plus, splat, store, times_plus
from hpopt_lib.gmp.settings import GMPSettings

SIGMAS = tuple(np.round(np.geomspace(0.1, 4.0, 20), 3).tolist())


def crystal(n_atoms: int) -> Atoms:
    """Rattled copper, about `n_atoms` atoms."""
    atoms = bulk("Cu", cubic=True).repeat(max(1, round((n_atoms / 4) ** (1 / 3))))
    atoms.rattle(0.05, seed=0)
    return atoms


def microseconds(featurizer: GMPFeaturizer, atoms: Atoms) -> float:
    """Median CPU time for an atom."""
    featurizer(atoms)
    times = []
    while len(times) < 3 or (sum(times) < 0.5 and len(times) < 30):
        start = time.process_time()
        featurizer(atoms)
        times.append(time.process_time() - start)
    return float(np.median(times)) / len(atoms) * 1e6


def thread_times(base: dict[str, object]) -> list[tuple[object, float]]:
    """Wall time against threads; the best, as it is what other processes disturb least."""
    atoms, settings = crystal(4_000), GMPSettings(**base)
    tasks = {
        f"{n}": GMPFeaturizer(settings, backend="numba", threads=n)
        for n in sorted({1, 2, os.cpu_count() or 1})
    }
    seconds = interleaved(tasks, [atoms], repeats=30, clock=time.perf_counter)
    return [(name, values.min() / len(atoms) * 1e6) for name, values in seconds.items()]


def growth(*, quick: bool) -> str:
    """Tables of microseconds per atom on rattled copper, numba in float64."""
    base = {"sigmas": SIGMAS[::2], "max_order": 3, "cutoff": 6.0}
    crystal_500 = crystal(500)
    series: dict[str, list[tuple[object, float]]] = {}

    def cost(**changed: object) -> float:
        return microseconds(GMPFeaturizer(GMPSettings(**{**base, **changed}), backend="numba"), crystal_500)

    series["cutoff, Å"] = [(f"{c:g}", cost(cutoff=c)) for c in (4.0, 6.0, 8.0, 10.0, 12.0)]
    series["sigmas"] = [(n, cost(sigmas=SIGMAS[:n])) for n in (1, 2, 4, 8, 12, 16, 20)]
    series["highest order"] = [(n, cost(max_order=n)) for n in range(9)]
    sizes = (100, 1_000, 10_000) if quick else (100, 1_000, 10_000, 100_000)
    featurizer = GMPFeaturizer(GMPSettings(**base), backend="numba")
    series["atoms"] = [(len(a), microseconds(featurizer, a)) for a in map(crystal, sizes)]
    series["threads (wall time, best of 30)"] = thread_times(base)
    text = [
        f"Rattled copper (500 atoms), {len(base['sigmas'])} sigmas, orders 0 to 3, smooth cutoff 6 Å, unless "
        "the table says otherwise; microseconds for an atom."
    ]
    for name, points in series.items():
        cells = [[name, *(x for x, _ in points)], ["µs/atom", *(f"{y:.1f}" for _, y in points)]]
        text.append(table(cells[0], cells[1:]))
    return "\n\n".join(text)


@compiled
def _multiply(n, array):
    a, b, c, d = load(array, 0), load(array, 4), load(array, 8), load(array, 12)
    e, f, g, h = load(array, 16), load(array, 20), load(array, 24), load(array, 28)
    i, j = splat(array[0]), splat(array[1])
    for _ in range(n):
        a, b, c, d = times_plus(a, i, j), times_plus(b, i, j), times_plus(c, i, j), times_plus(d, i, j)
        e, f, g, h = times_plus(e, i, j), times_plus(f, i, j), times_plus(g, i, j), times_plus(h, i, j)
    store(array, 0, plus(plus(plus(a, b), plus(c, d)), plus(plus(e, f), plus(g, h))))


@compiled
def _read(repeats, array):
    a = b = c = d = splat(array[0])
    for _ in range(repeats):
        for k in range(0, len(array), 16):
            a, b = plus(a, load(array, k)), plus(b, load(array, k + 4))
            c, d = plus(c, load(array, k + 8)), plus(d, load(array, k + 12))
    store(array, 0, plus(plus(a, b), plus(c, d)))


def best(function, *arguments) -> float:
    function(*arguments)
    times = []
    for _ in range(9):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def roofline(frames: list[Atoms], densities: Mapping[int, ElementDensity], settings: GMPSettings) -> str:
    """Arithmetic and traffic of one neighbour against measured rates of this machine."""
    flops = 2 * 8 * WIDTH["float64"] * 2_000_000 / best(_multiply, 2_000_000, np.ones(32))
    rates = {}
    for name, size in (("L1", 2**11), ("L2", 2**16), ("L3", 2**20)):
        array = np.ones(size)
        repeats = 2**23 // size
        rates[name] = 8 * size * repeats / best(_read, repeats, array)
    pairs = [
        neighbor_pairs(a.positions, cell=a.cell.array, pbc=a.pbc, cutoff=settings.cutoff) for a in frames
    ]
    n_pairs, n_atoms = sum(len(p.first) for p in pairs), sum(map(len, frames))
    columns, n_sigmas = settings.num_features, len(settings.sigmas)
    work = 2 * (6 * columns + (settings.max_order + 1) ** 2 * n_sigmas) + 150
    traffic = 6 * 8 * columns
    featurizer = GMPFeaturizer(settings, densities, backend="numba")
    for atoms in frames:
        featurizer(atoms)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        for atoms in frames:
            featurizer(atoms)
        seconds.append(time.process_time() - start)
    reached = float(np.median(seconds)) / n_pairs * 1e9
    bound = max(work / flops, traffic / rates["L2"]) * 1e9
    return (
        f"Measured with the same vector instructions: {flops / 1e9:.0f} GFLOP/s in float64; reading "
        f"{rates['L1'] / 1e9:.0f} (L1), {rates['L2'] / 1e9:.0f} (L2), {rates['L3'] / 1e9:.0f} GB/s (L3).\n\n"
        f"A neighbour ({n_pairs / n_atoms:.0f} for an atom) takes {work} floating-point operations "
        f"({work / flops * 1e9:.0f} ns) and {traffic} bytes of tables ({traffic / rates['L2'] * 1e9:.0f} ns "
        f"from L2, {traffic / rates['L3'] * 1e9:.0f} ns from L3): at least {bound:.0f} ns. Reached, the "
        f"search for neighbours and everything else included: {reached:.0f} ns, {reached / bound:.1f} times "
        "that bound."
    )
