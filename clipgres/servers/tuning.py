"""Server parameters of PostgreSQL that fit the machine: its memory, cores and shared memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

MB = 1_048_576
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only its size is read


def server_parameters() -> dict[str, str]:
    """The parameters for this machine."""
    free_shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return fitted_parameters(_memory_bytes(), len(_cores()), free_shared)


def fitted_parameters(memory: int, cores: int, shared_memory: int) -> dict[str, str]:
    """The parameters for so many bytes of memory, cores and bytes of free shared memory."""
    maintenance = _between(64 * MB, memory // 16, 1_024 * MB)
    return {
        "shared_buffers": _megabytes(_between(128 * MB, memory // 8, 2_048 * MB)),
        "effective_cache_size": _megabytes(max(256 * MB, memory // 2)),
        "maintenance_work_mem": _megabytes(maintenance),
        "work_mem": "16MB",
        "random_page_cost": "1.1",
        "max_worker_processes": str(cores + 8),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(_between(1, cores // 2, 4)),
        "max_parallel_maintenance_workers": str(_between(1, cores - 1, 8)),
        # A parallel HNSW build puts maintenance_work_mem there; containers often have 64 MB of it.
        "dynamic_shared_memory_type": "posix" if shared_memory > maintenance + 64 * MB else "mmap",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "jit": "off",  # compiling costs more than any of these queries
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_checkpoints": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }


def _memory_bytes() -> int:
    """What this machine or container may use."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such limit, or "max"
        return total


def _cores() -> set[int] | range:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _megabytes(size: int) -> str:
    return f"{size // MB}MB"
