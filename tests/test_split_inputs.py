"""From a split file to a store: frames go where it says, and the store knows what its splits share."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import GMP_OPTIONS, labelled, slabs, water, write

from hpopt_lib.cli import main
from hpopt_lib.data.split_files import SplitFile
from hpopt_lib.errors import HpoptError
from hpopt_lib.split_inputs import split_inputs
from hpopt_lib.store import Store


def hpopt(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    """Forty-eight slabs in twelve systems of four frames; four systems have frames in both files."""
    frames = slabs(0, 48)
    for number, atoms in enumerate(frames):
        system = f"{atoms.symbols[0]}-{atoms.symbols[-1]}-{number // 24}"
        atoms.info |= {"system_id": system, "adsorbate": str(atoms.symbols[-1]), "number": number}
    return [write(tmp_path / "a.traj", frames[:20]), write(tmp_path / "b.traj", frames[20:])]


def numbers(store: Store, split: str) -> set[int]:
    return {entry["number"] for entry in store.read(split).info}


def test_frames_go_where_the_split_file_says(files, tmp_path):
    out, store_file = tmp_path / "split.json", tmp_path / "s.lmdb"
    done = hpopt("data", "split", *files, "--by", "system", "--fractions", "0.6,0.2,0.2", "--out", out)
    assert done.exit_code == 0, done.output
    assert "system: labels (system_id)" in done.output
    # the files may be given in another order
    done = hpopt("preprocess", files[1], files[0], "--split", out, "--out", store_file, *GMP_OPTIONS)
    assert done.exit_code == 0, done.output
    store, split = Store.open(store_file), SplitFile.load(out)
    assert store.splits == ["train", "val", "test"]
    for name in store.splits:
        masks = [split.frames(name, index) for index in range(2)]
        assert numbers(store, name) == set(np.flatnonzero(np.concatenate(masks)).tolist())
    systems = [set(store.read(name).system_ids) for name in store.splits]
    assert not systems[0] & (systems[1] | systems[2]) and not systems[1] & systems[2]
    assert store.header["split"]["by"] == "system" and store.header["leaks"]["broken"] == []
    shown = hpopt("data", "info", store_file).output
    assert "split by system: split.json (sha256 " in shown and f"0 of {len(systems[1])}" in shown
    assert hpopt("data", "split", *files, "--by", "system", "--out", out).exit_code == 1  # never overwritten


def test_folds(files, tmp_path):
    out = tmp_path / "folds.json"
    assert hpopt("data", "split", *files, "--by", "system", "--folds", 3, "--out", out).exit_code == 0
    tested = []
    for fold in range(3):
        path = tmp_path / f"{fold}.lmdb"
        done = hpopt("preprocess", *files, "--split", out, "--fold", fold, "--out", path, *GMP_OPTIONS)
        assert done.exit_code == 0, done.output
        store = Store.open(path)
        assert store.splits == ["train", "val"] and store.header["leaks"]["broken"] == []
        assert numbers(store, "train") == set(range(48)) - numbers(store, "val")
        tested += sorted(numbers(store, "val"))
        assert f"fold {fold} of 3" in hpopt("data", "info", path).output
    assert sorted(tested) == list(range(48))
    for fold, message in ((None, "pass --fold 0 to --fold 2"), (3, "no fold 3; use 0 to 2")):
        with pytest.raises(HpoptError, match=message):
            split_inputs([str(f) for f in files], out, fold=fold)


def test_a_split_file_that_does_not_fit_is_refused(files, tmp_path):
    out = tmp_path / "split.json"
    assert hpopt("data", "split", *files, "--by", "system", "--out", out).exit_code == 0
    a, b = map(str, files)
    with pytest.raises(
        HpoptError, match=r"split.json: inputs\[1\].file: b.traj is not among the given files"
    ):
        split_inputs([a], out)
    with pytest.raises(HpoptError, match="train=.*: no such file; with --split, name the files"):
        split_inputs([f"train={a}", b], out)
    other = str(write(tmp_path / "c.traj", slabs(60, 64)))
    with pytest.raises(
        HpoptError, match=r"split.json: inputs: .*c.traj is not among them \(a.traj, b.traj\)"
    ):
        split_inputs([a, b, other], out)
    with pytest.raises(HpoptError, match="split.json: folds: none, so --fold cannot be"):
        split_inputs([a, b], out, fold=1)
    write(files[0], slabs(0, 20)[::-1])
    with pytest.raises(
        HpoptError, match=r"split.json: inputs\[0\].sha256: .*a.traj has changed since it was split"
    ):
        split_inputs([a, b], out)
    done = hpopt("preprocess", a, b, "--fold", 1, "--out", tmp_path / "s.lmdb")
    assert done.exit_code == 1 and not (tmp_path / "s.lmdb").exists()


def test_a_file_that_gives_another_number_of_frames_is_refused(files, tmp_path):
    out = tmp_path / "split.json"
    assert hpopt("data", "split", *files, "--by", "system", "--out", out).exit_code == 0
    data = json.loads(out.read_text())
    data["inputs"][1]["n_frames"] += 1
    out.write_text(json.dumps(data))
    done = hpopt("preprocess", *files, "--split", out, "--out", tmp_path / "s.lmdb", *GMP_OPTIONS)
    assert done.exit_code == 1 and "split.json: n_frames: 29 in b.traj, which gives 28" in done.output
    assert not (tmp_path / "s.lmdb").exists()


def test_a_shared_group_is_reported(files, tmp_path):
    """A split file whose promise was broken by hand: two frames of one system are on two sides."""
    out = tmp_path / "split.json"
    assert (
        hpopt("data", "split", *files, "--by", "system", "--fractions", "0.5,0.5", "--out", out).exit_code
        == 0
    )
    data = json.loads(out.read_text())
    frames = ase.io.read(files[0], ":") + ase.io.read(files[1], ":")
    by_system: dict[str, list[int]] = {}
    for number, atoms in enumerate(frames[:20]):
        by_system.setdefault(atoms.info["system_id"], []).append(number)
    masks = {name: SplitFile.load(out).frames(name, 0) for name in ("train", "val")}
    system, moved = next((s, n) for s, n in by_system.items() if len(n) > 1 and masks["train"][n[0]])
    masks["train"][moved[0]], masks["val"][moved[0]] = False, True
    for name, mask in masks.items():
        data["splits"][name]["frames"][0] = ",".join(map(str, np.flatnonzero(mask)))
    out.write_text(json.dumps(data))
    done = hpopt("preprocess", *files, "--split", out, "--out", tmp_path / "s.lmdb", *GMP_OPTIONS)
    sentence = "warning: splits train and val share 1 of "
    assert done.exit_code == 0 and sentence in done.output and system in done.output
    shown = hpopt("data", "info", tmp_path / "s.lmdb").output
    assert sentence in shown and f"groups by system ({system})" in shown


def test_files_that_a_user_named_himself(files, tmp_path):
    """The leak table counts what is shared; a shared labelled system is said at once."""
    done = hpopt(
        "preprocess", f"train={files[0]}", f"val={files[1]}", "--out", tmp_path / "s.lmdb", *GMP_OPTIONS
    )
    assert done.exit_code == 0, done.output
    train, val = (
        [(a.info["system_id"], a.symbols[-1], str(a.symbols[0])) for a in ase.io.read(f, ":")] for f in files
    )
    found = Store.open(tmp_path / "s.lmdb").header["leaks"]
    for key, kind in enumerate(("system", "adsorbate", "composition")):
        one, other = {t[key] for t in train}, {t[key] for t in val}
        assert found["splits"]["val"][kind]["shared"] == len(one & other)
        assert found["splits"]["val"][kind]["of"] == len(other)
    assert "temperature" not in found["origins"]
    assert "warning: splits train and val share 4 of 10 groups by system" in done.output
    again = hpopt(
        "preprocess",
        f"train={files[0]}",
        f"val={files[0]}",
        "--duplicates",
        "keep",
        "--out",
        tmp_path / "t.lmdb",
        *GMP_OPTIONS,
    )
    n = len({t[0] for t in train})
    assert f"warning: splits train and val share {n} of {n} groups by system" in again.output


def test_molecules_without_labels_count_as_one_system(tmp_path):
    paths = []
    for name, start in (("train", 0), ("val", 10)):
        frames = [water(number) for number in range(start, start + 6)]
        paths.append(
            write(tmp_path / f"{name}.extxyz", [labelled(a, -14.0, np.zeros((3, 3))) for a in frames])
        )
    done = hpopt("preprocess", *paths, "--out", tmp_path / "s.lmdb", *GMP_OPTIONS)
    assert done.exit_code == 0, done.output
    table = [line.split() for line in done.output.splitlines()]
    assert ["val", "1", "of", "1", "1", "of", "1"] in table  # system and composition; no tags, no adsorbate
    assert "system: derived (composition, cell and tags)" in done.output


def test_out_of_domain_splits_of_real_frames(shared, tmp_path):
    frames = shared / "data/oc20/oc20_frames_200.traj"
    out, store_file = tmp_path / "split.json", tmp_path / "s.lmdb"
    done = hpopt(
        "data", "split", frames, "--by", "adsorbate+composition", "--fractions", "0.5,0.1,0.4", "--out", out
    )
    assert done.exit_code == 0, done.output
    options = ["--sigmas", "0.8", "--max-order", 0, "--cutoff", 3]
    done = hpopt("preprocess", frames, "--split", out, "--out", store_file, *options)
    assert done.exit_code == 0, done.output
    store = Store.open(store_file)
    assert store.splits == ["train", "val_id", "val_ood_ads", "val_ood_cat", "val_ood_both"]
    found = store.header["leaks"]["splits"]
    assert found["val_ood_ads"]["adsorbate"]["shared"] == found["val_ood_both"]["adsorbate"]["shared"] == 0
    assert (
        found["val_ood_cat"]["composition"]["shared"] == found["val_ood_both"]["composition"]["shared"] == 0
    )
    assert found["val_ood_cat"]["adsorbate"]["shared"] > 0 and store.header["leaks"]["broken"] == []
