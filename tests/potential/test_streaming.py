"""Training from blocks: the same results as in memory, every frame once an epoch, and bounded memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import GMP, environment

from hpopt_lib.errors import HpoptError
from hpopt_lib.potential.checkpoint import load_checkpoint, save_checkpoint
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.evaluation import baseline_energies, evaluate, score
from hpopt_lib.potential.forces import force_scores, predict_forces
from hpopt_lib.potential.memory_bound import memory_needed_mb
from hpopt_lib.potential.passes import RunningSpread, streamed_median
from hpopt_lib.potential.predictions import predict_split
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.shuffling import blocks_in_memory, epoch_order, shuffling_quality
from hpopt_lib.potential.streaming import StreamingDataset, load_dataset
from hpopt_lib.potential.training import Training, train
from hpopt_lib.preprocess import Input, preprocess
from hpopt_lib.references import parse_reference
from hpopt_lib.store import Store
from hpopt_lib.tuning.objective import validation_scores

SETTINGS = TrainSettings(num_layers=2, num_nodes=8, epochs=4, batch_size=8)


def in_blocks(folder: Path, out: Path, **options) -> Store:
    """A store of ``train.traj`` and ``val.traj`` in blocks of 7 frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpopt_lib.preprocess.SHARD_FRAMES", 7)
        splits = [Input(name, folder / f"{name}.traj") for name in ("train", "val")]
        preprocess(splits, out, settings=GMP, dtype="float64", **options)
    return Store.open(out)


@pytest.fixture(scope="module")
def blocky(inputs, tmp_path_factory) -> Store:
    """The store of the other tests in blocks of 7 frames."""
    return in_blocks(inputs, tmp_path_factory.mktemp("blocky") / "store.lmdb")


@pytest.fixture(scope="module")
def relative(inputs, tmp_path_factory) -> Store:
    """The same, with energies relative to each frame's own reference energy."""
    folder, rng = tmp_path_factory.mktemp("relative"), np.random.default_rng(0)
    for name in ("train", "val"):
        frames = ase.io.read(inputs / f"{name}.traj", ":")
        for atoms in frames:
            atoms.info["reference_energy"] = atoms.get_potential_energy() + rng.normal()
        ase.io.write(folder / f"{name}.traj", frames)
    return in_blocks(folder, folder / "store.lmdb", references=parse_reference("adsorption"))


def smallest(store: Store, **options) -> float:
    """The bound that the error message names."""
    with pytest.raises(HpoptError, match=r"--memory: .* does not hold one block of .*store\.lmdb") as caught:
        StreamingDataset(store, memory_mb=1e-3, **options)
    return float(caught.value.remedy.removeprefix("give at least "))


def streaming(store: Store, in_memory: int, **options) -> StreamingDataset:
    """A data set that holds so many blocks."""
    data = StreamingDataset(store, memory_mb=100, **options)
    assert data.in_memory == len(data.train) == 9
    data.in_memory = in_memory
    return data


def targets_of_an_epoch(training: Training, epoch_seed: int = 0) -> tuple[list[float], list[int]]:
    batches = list(training._batches.epoch(np.random.default_rng(epoch_seed), SETTINGS.batch_size))
    assert all(len(batch.inputs) == batch.n_atoms.sum() == len(batch.frame_of_atom) for batch in batches)
    return [t for batch in batches for t in batch.targets.tolist()], [len(batch) for batch in batches]


blocks = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


@given(blocks, st.integers(1, 15), st.integers(0, 99))
def test_every_frame_occurs_once_in_an_epoch(frames_per_block, in_memory, seed):
    order = epoch_order(frames_per_block, in_memory, np.random.default_rng(seed))
    assert sorted(order) == list(range(frames_per_block.sum()))
    same = epoch_order(frames_per_block, in_memory, np.random.default_rng(seed))
    assert np.array_equal(order, same)
    if in_memory >= len(frames_per_block):
        assert np.array_equal(order, np.random.default_rng(seed).permutation(len(order)))


@given(blocks, st.floats(0, 120), st.integers(0, 99))
def test_any_group_of_blocks_fits(sizes, capacity, seed):
    held = blocks_in_memory(sizes, capacity)
    assert np.random.default_rng(seed).permutation(sizes)[:held].sum() <= capacity
    assert held == len(sizes) or np.sort(sizes)[::-1][: held + 1].sum() > capacity


def test_more_blocks_in_memory_shuffle_better():
    per_block = np.full(40, 64)
    found = [
        shuffling_quality(epoch_order(per_block, held, np.random.default_rng(0)), per_block, 32)
        for held in (1, 5, 40)
    ]
    same = [quality["same_block_pairs"] for quality in found]
    assert same[0] == 1.0 and same[1] == pytest.approx(1 / 5, rel=0.1)
    assert same[2] == pytest.approx(found[2]["same_block_pairs_full"], rel=0.2)
    in_file = shuffling_quality(np.arange(2560), per_block, 32)
    assert in_file["rank_correlation"] == pytest.approx(1)
    assert all(abs(quality["rank_correlation"]) < 0.5 for quality in found)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40))
