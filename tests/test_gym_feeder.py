"""The Gymnasium faces of the feeder: one day, and B days side by side."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from feeders import chain, synthetic_days
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import griddispatch.envs.gym_registration  # noqa: F401  (importing it registers the environment)
from griddispatch.assets.storage import Storage
from griddispatch.envs.feeder import Feeder, State
from griddispatch.envs.gym_feeder import FeederEnv, FeederVectorEnv
from griddispatch.errors import InputError

NAME = "griddispatch/Feeder-v0"
STEPS = 8


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    days = synthetic_days((1, 2, 3, 4, 5), count=6, hours=24 / STEPS, total_kw=6000)
    return Feeder(chain(), Storage(nodes=(3, 5)), days)


def some_actions(count: int = STEPS, seed: int = 0, batteries: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, batteries)).astype(np.float32)


def play(env: Any, actions: np.ndarray) -> list[Any]:
    return [env.step(action) for action in actions]


# -- by name --------------------------------------------------------------------------------


@pytest.mark.parametrize("end_soc", ["free", "initial"])
def test_gymnasiums_own_check_finds_nothing(feeder: Feeder, end_soc: str) -> None:
    case = Feeder(feeder.network, feeder.storage, feeder.days, end_soc=end_soc)
    check_env(gymnasium.make(NAME, feeder=case).unwrapped)  # a warning is an error here


def test_the_name_is_known_as_soon_as_the_package_is_imported() -> None:
    program = (
        "import sys, griddispatch, gymnasium;"
        "assert not {'torch', 'pandas', 'numba'} & set(sys.modules), 'a slow import';"
        f"assert '{NAME}' in gymnasium.registry;"
        f"gymnasium.make('{NAME}', data='nowhere')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "a slow import" not in done.stderr
    assert "InputError" in done.stderr
    assert "run `make reproduce`" in done.stderr


def test_a_missing_data_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `make reproduce` or `dvc repro data_preparation`"):
        gymnasium.make(NAME, data=tmp_path)


def test_a_ready_feeder_excludes_what_would_make_one(feeder: Feeder) -> None:
    with pytest.raises(TypeError, match="sigma"):
        FeederEnv(feeder, sigma=1.0)
    with pytest.raises(TypeError, match="data"):
        FeederVectorEnv(2, feeder, data="data")


# -- one day --------------------------------------------------------------------------------


def test_an_episode_is_a_day_of_the_feeder(feeder: Feeder) -> None:
    env = FeederEnv(feeder)
    observation, info = env.reset(seed=3, options={"date": "2030-01-05"})
    state = feeder.reset(torch.tensor([4]))
    assert info["date"] == "2030-01-05"
    assert info["slot"] == 0
    assert info["profit"] == info["penalty"] == 0
    np.testing.assert_array_equal(observation, feeder.observe(state)[0].numpy())
    for t, action in enumerate(some_actions()):
        observation, reward, terminated, truncated, info = env.step(action)
        state, expected, outcome = feeder.step(state, torch.tensor(action[None]))
        np.testing.assert_array_equal(observation, feeder.observe(state)[0].numpy())
        assert reward == float(expected[0])
        assert (terminated, truncated) == (t == STEPS - 1, False)
        assert info["date"] == "2030-01-05"
        assert info["slot"] == t + 1
        assert info["profit"] - info["penalty"] == pytest.approx(reward)
        np.testing.assert_array_equal(info["power_kw"], outcome.power_kw[0].numpy())
        np.testing.assert_array_equal(info["soc"], state.soc[0].numpy())


def test_types_are_those_that_gymnasium_promises(feeder: Feeder) -> None:
    env = FeederEnv(feeder)
    observation, info = env.reset()
    assert observation.dtype == np.float32
    assert observation in env.observation_space
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert [type(x) for x in (reward, terminated, truncated)] == [float, bool, bool]
    kinds = {"date": str, "slot": int, "topology": int, "profit": float, "penalty": float}
    assert {k: type(info[k]) for k in kinds} == kinds
    assert set(info) == {*kinds, "power_kw", "soc"}


def test_the_seed_decides_the_days(feeder: Feeder) -> None:
    def dates(seed: int) -> list[str]:
        env = FeederEnv(feeder)
        first = env.reset(seed=seed)[1]["date"]
        return [first] + [env.reset()[1]["date"] for _ in range(30)]

    assert dates(1) == dates(1)
    assert dates(1) != dates(2)
    assert set(dates(1)) == set(feeder.days.dates)


def test_a_day_can_start_at_any_charge(feeder: Feeder) -> None:
    env = FeederEnv(feeder)
    _, info = env.reset(options={"soc": [0.3, 0.7], "date": "2030-01-02"})
    assert info["soc"].tolist() == pytest.approx([0.3, 0.7])
    assert info["date"] == "2030-01-02"
    _, info = env.reset()
    assert info["soc"].tolist() == pytest.approx([0.4, 0.4])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"day": 3}, r"unknown reset option \['day'\]"),
        ({"date": "2031-01-01"}, "'2031-01-01' is no day of this feeder"),
        ({"date": ("2030-01-01", "2030-01-02")}, "2 dates for 1 episodes"),
        ({"soc": 0.9}, "outside soc_min"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    feeder: Feeder, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        FeederEnv(feeder).reset(options=options)


def test_what_a_caller_does_to_the_results_has_no_effect(feeder: Feeder) -> None:
    def rewards(meddle: bool) -> list[float]:
        env = FeederEnv(feeder)
        results = [env.reset(options={"date": "2030-01-01"})]
        total = []
        for action in some_actions():
            if meddle:
                for value in (results[-1][0], *results[-1][1].values()):
                    if isinstance(value, np.ndarray):
                        value[:] = 0.5
            observation, reward, _, _, info = env.step(action)
            results.append((observation, info))
            total.append(reward)
        return total

    assert rewards(meddle=True) == rewards(meddle=False)


def test_steps_outside_a_day_are_one_clear_error(feeder: Feeder) -> None:
    env = FeederEnv(feeder)
    with pytest.raises(InputError, match=r"call reset\(\)"):
        env.step(np.zeros(2))
    env.reset()
    with pytest.raises(InputError, match="one value per episode and battery"):
        env.step(np.zeros(3))
    play(env, some_actions())
    with pytest.raises(InputError, match="over after 8 steps"):
        env.step(np.zeros(2))


# -- many days ------------------------------------------------------------------------------


def test_make_vec_gives_the_batched_environment(feeder: Feeder) -> None:
    envs = gymnasium.make_vec(NAME, num_envs=3, feeder=feeder)
    assert isinstance(envs, FeederVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.single_observation_space == FeederEnv(feeder).observation_space
    assert envs.observation_space.shape == (3, feeder.n_observations)
    assert envs.action_space.shape == (3, 2)
    observation, _ = envs.reset(seed=1)
    assert observation in envs.observation_space


def test_a_batch_is_its_single_days(feeder: Feeder) -> None:
    dates = ("2030-01-02", "2030-01-01", "2030-01-02")
    soc = [[0.4, 0.4], [0.3, 0.5], [0.8, 0.2]]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 3, 2))
    envs = FeederVectorEnv(3, feeder)
    start = envs.reset(options={"date": dates, "soc": soc})
    batch = [(*start[:1], *(None,) * 3, start[1]), *play(envs, actions)]
    for row in range(3):
        env = FeederEnv(feeder)
        begun = env.reset(options={"date": dates[row], "soc": soc[row]})
        single = [(*begun[:1], *(None,) * 3, begun[1]), *play(env, actions[:, row])]
        for many, one in zip(batch, single, strict=True):
            np.testing.assert_array_equal(many[0][row], one[0])
            for ours, theirs in zip(many[1:4], one[1:4], strict=True):
                assert ours is None or ours[row] == theirs
            for key, value in one[4].items():
                np.testing.assert_array_equal(many[4][key][row], value)


def test_the_step_after_the_end_starts_new_days(feeder: Feeder) -> None:
    envs = FeederVectorEnv(4, feeder)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (2 * (STEPS + 1), 4, 2))
    results = play(envs, actions)
    ends = [bool(terminated.all()) for _, _, terminated, _, _ in results]
    assert ends == ([False] * (STEPS - 1) + [True, False]) * 2
    assert not any(truncated.any() for _, _, _, truncated, _ in results)
    observation, reward, terminated, _, info = results[STEPS]
    assert reward.tolist() == [0] * 4
    assert not terminated.any()
    assert info["slot"].tolist() == [0] * 4
    assert info["soc"].tolist() == [[0.4, 0.4]] * 4
    drawn = torch.tensor([feeder.days.dates.index(date) for date in info["date"]])
    np.testing.assert_array_equal(observation, feeder.observe(feeder.reset(drawn)).numpy())


def test_a_seed_repeats_a_batch_across_resets(feeder: Feeder) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3 * STEPS, 5, 2))

    def run(seed: int) -> np.ndarray:
        envs = FeederVectorEnv(5, feeder)
        envs.reset(seed=seed)
        return np.stack([result[1] for result in play(envs, actions)])

    np.testing.assert_array_equal(run(7), run(7))
    assert (run(7) != run(8)).any()


def test_gymnasiums_vector_wrappers_work(feeder: Feeder) -> None:
    envs = DictInfoToList(RecordEpisodeStatistics(FeederVectorEnv(3, feeder)))
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 3, 2))
    results = play(envs, actions)
    total = sum(result[1] for result in results)
    infos = results[-1][4]
    assert [info["episode"]["r"] for info in infos] == pytest.approx(total)
    assert [info["episode"]["l"] for info in infos] == [STEPS] * 3
    assert {info["slot"] for info in infos} == {STEPS}


def test_readonly_actions_and_lists_are_accepted(feeder: Feeder) -> None:
    envs = FeederVectorEnv(2, feeder)
    envs.reset(seed=0)
    first = envs.step(np.broadcast_to(np.float32(0.25), (2, 2)))
    envs.reset(seed=0)
    second = envs.step([[0.25, 0.25], [0.25, 0.25]])
    np.testing.assert_array_equal(first[1], second[1])


def test_one_option_serves_the_whole_batch(feeder: Feeder) -> None:
    envs = FeederVectorEnv(2, feeder)
    _, info = envs.reset(options={"date": "2030-01-03", "soc": [0.5, 0.6]})
    assert info["date"].tolist() == ["2030-01-03"] * 2
    assert info["soc"].tolist() == [[0.5, 0.6]] * 2
    with pytest.raises(InputError, match="2 dates for 3 episodes"):
        FeederVectorEnv(3, feeder).reset(options={"date": ("2030-01-03", "2030-01-04")})


def test_an_observation_of_the_user_has_its_own_space(feeder: Feeder) -> None:
    def charge(feeder: Feeder, state: State) -> torch.Tensor:
        return state.soc

    case = Feeder(feeder.network, feeder.storage, feeder.days, observation=charge)
    env = FeederEnv(case)
    assert env.observation_space.shape == (2,)
    observation, _ = env.reset()
    assert observation.tolist() == pytest.approx([0.4, 0.4])
    assert observation.dtype == np.float32
