"""griddispatch: learning to dispatch energy resources, on one physics core."""

__version__ = "0.1.0"

# Makes gymnasium.make("griddispatch/Feeder-v0") work. A call and no import statement, because no
# result depends on it: a stage need not declare it among its dependencies (pipeline/imports.py).
__import__("griddispatch.envs.gym_registration")
