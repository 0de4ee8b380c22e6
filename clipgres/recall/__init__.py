"""Recall on one's own data: what the index finds of what an exact search finds; measured, kept, drawn."""
