import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg.dispatch import Answered, Command, Died, Dispatcher, Joined, Replace, Send
from distpg.env_runners import Task, tasks_of_iteration


class Simulation:
    """Runners that answer, die and join in a random order decided by a seed."""

    def __init__(self, seed: int, num_runners: int, deaths: int) -> None:
        self.random = random.Random(seed)
        self.dispatcher = Dispatcher()
        self.deaths = deaths
        self.joining = list(range(num_runners))
        self.new_id = num_runners
        self.working: dict[int, tuple[Task, ...]] = {}
        self.answered: list[Task] = []

    def apply(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                assert command.runner not in self.working, "a busy runner was given more"
                assert command.tasks
                self.working[command.runner] = command.tasks
            else:
                assert isinstance(command, Replace)
                self.joining.append(self.new_id)
                self.new_id += 1

    def run(self, tasks: list[Task]) -> None:
        self.apply(self.dispatcher.add(tasks))
        while not self.dispatcher.done:
            self.one_event()
            idle = self.dispatcher.runners - self.working.keys()
            handed_out = {task for held in self.working.values() for task in held}
            waiting = set(tasks) - handed_out - set(self.answered)
            assert not (idle and waiting), "a task waits while a runner is idle"

    def one_event(self) -> None:
        choices = ["join"] * bool(self.joining) + ["answer"] * bool(self.working)
        choices += ["die"] * bool(self.deaths and self.dispatcher.runners)
        kind = self.random.choice(choices)
        if kind == "join":
            runner = self.joining.pop(self.random.randrange(len(self.joining)))
            self.apply(self.dispatcher.handle(Joined(runner)))
        elif kind == "answer":
            runner = self.random.choice(list(self.working))
            self.answered.extend(self.working.pop(runner))
            self.apply(self.dispatcher.handle(Answered(runner, self.random.expovariate(100))))
        else:
            self.deaths -= 1
            runner = self.random.choice(sorted(self.dispatcher.runners))
            self.working.pop(runner, None)
            self.apply(self.dispatcher.handle(Died(runner)))


@pytest.mark.parametrize("seed", range(300))
def test_each_episode_is_accepted_exactly_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    simulation = Simulation(seed, rng.randint(1, 40), rng.choice([0, 0, 3, 30]))
    episodes = rng.randint(1, 200)
    per_task = rng.randint(1, 20)
    for iteration in range(3):
        tasks = tasks_of_iteration(iteration, episodes, per_task, iteration)
        simulation.answered.clear()
        simulation.run(tasks)
        assert sorted(simulation.answered, key=lambda task: task.first_episode) == tasks
        covered = [task.first_episode + k for task in tasks for k in range(task.num_episodes)]
        assert covered == list(range(iteration * episodes, (iteration + 1) * episodes))


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 5))
def test_tasks_depend_on_nothing_but_the_plan(episodes: int, per_task: int, iteration: int) -> None:
    tasks = tasks_of_iteration(iteration, episodes, per_task, 9)
    assert all(task.num_episodes == per_task for task in tasks[:-1])
    assert 1 <= tasks[-1].num_episodes <= per_task
    assert {task.weights_seq_no for task in tasks} == {9}


def test_cheap_tasks_travel_together_and_costly_ones_alone() -> None:
    for seconds, expected in ((0.001, [2, 2]), (1.0, [1, 1])):
        dispatcher = Dispatcher()
        dispatcher.add(tasks_of_iteration(0, 2, 1, 0))
        for runner in (0, 1):
            dispatcher.handle(Joined(runner))
        for runner in (0, 1):
            dispatcher.handle(Answered(runner, seconds))
        commands = dispatcher.add(tasks_of_iteration(1, 4, 1, 1))
        assert [len(command.tasks) for command in commands if isinstance(command, Send)] == expected


def test_work_of_the_dead_goes_first_and_to_another() -> None:
    dispatcher = Dispatcher()
    first, second, third = tasks = tasks_of_iteration(0, 3, 1, 0)
    dispatcher.add(tasks)
    assert dispatcher.handle(Joined(0)) == [Send(0, (first,))]
    assert dispatcher.handle(Joined(1)) == [Send(1, (second,))]
    assert dispatcher.handle(Died(0)) == [Replace(0)]
    assert dispatcher.handle(Answered(1, 1.0)) == [Send(1, (first,))]
    assert dispatcher.handle(Answered(0, 1.0)) == [], "an answer of the dead counts nothing"
    assert dispatcher.handle(Joined(2)) == [Send(2, (third,))]
