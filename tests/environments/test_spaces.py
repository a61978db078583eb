"""Observations of every space as one array, actions of every space from choices, masks."""

import numpy as np
import pytest
from gymnasium import spaces

from distpg.environments.spaces import actions_of, mask_source, masks_of, observations_of
from distpg.errors import EnvironmentIdError

GRID = spaces.Dict(
    image=spaces.Box(0, 255, (2, 2), np.uint8), direction=spaces.Discrete(4), mission=spaces.Text(9)
)


@pytest.mark.parametrize(
    ("space", "observation", "dtype", "expected"),
    [
        (spaces.Discrete(3, start=5), 6, np.uint8, [0, 1, 0]),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), np.uint8, [0, 1, 1, 0, 0]),
        (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8), np.uint8, [1, 0, 1]),
        (spaces.Box(0, 255, (2, 2), np.uint8), np.array([[1, 2], [3, 255]]), np.uint8, [[1, 2], [3, 255]]),
        (spaces.Box(0, 1, (2,), np.bool_), np.array([True, False]), np.uint8, [1, 0]),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Box(-9, 9, (1,))]),
            (1, np.array([-2.5])),
            np.float32,
            [0, 1, -2.5],
        ),
        (
            spaces.Dict(b=spaces.Dict(c=spaces.Discrete(2)), a=spaces.MultiBinary(1)),
            {"b": {"c": 0}, "a": [1]},
            np.uint8,
            [1, 0, 1],
        ),
    ],
    ids=str,
)
def test_one_array(space: spaces.Space, observation: object, dtype: type, expected: list) -> None:
    kept = observations_of("E", space)
    assert kept.dtype == dtype
    assert kept.encode is not None
    found = kept.encode(observation)
    assert found.shape == kept.shape
    assert found.astype(np.float32).tolist() == expected


def test_floats_are_kept_as_they_are() -> None:
    kept = observations_of("E", spaces.Box(-np.inf, 3, (2, 5), np.float64))
    assert (kept.encode, kept.dtype, kept.shape, kept.size) == (None, np.float32, (2, 5), 10)
    assert (kept.low, kept.high) == (-np.inf, 3)


@pytest.mark.parametrize("wrong", [[256, 0], [-1, 0], [0.5, 0], [np.nan, 0]], ids=str)
def test_numbers_that_no_uint8_holds_are_none_of_the_space(wrong: list) -> None:
    kept = observations_of("E", spaces.Box(0, 255, (2,), np.uint8))
    assert kept.encode is not None
    with pytest.raises(ValueError, match="outside of its space"):
        kept.encode(np.array(wrong))


def test_parts_are_left_out_by_name() -> None:
    with pytest.raises(EnvironmentIdError, match="has a Text as 'mission'") as caught:
        observations_of("E", GRID)
    assert caught.value.hint == "Leave that part out: --drop-observations mission."
    kept = observations_of("E", GRID, ("mission",))
    assert kept.encode is not None
    observation = {"image": np.full((2, 2), 9, np.uint8), "direction": 2, "mission": "go"}
    assert kept.encode(observation).tolist() == [0, 0, 1, 0, 9, 9, 9, 9]


@pytest.mark.parametrize(
    ("space", "choices", "expected"),
    [
        (spaces.Discrete(3, start=-1), [[0], [2]], [-1, 1]),
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), [[1, 2]], [[2, 2]]),
        (spaces.MultiDiscrete([[2], [3]]), [[1, 2]], [[[1], [2]]]),
        (spaces.MultiBinary((1, 2)), [[0, 1]], [[[0, 1]]]),
        (spaces.Box(np.float32([-2, 0]), np.float32([2, 10])), [[0.5, -3.0]], [[1, 0]]),
        (spaces.Box(-np.inf, np.inf, (1,)), [[7.5]], [[7.5]]),
        (spaces.Box(0, np.inf, (1,)), [[-7.5]], [[0]]),
    ],
    ids=str,
)
def test_actions_from_choices(space: spaces.Space, choices: list, expected: list) -> None:
    actions = actions_of("E", space)
    assert len(actions.sizes) == len(choices[0])
    found = actions.decode(np.array(choices))
    assert [np.asarray(one).tolist() for one in found] == expected
    assert all(space.contains(one) for one in found)


def test_masks_of_info_and_observation() -> None:
    told = {"action_mask": np.array([1, 0, 1], np.int8)}
    assert mask_source(spaces.Discrete(3), told) == "info"
    assert mask_source(spaces.Dict(action_mask=spaces.MultiBinary(3)), {}) == "observation"
    assert mask_source(spaces.Discrete(3), {}) == "none"
    assert masks_of("none", (3,)) is None
    for source, arguments in (("info", (None, told)), ("observation", (told, {}))):
        mask_of = masks_of(source, (3,))
        assert mask_of is not None
        assert mask_of(*arguments).tolist() == [True, False, True]
    mask_of = masks_of("info", (2, 2))
    assert mask_of is not None
    assert mask_of(None, {"action_mask": (np.array([0, 1]), np.array([1, 1]))}).tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="leaves no legal action"):
        mask_of(None, {"action_mask": np.array([0, 0, 1, 1])})
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(4,\)"):
        mask_of(None, told)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Discrete(5), -1),
        (spaces.Discrete(5), 5),
        (spaces.Discrete(5, start=2), 1),
        (spaces.MultiDiscrete([3, 2]), np.array([4, 0])),
        (spaces.MultiDiscrete([3, 2]), np.array([1, 1, 1])),
        (spaces.Dict(x=spaces.Box(-9, 9, (2,), np.int32)), {"x": np.array([0.5, 1.0])}),
        (spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), (0, 2)),
        (spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))), (0,)),
    ],
    ids=str,
)
def test_what_is_not_in_its_space_is_nothing_else(space: spaces.Space, value: object) -> None:
    encode = observations_of("Env", space).encode
    assert encode is not None
    encode(space.sample())
    with pytest.raises(ValueError, match=r"outside of its space|is shorter"):
        encode(value)


@pytest.mark.parametrize(
    ("dropped", "message", "hint"),
    [(["mision"], "have no part 'mision'", "x, y"), (["x", "y"], "leaves nothing of", "fewer")],
)
def test_parts_that_are_not_there_cannot_be_dropped(dropped: list, message: str, hint: str) -> None:
    space = spaces.Dict(x=spaces.Discrete(2), y=spaces.Discrete(3))
    with pytest.raises(EnvironmentIdError, match=message) as caught:
        observations_of("Env", space, dropped)
    assert hint in caught.value.hint
    with pytest.raises(EnvironmentIdError, match="have no part 'x'"):
        observations_of("Env", spaces.Discrete(2), ["x"])
