"""Policies and scenarios in, one tidy table with intervals out."""
