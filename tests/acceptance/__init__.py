"""The whole system, run as a person runs it."""
