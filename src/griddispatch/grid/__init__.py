"""A feeder and the voltages on it: network, dense fixed point, blocked sweep, Newton-Raphson."""
