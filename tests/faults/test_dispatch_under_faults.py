"""Seeded schedules of faults in virtual time; ``scripts/bench simulator`` runs ten thousand."""

import random
import typing
from dataclasses import replace

import pytest

from distpg.dispatch.messages import Command, Send, Stop
from tests.faults.simulator import (
    BrokenPromiseError,
    Scenario,
    Simulation,
    random_scenario,
    run_schedules,
    utilisation,
)


def test_every_promise_holds_under_random_faults() -> None:
    counts = run_schedules(range(150))
    # Schedules in which the dispatcher is never made to do something say nothing about how it does it.
    commands = {command.__name__ for command in typing.get_args(Command)}
    reasons = {
        why for command in (Send, Stop) for why in typing.get_args(typing.get_type_hints(command)["why"])
    }
    surrenders = {"gave up: failed", "gave up: died"}
    assert {name for name in commands | reasons | surrenders if counts[name] < 5} == set()


def test_a_broken_promise_is_told_with_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(simulation: Simulation) -> None:
        raise BrokenPromiseError("nobody does it")

    monkeypatch.setattr(Simulation, "run", broken)
    with pytest.raises(BrokenPromiseError, match="schedule 7: nobody does it"):
        run_schedules([7])


def test_a_schedule_is_repeated_by_its_seed() -> None:
    scenario = random_scenario(random.Random(7))
    first, again = (Simulation(scenario, 7).run() for _ in range(2))
    assert (first.seconds, first.counts) == (again.seconds, again.counts)


def test_five_hundred_runners_and_mass_loss() -> None:
    scenario = Scenario(
        runners=500,
        episodes=1000,
        episodes_per_task=1,
        mean_steps=400,
        deaths_per_s=20,
        mass_losses_per_s=0.3,
    )
    outcome = Simulation(scenario, 1).run()
    assert outcome.accepted == 2000
    assert outcome.counts["killed"] > 200


@pytest.mark.parametrize("poison", ["failing_episode", "deadly_episode", "hanging_episode"])
@pytest.mark.parametrize("runners", [1, 3])
def test_the_episode_that_cannot_be_played_is_named(poison: str, runners: int) -> None:
    scenario = Scenario(runners=runners, episodes=24, episodes_per_task=8, **{poison: 13})
    gave_up = Simulation(scenario, 0).run().gave_up
    assert gave_up is not None
    assert gave_up.task is not None
    if poison == "failing_episode":
        assert 13 in range(gave_up.task.first_episode, gave_up.task.first_episode + 8)
    else:
        assert (gave_up.task.first_episode, gave_up.task.num_episodes) == (13, 1)


@pytest.mark.parametrize("policy_lag", [0, 2])
@pytest.mark.parametrize("recycle_after", [None, 1000])
def test_without_faults_owners_answer_every_question(policy_lag: int, recycle_after: int | None) -> None:
    scenario = Scenario(runners=16, iterations=6, episodes=100, asks=True, policy_lag=policy_lag)
    counts = Simulation(replace(scenario, recycle_after=recycle_after), 0).run().counts
    assert counts["questions to owners"] == counts["questions"] == 6 * 50


_FAULTS: dict[str, dict[str, float]] = {
    "deaths": {"deaths_per_s": 2.0},
    "freezes": {"freezes_per_s": 1.0, "thaw": 0.5},
    "slow runners": {"slow_runners": 0.3},
    "mass losses": {"mass_losses_per_s": 0.5},
    "bad starts": {"bad_starts": 0.3, "deaths_per_s": 0.5},
    "failures": {"transient_failures": 0.01},
    "wrong answers": {"wrong": 0.2, "audit_every": 2},
    "recycling": {"recycle_after": 10},
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_every_question_is_answered_once_under_each_fault(fault: str) -> None:
    scenario = Scenario(runners=8, iterations=4, episodes=64, mean_steps=200, asks=True, **_FAULTS[fault])
    by_owners = questions = 0
    for seed in range(10):
        outcome = Simulation(replace(scenario, policy_lag=seed % 3), seed).run()
        assert outcome.gave_up is None
        questions += outcome.counts["questions"]
        by_owners += outcome.counts["questions to owners"]
    assert questions == 10 * 4 * 32
    assert by_owners > 0.25 * questions


def test_wrong_answers_are_found_at_the_audited_rate() -> None:
    """Of the answers that are wrong, those to audited tasks are found, and those withdrawn too late."""
    scenario = Scenario(runners=4, iterations=40, episodes=25, episodes_per_task=1, wrong=0.1, audit_every=5)
    simulation = Simulation(scenario, 3)
    outcome = simulation.run()
    audited = simulation.audited
    wrong = {task for task, digests in simulation.answers.items() if len(digests) > 1}
    assert simulation.differing == wrong
    assert len(wrong - audited) <= outcome.counts["Withdraw"] + outcome.counts["hedge"]
    # Two answers, each wrong with probability 0.1, to 200 audited tasks: 38 +- 5.5.
    assert abs(len(wrong & audited) - 0.19 * len(audited)) < 4 * 5.5


def test_one_slow_runner_of_four_costs_little() -> None:
    def seconds(slow: int | None) -> float:
        simulation = Simulation(
            Scenario(runners=4, iterations=1, episodes=64, episodes_per_task=1, start_s=0), 0, lambda e: 300
        )
        simulation._start_speed = lambda number: 10.0 if number == slow else 1.0
        return simulation.run().seconds

    assert seconds(slow=2) < 1.5 * seconds(slow=None)


def test_constant_lengths_keep_everyone_busy() -> None:
    assert utilisation("constant", 16, 4) > 0.98
