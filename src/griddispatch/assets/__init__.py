"""Models of single resources: what they can do next, and what a step does to them."""
