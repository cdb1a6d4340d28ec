"""Learners on the device of their feeder: nothing they make is left elsewhere."""

from dataclasses import replace

import pytest
import torch
from feeders import small_feeder

from griddispatch.agents import ddpg, pathwise, ppo, sac, td3
from griddispatch.learning.networks import Streams

OFF_POLICY = {"episodes": 16, "environments": 8, "warmup_episodes": 4, "batch": 16}
LEARNERS = {
    ddpg: OFF_POLICY,
    td3: OFF_POLICY,
    sac: OFF_POLICY,
    ppo: {"episodes": 16, "environments": 8, "batch": 64},
    pathwise: {"updates": 2, "environments": 4, "paired_days": 16},
}
each_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda module: module.NAME)
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def shortly(learner, feeder):
    config = replace(learner.PRESETS["tuned"], hidden=(8,), **LEARNERS[learner])
    return learner.train(feeder, config, [0, 1], feeder, records=2)


@each_learner
def test_every_tensor_of_a_training_is_made_on_the_device_of_the_feeder(learner):
    # A tensor made without a device would now be one without data, and cannot meet another.
    feeder = small_feeder(backend="dense")
    with torch.device("meta"):
        training = shortly(learner, feeder)
    assert training.curve["validation"].notna().all()


@on_cuda
@each_learner
def test_a_policy_trained_on_cuda_acts_on_the_cpu(learner):
    training = shortly(learner, small_feeder(device="cuda"))
    here = small_feeder()
    assert training.policies[0].act(here, here.reset()).device.type == "cpu"


@on_cuda
def test_streams_give_every_device_the_same_numbers():
    assert torch.equal(Streams([1], "a", "cuda").normal(5).cpu(), Streams([1], "a").normal(5))
