"""skorch callbacks: the validation error of every epoch, and pruning on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpopt_lib.amptorch.compat import quiet_import
from hpopt_lib.potential.training import OBJECTIVE

#: Name of the validation error in skorch's history, with its unit.
VALIDATION = f"validation_{OBJECTIVE}"


def validation_callback(error: Callable[[Any], float]) -> Any:
    """A skorch callback that records the validation error at the end of every epoch.

    Parameters
    ----------
    error : callable
        Gives the energy MAE in meV/atom on validation frames, from the network (`torch.nn.Module`).

    Returns
    -------
    skorch.callbacks.Callback
        Records `VALIDATION` in the net's history.
    """

    base: Any = quiet_import("skorch.callbacks").Callback

    class ValidationError(base):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            net.history.record(VALIDATION, error(net.module_))

    return ValidationError()


def pruning_callback(trial: Any, *, monitor: str = VALIDATION) -> Any:
    """A skorch callback that reports an error of every epoch to an Optuna trial and prunes the trial.

    Give it to a net after the callback that records `monitor`. The earlier project pruned on
    ``train_energy_mae``, which does not tell an overfitting network from a good one; an error on training
    frames is refused here.

    Parameters
    ----------
    trial : optuna.Trial
    monitor : str
        Name in the net's history.

    Returns
    -------
    skorch.callbacks.Callback
        Raises `optuna.TrialPruned` in an epoch after which the trial is not worth going on.

    Raises
    ------
    ValueError
        When `monitor` is an error on training frames.
    """
    import optuna

    if monitor.startswith("train"):
        raise ValueError(f"monitor: {monitor!r} is measured on training frames; prune on a validation error")

    base: Any = quiet_import("skorch.callbacks").Callback

    class ValidationPruning(base):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            epoch = len(net.history)
            trial.report(float(net.history[-1, monitor]), step=epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"pruned in epoch {epoch}")

    return ValidationPruning()
