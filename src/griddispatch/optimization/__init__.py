"""Dispatch with perfect foresight: linear programs, the branch-flow model, and their solvers."""
