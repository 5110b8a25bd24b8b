"""Train with AMPtorch and skorch, an epoch at a time: a trial can be pruned, stopped and go on elsewhere."""

from __future__ import annotations

import copy
import importlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from hpopt_lib.amptorch.callbacks import VALIDATION
from hpopt_lib.amptorch.compat import running
from hpopt_lib.amptorch.features import UpstreamArrays
from hpopt_lib.amptorch.potential import AmptorchPotential
from hpopt_lib.amptorch.recipe import upstream_config
from hpopt_lib.amptorch.trainer import batch_of, upstream_data, upstream_trainer
from hpopt_lib.errors import HpoptError
from hpopt_lib.metrics import energy_metrics
from hpopt_lib.potential.dataset import Dataset
from hpopt_lib.potential.epochs import EpochLoop, other_training
from hpopt_lib.potential.network import feature_columns
from hpopt_lib.potential.settings import TrainSettings
from hpopt_lib.potential.training import OBJECTIVE, TrainResult
from hpopt_lib.potential.training_parts import optimizer_state, restore_optimizer
from hpopt_lib.store import SplitArrays


class AmptorchTraining(EpochLoop):
    """One training by AMPtorch's trainer and skorch; used like `hpopt_lib.potential.training.Training`.

    Parameters
    ----------
    data : Dataset
        From `hpopt_lib.amptorch.features.upstream_dataset`.
    settings : TrainSettings
    seed : int
    device : str
        ``cpu``.
    total_energies : bool
        Train on total energies, as AMPtorch does by itself, and not on their differences from the
        element references.

    Raises
    ------
    HpoptError
        When AMPtorch is not installed or lacks what the settings ask for.
    """

    def __init__(
        self,
        data: Dataset,
        settings: TrainSettings,
        *,
        seed: int,
        device: str = "cpu",
        total_energies: bool = False,
    ) -> None:
        if device != "cpu":
            raise HpoptError(
                f"--device {device}: the backend amptorch computes on the CPU", remedy="pass --device cpu"
            )
        super().__init__(settings, seed)
        self.data = data
        self.columns = feature_columns(data.gmp, settings)
        self.reference = None if total_energies else data.reference
        with running() as amptorch, tempfile.TemporaryDirectory(prefix="hpopt-amptorch-") as folder:
            config = upstream_config(settings, dtype=data.dtype, seed=seed, run_dir=folder)
            frames = upstream_data(
                importlib.import_module("torch_geometric.data").Data,
                features=data.train.features[:, self.columns],
                numbers=data.train.numbers,
                n_atoms=data.train.n_atoms,
                energy=self._target(data.train),
                dtype=data.dtype,
            )
            self._trainer = upstream_trainer(
                amptorch, config, frames, loss=settings.loss, error=self.validation_error
            )
            self._net = self._trainer.net
            self._net.initialize()
            self._net.notify("on_train_begin", X=self._trainer.train_dataset, y=None)
            self._torch_state = torch.get_rng_state()
        self._module = self._net.module_
        self._schedule = dict(self._net.callbacks_).get("LRScheduler")
        assert isinstance(data.validation, UpstreamArrays)
        scale = self._trainer.feature_scaler.scale
        features = torch.from_numpy(data.validation.features[:, self.columns])
        scaled = (features - scale["offset"].double()) / scale["scale"].double()
        self._validation = batch_of(scaled.to(data.dtype), data.validation.n_atoms)
        self._best_weights = self.weights()

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights as they are now."""
        return copy.deepcopy(self._module.state_dict())

    def _target(self, arrays: SplitArrays) -> np.ndarray:
        if self.reference is None:
            return arrays.energy
        return arrays.energy - self.reference.of_frames(arrays.numbers, arrays.n_atoms, arrays.info)

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        with running():
            torch.set_default_dtype(self.data.dtype)
            torch.set_rng_state(self._torch_state)
            yield
            self._torch_state = torch.get_rng_state()

    def step(self) -> dict[str, float]:
        """Train for one epoch and validate; returns its history record.

        Raises
        ------
        TrainingDivergedError
            When an error is no longer finite.
        """
        start = time.perf_counter()
        lr = float(self._net.optimizer_.param_groups[0]["lr"])
        with self._own_random_numbers():
            self._net.fit_loop(self._trainer.train_dataset, epochs=1)
        last = self._net.history[-1]
        found = {VALIDATION: float(last[VALIDATION])}
        record = self.note(lr, float(last["train_loss"]), found, remedy="lower lr")
        self.seconds += time.perf_counter() - start
        return record

    def validation_error(self, module: Any) -> float:
        """Energy MAE of the network on the validation frames, in meV/atom."""
        module.eval()
        self._validation.fingerprint.requires_grad_(False)
        output, _ = module(self._validation)
        scaler, frames = self._trainer.target_scaler, self.data.validation
        energy = output.detach().double().numpy() * float(scaler.target_std) + float(scaler.target_mean)
        predicted = frames.energy - self._target(frames) + energy
        if not np.isfinite(predicted).all():
            return float("nan")
        return energy_metrics(frames.energy, predicted, frames.n_atoms)[OBJECTIVE]

    def result(self) -> TrainResult:
        """The outcome, with the weights of the best epoch."""
        feature, target = self._trainer.feature_scaler.scale, self._trainer.target_scaler
        scales = {
            "offset": feature["offset"].double().numpy(),
            "scale": feature["scale"].double().numpy(),
            "mean": np.array(float(target.target_mean)),
            "std": np.array(float(target.target_std)),
        }
        potential: Any = AmptorchPotential(
            self._best_weights,
            scales,
            settings=self.settings,
            gmp=self.data.gmp,
            reference=self.reference,
            dtype=self.data.dtype,
        )
        return TrainResult(potential, self.best_epoch, self.best_error, self.history, self.seconds)

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain numbers, texts and tensors."""
        return {
            "backend": "amptorch",
            **self.account(),
            "schedule": _schedule_state(self._schedule),
            "torch_random": self._torch_state,
            "weights": dict(self._module.state_dict()),
            "best_weights": dict(self._best_weights),
            **optimizer_state(self._net.optimizer_),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the `state` of a training with the same data, settings and seed.

        Raises
        ------
        HpoptError
            When the state is of another training.
        """
        if state.get("backend") != "amptorch":
            raise other_training()
        self.take_account(state)
        self._torch_state = state["torch_random"]
        self._module.load_state_dict(state["weights"])
        self._best_weights = dict(state["best_weights"])
        restore_optimizer(self._net.optimizer_, state)
        if self._schedule is not None:
            scheduler = self._schedule.lr_scheduler_
            scheduler.load_state_dict({**scheduler.state_dict(), **state["schedule"]})


def _schedule_state(callback: Any) -> dict[str, Any]:
    return {} if callback is None else callback.lr_scheduler_.state_dict()