def test_the_median_in_passes_is_the_median(values):
    parts = [np.array(part) for part in np.array_split(np.array(values), 3)]
    assert streamed_median(lambda: parts, len(values), kept=0) == np.median(values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 5))
def test_the_running_spread_is_the_spread(values, n_parts):
    running = RunningSpread()
    for part in np.array_split(np.array(values), n_parts):
        running.update(part)
    assert running.std == pytest.approx(np.std(values), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("references", ["blocky", "relative"])
def test_with_everything_in_the_buffer_the_training_is_that_in_memory(references, request):
    """Sums over blocks are rounded otherwise than sums over all frames."""
    store = request.getfixturevalue(references)
    whole = train(Dataset.from_store(store), SETTINGS, seed=3)
    streamed = train(streaming(store, 9), SETTINGS, seed=3)
    assert whole.best_error > 1, "or there was nothing to learn"
    for one, other in zip(whole.history, streamed.history, strict=True):
        assert one == pytest.approx(other, rel=1e-8)
    for name, value in whole.potential.network.state_dict().items():
        assert torch.allclose(value, streamed.potential.network.state_dict()[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("in_memory", [1, 2, 4, 9])
def test_an_epoch_has_all_frames_and_its_order_depends_on_the_seed(blocky, in_memory):
    expected = sorted(Dataset.from_store(blocky).residuals_ev_per_atom())
    training = Training(streaming(blocky, in_memory), SETTINGS, seed=0)
    spread = training.potential.residual_spread_ev_per_atom
    found, sizes = targets_of_an_epoch(training)
    assert np.array(sorted(found)) * spread == pytest.approx(expected, abs=1e-12)
    assert max(sizes) <= SETTINGS.batch_size
    assert targets_of_an_epoch(training)[0] == found != targets_of_an_epoch(training, 1)[0]
    held = training._batches._inputs.shape[0]
    assert held == sum(sorted(training.data.atoms_per_block)[::-1][:in_memory])


def test_a_part_of_the_frames_is_that_of_a_training_in_memory(blocky):
    whole = Dataset.from_store(blocky, n_train=23, seed=5)
    expected = sorted(whole.residuals_ev_per_atom())
    training = Training(streaming(blocky, 2, n_train=23, seed=5), SETTINGS, seed=0)
    found, _ = targets_of_an_epoch(training)
    spread = training.potential.residual_spread_ev_per_atom
    assert np.array(sorted(found)) * spread == pytest.approx(expected, abs=1e-12)
    everything = blocky.read("train")
    chosen = np.sort(np.random.default_rng(5).permutation(len(everything))[:23])
    assert np.array_equal(whole.train.features, everything.take(chosen).features)


@pytest.mark.parametrize("changes", [{}, {"dropout_rate": 0.3, "normalization": "batch"}], ids=str)
@pytest.mark.parametrize("stops", [(1,), (2, 3)], ids=str)
def test_a_resumed_training_is_the_same_training(blocky, tmp_path, changes, stops):
    settings, data, path = replace(SETTINGS, **changes), streaming(blocky, 2), tmp_path / "c.npz"
    whole = train(data, settings, seed=5)
    training = Training(data, settings, seed=5)
    for stop in stops:
        while training.epoch < stop:
            training.step()
        save_checkpoint(path, training.state())
        training = Training(streaming(blocky, 2), settings, seed=5)
        training.restore(load_checkpoint(path))
    for _ in training:
        pass
    assert training.history == whole.history
    resumed = training.result().potential.network.state_dict()
    for name, value in whole.potential.network.state_dict().items():
        assert torch.equal(value, resumed[name]), name


def test_the_smallest_bound_in_the_message_works_and_none_below_it(blocky):
    least = smallest(blocky)
    assert StreamingDataset(blocky, memory_mb=least).in_memory >= 1
    with pytest.raises(HpoptError, match="does not hold one block"):
        StreamingDataset(blocky, memory_mb=least - 0.11)
    assert smallest(blocky, n_train=20) >= least


def test_data_are_in_memory_when_they_fit(blocky):
    needed = memory_needed_mb(blocky)
    assert isinstance(load_dataset(blocky), Dataset)
    assert isinstance(load_dataset(blocky, memory_mb=needed + 0.01), Dataset)
    assert isinstance(load_dataset(blocky, memory_mb=needed - 0.01), StreamingDataset)
    assert memory_needed_mb(blocky, n_train=10) < needed


@pytest.mark.parametrize("references", ["blocky", "relative"])
def test_evaluation_block_after_block_is_that_of_whole_splits(references, request):
    blocky = request.getfixturevalue(references)
    data = Dataset.from_store(blocky)
    potential = train(data, SETTINGS, seed=0).potential
    split = data.validation
    baselines = baseline_energies(data.train, data.reference, split)
    predicted = potential.predict(split)
    expected = score(split, predicted, baselines)
    expected |= force_scores(split, predicted, predict_forces(potential, split))
    assert "force_rmse_mev_per_angstrom" in expected and expected["efwt"] < 1
    found = evaluate(potential, blocky)["val"]
    for name, value in expected.items():
        assert found.pop(name) == pytest.approx(value, rel=1e-9), name
    assert not found
    streamed = validation_scores(potential, streaming(blocky, 2))
    assert streamed == pytest.approx(validation_scores(potential, data), rel=1e-9)


def test_forces_are_scored_block_after_block_where_all_frames_have_some(blocky):
    """A block whose atoms are all fixed has no force error, and its frames count by their energy."""
    data = Dataset.from_store(blocky)
    potential, whole = train(data, SETTINGS, seed=0).potential, data.validation
    n_atoms, cut = whole.n_atoms[0], 4
    whole.free[: cut * n_atoms] = False
    parts = [whole.take(np.arange(cut)), whole.take(np.arange(cut, len(whole)))]
    expected = force_scores(whole, potential.predict(whole), predict_forces(potential, whole))
    found = predict_split(potential, parts, data.reference, forces=True)
    assert found.force_scores == pytest.approx(expected, rel=1e-9)
    assert not predict_split(potential, parts[:1], data.reference, forces=True).force_scores
    assert not predict_split(potential, parts, data.reference).force_scores
    parts[1].forces[-1] = np.nan
    assert not predict_split(potential, parts, data.reference, forces=True).force_scores


def test_a_training_on_forces_is_not_streamed(blocky):
    with pytest.raises(HpoptError, match=r"--memory: training on forces .* needs all frames in memory"):
        Training(streaming(blocky, 2), replace(SETTINGS, force_weight=1.0), seed=0)


def test_a_store_that_is_replaced_while_it_is_in_use_is_refused(blocky, tmp_path):
    path = tmp_path / "store.lmdb"
    shutil.copy(blocky.path, path)
    with Store.open(path) as store:
        training = Training(streaming(store, 2), SETTINGS, seed=0)
    other = tmp_path / "other.lmdb"
    shutil.copy(blocky.path, other)
    other.replace(path)
    with pytest.raises(HpoptError, match="replaced while it was in use"):
        training.step()


PROGRAM = """
import json, sys
import numpy as np
from measure import peak_memory_mb
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.memory_bound import memory_needed_mb
from hpopt_lib.potential.streaming import load_dataset
from hpopt_lib.potential.training import train
from hpopt_lib.store import Store

small, large, memory = sys.argv[1], sys.argv[2], float(sys.argv[3]) or None
settings = TrainSettings(num_layers=1, num_nodes=8, epochs=2)
with Store.open(small) as store:
    train(load_dataset(store), settings, seed=0)
def work():
    with Store.open(large) as store:
        data = load_dataset(store, memory_mb=memory)
    train(data, settings, seed=0)
with Store.open(large) as store:
    needed = memory_needed_mb(store)
print(json.dumps({"peak": peak_memory_mb(work), "needed": needed}))
"""


def large_store(path: Path, like: Store, blocks: int) -> Path:
    """A store of frames that repeat those of another."""
    from hpopt_lib.store import StoreWriter

    part = like.read("train")
    part = part.take(np.tile(np.arange(len(part)), 5))
    writer = StoreWriter(path)
    for _ in range(blocks + 2):
        writer.add(part)
    entry = dict(like.header["splits"]["train"])
    splits = {
        name: {**entry, "first_shard": first, "n_shards": n, "n_frames": n * len(part), "n_atoms": n * len(part) * 9}
        for name, first, n in (("train", 0, blocks), ("val", blocks, 2))
    }  # fmt: skip
    writer.finish({**like.header, "splits": splits})
    return path


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured with Linux's /proc"
)
def test_memory_is_bounded_by_the_setting_and_not_by_the_data(blocky, tmp_path):
    large = large_store(tmp_path / "large.lmdb", blocky, 100)
    bound, found = 3.0, {}
    root = Path(__file__).resolve().parents[2]
    for memory in (bound, 0):
        command = [sys.executable, "-c", PROGRAM, str(blocky.path), str(large), str(memory)]
        env = environment()
        env["PYTHONPATH"] += f":{root / 'benchmarks'}"
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[memory] = json.loads(done.stdout)
    needed = found[0]["needed"]
    assert needed > 20 * bound, "or this shows nothing"
    # one batch and what the allocator keeps come on top of the frames
    assert found[bound]["peak"] < bound + 4 < found[0]["peak"] <= needed + 4
    with Store.open(large) as store:
        assert StreamingDataset(store, memory_mb=bound).in_memory < 25
