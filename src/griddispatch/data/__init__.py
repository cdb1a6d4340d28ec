"""Raw files, clean series of loads, PV and prices, and their split by date."""
