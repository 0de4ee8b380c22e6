"""The pages after the first: stable while rows are written."""
