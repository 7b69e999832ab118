from mainstay.platform.engine.backoff import Backoff


def _pauses(*crashes: tuple[float, float]) -> list[float]:
    backoff = Backoff(first_seconds=1.0, longest_seconds=60.0)
    return [backoff.pause_seconds(now=now, ran_seconds=ran) for now, ran in crashes]


def test_pauses_double_up_to_a_minute() -> None:
    # Far enough apart that frequency alone does not slow them.
    assert _pauses(*((i * 1000.0, 0.0) for i in range(9))) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_pauses_begin_anew_after_a_minute_of_health() -> None:
    assert _pauses((0, 0), (1000, 0), (2000, 61)) == [1, 2, 1]


def test_third_crash_within_ten_minutes_is_met_slowly_however_healthy_in_between() -> None:
    assert _pauses((0, 100), (200, 100), (400, 100), (2000, 100)) == [1, 1, 10, 1]


def test_thousand_crashes_do_not_overflow() -> None:
    assert _pauses(*((i * 1000.0, 0.0) for i in range(2000)))[-1] == 60
