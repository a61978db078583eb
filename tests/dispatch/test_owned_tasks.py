"""Questions about episodes that a runner has played belong to that runner, while it is there and works."""

from collections.abc import Sequence

import pytest

from distpg.core.tasks import Task, tasks_of_iteration
from distpg.dispatch.dispatcher import Dispatcher
from distpg.dispatch.messages import (
    Accept,
    Added,
    Answered,
    Command,
    Died,
    Differ,
    Heard,
    Send,
    Start,
    Stop,
    TimePassed,
    Withdraw,
)
from tests.dispatch.test_dispatcher import add, dispatcher_used_to, dispatcher_with


def questions_about(tasks: Sequence[Task], question: int = 1) -> list[Task]:
    return [task._replace(question=question) for task in tasks]


def ask(
    dispatcher: Dispatcher,
    questions: Sequence[Task],
    owners: Sequence[int | None],
    now: float = 1.0,
    audited: Sequence[Task] = (),
) -> list[Command]:
    return dispatcher.handle(Added(tuple(questions), tuple(audited), tuple(owners)), now)


QUESTIONS = first, second, third = questions_about(tasks_of_iteration(0, 3, 1, 0))
PLAYED = tasks_of_iteration(1, 7, 1, 0)


def test_each_goes_to_its_owner_in_one_call_though_others_are_idle() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=3)
    assert ask(dispatcher, QUESTIONS, [2, 0, 2]) == [Send(0, (second,)), Send(2, (first, third))]
    assert dispatcher.handle(TimePassed(), 1.1) == []
    dispatcher.handle(Answered(0, 0.1, 9, ("b",)), 1.1)
    commands = dispatcher.handle(Answered(2, 0.1, 9, ("a", "c")), 1.1)
    assert commands == [Accept(first), Accept(third)]
    assert dispatcher.is_done


def test_a_call_asks_one_question_for_one_set_of_weights() -> None:
    other_weights = second._replace(weights_seq_no=1)
    (other_question,) = questions_about([first], question=2)
    dispatcher = dispatcher_used_to(0.001, ready=1)
    calls = [(first,), (other_weights,), (other_question,)]
    assert ask(dispatcher, [first, other_weights, other_question], [0, 0, 0]) == [
        Send(0, calls[0]),
        Send(0, calls[1], "ahead"),
    ]
    assert dispatcher.handle(Answered(0, 0.1, 9, ("a",)), 1.1)[-1] == Send(0, calls[2], "ahead")
    unowned = dispatcher_used_to(0.001, ready=1)
    sent = ask(unowned, [first, other_weights, other_question], [])
    assert sent == [Send(0, calls[0]), Send(0, calls[1], "ahead")]


@pytest.mark.parametrize("owners", [(), (None, None, None), (7, 7, 7), (0, 0, 0)])
def test_what_is_nobodys_or_belongs_to_one_that_is_gone_is_done_by_any(
    owners: tuple[int | None, ...],
) -> None:
    dispatcher = dispatcher_used_to(1.0, ready=4)
    assert dispatcher.handle(Died(0), 0.9) == [Start(4)]
    assert ask(dispatcher, QUESTIONS, owners) == [Send(1, (first,)), Send(2, (second,)), Send(3, (third,))]


def test_a_question_waits_behind_the_present_call_however_long_that_is() -> None:
    dispatcher = dispatcher_used_to(20.0, ready=2)
    assert add(dispatcher, PLAYED[:3], 1.0) == [Send(0, (PLAYED[0],)), Send(1, (PLAYED[1],))]
    assert ask(dispatcher, [first], [0]) == [Send(0, (first,), "ahead")]


