"""Figures of the OC20 chapter: the workflow and its tasks, a slab by tag, a relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from hpopt_lib.report.style import BLACK, BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, VERMILION, new_figure, styled

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Meaning of OC20's tags, and their colours in `slab_views`.
TAGS = {
    0: ("below the surface (tag 0)", LIGHT_GREY),
    1: ("surface (tag 1)", BLUE),
    2: ("adsorbate (tag 2)", VERMILION),
}


def _box(axis: Axes, x: float, y: float, text: str, *, width: float, color: str) -> None:
    corner = (x - width / 2, y - 0.45)
    style = "round,pad=0.02,rounding_size=0.12"
    axis.add_patch(
        FancyBboxPatch(corner, width, 0.9, boxstyle=style, facecolor=color, edgecolor=GREY, linewidth=0.9)
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(
    axis: Axes, path: tuple[float, float, float, float], *, color: str = GREY, bend: float = 0.0
) -> None:
    style = f"arc3,rad={bend}"
    axis.add_patch(
        FancyArrowPatch(
            path[:2],
            path[2:],
            arrowstyle="-|>",
            mutation_scale=12,
            color=color,
            connectionstyle=style,
            linewidth=1.6,
        )
    )


@styled
def workflow() -> Figure:
    """The steps of a DFT relaxation, and the part of it that each task of OC20 replaces."""
    figure = new_figure(4.4)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set(xlim=(0, 10), ylim=(0, 6.3))
    axis.set_axis_off()
    plain, first, second = "#EEEEEE", "#F8DBC6", "#CBEBDD"
    _box(axis, 1.05, 4.3, "bulk crystal\n(elements, lattice)", width=1.8, color=plain)
    _box(axis, 3.3, 4.3, "slab\n(facet, vacuum,\ntags 0 and 1)", width=1.8, color=plain)
    _box(axis, 5.75, 4.3, "initial structure\n(slab and adsorbate,\nwhich has tag 2)", width=2.1, color=plain)
    _box(axis, 8.85, 4.3, "relaxed structure\nand its energy", width=1.9, color=plain)
    _box(axis, 4.75, 2.45, "single point:\nenergy and forces\nof one structure", width=1.9, color="#CFE5F3")
    _box(axis, 7.75, 2.45, "move the free atoms\nalong the forces", width=1.95, color=plain)
    for path in (
        (1.98, 4.3, 2.36, 4.3),
        (4.23, 4.3, 4.66, 4.3),
        (5.4, 3.8, 5.0, 2.95),
        (5.73, 2.65, 6.74, 2.65),
        (6.74, 2.25, 5.73, 2.25),
        (8.2, 2.95, 8.65, 3.8),
    ):
        _arrow(axis, path)
    axis.text(6.23, 2.45, "repeat", ha="center", va="center", fontsize=8)
    axis.text(8.6, 3.35, "when all forces\nare small", ha="left", va="center", fontsize=8)
    axis.text(
        0.15,
        2.45,
        "A relaxation with DFT repeats\nan expensive single point\nsome hundred times.",
        va="center",
    )
    _arrow(axis, (5.75, 4.82, 8.85, 4.82), color=VERMILION, bend=-0.3)
    text = "IS2RS: predict the relaxed structure in one step\nIS2RE: predict its energy in one step"
    _box(axis, 7.3, 5.78, text, width=4.7, color=first)
    _box(axis, 4.75, 0.75, "S2EF: predict energy and forces of any structure", width=4.7, color=second)
    _arrow(axis, (4.75, 1.25, 4.75, 1.93), color=GREEN)
    return figure


def _faded(color: str) -> tuple[float, float, float]:
    red, green, blue = to_rgb(color)
    return 0.3 * red + 0.7, 0.3 * green + 0.7, 0.3 * blue + 0.7


def _circle(centre: np.ndarray, number: int, tag: int, *, faded: bool = False) -> Circle:
    color = TAGS[tag][1]
    return Circle(
        (float(centre[0]), float(centre[1])),
        0.85 * covalent_radii[number],
        facecolor=_faded(color) if faded else color,
        edgecolor="0.65" if faded else "0.2",
        linewidth=0.7,
    )


@styled
def slab_views(atoms: Atoms) -> Figure:
    """A slab from the side and from above, with periodic images, coloured by tag; fixed atoms have a cross.

    Parameters
    ----------
    atoms : ase.Atoms
        With tags as in OC20, periodic along the first two cell vectors.
    """
    from hpopt_lib.data.frames import fixed_mask

    figure = new_figure(3.5)
    side, top = figure.subplots(1, 2, width_ratios=(1, 1.15))
    fixed, tags = fixed_mask(atoms), atoms.get_tags()
    for n in np.argsort(-atoms.positions[:, 1]):
        centre = atoms.positions[n, [0, 2]]
        side.add_patch(_circle(centre, atoms.numbers[n], int(tags[n])))
        if fixed[n]:
            side.text(*centre, "×", ha="center", va="center", fontsize=8)
    for n in np.argsort(atoms.positions[:, 2]):
        for i, j in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            centre = (atoms.positions[n] + i * atoms.cell[0] + j * atoms.cell[1])[:2]
            top.add_patch(_circle(centre, atoms.numbers[n], int(tags[n]), faded=(i, j) != (0, 0)))
            if (i, j) == (0, 0) and tags[n] > 0:
                symbol = chemical_symbols[atoms.numbers[n]]
                top.text(*centre, symbol, ha="center", va="center", fontsize=8, color="white")
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ atoms.cell.array[:2, :2]
    top.plot(*corners.T, color=BLACK, linewidth=1.2)
    low, high = corners.min(axis=0) - 2.5, corners.max(axis=0) + 2.5
    top.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x / Å", ylabel="y / Å", aspect="equal")
    top.set_title("from above: the cell and its images")
    low, high = atoms.positions.min(axis=0) - 2.0, atoms.positions.max(axis=0) + 2.0
    side.set(xlim=(low[0], high[0]), ylim=(low[2], high[2]), xlabel="x / Å", ylabel="z / Å", aspect="equal")
    side.set_title("from the side (× fixed)")
    for axis in (side, top):
        axis.grid(False)
    handles = [Circle((0, 0), 1.0, facecolor=color, edgecolor="0.2") for _, color in TAGS.values()]
    figure.legend(handles, [name for name, _ in TAGS.values()], loc="outside lower center", ncols=3)
    return figure


@styled
def relaxation_roles(energies_ev: Sequence[float], forces_ev_per_angstrom: Sequence[float]) -> Figure:
    """Energy and largest force along a relaxation, marked with what each task takes and gives.

    Parameters
    ----------
    energies_ev : sequence of float
        Adsorption energy of each frame.
    forces_ev_per_angstrom : sequence of float
        Largest force on a free atom of each frame.
    """
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    x = np.arange(len(energies_ev))
    left.plot(x, energies_ev, "o-", color=BLUE, label="every frame is an S2EF example")
    for at, marker, color, label in (
        (0, "s", ORANGE, "input of IS2RE and IS2RS"),
        (-1, "D", VERMILION, "target of IS2RE (energy) and IS2RS (positions)"),
    ):
        style = {"color": color, "markersize": 11, "fillstyle": "none", "markeredgewidth": 2}
        left.plot(x[at], energies_ev[at], marker, label=label, **style)
    left.set(xlabel="stored frame", ylabel="adsorption energy / eV", xticks=x)
    figure.legend(loc="outside upper left", ncols=2)
    right.semilogy(x, forces_ev_per_angstrom, "o-", color=GREEN)
    right.set(xlabel="stored frame", ylabel="largest force on a free atom / (eV/Å)", xticks=x)
    return figure
