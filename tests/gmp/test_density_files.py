"""Readers of the published density formats, and what they say about damaged files."""

from __future__ import annotations

import ase
import numpy as np
import pytest

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.densities import load_densities, table_label
from hpopt_lib.gmp.density_files import read_g, read_gpsp
from hpopt_lib.gmp.features import GMPFeaturizer
from hpopt_lib.gmp.settings import GMPSettings

HYDROGEN, OXYGEN = load_densities()[1], load_densities()[8]


def lines(density) -> list[str]:
    return [f"{b!r}\t{beta!r}" for b, beta in zip(density.amplitudes.tolist(), density.exponents.tolist())]


def g_text(density) -> str:
    return "\n".join(lines(density)) + "\n"


def gpsp_text(*, count: int = 3, tail: str = "") -> str:
    blocks = [["X\t0\t1", "0.0\t1.0"]]
    blocks += [[f"{d.symbol}\t{d.number}\t{len(d.exponents)}", *lines(d)] for d in (HYDROGEN, OXYGEN)]
    text = "# made for a test\n# version 1.0\n" + f"! {count} elements\n"
    return text + "".join("****\n" + "\n".join(block) + "\n" for block in blocks) + tail


def test_g_files_give_the_same_features(tmp_path):
    for density in (HYDROGEN, OXYGEN):
        (tmp_path / f"{density.symbol}_pseudodensity.g").write_text(g_text(density))
    densities = read_g(tmp_path)
    assert list(densities) == [1, 8] and densities[8].symbol == "O" and densities[8].n_electrons == 6
    assert table_label(densities) == table_label({1: HYDROGEN, 8: OXYGEN})
    atoms, settings = ase.Atoms("OH", [[0, 0, 0], [0, 0, 1.0]]), GMPSettings(sigmas=(0.5,))
    np.testing.assert_array_equal(
        GMPFeaturizer(settings, densities=densities, backend="exact")(atoms),
        GMPFeaturizer(settings, backend="exact")(atoms),
    )
    with pytest.raises(HpoptError, match="no element density for C"):
        GMPFeaturizer(settings, densities=densities)(ase.Atoms("C"))


def test_g_files_one_by_one(tmp_path):
    path = tmp_path / "anything.g"
    path.write_text(g_text(OXYGEN))
    assert list(read_g({"O": path})) == [8]
    path = path.rename(tmp_path / "O.g")
    assert list(read_g(path)) == [8]


def test_gpsp_files(tmp_path):
    path = tmp_path / "table.gpsp"
    path.write_text(gpsp_text())
    densities = read_gpsp(path)
    assert list(densities) == [0, 1, 8] and float(densities[0](0.3)) == 0.0
    np.testing.assert_array_equal(densities[8].amplitudes, OXYGEN.amplitudes)
    assert densities[1].charge == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(HpoptError, match="no element density for Cu"):
        GMPFeaturizer(GMPSettings(), densities=densities)(ase.Atoms("Cu"))


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and error.value.remedy
    return text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("O_p.g", "", "O: no Gaussians"),
        ("O_p.g", "1.0 2.0\n1.0\n", "line 2: '1.0' is not a pair of numbers"),
        ("O_p.g", "1.0 2.0 3.0\n", "line 1"),
        ("O_p.g", "1.0 two\n", "line 1: '1.0 two'"),
        ("O_p.g", "1.0 -2.0\n", "positive exponent"),
        ("O_p.g", "nan 2.0\n", "finite amplitude"),
        ("O_p.g", "-1.0 2.0\n", "the density holds -"),
        ("oxygen.g", "1.0 2.0\n", "the name tells no element"),
        ("O_p.txt", "1.0 2.0\n", "the name tells no element"),
    ],
)
def test_damaged_g_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(HpoptError) as error:
        read_g(path)
    assert message in one_line(error) and name in str(error.value)


def test_missing_and_doubled_g_files(tmp_path):
    with pytest.raises(HpoptError) as error:
        read_g({"O": tmp_path / "none.g"})
    assert "none.g: cannot be read" in one_line(error)
    with pytest.raises(HpoptError) as error:
        read_g(tmp_path)
    assert "no .g file" in one_line(error)
    for name in ("O.g", "O_other.g"):
        (tmp_path / name).write_text(g_text(OXYGEN))
    with pytest.raises(HpoptError) as error:
        read_g(tmp_path)
    assert "O.g is of the same element" in one_line(error)
    with pytest.raises(HpoptError) as error:
        read_g({"Ox": tmp_path / "O.g"})
    assert "'Ox' is no chemical symbol" in one_line(error)
    (tmp_path / "O.g").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HpoptError) as error:
        read_g(tmp_path / "O.g")
    assert "not a text file" in one_line(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (gpsp_text(tail="****\n"), "last line: a trailing ****"),
        (gpsp_text(count=4), "4 elements announced, 3 given"),
        (gpsp_text().replace("O\t8\t", "O\t8\t1"), "Gaussians announced"),
        (gpsp_text()[: gpsp_text().rindex("\n", 0, -1)], "Gaussians announced"),
        (gpsp_text().replace("O\t8\t", "O\t9\t"), "9 is not the atomic number of O"),
        (gpsp_text().replace("O\t8\t", "Oo\t8\t"), "is not 'symbol, atomic number, number of Gaussians'"),
        (gpsp_text().replace("O\t8\t", "O\t8 "), None),
        (gpsp_text().replace("****\nO", "****\n****\nO"), "two **** without an element"),
        (gpsp_text().replace("X\t0\t1", "H\t1\t1").replace("0.0\t1.0", "1.0\t1.0"), "H a second time"),
        (gpsp_text().replace("****", "----"), "before the first ****"),
        ("# nothing\n", "no **** line"),
        ("{}", "before the first ****"),
    ],
)
def test_damaged_gpsp_files(tmp_path, text, message):
    path = tmp_path / "table.gpsp"
    path.write_text(text)
    if message is None:
        assert list(read_gpsp(path)) == [0, 1, 8]
        return
    with pytest.raises(HpoptError) as error:
        read_gpsp(path)
    assert message in one_line(error) and "table.gpsp" in str(error.value)
