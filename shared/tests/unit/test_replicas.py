import pytest

from shared.replicas import Address, Replicas, parse_urls

A, B = Address("127.0.0.1", 1), Address("127.0.0.1", 2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_replicas_take_turns() -> None:
    replicas = Replicas("chat-service", "http://127.0.0.1:1,http://127.0.0.1:2")

    assert [replicas.next() for _ in range(4)] == [A, B, A, B]


def test_one_that_failed_rests_for_a_second() -> None:
    clock = Clock()
    replicas = Replicas("chat-service", "http://127.0.0.1:1,http://127.0.0.1:2", clock)
    replicas.failed(A)

    assert {replicas.next() for _ in range(4)} == {B}
    clock.now = 1.1
    assert {replicas.next() for _ in range(4)} == {A, B}


def test_the_last_one_standing_is_asked_even_while_it_rests() -> None:
    replicas = Replicas("chat-service", "http://127.0.0.1:1")
    replicas.failed(A)

    assert replicas.next() == A
    assert replicas.next(avoid=A) == A


async def test_a_host_name_is_resolved_to_all_its_addresses() -> None:
    replicas = Replicas("chat-service", "http://localhost:8123")

    await replicas.start()
    await replicas.close()

    assert Address("127.0.0.1", 8123) in list(replicas)


@pytest.mark.parametrize("urls", ["", "https://a:1", "a:1", "http://"])
def test_a_wrong_address_is_named(urls: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_urls(urls)
