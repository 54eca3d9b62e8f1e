import pytest

from shared.testing import eventually, eventually_blocking


class Kettle:
    """Boils at the third look."""

    def __init__(self) -> None:
        self.looks = 0

    def boils(self) -> str:
        self.looks += 1
        return "steam" if self.looks == 3 else ""

    async def boils_elsewhere(self) -> str:
        return self.boils()

    def asserts(self) -> bool:
        assert self.boils() == "steam"
        return True

    def fails(self) -> bool:
        self.looks += 1
        raise ConnectionError("no water")


async def test_a_condition_is_looked_at_until_it_holds_and_what_it_said_comes_back() -> None:
    assert await eventually(Kettle().boils) == "steam"
    assert await eventually(Kettle().boils_elsewhere) == "steam"
    assert eventually_blocking(Kettle().boils) == "steam"


async def test_a_condition_that_asserts_is_asked_again() -> None:
    assert await eventually(Kettle().asserts)
    assert eventually_blocking(Kettle().asserts)


async def test_a_condition_that_never_holds_fails_with_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"within 0\.05 s; last seen: \[\]"):
        await eventually(list, 0.05)
    with pytest.raises(AssertionError, match=r"within 0\.05 s; last seen: \[\]"):
        eventually_blocking(list, 0.05)


async def test_an_error_is_waited_out_only_when_it_was_named() -> None:
    kettle = Kettle()

    with pytest.raises(ConnectionError):
        await eventually(kettle.fails)
    assert kettle.looks == 1
    with pytest.raises(AssertionError, match="no water"):
        await eventually(kettle.fails, 0.05, despite=(ConnectionError,))
    assert kettle.looks > 2
