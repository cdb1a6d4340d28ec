"""Probabilistic forecasts of PV and load, a day ahead at every step."""
