"""Splits share no group, whatever the labels; sizes come near the wanted ones; files are checked and reused."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from synthetic import slabs, write

from hpopt_lib.data.allocation import allocate, hold_out, merge
from hpopt_lib.data.embedded import load_embedded
from hpopt_lib.data.groups import FrameGroups, derived_group, label_of
from hpopt_lib.data.split_files import SplitFile, make_split_file
from hpopt_lib.data.split_ranges import format_ranges, parse_ranges
from hpopt_lib.data.split_request import BOTH, SplitRequest
from hpopt_lib.data.splits import divide
from hpopt_lib.errors import HpoptError

METALS, ADSORBATES = ("Ag", "Cu", "Ni", "Pd", "Pt"), ("C", "H", "N", "O", "OH")
#: system, adsorbate, composition, temperature of a frame
Truth = tuple[int, int, int, int]
truths = st.lists(st.tuples(*(st.integers(0, n) for n in (9, 4, 4, 3))), min_size=2, max_size=50)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def frame(truth: Truth, *, labels: bool) -> Atoms:
    """A slab with an adsorbate; without labels, what it is says everything but its temperature."""
    system, adsorbate, composition, temperature = truth
    symbols = f"{METALS[composition]}2{ADSORBATES[adsorbate]}"
    atoms = Atoms(symbols, cell=[4.0 + system, 4, 20], pbc=True)
    atoms.set_tags([0, 1] + [2] * (len(atoms) - 2))
    atoms.info["temperature_k"] = 100.0 * temperature
    if labels:
        atoms.info |= {
            "system_id": f"s{system}",
            "adsorbate": f"*{ADSORBATES[adsorbate]}",
            "composition": METALS[composition],
        }
    return atoms


def gather(frames: list[Atoms]) -> FrameGroups:
    groups = FrameGroups()
    for number, atoms in enumerate(frames):
        groups.add(atoms, default_system=f"file-{number}")
    return groups


def components(truths: list[Truth], keys: tuple[int, ...]) -> int:
    """Number of sets of frames that must stay together, counted by spreading from frame to frame."""
    left, count = set(range(len(truths))), 0
    while left:
        reached, count = [left.pop()], count + 1
        while reached:
            here = truths[reached.pop()]
            near = {i for i in left if any(truths[i][k] == here[k] for k in keys)}
            left -= near
            reached += near
    return count


def sets(truths: list[Truth], division, key: int) -> dict[str, set[int]]:
    return {
        name: {t[key] for t, split in zip(truths, division.assignment) if split == number}
        for number, name in enumerate(division.names)
    }


SYSTEM, ADSORBATE, COMPOSITION, TEMPERATURE = range(4)
KEYS = {
    "system": (SYSTEM,),
    "adsorbate": (ADSORBATE, SYSTEM),
    "composition": (COMPOSITION, SYSTEM),
    "temperature": (TEMPERATURE,),
}


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("by", KEYS)
@pytest.mark.parametrize("folds", [0, 3])
@quick
@given(truths=truths, seed=seeds)
@example(truths=[(0, 0, 0, 0), (0, 1, 1, 1), (1, 1, 0, 2), (2, 2, 2, 3), (3, 3, 3, 0)], seed=0)
def test_no_group_is_on_two_sides(by, folds, labels, truths, seed):
    """Labels may contradict each other: a system with two adsorbates keeps both together."""
    if not labels:  # then a system is what its atoms and cell are
        truths = [(s, s % 5, (s // 2) % 5, t) for s, _, _, t in truths]
    frames = gather([frame(truth, labels=labels) for truth in truths])
    try:
        division = divide(frames, SplitRequest(by, folds=folds, seed=seed))
    except HpoptError as error:
        assert "group(s) by" in str(error) and components(truths, KEYS[by]) < 3
        return
    assert components(truths, KEYS[by]) >= 3
    assert set(division.assignment.tolist()) == {0, 1, 2}
    for key in KEYS[by]:
        for one, other in combinations(sets(truths, division, key).values(), 2):
            assert not one & other


@pytest.mark.parametrize("labels", [True, False])
@quick
@given(truths=truths, seed=seeds)
@example(truths=[(s, s % 3, s // 3, 0) for s in range(9)] * 2, seed=1)
def test_out_of_domain_splits_hold_out_what_they_say(labels, truths, seed):
    if not labels:
        truths = [(s, s % 5, (s // 2) % 5, t) for s, _, _, t in truths]
    frames = gather([frame(truth, labels=labels) for truth in truths])
    try:
        division = divide(frames, SplitRequest(BOTH, (0.4, 0.2, 0.4), seed=seed))
    except HpoptError:
        return  # few random frames have all five; the example below and the next test have
    ads, cat = sets(truths, division, ADSORBATE), sets(truths, division, COMPOSITION)
    seen_ads, seen_cat = ads["train"] | ads["val_id"], cat["train"] | cat["val_id"]
    for held_ads, held_cat, name in ((1, 0, "val_ood_ads"), (0, 1, "val_ood_cat"), (1, 1, "val_ood_both")):
        assert ads[name] and (not held_ads or not ads[name] & (seen_ads | ads["val_ood_cat"]))
        assert cat[name] and (not held_cat or not cat[name] & (seen_cat | cat["val_ood_ads"]))
    for one, other in combinations(sets(truths, division, SYSTEM).values(), 2):
        assert not one & other


def test_the_layout_of_oc20_on_the_embedded_set():
    names = ("train", "val_id", "val_ood_ads", "val_ood_cat", "val_ood_both")
    frames = [atoms for name in names for atoms in load_embedded("oc20-like", name)[::6]]
    groups = gather(frames)
    division = divide(groups, SplitRequest(BOTH, (0.6, 0.1, 0.3), seed=3))
    assert division.names == list(names)
    for got, wanted in zip(division.shares, division.wanted):
        assert got == pytest.approx(wanted, abs=0.03)
    for name, kinds in (
        ("val_ood_ads", {"adsorbate"}),
        ("val_ood_cat", {"composition"}),
        ("val_ood_both", {"adsorbate", "composition"}),
    ):
        inside = [a for a, k in zip(frames, division.assignment) if k < 2]
        outside = [a for a, k in zip(frames, division.assignment) if division.names[k] == name]
        for kind, of in (
            ("adsorbate", lambda a: a.info["adsorbate"]),
            ("composition", lambda a: frozenset(a.symbols[a.get_tags() < 2])),
        ):
            shared = {of(a) for a in inside} & {of(a) for a in outside}
            assert bool(shared) != (kind in kinds)


def test_a_random_split_says_what_it_leaks():
    frames = gather([frame((i // 5, i // 20, i // 10, 0), labels=True) for i in range(50)])
    division = divide(frames, SplitRequest("random", (0.8, 0.2), seed=0))
    sides = sets([(i // 5, i // 20, i // 10, 0) for i in range(50)], division, SYSTEM)
    leaked = len(sides["train"] & sides["val"])
    assert leaked > 4
    assert division.notes == [
        f"warning: random: groups with frames in several splits: {leaked} of 10 by system, 3 of 3 by "
        "adsorbate, 5 of 5 by composition; so errors are smaller than on new ones; use --by system"
    ]
    assert not division.disjoint
    alone = gather([frame((i, i % 5, i // 5, 0), labels=True) for i in range(10)])
    by_system = divide(alone, SplitRequest("system", (0.8, 0.2)))
    assert not by_system.notes and ("system", "train", "val") in by_system.disjoint


@given(
    sizes=st.lists(st.integers(1, 60), min_size=3, max_size=80),
    shares=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5), (0.98, 0.01, 0.01), (0.25,) * 4]),
    seed=seeds,
)
@quick
def test_allocation_is_complete_and_near(sizes, shares, seed):
    sizes = np.array(sizes)
    if len(sizes) < len(shares):
        return
    chosen = allocate(sizes, shares, seed=seed)
    got = np.bincount(chosen, sizes, minlength=len(shares))
    assert (got > 0).all() and got.sum() == sizes.sum()
    assert np.array_equal(chosen, allocate(sizes, shares, seed=seed))
    # no split is larger than wanted by more than the group that was put last, or one that had to fill it
    assert (got - np.array(shares) * sizes.sum() <= sizes.max() + 1e-9).all()


def test_equal_groups_meet_the_fractions_exactly():
    chosen = allocate(np.full(100, 7), (0.8, 0.1, 0.1), seed=5)
    assert np.bincount(chosen).tolist() == [80, 10, 10]
    assert not np.array_equal(chosen, allocate(np.full(100, 7), (0.8, 0.1, 0.1), seed=6))


def test_a_large_group_goes_where_it_fits():
    sizes = np.array([700, *[10] * 30])
    chosen = allocate(sizes, (0.8, 0.1, 0.1), seed=0)
    assert chosen[0] == 0 and np.bincount(chosen, sizes).tolist() == [800, 100, 100]
    frames = gather([frame((0 if i < 40 else i - 39, 0, 0, 0), labels=True) for i in range(44)])
    notes = divide(frames, SplitRequest("system", (0.5, 0.5))).notes
    assert notes == [
        "train: 90.9 % of the frames, 50.0 % were wanted: groups stay whole",
        "val: 9.1 % of the frames, 50.0 % were wanted: groups stay whole",
    ] or notes[0].startswith("train: 9.1 %")


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=40), share=st.floats(0.01, 0.9), seed=seeds)
@quick
def test_held_out_groups(sizes, share, seed):
    held = hold_out(np.array(sizes), share, np.random.default_rng(seed))
    assert held.any() and not held.all()


def test_merge_joins_chains():
    first, second = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3])
    assert merge([first, second]).tolist() == [0, 0, 0, 1, 2]


@given(st.lists(st.integers(0, 300), unique=True))
def test_ranges_round_trip(numbers):
    numbers = np.array(sorted(numbers), dtype=int)
    assert np.array_equal(parse_ranges(format_ranges(numbers), 301), numbers)


@pytest.mark.parametrize(
    "text", ["5-3", "1,1", "3,2", "a", "1-", "-1", "0-10", "1,,2", "99999999999999", None]
)
def test_texts_that_are_no_ranges(text):
    with pytest.raises(ValueError, match="range|frame"):
        parse_ranges(text, 10)


def test_groups_of_frames_without_labels():
    water = Atoms("H2O")
    assert derived_group("composition", water) == "H2O" and derived_group("adsorbate", water) is None
    slab = frame((1, 4, 1, 0), labels=False)
    assert derived_group("adsorbate", slab) == "HO" and derived_group("composition", slab) == "Cu"
    shuffled = slab[[3, 1, 0, 2]]
    assert derived_group("system", shuffled) == derived_group("system", slab)
    wider = slab.copy()
    wider.cell[0, 0] += 0.1
    assert derived_group("system", wider) != derived_group("system", slab)
    slab.info = {"composition": "Cu3Pd", "thermostat_temperature_k": 300.0}
    assert label_of("composition", slab) == "Cu-Pd" and label_of("temperature", slab) == "300 K"
    slab.info["composition"] = "my oxides"
    assert label_of("composition", slab) == "my oxides"


def test_labels_of_some_frames_do_not_count():
    """One system with a label here and none there would have two names."""
    frames = [frame((i % 3, 0, 0, 0), labels=i < 6) for i in range(12)]
    systems = gather(frames).of("system")
    assert len(systems.names) == 3 and systems.complete
    assert systems.origin == "derived (composition, cell and tags); 6 of 12 frames have a label"


def test_missing_labels_are_named():
    frames = gather([Atoms("H2O") for _ in range(4)])
    with pytest.raises(
        HpoptError, match="frame 0: adsorbate: no label and nothing to derive one from; label frames"
    ):
        divide(frames, SplitRequest("adsorbate"))
    with pytest.raises(HpoptError, match="frame 0: temperature: no label .* preprocess train=COLD val=HOT"):
        divide(frames, SplitRequest("temperature"))
    with pytest.raises(
        HpoptError, match=r"--by system: 1 group\(s\) by system in all the files, and 3 splits are wanted"
    ):
        divide(frames, SplitRequest("system"))
    one = gather([frame((i, 0, i, 0), labels=True) for i in range(5)])
    with pytest.raises(HpoptError, match="one group by adsorbate only, so none can be held out"):
        divide(one, SplitRequest(BOTH))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SplitRequest("colour"), "--by: 'colour' is unknown; use one of system"),
        (SplitRequest("system", (0.5, 0.6)), "--fractions: 0.5, 0.6 cannot be"),
        (SplitRequest("system", (1.0, 0.0)), "--fractions: 1, 0 cannot be"),
        (SplitRequest("system", (0.4, 0.2, 0.2, 0.2)), "give 2 or 3 numbers"),
        (SplitRequest(BOTH, (0.8, 0.2)), "give 3 numbers"),
        (SplitRequest("system", folds=1), "--folds: 1 is too few"),
        (SplitRequest(BOTH, folds=4), "--folds: not with --by"),
        (SplitRequest("system", seed=-1), "--seed: -1 is negative"),
    ],
)
def test_requests_that_cannot_be(request_, message):
    with pytest.raises(HpoptError, match=message):
        request_.check()


@pytest.fixture
def made(tmp_path):
    files = [write(tmp_path / f"{n}.traj", slabs(s, s + 12)) for n, s in (("a", 0), ("b", 24))]
    split, _ = make_split_file(files, SplitRequest("system", (0.5, 0.25, 0.25)))
    split.save(tmp_path / "s.json")
    return tmp_path / "s.json"


def test_a_split_file_round_trips(made):
    split = SplitFile.load(made)
    assert [entry["n_frames"] for entry in split.inputs] == [12, 12]
    for index in range(2):
        masks = np.array([split.frames(name, index) for name in split.splits])
        assert (masks.sum(axis=0) == 1).all()
    with pytest.raises(HpoptError, match="output exists already"):
        split.save(made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("format"), "s.json: format: not a split file"),
        (lambda d: d.update(version=2), "s.json: version: 2, this hpopt reads 1"),
        (lambda d: d.pop("splits"), "s.json: splits: missing"),
        (lambda d: d.update(inputs=[]), "s.json: inputs: none"),
        (lambda d: d["inputs"][1].pop("sha256"), r"s.json: inputs\[1\].sha256: missing"),
        (lambda d: d["inputs"][0].update(n_frames=10**12), r"s.json: inputs\[0\].n_frames: 1000000000000 is out"),
        (lambda d: d["inputs"][0].update(n_frames=5), r"s.json: splits.\w+.frames\[0\]: frame \d+ of 5"),
        (lambda d: d["splits"]["val"].update(frames=["0-3"]), "s.json: splits.val.frames: not one text for each of 2"),
        (lambda d: d["splits"]["val"].update(frames=["x", ""]), r"s.json: splits.val.frames\[0\]: 'x' is no range"),
        (lambda d: d["splits"]["val"].update(d["splits"]["train"]), r"s.json: splits.val.frames\[0\]: frame \d+ is in another split too"),
        (lambda d: d.update(disjoint=[1]), "s.json: disjoint"),
        (lambda d: d.update(splits={"train": d["splits"]["train"]}), "s.json: splits: fewer than two"),
    ],
)  # fmt: skip
def test_a_damaged_split_file_is_refused(made, change, message):
    data = json.loads(made.read_text())
    change(data)
    made.write_text(json.dumps(data))
    with pytest.raises(HpoptError, match=message):
        SplitFile.load(made)


def test_files_that_are_no_split_files(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(HpoptError, match="x.json: not a readable split file"):
        SplitFile.load(tmp_path / "x.json")
    with pytest.raises(HpoptError, match="y.json: no such file; make it with hpopt data split"):
        SplitFile.load(tmp_path / "y.json")


def test_real_frames_divide_as_oc20_does(shared, tmp_path):
    split, division = make_split_file(
        [shared / "data/oc20/oc20_frames_200.traj"], SplitRequest(BOTH, (0.5, 0.1, 0.4), seed=1)
    )
    assert sum(entry["n_frames"] for entry in split.splits.values()) == 200
    for got, wanted in zip(division.shares, division.wanted):
        assert got == pytest.approx(wanted, abs=0.05)
