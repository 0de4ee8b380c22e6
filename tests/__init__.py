"""Tests of clipgres, by what they need."""
