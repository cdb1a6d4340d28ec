"""Make the environments known to Gymnasium by name; nothing is imported until one is made."""

from gymnasium.envs.registration import register

register(
    id="griddispatch/Feeder-v0",
    entry_point="griddispatch.envs.gym_feeder:FeederEnv",
    vector_entry_point="griddispatch.envs.gym_feeder:FeederVectorEnv",
)
