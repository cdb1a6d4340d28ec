"""Policies: trivial rules and learners, one readable file per algorithm."""
