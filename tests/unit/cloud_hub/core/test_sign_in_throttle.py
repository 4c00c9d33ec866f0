"""Who guesses passwords waits longer and longer, whoever they say to be and wherever they come from."""

from cloud_hub.core.sign_in_throttle import (
    FORGET_AFTER_S,
    FREE_ANYWHERE,
    FREE_BY_ADDRESS,
    FREE_BY_NAME,
    LONGEST_ANYWHERE_S,
    LONGEST_WAIT_S,
    MOST_ENTRIES,
    SignInThrottle,
)


def fail(throttle: SignInThrottle, name: str, address: str, times: int, now_s: float = 0.0) -> None:
    """Make attempts that are let through and never succeed."""
    for _ in range(times):
        assert throttle.begin(name, address, now_s) == 0


def test_a_few_mistakes_are_free_and_then_the_wait_doubles() -> None:
    """The wait starts at a second, doubles with each further attempt, and ends at its limit."""
    throttle = SignInThrottle()
    fail(throttle, "ann", "a", FREE_BY_NAME)
    now_s, waits = 0.0, []
    for _ in range(8):
        waits.append(throttle.begin("ann", "a", now_s))
        now_s += waits[-1]
        assert throttle.begin("ann", "a", now_s) == 0
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_an_attempt_that_was_not_let_through_does_not_count() -> None:
    """Asking while waiting does not make the wait longer."""
    throttle = SignInThrottle()
    fail(throttle, "ann", "a", FREE_BY_NAME)
    assert [throttle.begin("ann", "a", 0.5) for _ in range(3)] == [1, 1, 1]
    assert throttle.begin("ann", "a", 1.0) == 0


def test_a_stranger_does_not_lock_a_person_out() -> None:
    """Who tries a name all the time waits at that address; the person comes in from another."""
    throttle = SignInThrottle()
    attempts = sum(throttle.begin("ann", "stranger", float(now_s)) == 0 for now_s in range(3600))
    assert attempts < 80
    assert throttle.begin("ann", "desk", 3600.0) == 0


def test_many_strangers_hold_up_a_new_desk_for_seconds_and_a_known_one_never() -> None:
    """A name that is guessed at from everywhere is slowed down, but not where the person has logged in before."""
    throttle = SignInThrottle()
    assert throttle.begin("ann", "desk", 0.0) == 0
    throttle.succeeded("ann", "desk")
    now_s = 0.0
    for number in range(FREE_ANYWHERE + 10):
        now_s += throttle.begin("ann", f"address-{number}", now_s)
        throttle.begin("ann", f"address-{number}", now_s)
    assert throttle.begin("ann", "another", now_s) == LONGEST_ANYWHERE_S
    assert throttle.begin("ann", "desk", now_s) == 0


def test_an_address_is_slowed_down_for_every_name() -> None:
    """Many names do not help."""
    throttle = SignInThrottle()
    for number in range(FREE_BY_ADDRESS):
        fail(throttle, f"name-{number}", "one", 1)
    assert throttle.begin("somebody", "one", 0.0) > 0
    assert throttle.begin("somebody", "two", 0.0) == 0


def test_success_and_time_forget() -> None:
    """Who gets in starts anew, and so does who was quiet for long enough."""
    throttle = SignInThrottle()
    fail(throttle, "ann", "a", FREE_BY_NAME)
    throttle.succeeded("ann", "a")
    fail(throttle, "ann", "a", FREE_BY_NAME)
    assert throttle.begin("ann", "a", 0.0) > 0
    fail(throttle, "ann", "a", FREE_BY_NAME, FORGET_AFTER_S + 1)
    throttle.succeeded("nobody", "nowhere")


def test_the_tables_are_bounded_and_the_longest_quiet_goes_first() -> None:
    """As many names as one likes take no more memory; who tried last is still known."""
    throttle = SignInThrottle()
    fail(throttle, "first", "x", FREE_BY_NAME)
    for number in range(MOST_ENTRIES - 1):
        fail(throttle, f"name-{number}", f"address-{number}", 1)
    assert throttle.begin("first", "x", 0.0) > 0
    fail(throttle, "one more", "z", 1)
    assert throttle.begin("first", "x", 0.0) == 0


def test_the_desks_that_are_remembered_are_bounded() -> None:
    """The one that was used longest ago is forgotten first, and is a new one then."""
    throttle = SignInThrottle()
    for number in range(MOST_ENTRIES + 1):
        throttle.succeeded("ann", f"desk-{number}")
    for number in range(FREE_ANYWHERE):
        fail(throttle, "ann", f"address-{number}", 1)
    assert throttle.begin("ann", "desk-0", 0.0) > 0
    assert throttle.begin("ann", "desk-1", 0.0) == 0


def test_many_failures_do_not_overflow() -> None:
    """However often somebody fails, the wait stays at its limit."""
    throttle = SignInThrottle()
    now_s = 0.0
    for _ in range(2000):
        now_s += throttle.begin("ann", "a", now_s) or 0
    assert throttle.begin("ann", "a", now_s) in (0, LONGEST_WAIT_S)
