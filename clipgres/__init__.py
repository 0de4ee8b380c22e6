"""Text-to-image and image-to-image search inside PostgreSQL: `clipgres.connect().search("two dogs on a beach")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipgres.client import Client

__all__ = ["connect"]


def connect(**settings: Any) -> Client:
    """Open a client by the settings of the environment; names of settings given here go before them.

    Raises:
        SetupError: a setting that is not known or does not fit.
    """
    # Here, since importing any module of the package runs this file first: only a client needs what a client needs.
    from clipgres import client  # noqa: PLC0415

    return client.connect(**settings)
