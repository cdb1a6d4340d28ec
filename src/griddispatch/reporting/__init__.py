"""Figures, tables and the paper, all from the files in results/."""
