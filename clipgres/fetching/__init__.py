"""Fetch what strangers' links lead to: public addresses only, within limits of time and bytes, as hosts ask for it."""

from clipgres.fetching.fetcher import Fetched, Fetcher

__all__ = ["Fetched", "Fetcher"]
