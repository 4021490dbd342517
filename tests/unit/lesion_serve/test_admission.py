"""Admission: what is taken on is answered in time, the rest is told at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from lesion_serve.gateway.admission import Admission, NotAdmittedError, Places


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def admitted(admission: Admission, keys: list[str]) -> tuple[int, NotAdmittedError | None]:
    """How many of these simultaneous requests get a place, and the error of the first that does not."""

    async def ask() -> tuple[int, NotAdmittedError | None]:
        async with AsyncExitStack() as stack:
            for number, key in enumerate(keys):
                try:
                    await stack.enter_async_context(admission.places(key))
                except NotAdmittedError as error:
                    return number, error
            return len(keys), None

    return asyncio.run(ask())


def test_requests_are_taken_on_while_those_before_them_are_done_in_time() -> None:
    """Two at once, 0.1 s each, 1 s of waiting: 2 that are worked on and 20 that wait, and one more that starts then."""
    admission = Admission(at_once=2, longest_wait_s=1.0, first_guess_s=0.1)

    number, error = admitted(admission, [f"key {number}" for number in range(100)])

    assert 20 <= number <= 22
    assert error is not None
    assert (error.code, error.retry_after_s) == ("busy", 2)


def test_one_key_cannot_take_all_places() -> None:
    """Another one still gets in."""
    admission = Admission(at_once=2, longest_wait_s=1.0, share=0.5, first_guess_s=0.1)

    number, error = admitted(admission, ["greedy"] * 100)
    others, _ = admitted(admission, [*["greedy"] * number, "other"])

    assert number == 11
    assert error is not None
    assert error.code == "too_many_requests"
    assert others == number + 1


def test_a_form_is_taken_on_as_a_whole_and_its_images_go_to_the_engine_in_turn() -> None:
    """Sixteen images where one at once is worked on and few may wait: none of them is refused, and none overtakes."""
    admission = Admission(at_once=2, longest_wait_s=0.1, first_guess_s=0.1)
    in_hand, most, left = 0, 0, list[int]()

    async def image(places: Places) -> None:
        nonlocal in_hand, most
        async with places.turn():
            in_hand += 1
            most = max(most, in_hand)
            await asyncio.sleep(0)
            in_hand -= 1
        left.append(admission.taken)

    async def form() -> None:
        async with admission.places("key", images=16) as places:
            with pytest.raises(NotAdmittedError):
                await AsyncExitStack().enter_async_context(admission.places("another key"))
            await asyncio.gather(*(image(places) for _ in range(16)))

    asyncio.run(form())

    assert most == 2
    assert (max(left), left[-1], admission.taken) == (15, 0, 0)


def test_a_form_that_ends_early_gives_all_of_its_places_back() -> None:
    """Also those of images that were never asked about."""
    admission = Admission(at_once=1)

    async def form() -> None:
        async with admission.places("key", images=16) as places, places.turn():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(form())

    assert admission.taken == 0


def test_a_key_that_sent_a_large_form_waits_for_its_next_one() -> None:
    """Its share is taken; others would still get in."""
    admission = Admission(at_once=4, longest_wait_s=1.5, first_guess_s=0.1)

    async def forms() -> str:
        async with admission.places("key", images=50):
            with pytest.raises(NotAdmittedError) as refused:
                admission.require_place("key")
            admission.require_place("another key")
            return refused.value.code

    assert asyncio.run(forms()) == "too_many_requests"


@pytest.mark.parametrize("seconds", [0.01, 2.0, 100.0])
def test_one_may_wait_however_slow_a_model_is(seconds: float) -> None:
    """A server that takes on nothing while it works on one image would refuse two clients that take turns."""
    admission = Admission(at_once=1, longest_wait_s=1.5, first_guess_s=seconds)

    number, _ = admitted(admission, ["one", "another"])

    assert number == 2


def test_places_are_given_back_even_after_an_error() -> None:
    """A failed request that kept its place would close the server for ever."""
    admission = Admission(at_once=1, longest_wait_s=0.1, first_guess_s=0.1)

    async def fail() -> None:
        async with admission.places("key") as places, places.turn():
            raise RuntimeError

    for _ in range(50):
        with pytest.raises(RuntimeError):
            asyncio.run(fail())

    assert admission.taken == 0
    assert admitted(admission, ["key"]) == (1, None)


def test_slow_answers_let_fewer_in() -> None:
    """What a request takes is learnt from those that were answered."""
    clock = Clock()
    admission = Admission(at_once=1, longest_wait_s=1.0, share=1.0, first_guess_s=0.1, clock=clock)
    before, _ = admitted(admission, [f"{number}" for number in range(100)])

    async def answer_slowly() -> None:
        async with admission.places("key") as places, places.turn():
            clock.now += 1.0

    for _ in range(100):
        asyncio.run(answer_slowly())
    learnt_s = admission.seconds_an_image
    after, _ = admitted(admission, [f"{number}" for number in range(100)])

    assert learnt_s == pytest.approx(1.0, rel=0.01)
    assert (after, before) == (2, 11)
