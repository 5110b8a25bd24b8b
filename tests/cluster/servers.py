"""A server for the tests, and what they do with it."""

from __future__ import annotations

import subprocess
from typing import ClassVar

import optuna
from synthetic import environment, hpopt_command

from hpopt_lib.cluster.server import Server
from hpopt_lib.tuning.storage import load_study, open_storage


def started(server: Server):
    """Start, and leave the process to the system, as the command does."""
    running = server.start()
    running.process.returncode = 0
    return running


def add_trial(value: float) -> None:
    storage = open_storage("team", max_outage=30)
    try:
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
        study.add_trial(optuna.create_trial(value=value))
    finally:
        storage.engine.dispose()


def values() -> list[float]:
    study = load_study("s", "team")
    try:
        return [trial.value for trial in study.trials]
    finally:
        study._storage._backend.engine.dispose()


class Foreground:
    """`hpopt db start NAME --foreground` in a process of its own."""

    made: ClassVar[list[Foreground]] = []

    def __init__(self, server: Server) -> None:
        self.made.append(self)
        self.process = subprocess.Popen(
            hpopt_command("db", "start", server.name, "--foreground"), env=environment(),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()
        assert "answers at" in self.first, self.first + self.process.stderr.read()

    @classmethod
    def close_all(cls) -> None:
        """Nothing of a test that failed stays to disturb the next one."""
        while cls.made:
            process = cls.made.pop().process
            process.kill()
            process.communicate()

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said