def test_it_comes_before_what_is_to_be_played_whether_owned_or_not() -> None:
    for owners, runner in (([1], 1), ([None], 0)):
        dispatcher = dispatcher_used_to(0.2, ready=2)
        add(dispatcher, PLAYED, 1.0)  # a call and one ahead each, and three to follow
        assert ask(dispatcher, [first], owners) == []
        if owners == [1]:
            commands = dispatcher.handle(Answered(0, 0.2, 9, ("a",)), 1.2)
            assert commands == [Accept(PLAYED[0]), Send(0, (PLAYED[4],), "ahead")]
        commands = dispatcher.handle(Answered(runner, 0.2, 9, ("b",)), 1.2)
        assert commands == [Accept(PLAYED[runner]), Send(runner, (first,), "ahead")]


def test_the_idle_do_not_take_over_what_waits_for_its_owner() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2)
    add(dispatcher, PLAYED[:1], 1.0)
    assert ask(dispatcher, [first], [0]) == [Send(0, (first,), "ahead")]
    assert dispatcher.handle(TimePassed(), 1.5) == []
    assert dispatcher.handle(Answered(0, 1.0, 100, ("a",)), 2.0) == [Accept(PLAYED[0])]
    assert dispatcher.handle(Answered(0, 0.1, 100, ("b",)), 2.1) == [Accept(first)]


def test_what_waits_for_a_lost_owner_is_others_and_what_it_worked_on_comes_first() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2)
    add(dispatcher, PLAYED[:5], 1.0)
    assert ask(dispatcher, QUESTIONS, [0, 0, 0]) == [], "a call waits behind its present one already"
    dispatcher.handle(Died(0), 1.1)
    order = []
    while not dispatcher.is_done:
        commands = dispatcher.handle(Answered(1, 1.0, 100, ("a",)), 2.0 + len(order))
        order += [task for command in commands if isinstance(command, Send) for task in command.tasks]
    assert order == [PLAYED[0], PLAYED[2], *QUESTIONS, PLAYED[4]]


@pytest.mark.parametrize("is_behind_another", [False, True])
def test_the_owner_dies_while_it_has_it(is_behind_another: bool) -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2)
    if is_behind_another:
        add(dispatcher, PLAYED[:1], 1.0)
    assert ask(dispatcher, [first], [0])[0].tasks == (first,)
    commands = dispatcher.handle(Died(0), 1.1)
    if is_behind_another:
        # It had not begun and is not to blame, but what is suspected of killing has nothing wait behind it.
        assert Send(1, (PLAYED[0],)) in commands
        commands = dispatcher.handle(Answered(1, 1.0, 100, ("b",)), 2.1)
    assert Send(1, (first,)) in commands
    assert dispatcher.handle(Answered(1, 1.1, 100, ("a",)), 3.2)[0] == Accept(first)
    assert dispatcher.is_done


def test_what_a_recycled_owner_was_not_sent_is_others() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2, recycle_after=2)
    add(dispatcher, PLAYED[:1], 1.0)
    assert ask(dispatcher, [first], [0]) == [], "nothing waits behind what may be the last call"
    commands = dispatcher.handle(Answered(0, 1.0, 100, ("a",)), 2.0)
    assert commands == [Accept(PLAYED[0]), Stop(0, "recycled"), Start(2), Send(1, (first,))]


def test_answers_to_questions_are_not_counted_as_played_nor_measured() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2, recycle_after=2)
    for number in range(5):
        now = 1.0 + number
        ask(dispatcher, questions_about(PLAYED[:2], 1 + number), [0, 0], now)
        commands = dispatcher.handle(Answered(0, 1e-5, 100, ("a", "b")), now)
        assert not any(isinstance(command, Stop) for command in commands)
    # Were tasks believed to be so short, each would get two, and runner 1 would be slow beside runner 0.
    assert add(dispatcher, PLAYED[:4], 9.0) == [Send(1, (PLAYED[0],)), Send(0, (PLAYED[1],))]
    assert not any(isinstance(command, Send) for command in dispatcher.handle(TimePassed(), 9.9))


