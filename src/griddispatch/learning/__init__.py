"""What learning agents and learned forecasters share: stacked networks, steps, memory, records."""
