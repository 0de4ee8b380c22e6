"""A device that is short of memory or lost: the batch is halved once its memory is free, or the worker ends."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from celery.worker import state

from clipgres.encoder import Vectors, by_halves
from clipgres.encoder.device import FOR_GOOD, on_device
from clipgres.encoders import Encoders
from clipgres.errors import DeviceLost
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from worker.models import Models


class SmallDevice:
    """Has room for so many inputs at once, and remembers what a run that failed had taken."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[weakref.ref[torch.Tensor]] = []
        self.sizes: list[int] = []

    def embed(self, inputs: Sequence[int]) -> Vectors:
        """As the real encoder does it: the run, on the device."""
        return on_device(lambda: self._run(inputs))

    def _run(self, inputs: Sequence[int]) -> Vectors:
        self.sizes.append(len(inputs))
        activations = torch.ones(len(inputs), 4)
        if len(inputs) > self.room:
            self.taken.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return np.asarray(activations / 2, np.float32)


def test_a_batch_too_large_is_halved_until_it_fits() -> None:
    device = SmallDevice(room=3)
    assert len([vector for vector in by_halves(device.embed, range(10)) if vector is not None]) == 10
    assert device.sizes == [10, 5, 2, 3, 5, 2, 3]


def test_the_memory_is_free_before_the_cache_is_emptied_and_the_halves_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = SmallDevice(room=3)
    left: list[int] = []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: left.append(sum(taken() is not None for taken in device.taken))
    )
    by_halves(device.embed, range(10))
    assert left == [0, 0, 0]


def test_one_input_too_large_by_itself_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    device = SmallDevice(room=0)
    with caplog.at_level(logging.WARNING):
        assert by_halves(device.embed, range(2)) == [None, None]
    assert "out of memory" in caplog.messages[0]


@pytest.mark.parametrize("words", FOR_GOOD)
def test_a_device_that_is_lost_is_no_fault_of_an_input(words: str) -> None:
    tried: list[int] = []

    def embed(inputs: Sequence[int]) -> Vectors:
        def run() -> Vectors:
            tried.append(len(inputs))
            raise torch.AcceleratorError(f"CUDA error: {words} triggered\nCompile with TORCH_USE_CUDA_DSA")

        return on_device(run)

    with pytest.raises(DeviceLost, match=f"lost to this process: CUDA error: {words} triggered$"):
        by_halves(embed, range(4))
    assert tried == [4]


def test_any_other_error_is_tried_by_halves() -> None:
    def fail() -> Vectors:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")

    assert by_halves(lambda _inputs: on_device(fail), [1, 2]) == [None, None]


def test_a_worker_whose_device_is_lost_ends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", None)
    models = Models(Encoders(settings))
    models.give_up(FakeEncoder().space, DeviceLost("the device is lost"))
    with pytest.raises(SystemExit) as ending:
        state.maybe_shutdown()
    assert ending.value.code
