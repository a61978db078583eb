"""The dispatcher by hand, a report at a time; tests/faults drives it through thousands."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.messages import (
    Accept,
    Added,
    Answered,
    Ask,
    Command,
    Died,
    Differ,
    GiveUp,
    Grown,
    Heard,
    Join,
    Joined,
    Placed,
    Rules,
    Search,
    Send,
    Skipped,
    Start,
    Stop,
    TimePassed,
    Withdraw,
)


def dispatcher_with(ready: int, **rules: object) -> Dispatcher:
    """As many runners as are wanted, started and ready at time 0."""
    dispatcher = Dispatcher(Rules(num_runners=ready, **rules))
    assert dispatcher.handle(TimePassed(), 0.0) == [Start(number) for number in range(ready)]
    for number in range(ready):
        dispatcher.handle(Joined(number), 0.0)
    return dispatcher


def add(
    dispatcher: Dispatcher, tasks: Sequence[Task], now: float, audited: Sequence[Task] = ()
) -> list[Command]:
    return dispatcher.handle(Added(tuple(tasks), tuple(audited)), now)


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 5))
def test_tasks_depend_on_nothing_but_the_plan(episodes: int, per_task: int, iteration: int) -> None:
    tasks = tasks_of_iteration(iteration, episodes, per_task, 9)
    assert all(task.num_episodes == per_task for task in tasks[:-1])
    assert 1 <= tasks[-1].num_episodes <= per_task
    assert {task.weights_seq_no for task in tasks} == {9}


def test_cheap_tasks_travel_together_and_costly_ones_alone() -> None:
    for seconds, expected in ((0.001, [2, 2]), (1.0, [1, 1])):
        dispatcher = dispatcher_with(2)
        add(dispatcher, tasks_of_iteration(0, 2, 1, 0), 0.0)
        for number in (0, 1):
            dispatcher.handle(Answered(number, seconds, 10, ("a",)), seconds)
        commands = add(dispatcher, tasks_of_iteration(1, 4, 1, 1), seconds)
        sent = [command for command in commands if isinstance(command, Send) and command.why == "new"]
        assert [len(command.tasks) for command in sent] == expected


def test_work_of_the_dead_goes_first_and_to_another() -> None:
    dispatcher = dispatcher_with(2)
    first, second, third = tasks = tasks_of_iteration(0, 3, 1, 0)
    assert add(dispatcher, tasks, 0.0) == [Send(0, (first,)), Send(1, (second,))]
    # Its replacement waits a moment: it died before its first answer.
    assert dispatcher.handle(Died(0), 1.0) == []
    assert dispatcher.handle(Answered(1, 1.0, 9, ("b",)), 1.0) == [Accept(second), Send(1, (first,))]
    assert dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0) == [], "an answer of the dead counts nothing"
    assert dispatcher.handle(TimePassed(), 2.0) == [Start(2)]
    assert dispatcher.handle(Joined(2), 2.5) == [Send(2, (third,))]


def test_a_runner_with_an_answer_to_its_name_is_replaced_at_once() -> None:
    dispatcher = dispatcher_with(1)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0)
    dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0)
    assert dispatcher.handle(Died(0), 1.5) == [Start(1)]


def test_silence_is_no_step_whatever_it_answers() -> None:
    dispatcher = dispatcher_with(1, silent_after_s=10.0)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0)
    assert dispatcher.handle(TimePassed(), 3.0) == [Ask(0)]
    dispatcher.handle(Heard(0, 5), 3.1)
    for now in (6.0, 9.0, 12.0):
        assert Ask(0) in dispatcher.handle(TimePassed(), now)
        dispatcher.handle(Heard(0, 5), now + 0.1)
    assert dispatcher.handle(TimePassed(), 13.2)[0] == Stop(0, "silent")


def test_with_many_runners_it_looks_round_less_often_and_finds_the_silent_all_the_same() -> None:
    dispatcher = dispatcher_with(5000, silent_after_s=10.0)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0)
    found = {now: dispatcher.handle(TimePassed(), now / 10) for now in range(1, 120)}
    asked = [now for now, commands in found.items() if Ask(0) in commands]
    assert asked == [5, 10, 15, 25, 35, 50, 70, 95], "at looks half a second apart"
    stopped = [now for now, commands in found.items() if Stop(0, "silent") in commands]
    assert stopped == [105]
    assert Send(1, (task,)) in found[105]


def test_more_runners_may_end_before_their_first_answer_than_a_power_of_two_can_count() -> None:
    dispatcher = dispatcher_with(1100)
    commands = [command for number in range(1100) for command in dispatcher.handle(Died(number), 1.0)]
    assert not any(isinstance(command, Start) for command in commands), "they wait a moment"
    assert dispatcher.handle(TimePassed(), 3.5).count(GiveUp(None, "no runner starts")) == 1


def test_slow_but_advancing_is_never_stopped() -> None:
    dispatcher = dispatcher_with(1, silent_after_s=10.0)
    add(dispatcher, tasks_of_iteration(0, 1, 1, 0), 0.0)
    for second in range(1, 100):
        commands = dispatcher.handle(TimePassed(), 5.0 * second)
        assert not any(isinstance(command, Stop) for command in commands)
        dispatcher.handle(Heard(0, second), 5.0 * second + 0.1)


def test_time_in_which_nobody_listened_is_not_silence() -> None:
    dispatcher = dispatcher_with(1, silent_after_s=10.0)
    add(dispatcher, tasks_of_iteration(0, 1, 1, 0), 0.0)
    dispatcher.handle(TimePassed(), 1.0)
    assert dispatcher.handle(TimePassed(), 500.0) == [Ask(0)], "the learner was busy for minutes"
    assert Stop(0, "silent") in [
        command for now in range(501, 520) for command in dispatcher.handle(TimePassed(), float(now))
    ]


def test_a_runner_that_takes_too_long_to_start_is_stopped_and_in_the_end_given_up() -> None:
    dispatcher = Dispatcher(Rules(num_runners=1, start_timeout_s=5.0))
    commands = [c for now in range(100) for c in dispatcher.handle(TimePassed(), float(now))]
    assert [c for c in commands if isinstance(c, Stop)][:2] == [
        Stop(0, "not started"),
        Stop(1, "not started"),
    ]
    assert GiveUp(None, "no runner starts") in commands


def test_a_failure_is_tried_once_elsewhere() -> None:
    dispatcher = dispatcher_with(2)
    first, second = tasks_of_iteration(0, 2, 1, 0)
    add(dispatcher, [first, second], 0.0)
    assert dispatcher.handle(Answered(0, 1.0, 9, (None,)), 1.0) == [], "not on the runner where it failed"
    commands = dispatcher.handle(Answered(1, 1.0, 9, ("b",)), 1.0)
    assert commands == [Accept(second), Send(1, (first,), "elsewhere")]
    assert dispatcher.handle(Answered(1, 1.0, 9, (None,)), 2.0) == [GiveUp(first, "failed")]


def test_a_failure_of_the_only_runner_is_tried_again_there() -> None:
    dispatcher = dispatcher_with(1)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0)
    assert dispatcher.handle(Answered(0, 1.0, 9, (None,)), 1.0) == [Send(0, (task,), "elsewhere")]
    assert dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 2.0) == [Accept(task)]
    assert dispatcher.is_done


def test_an_audited_task_is_played_by_two_and_compared() -> None:
    for second_answer, differs in (("a", False), ("z", True)):
        dispatcher = dispatcher_with(2)
        first, second = tasks_of_iteration(0, 2, 1, 0)
        add(dispatcher, [first, second], 0.0, audited=[first])
        assert dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0) == [Accept(first)]
        assert not dispatcher.is_done
        commands = dispatcher.handle(Answered(1, 1.0, 9, ("b",)), 1.0)
        assert commands == [Accept(second), Send(1, (first,), "elsewhere")]
        commands = dispatcher.handle(Answered(1, 1.0, 9, (second_answer,)), 2.0)
        assert commands == ([Differ(first, (0, 1))] if differs else [])
        assert dispatcher.is_done


def test_a_deadly_task_is_searched_for_the_episode_that_kills() -> None:
    dispatcher = dispatcher_with(1)
    task = Task(0, 2, 0)
    add(dispatcher, [task], 0.0)
    searched, now = [], 0.0
    for number in range(30):
        now += 10.0
        commands = dispatcher.handle(Died(number), now)
        searched += [command for command in commands if isinstance(command, (Search, GiveUp))]
        if any(isinstance(command, GiveUp) for command in commands):
            break
        dispatcher.handle(TimePassed(), now + 5.0)
        (send,) = dispatcher.handle(Joined(number + 1), now + 6.0)
        assert isinstance(send, Send)
        if send.tasks == (Task(0, 1, 0),):  # the harmless half
            (send,) = dispatcher.handle(Answered(number + 1, 1.0, 9, ("a",)), now + 7.0)
            assert isinstance(send, Send)
            assert send.tasks == (Task(1, 1, 0),)
    assert searched == [Search(task), GiveUp(Task(1, 1, 0), "died")]


def test_the_idle_help_the_slow_and_whoever_is_first_counts() -> None:
    dispatcher = dispatcher_with(2)
    tasks = tasks_of_iteration(0, 4, 1, 0)
    add(dispatcher, tasks, 0.0)
    for now in (1.0, 2.0, 3.0):
        commands = dispatcher.handle(Answered(0, 1.0, 1000, ("a",)), now)
        assert not any(isinstance(command, Send) and command.why == "hedge" for command in commands)
    assert Ask(1) in dispatcher.handle(TimePassed(), 3.5)
    hedge = dispatcher.handle(Heard(1, 100), 3.6)
    assert hedge == [Send(0, (tasks[1],), "hedge")]
    assert dispatcher.handle(Answered(0, 1.0, 1000, ("b",)), 4.6) == [Accept(tasks[1])]
    assert dispatcher.is_done
    # The late twin is compared all the same.
    assert dispatcher.handle(Answered(1, 10.0, 1000, ("x",)), 10.0) == [Differ(tasks[1], (0, 1))]


def test_one_that_does_not_answer_is_helped_soon() -> None:
    dispatcher = dispatcher_with(2)
    tasks = tasks_of_iteration(0, 4, 1, 0)
    add(dispatcher, tasks, 0.0)
    for now in (1.0, 2.0, 3.0):
        dispatcher.handle(Answered(0, 1.0, 1000, ("a",)), now)
    assert Ask(1) in dispatcher.handle(TimePassed(), 3.1)
    assert Send(0, (tasks[1],), "hedge") in dispatcher.handle(TimePassed(), 4.2)


def test_a_long_episode_at_the_common_rate_needs_no_help() -> None:
    dispatcher = dispatcher_with(2)
    add(dispatcher, tasks_of_iteration(0, 4, 1, 0), 0.0)
    for now in (1.0, 2.0, 3.0):
        commands = dispatcher.handle(Answered(0, 1.0, 1000, ("a",)), now)
        assert not any(isinstance(command, Send) and command.why == "hedge" for command in commands)
    for tenth in range(31, 200):
        commands = dispatcher.handle(TimePassed(), tenth / 10)
        commands += dispatcher.handle(Heard(1, 100 * tenth), tenth / 10)
        assert not any(isinstance(command, Send) for command in commands)


def test_recycled_after_so_many_episodes() -> None:
    dispatcher = dispatcher_with(1, recycle_after=3)
    for iteration, expected in enumerate([[], [Stop(0, "recycled"), Start(1)]]):
        (task,) = tasks_of_iteration(iteration, 2, 2, iteration)
        add(dispatcher, [task], 0.0)
        commands = dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0)
        assert commands == [Accept(task), *expected]


def test_a_second_play_that_fails_once_is_tried_again_and_twice_is_a_difference() -> None:
    for third, expected in ((("a",), []), ((None,), [Differ(Task(0, 1, 0), (0, 2))])):
        dispatcher = dispatcher_with(3)
        (task,) = tasks_of_iteration(0, 1, 1, 0)
        add(dispatcher, [task], 0.0, audited=[task])
        commands = dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0)
        assert commands == [Accept(task), Send(1, (task,), "elsewhere")]
        assert dispatcher.handle(Answered(1, 1.0, 9, (None,)), 2.0) == [Send(2, (task,), "elsewhere")]
        assert dispatcher.handle(Answered(2, 1.0, 9, third), 3.0) == expected
        assert dispatcher.is_done


def test_an_audit_that_kills_its_runners_is_given_up_in_the_end() -> None:
    dispatcher = dispatcher_with(2)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0, audited=[task])
    dispatcher.handle(Answered(0, 1.0, 9, ("a",)), 1.0)
    number, now = 1, 1.0
    for _ in range(10):
        if dispatcher.is_done:
            break
        now += 10.0
        dispatcher.handle(Died(number), now)
        number += 1
        dispatcher.handle(TimePassed(), now + 5.0)
        dispatcher.handle(Joined(number), now + 6.0)
    assert dispatcher.is_done
    assert number <= 5


def test_the_idle_are_asked_when_a_worker_is_lost() -> None:
    dispatcher = dispatcher_with(3)
    (task,) = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [task], 0.0)
    commands = dispatcher.handle(Died(0), 1.0)
    assert commands == [Ask(1), Ask(2), Send(1, (task,))]
    # One that answers is preferred to one that does not.
    dispatcher.handle(Heard(2, 0), 1.1)
    assert Send(2, (task,)) in dispatcher.handle(Died(1), 1.2) + dispatcher.handle(TimePassed(), 2.5)


def test_a_task_does_not_go_back_to_where_it_failed() -> None:
    dispatcher = dispatcher_with(3)
    first, second, third = tasks_of_iteration(0, 3, 1, 0)
    add(dispatcher, [first, second, third], 0.0)
    dispatcher.handle(Answered(1, 1.0, 9, ("b",)), 1.0)
    # It goes to an idle one, though the runner where it failed is idle too.
    assert dispatcher.handle(Answered(0, 1.0, 9, (None,)), 1.0)[-1] == Send(1, (first,), "elsewhere")
    # That one dies. The first is idle still, and not asked to fail it again: the third will be free.
    assert dispatcher.handle(Died(1), 2.0) == [Ask(0), Start(3)]
    assert dispatcher.handle(Answered(2, 1.0, 9, ("c",)), 3.0)[-1] == Send(2, (first,), "elsewhere")


def test_a_runner_waits_for_room_on_the_cluster_as_long_as_it_takes() -> None:
    dispatcher = Dispatcher(Rules(num_runners=2, start_timeout_s=10.0, waits_for_room=True))
    assert dispatcher.handle(TimePassed(), 0.0) == [Start(0), Start(1)]
    dispatcher.handle(Placed(0), 1.0)
    dispatcher.handle(Joined(0), 2.0)
    for now in range(3, 500):
        assert dispatcher.handle(TimePassed(), float(now)) == []
    # From here on it has its CPUs: now it must become ready.
    assert dispatcher.handle(Placed(1), 500.0) == [Join(1)]
    for now in range(501, 511):
        assert set(dispatcher.handle(TimePassed(), float(now))) <= {Ask(1)}
    assert dispatcher.handle(TimePassed(), 510.1)[0] == Stop(1, "not started")


def test_starts_take_turns_and_a_start_that_waits_for_its_turn_is_not_late() -> None:
    dispatcher = Dispatcher(Rules(num_runners=64, start_timeout_s=10.0, starts_at_once=2))
    assert dispatcher.handle(TimePassed(), 0.0) == [Start(0), Start(1)]
    now = 0.0
    for number in range(64):  # each takes most of its time, all together thirty times as much
        now += 4.5
        assert dispatcher.handle(Placed(number), now) == [Join(number)]
        now += 4.5
        following = [Start(number + 2)] if number + 2 < 64 else []
        assert dispatcher.handle(Joined(number), now) == following
    assert dispatcher.num_ready == 64


def test_where_runners_wait_for_room_all_ask_for_it_and_become_ready_in_turn() -> None:
    dispatcher = Dispatcher(Rules(num_runners=3, start_timeout_s=10.0, waits_for_room=True, starts_at_once=1))
    assert dispatcher.handle(TimePassed(), 0.0) == [Start(0), Start(1), Start(2)]
    assert dispatcher.handle(Placed(2), 1.0) == [Join(2)]
    assert dispatcher.handle(Placed(1), 2.0) == []
    assert dispatcher.handle(Placed(0), 3.0) == []
    assert dispatcher.handle(Joined(2), 10.5) == [Join(1)]
    # The turn of one that is lost is the next one's too, once it is known how it was lost.
    assert Join(0) in dispatcher.handle(Died(1), 19.0)
    for now in range(20, 29):
        assert not any(isinstance(c, Stop) for c in dispatcher.handle(TimePassed(), float(now)))
    assert Stop(0, "not started") in dispatcher.handle(TimePassed(), 29.1)


def test_a_start_that_makes_progress_is_not_late() -> None:
    dispatcher = Dispatcher(Rules(num_runners=1, start_timeout_s=10.0))
    dispatcher.handle(TimePassed(), 0.0)
    dispatcher.handle(Placed(0), 1.0)
    for steps in range(1, 20):
        assert dispatcher.handle(TimePassed(), 4.0 * steps) == [Ask(0)]
        assert dispatcher.handle(Heard(0, steps), 4.0 * steps) == []
    later = [command for now in (80.0, 84.0, 86.1) for command in dispatcher.handle(TimePassed(), now)]
    assert Stop(0, "not started") in later


def test_where_a_cluster_grows_more_runners_are_started() -> None:
    dispatcher = dispatcher_with(1)
    assert dispatcher.handle(Grown(3), 0.5) == [Start(1), Start(2)]
    assert dispatcher.handle(Grown(2), 0.6) == []  # never fewer: lost machines come back
    assert dispatcher.num_runners == 3


def test_a_call_is_for_one_set_of_weights_and_the_oldest_iteration_goes_first() -> None:
    dispatcher = dispatcher_with(1)
    warm_up, *_ = tasks_of_iteration(0, 1, 1, 0)
    add(dispatcher, [warm_up], 0.0)
    dispatcher.handle(Answered(0, 0.001, 10, ("a",)), 0.001)
    earlier, later = tasks_of_iteration(1, 2, 1, 0), tasks_of_iteration(2, 2, 1, 1)
    assert add(dispatcher, earlier, 1.0) == [Send(0, tuple(earlier))]
    assert add(dispatcher, later, 1.0) == [Send(0, tuple(later), "ahead")]
    dispatcher.handle(Answered(0, 0.001, 10, ("b", "c")), 1.1)
    assert dispatcher.is_finished(earlier[0])
    assert not dispatcher.is_finished(later[0])


def dispatcher_used_to(seconds: float, ready: int, **rules: object) -> Dispatcher:
    """One whose runners have played a task of episode 1,000 or so each, which took so long."""
    dispatcher = dispatcher_with(ready, **rules)
    add(dispatcher, [Task(1000 + number, 1, 0) for number in range(ready)], 0.0)
    for number in range(ready):
        dispatcher.handle(Answered(number, seconds, 100, (f"{number}",)), 0.5)
    return dispatcher


def test_short_tasks_are_sent_ahead_one_call_a_runner_and_long_ones_are_not() -> None:
    tasks = tasks_of_iteration(0, 5, 1, 0)
    first, second, third, fourth, _ = ((task,) for task in tasks)
    sent = add(dispatcher_used_to(0.2, ready=2), tasks, 1.0)
    assert sent == [Send(0, first), Send(1, second), Send(0, third, "ahead"), Send(1, fourth, "ahead")]
    assert add(dispatcher_used_to(20.0, ready=2), tasks, 1.0) == [Send(0, first), Send(1, second)]
    assert add(dispatcher_with(2), tasks, 1.0) == [Send(0, first), Send(1, second)], "how long they take"


def test_what_was_sent_ahead_begins_when_the_call_before_it_ends() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=1, silent_after_s=10.0)
    first, second, third = tasks_of_iteration(0, 3, 1, 0)
    assert add(dispatcher, [first, second, third], 1.0) == [Send(0, (first,)), Send(0, (second,), "ahead")]
    commands = dispatcher.handle(Answered(0, 9.0, 9, ("a",)), 10.0)
    assert commands == [Accept(first), Send(0, (third,), "ahead")]
    for second in range(11, 20):
        assert not any(isinstance(c, Stop) for c in dispatcher.handle(TimePassed(), float(second)))
    assert Stop(0, "silent") in dispatcher.handle(TimePassed(), 20.1), "after 10 s of its own"


def test_the_idle_take_over_what_waits_behind_another() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=2)
    first, _, third, fourth = tasks = tasks_of_iteration(0, 4, 1, 0)
    add(dispatcher, tasks, 1.0)
    assert dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2) == [Accept(first)]
    # Runner 0 has done the third too. Runner 1 is at the second still, and the fourth waits behind it.
    commands = dispatcher.handle(Answered(0, 0.2, 9, ("c",)), 1.4)
    assert commands == [Accept(third), Withdraw(1), Send(0, (fourth,))]
    dispatcher.handle(Answered(0, 0.2, 9, ("d",)), 1.6)
    dispatcher.handle(Answered(1, 0.6, 9, ("b",)), 1.6)
    assert dispatcher.is_done
    assert dispatcher.handle(Skipped(1), 1.6) == []
    more = tasks_of_iteration(1, 2, 1, 1)
    assert [command.runner for command in add(dispatcher, more, 2.0)] == [0, 1], "both are idle"


def test_a_call_withdrawn_too_late_is_compared() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=2)
    tasks = tasks_of_iteration(0, 4, 1, 0)
    add(dispatcher, tasks, 1.0)
    dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2)
    assert Withdraw(1) in dispatcher.handle(Answered(0, 0.2, 9, ("c",)), 1.4)
    dispatcher.handle(Answered(1, 0.4, 9, ("b",)), 1.4)
    assert dispatcher.handle(Answered(1, 0.1, 9, ("d",)), 1.5) == [Accept(tasks[3])]
    assert dispatcher.is_done
    assert dispatcher.handle(Answered(0, 0.2, 9, ("x",)), 1.6) == [Differ(tasks[3], (1, 0))]


def test_what_is_taken_over_and_lost_goes_back_to_whoever_is_free() -> None:
    for order in ((Died(0), Skipped(1)), (Skipped(1), Died(0))):
        dispatcher = dispatcher_used_to(0.2, ready=2)
        tasks = tasks_of_iteration(0, 4, 1, 0)
        add(dispatcher, tasks, 1.0)
        dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2)
        dispatcher.handle(Answered(0, 0.2, 9, ("c",)), 1.4)
        dispatcher.handle(Answered(1, 0.6, 9, ("b",)), 1.5)
        commands = [command for event in order for command in dispatcher.handle(event, 1.6)]
        assert Send(1, (tasks[3],)) in commands
        assert not dispatcher.is_done


def test_what_is_taken_over_does_not_wait_for_the_one_that_it_was_taken_from() -> None:
    for lost, why in ((Died(2), "new"), (Answered(2, 0.2, 9, (None,)), "elsewhere")):
        dispatcher = dispatcher_used_to(0.2, ready=3)
        *_, fourth, fifth = tasks = tasks_of_iteration(0, 5, 1, 0)
        add(dispatcher, tasks, 1.0)
        dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2)
        commands = dispatcher.handle(Answered(2, 0.2, 9, ("c",)), 1.2)
        assert commands[1:] == [Withdraw(1), Send(2, (fifth,))]
        assert dispatcher.handle(Answered(0, 0.2, 9, ("d",)), 1.4) == [Accept(fourth)]
        # The second, which takes long, keeps runner 1 from saying that it leaves out the fifth.
        assert Send(0, (fifth,), why) in dispatcher.handle(lost, 1.5)
        assert dispatcher.handle(Answered(0, 0.2, 9, ("e",)), 1.7)[0] == Accept(fifth)


def test_an_earlier_iteration_is_taken_over_before_a_later_one_begins() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=2)
    earlier, later = tasks_of_iteration(0, 4, 1, 0), tasks_of_iteration(1, 4, 1, 0)
    add(dispatcher, earlier, 1.0)
    assert add(dispatcher, later, 1.0) == []
    # While an earlier task waits behind another, no later one is sent ahead.
    assert dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2) == [Accept(earlier[0])]
    commands = dispatcher.handle(Answered(0, 0.2, 9, ("c",)), 1.4)
    assert commands[:3] == [Accept(earlier[2]), Withdraw(1), Send(0, (earlier[3],))]
    assert commands[3:] == [Send(0, (later[0],), "ahead")]


def test_who_dies_is_not_blamed_for_what_waited() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=1)
    first, second = tasks_of_iteration(0, 2, 1, 0)
    add(dispatcher, [first, second], 1.0)
    dispatcher.handle(Died(0), 1.1)
    # The first is alone now, for it may have killed; the second is sent ahead of nothing, nor behind it.
    assert dispatcher.handle(Joined(1), 2.0) == [Send(1, (first,))]
    assert dispatcher.handle(Answered(1, 0.2, 9, ("a",)), 2.2) == [Accept(first), Send(1, (second,))]


def test_second_plays_do_not_wait_for_runners_that_are_never_idle() -> None:
    dispatcher = dispatcher_used_to(0.2, ready=2)
    tasks = tasks_of_iteration(5, 40, 1, 0)
    add(dispatcher, tasks, 1.0, audited=tasks[:1])
    sent, now = [], 1.0
    while not any(send.why == "elsewhere" for send in sent):
        now += 0.1
        assert now < 2.0
        for runner in (0, 1):
            commands = dispatcher.handle(Answered(runner, 0.1, 9, ("a",)), now)
            sent += [command for command in commands if isinstance(command, Send)]
