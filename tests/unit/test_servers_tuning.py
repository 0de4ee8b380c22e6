"""Server parameters that fit the machine."""

from __future__ import annotations

import pytest

from clipgres.servers.tuning import MB, fitted_parameters, server_parameters

GB = 1_024 * MB


@pytest.mark.parametrize(
    ("memory", "buffers", "maintenance", "cache"),
    [
        (512 * MB, "128MB", "64MB", "256MB"),  # a small container still gets the least that works
        (8 * GB, "1024MB", "512MB", "4096MB"),
        (256 * GB, "2048MB", "1024MB", "131072MB"),  # a big machine has other work too
    ],
)
def test_memory(memory: int, buffers: str, maintenance: str, cache: str) -> None:
    found = fitted_parameters(memory, cores=4, shared_memory=8 * GB)
    assert found["shared_buffers"] == buffers
    assert found["maintenance_work_mem"] == maintenance
    assert found["effective_cache_size"] == cache


@pytest.mark.parametrize(("cores", "gather", "maintenance"), [(1, "1", "1"), (4, "2", "3"), (64, "4", "8")])
def test_cores(cores: int, gather: str, maintenance: str) -> None:
    found = fitted_parameters(8 * GB, cores, shared_memory=8 * GB)
    assert found["max_parallel_workers_per_gather"] == gather
    assert found["max_parallel_maintenance_workers"] == maintenance


@pytest.mark.parametrize(("shared_memory", "kind"), [(0, "mmap"), (64 * MB, "mmap"), (4 * GB, "posix")])
def test_an_index_build_does_not_rely_on_shared_memory_that_is_not_there(shared_memory: int, kind: str) -> None:
    assert fitted_parameters(8 * GB, 4, shared_memory)["dynamic_shared_memory_type"] == kind


def test_this_machine_has_room_for_what_it_is_given() -> None:
    assert int(server_parameters()["shared_buffers"].removesuffix("MB")) >= 128
