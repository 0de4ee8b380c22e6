"""Whether the network works: a machine without one must not take every link for a dead one.

A name that does not resolve, a host that is not reached and one that does not answer look the same from a machine that
has lost its network. So such a failure counts only while something witnesses that the network works: a reply, whatever
it says, from a host beyond this machine and the networks that are allowed by name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Lock

from clipgres.errors import HostGivenUp, ImageError
from clipgres.fetching.addresses import AllowedNetwork
from clipgres.reasons import Reason
from worker.outage import Outage
from worker.stages import Embedded

log = logging.getLogger(__name__)

# Longer than the waits before the first four attempts, shorter than those before the fifth, at the usual settings:
# a network that dies in mid-import never uses up a job's attempts.
PROOF_S = 300.0
LOOK_EVERY_S = 60.0
PROBE_JOBS = 16
PROBE_EVERY_S = 10.0

LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
# What may be known without a word from the host; its robots.txt was read some time ago.
NO_REPLY = frozenset({
    Reason.BAD_URL, Reason.BLOCKED_ADDRESS, Reason.ROBOTS_DENIED, Reason.STUCK, Reason.ENCODER_FAILED,
})  # fmt: skip


class Network:
    """What one worker process knows of the network; shared by its threads."""

    def __init__(self, allowed: Sequence[AllowedNetwork] = (), on_back: Callable[[], None] = lambda: None) -> None:
        """`on_back` is called at the first reply after jobs were held for want of one."""
        self._allowed = tuple(allowed)
        self._on_back = on_back
        self._lock = Lock()
        self._replied_at = float("-inf")
        self._looked_at = float("-inf")
        self._probed_at = float("-inf")
        self._held_since_reply = 0
        self._outage = Outage(log, "the network")

    @property
    def local(self) -> list[str]:
        """The networks that need no witness, as PostgreSQL reads them."""
        return ["127.0.0.0/8", "::1/128", *(str(entry.network) for entry in self._allowed)]

    def is_local(self, host: str) -> bool:
        """Whether a host is this machine, in an allowed network, or known only by a name of the local network."""
        try:
            address = ip_address(host)
        except ValueError:
            return "." not in host or host.endswith(LOCAL_SUFFIXES)
        return address.is_loopback or any(address in entry.network for entry in self._allowed)

    def note_reply(self, host: str) -> None:
        """Note that a host answered, whatever it said."""
        if self.is_local(host):
            return
        with self._lock:
            is_back = self._held_since_reply > 0
            self._replied_at = time.monotonic()
            self._held_since_reply = 0
            self._outage.end()
        if is_back:
            self._on_back()

    def note(self, host: str, result: Embedded | ImageError) -> None:
        """Note what came of a fetch: a picture, and any failure that only a host can cause, is a reply."""
        if isinstance(result, HostGivenUp):
            is_reply = False
        elif isinstance(result, ImageError):
            is_reply = not result.reason.needs_network_witness and result.reason not in NO_REPLY
        else:
            is_reply = result.facts is not None
        if is_reply:
            self.note_reply(host)

    def explains(self, host: str, reason: Reason) -> bool:
        """Whether the network may be the cause of a failure: nothing witnesses that it works. Counted as held."""
        if self.has_witness(host, reason, since=time.monotonic() - PROOF_S):
            return False
        with self._lock:
            self._held_since_reply += 1
            if self.is_suspected:
                self._outage.begin(f"{reason.gloss}; nothing else answers either, so jobs are put off uncounted")
            return True

    def has_witness(self, host: str, reason: Reason, *, since: float) -> bool:
        """Whether a failure is the host's own: only a host can cause it, or others have replied since that moment."""
        return not reason.needs_network_witness or self._replied_at >= since or self.is_local(host)

    @property
    def is_suspected(self) -> bool:
        """Whether the network seems to be dead: jobs were held, and nothing has answered since."""
        return self._held_since_reply >= PROBE_JOBS

    def room(self, jobs: int) -> int:
        """How many jobs to try now: all, or of a network that seems dead a few at intervals."""
        if not self.is_suspected:
            return jobs
        with self._lock:
            if time.monotonic() - self._probed_at < PROBE_EVERY_S:
                return 0
            self._probed_at = time.monotonic()
        return min(jobs, PROBE_JOBS)

    def wants_a_look(self) -> bool:
        """Whether it is time to ask a host that used to answer; true at most once a minute."""
        with self._lock:
            now = time.monotonic()
            is_proven = now - self._replied_at < PROOF_S
            if is_proven or not self._held_since_reply or now - self._looked_at < LOOK_EVERY_S:
                return False
            self._looked_at = now
            return True
