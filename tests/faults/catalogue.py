"""Every kind of fault, by name."""

from __future__ import annotations

from tests.faults import client_faults, network_faults, postgres_faults, redis_faults, worker_faults
from tests.faults.scene import Fault

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for group in (worker_faults, redis_faults, postgres_faults, network_faults, client_faults)
    for fault in group.FAULTS
}
