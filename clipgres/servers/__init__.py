"""The PostgreSQL and Redis that clipgres starts itself, and the supervisor that keeps them running."""
