"""Pickled Open Catalyst LMDBs behind their flag, fairchem's .aselmdb, and LMDB files of something else."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from foreign_files import fixed_atoms, torch_geometric, write_aselmdb, write_lmdb, write_oc20_lmdb
from synthetic import GMP_OPTIONS, slabs

from hpopt_lib.cli import main
from hpopt_lib.data.formats import find_format
from hpopt_lib.data.readers import FrameSource
from hpopt_lib.data.restricted_pickle import load_graph
from hpopt_lib.errors import HpoptError
from hpopt_lib.store import Store


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(HpoptError, match=message) as raised:
        list(FrameSource(path, **options))
    assert raised.value.remedy


@pytest.mark.parametrize(("version", "protocol"), [(1, 2), (1, -1), (2, 2), (2, -1)])
def test_s2ef_entries(tmp_path, version, protocol):
    frames = slabs(0, 12)  # more than ten: keys are text, frames must not come in its order
    path = write_oc20_lmdb(tmp_path / "d.lmdb", frames, version=version, protocol=protocol)
    source = FrameSource(path, trust_pickle=True)
    read = list(source)
    assert source.format.name == "oc20-lmdb" and source.record()["energy"] == "as in the file"
    assert [a.info["frame"] for a in read] == list(range(12)) and read[3].info["system_id"] == "random1003"
    for ours, theirs in zip(read, frames, strict=True):
        assert ours.numbers.tolist() == theirs.numbers.tolist() and ours.pbc.all()
        assert ours.positions == pytest.approx(theirs.positions, abs=1e-5)
        assert ours.cell.array == pytest.approx(theirs.cell.array, abs=1e-5)
        assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy())
        assert ours.calc.results["forces"] == pytest.approx(theirs.calc.results["forces"], abs=1e-5)
        assert ours.get_tags().tolist() == theirs.get_tags().tolist()
        assert fixed_atoms(ours) == fixed_atoms(theirs)


def test_is2re_entries_are_the_two_ends_of_a_relaxation(tmp_path):
    frames = slabs(0, 3)
    path = write_oc20_lmdb(tmp_path / "d.lmdb", frames, task="is2re")
    source = FrameSource(path, trust_pickle=True)
    read = list(source)
    assert [a.info["state"] for a in read] == ["initial", "relaxed"] * 3
    assert [a.info["system_id"] for a in read[:3]] == ["random1000", "random1000", "random1001"]
    energies = [e for a in frames for e in (a.get_potential_energy(), a.get_potential_energy() - 1.0)]
    assert [a.get_potential_energy() for a in read] == pytest.approx(energies)
    assert read[1].positions == pytest.approx(frames[0].positions + 0.1, abs=1e-5)
    assert source.record()["energy"] == "adsorption"
    refused(path, "reference_energy: missing, so there is no raw energy", trust_pickle=True, energy="raw")
    first = write_oc20_lmdb(tmp_path / "f.lmdb", frames, task="is2re", pos_relaxed=None)
    assert [a.info["state"] for a in FrameSource(first, trust_pickle=True)] == ["initial"] * 3
    last = write_oc20_lmdb(tmp_path / "l.lmdb", frames, task="is2re", y_init=None)
    assert [a.info["state"] for a in FrameSource(last, trust_pickle=True)] == ["relaxed"] * 3
    neither = write_oc20_lmdb(tmp_path / "n.lmdb", frames, task="is2re", y_init=None, pos_relaxed=None)
    refused(neither, "n.lmdb: entry 0: pos_relaxed: missing", trust_pickle=True)
    test_set = write_oc20_lmdb(tmp_path / "t.lmdb", frames, task="is2re", y_relaxed=None, y_init=None)
    refused(test_set, "t.lmdb: entry 0: energy: none of y_relaxed, y and energy", trust_pickle=True)


def test_a_folder_of_files_through_the_command_line(tmp_path):
    frames = slabs(0, 6)
    (tmp_path / "all").mkdir()
    for number in range(3):
        write_oc20_lmdb(tmp_path / "all" / f"data.{number:04d}.lmdb", frames[2 * number : 2 * number + 2])
    out = str(tmp_path / "s.lmdb")
    command = ["preprocess", f"train={tmp_path / 'all'}", "--out", out, *GMP_OPTIONS]
    result = CliRunner().invoke(main, command)
    (line,) = result.stderr.splitlines()
    assert (
        result.exit_code == 1
        and "pickled" in line
        and "can run any code" in line
        and "--trust-pickle" in line
    )
    assert not Path(out).exists()
    result = CliRunner().invoke(main, [*command, "--trust-pickle"])
    assert result.exit_code == 0, result.output
    arrays = Store.open(out).read("train")
    assert arrays.energy == pytest.approx([a.get_potential_energy() for a in frames])
    assert [e["source"] for e in arrays.info] == [f"data.{k // 2:04d}.lmdb" for k in range(6)]
    refused(Path(out), "s.lmdb: a feature store, which is made already")


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def malicious(marker: Path) -> dict[str, Any]:
    evil = Call(os.system, f"touch '{marker}'")
    inner = pickle.dumps(evil)
    loader: Any = torch.storage._load_from_bytes  # type: ignore[attr-defined]
    return {
        "the whole entry": pickle.dumps(evil),
        "inside of a list": pickle.dumps([evil, 1]),
        "as a tensor's numbers": pickle.dumps(Call(loader, inner)),
        "eval": pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')")),
        "numpy.load": pickle.dumps(Call(np.load, str(marker), None, True)),
        "torch.load": pickle.dumps(Call(torch.load, str(marker))),
        "a dotted name": b"\x80\x04\x8c\x0btorch._utils\x8c\x12_rebuild_tensor.os\x93.",
        "a persistent id": b"\x80\x04\x8c\x01xQ.",
    }


@pytest.mark.parametrize("case", malicious(Path("x")))
def test_a_malicious_pickle_does_nothing(tmp_path, case):
    marker = tmp_path / "marker"
    path = write_lmdb(tmp_path / "d.lmdb", {"0": malicious(marker)[case]})
    refused(path, "pass --trust-pickle|pickled")
    refused(path, "d.lmdb: entry 0: pickle: ", trust_pickle=True)
    assert not marker.exists()
    if case == "the whole entry":
        pickle.loads(malicious(marker)[case])
        assert marker.exists()  # so the payload would have worked


def test_a_malicious_field_in_a_graph_is_refused(tmp_path):
    marker = tmp_path / "marker"
    path = write_oc20_lmdb(tmp_path / "d.lmdb", slabs(0, 1), note=Call(os.system, f"touch '{marker}'"))
    refused(
        path,
        r"entry 0: pickle: it asks for (posix|nt).system, which no graph needs: refused",
        trust_pickle=True,
    )
    assert not marker.exists()


def test_numpy_values_are_read_and_objects_in_arrays_are_not():
    values = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32(1.5), "c": np.array(7), "d": np.zeros(0)}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with torch_geometric(1) as module:
            data = pickle.dumps(module.Data(**values), protocol=protocol)
        read = load_graph(data)
        assert read.keys() == values.keys()
        for key, value in values.items():
            assert np.array_equal(read[key], value), (protocol, key)
    with torch_geometric(1) as module:
        data = pickle.dumps(module.Data(a=np.array([Call(print, "x")], dtype=object)))
    with pytest.raises(ValueError, match=r"pickle: it asks for builtins.print"):
        load_graph(data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pos": None}, "pos: missing"),
        ({"pos": torch.zeros((4, 3))}, r"pos: shape \(4, 3\) for 9 atoms"),
        ({"force": torch.zeros((4, 3))}, r"force: shape \(4, 3\) for 9 atoms"),
        ({"natoms": 8}, "natoms: not the 9 of atomic_numbers"),
        ({"tags": torch.zeros(3)}, "tags: 3 values for 9 atoms"),
        ({"y": None}, "energy: none of y_relaxed, y and energy is there"),
        ({"y": torch.zeros(2)}, "y: 2 values, not one"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(tmp_path, changed, message):
    path = write_oc20_lmdb(tmp_path / "d.lmdb", slabs(0, 1), **changed)
    refused(path, f"d.lmdb: entry 0: {message}", trust_pickle=True)


def test_damaged_and_foreign_lmdb_files(tmp_path):
    path = write_oc20_lmdb(tmp_path / "d.lmdb", slabs(0, 4))
    whole = path.read_bytes()
    (tmp_path / "cut.lmdb").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.lmdb", "cut.lmdb: no readable LMDB file")
    refused(tmp_path / "cut.lmdb", "cut.lmdb: truncated: ", format="oc20-lmdb", trust_pickle=True)
    (tmp_path / "text.lmdb").write_text("hello " * 900)
    refused(tmp_path / "text.lmdb", "text.lmdb: no readable LMDB file")
    refused(tmp_path / "text.lmdb", "text.lmdb: no readable LMDB file", format="aselmdb")
    refused(write_lmdb(tmp_path / "o.lmdb", {"name": b"value"}), "o.lmdb: an LMDB file of something else")
    refused(write_lmdb(tmp_path / "p.lmdb", {"0": b"value"}), "p.lmdb: an LMDB file of something else")
    broken = write_lmdb(tmp_path / "b.lmdb", {"0": pickle.dumps([1, 2, 3])[:-4]})
    refused(broken, "b.lmdb: entry 0: pickle: ", trust_pickle=True)
    other = write_lmdb(tmp_path / "l.lmdb", {"0": pickle.dumps([1, 2, 3])})
    gap = write_lmdb(tmp_path / "g.lmdb", {"9" * 12: pickle.dumps(1), "007": pickle.dumps(1)})
    refused(gap, "g.lmdb: keys: 2 entries have numbers beyond", trust_pickle=True)
    refused(other, "l.lmdb: entry 0: pickle: a list, not a graph of torch_geometric", trust_pickle=True)


def test_aselmdb_rows(tmp_path):
    frames = slabs(0, 12)
    source = FrameSource(write_aselmdb(tmp_path / "d.aselmdb", frames, deleted=[3]))
    read = list(source)
    assert source.format.name == "aselmdb"
    kept = [a for k, a in enumerate(frames, start=1) if k != 3]
    assert [a.info["frame"] for a in read] == [k for k in range(1, 13) if k != 3]
    assert read[1].info["system_id"] == "random1" and "list" not in read[1].info
    for ours, theirs in zip(read, kept, strict=True):
        assert ours.positions == pytest.approx(theirs.positions)
        assert ours.get_potential_energy() == pytest.approx(theirs.get_potential_energy())
        assert ours.calc.results["forces"] == pytest.approx(theirs.calc.results["forces"])
        assert ours.get_tags().tolist() == theirs.get_tags().tolist()
        assert fixed_atoms(ours) == fixed_atoms(theirs) == [0, 1, 2, 3]
    (tmp_path / "d.aselmdb").rename(tmp_path / "d.lmdb")
    assert find_format(tmp_path / "d.lmdb").name == "aselmdb"


def test_aselmdb_rows_that_are_none(tmp_path):
    for name, value in (
        ("a", b"\x78\x9cnothing"),
        ("b", zlib.compress(b"[1, 2]")),
        ("c", zlib.compress(b"{}")),
    ):
        path = write_lmdb(tmp_path / f"{name}.aselmdb", {"1": value})
        refused(path, f"{name}.aselmdb: row 1: no row of an ASE database")
    cut = write_aselmdb(tmp_path / "d.aselmdb", slabs(0, 4))
    cut.write_bytes(cut.read_bytes()[:9000])
    refused(cut, "d.aselmdb: truncated: 9000 of")
