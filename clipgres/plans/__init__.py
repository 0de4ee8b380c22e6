"""The plans of search: exact or by the index, chosen by what they cost, and the truth about how rows were found."""

from clipgres.plans.choice import find_rows
from clipgres.plans.estimates import Estimates
from clipgres.plans.found import Folding, Found, Matches, Method
from clipgres.plans.scans import Wanted

__all__ = ["Estimates", "Folding", "Found", "Matches", "Method", "Wanted", "find_rows"]
