"""The filter language: JSON conditions, checked and compiled to one SQL condition."""

from clipgres.filters.compiler import Condition, compile_filter

__all__ = ["Condition", "compile_filter"]