def test_an_audited_question_is_answered_by_two_and_compared() -> None:
    for second_answer, expected in (("a", []), ("z", [Differ(first, (0, 1))])):
        dispatcher = dispatcher_used_to(1.0, ready=2)
        assert ask(dispatcher, [first], [0], audited=[first]) == [Send(0, (first,))]
        commands = dispatcher.handle(Answered(0, 0.1, 9, ("a",)), 1.1)
        assert commands == [Accept(first), Send(1, (first,), "elsewhere")]
        assert dispatcher.handle(Answered(1, 1.1, 9, (second_answer,)), 2.2) == expected
        assert dispatcher.is_done


def test_a_question_that_fails_at_its_owner_is_tried_elsewhere() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2)
    ask(dispatcher, [first], [0])
    assert dispatcher.handle(Answered(0, 0.1, 9, (None,)), 1.1) == [Send(1, (first,), "elsewhere")]


def test_the_idle_do_what_waits_for_a_slow_owner_and_what_it_was_not_sent() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=3)
    add(dispatcher, PLAYED[:6], 1.0)
    ask(dispatcher, [second], [0])
    for runner in (1, 2):
        dispatcher.handle(Answered(runner, 1.0, 100, ("a",)), 2.0)
    # The fourth waits behind the first task of runner 0: it is taken over. The question waits for its owner.
    taken = dispatcher.handle(Answered(1, 1.0, 100, ("b",)), 3.0)
    assert taken == [Accept(PLAYED[4]), Withdraw(0), Send(1, (PLAYED[3],))]
    assert dispatcher.handle(Answered(2, 1.0, 100, ("c",)), 3.0) == [Accept(PLAYED[5])]
    assert dispatcher.handle(Answered(1, 1.0, 100, ("d",)), 4.0) == [Accept(PLAYED[3])]
    # Its owner turns out to be slow: its task and then its question are others' too.
    commands = dispatcher.handle(Heard(0, 10), 4.1)
    assert commands == [Send(2, (PLAYED[0],), "hedge"), Send(1, (second,))]
    dispatcher.handle(Answered(2, 1.0, 100, ("e",)), 5.1)
    dispatcher.handle(Answered(1, 1.1, 100, ("f",)), 5.1)
    assert dispatcher.is_done


def test_the_idle_help_with_a_question_behind_a_slow_call() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=3)
    add(dispatcher, PLAYED[:1], 1.0)
    ask(dispatcher, [first], [0])
    commands = dispatcher.handle(Heard(0, 10), 4.0)
    assert commands == [Send(1, (PLAYED[0],), "hedge"), Send(2, (first,), "hedge")]


def test_an_owner_that_plays_slowly_is_left_its_question() -> None:
    dispatcher = dispatcher_with(2)
    add(dispatcher, PLAYED[:2], 0.0)
    dispatcher.handle(Answered(1, 1.0, 1000, ("a",)), 1.0)
    dispatcher.handle(Answered(0, 1.0, 10, ("b",)), 1.0)
    assert ask(dispatcher, [first], [0], 2.0) == [Send(0, (first,))]
    assert dispatcher.handle(TimePassed(), 2.1) == []
    dispatcher.handle(Answered(0, 0.1, 10, ("a",)), 2.1)
    assert add(dispatcher, PLAYED[2:3], 3.0) == [Send(1, (PLAYED[2],))]
    assert dispatcher.handle(Answered(1, 1.0, 1000, ("c",)), 4.0) == [Accept(PLAYED[2])]
    # What it is to play, others are given at once.
    commands = add(dispatcher, PLAYED[3:4], 5.0)
    assert commands == [Send(0, (PLAYED[3],)), Send(1, (PLAYED[3],), "hedge")]


def test_a_question_is_looked_into_when_playing_would_have_taken_less() -> None:
    dispatcher = dispatcher_used_to(1.0, ready=2)
    ask(dispatcher, [first, second], [0, 0])
    for now in (1.5, 2.5, 3.5):
        assert not any(isinstance(c, Send) for c in dispatcher.handle(TimePassed(), now))
        assert dispatcher.handle(Heard(0, 1), now) == []
    # Two tasks take two seconds to play, and half as long again is suspicious.
    assert Send(1, (first, second), "hedge") in dispatcher.handle(TimePassed(), 4.1)
