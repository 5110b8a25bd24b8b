"""PyTorch's random numbers of one training, apart from those of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class RandomStream:
    """A stream of random numbers that the caller's draws do not touch, and that leaves theirs alone.

    Parameters
    ----------
    seed : int
    device : torch.device
        Where the training computes; on a GPU its generator is part of the stream.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=self._devices):
            torch.manual_seed(seed)
            self._keep()

    def _keep(self) -> None:
        self._processor = torch.get_rng_state()
        self._gpu = [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """PyTorch draws from this stream within the ``with`` block."""
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._processor)
            for device, state in zip(self._devices, self._gpu):
                torch.cuda.set_rng_state(state, device)
            yield
            self._keep()

    def state(self) -> dict[str, torch.Tensor]:
        """Where the stream is, for a checkpoint."""
        gpu = {"cuda_random": self._gpu[0]} if self._gpu else {}
        return {"torch_random": self._processor, **gpu}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, on a processor or a GPU."""
        self._processor = state["torch_random"]
        if self._devices and "cuda_random" in state:
            self._gpu = [state["cuda_random"]]
