"""The proof that nothing is lost and nothing comes twice: a real stack, faults, and what must hold after each."""
