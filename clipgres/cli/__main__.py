"""`python -m clipgres.cli` is `clipgres`."""

from clipgres.cli import main

main(prog_name="clipgres")
