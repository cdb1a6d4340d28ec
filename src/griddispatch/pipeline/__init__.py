"""How the notebooks are run as one pipeline; nothing in here computes a result."""
