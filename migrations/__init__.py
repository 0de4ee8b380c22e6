"""Alembic migrations of schema `clipgres`, and the SQL of its views, functions and roles."""
