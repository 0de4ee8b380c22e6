"""A raw-socket HTTP server on loopback that misbehaves on request: the path of a URL names the behaviour."""

from tests.hostile import manners, replies, robots
from tests.hostile.server import BEHAVIOURS, HostileServer, Request, hostile_server, jpeg, reply

__all__ = [
    "BEHAVIOURS",
    "HostileServer",
    "Request",
    "hostile_server",
    "jpeg",
    "manners",
    "replies",
    "reply",
    "robots",
]
