"""The plans of search: exact or by the index, chosen by what they cost, and the truth about how rows were found."""

from clipgres.plans.choice import Found, Matches, Method, find_rows
from clipgres.plans.estimates import Estimates
from clipgres.plans.scans import Wanted

__all__ = ["Estimates", "Found", "Matches", "Method", "Wanted", "find_rows"]
