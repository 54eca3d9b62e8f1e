import pytest

from shared.errors import Unauthenticated
from shared.identity import IdentitySigner, IdentityVerifier
from shared.testing import KEY, somebody


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_service_learns_who_asks() -> None:
    ada = somebody("admin")

    caller = IdentityVerifier(KEY, "chat-service").verify(IdentitySigner(KEY, "gateway").sign("chat-service", ada))

    assert caller.service == "gateway"
    assert caller.principal == ada


def test_a_service_calls_on_its_own_behalf() -> None:
    caller = IdentityVerifier(KEY, "auth-service").verify(IdentitySigner(KEY, "chat-service").sign("auth-service"))

    assert caller.service == "chat-service"
    assert caller.principal is None


def test_an_identity_dies_after_a_minute_even_when_it_was_verified_before() -> None:
    clock = Clock()
    token = IdentitySigner(KEY, "gateway", clock).sign("chat-service", somebody())
    verifier = IdentityVerifier(KEY, "chat-service", clock)
    verifier.verify(token)

    clock.now += 61

    with pytest.raises(Unauthenticated):
        verifier.verify(token)


def test_a_signer_renews_long_before_the_identity_dies() -> None:
    clock = Clock()
    signer = IdentitySigner(KEY, "gateway", clock)
    ada = somebody()
    first = signer.sign("chat-service", ada)

    clock.now += 29
    assert signer.sign("chat-service", ada) == first
    clock.now += 2
    assert signer.sign("chat-service", ada) != first


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"abc",
        lambda token: token[:-2],
        lambda token: b"x" + token,
        lambda token: token + b".x",
        lambda token: token.partition(b".")[0] + b".",
        lambda _: IdentitySigner(b"another key that is long enough", "gateway").sign("chat-service"),
        lambda _: IdentitySigner(KEY, "gateway").sign("auth-service"),
    ],
)
def test_anything_else_is_refused(spoil) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - lambdas above
    token = IdentitySigner(KEY, "gateway").sign("chat-service", somebody())

    with pytest.raises(Unauthenticated):
        IdentityVerifier(KEY, "chat-service").verify(spoil(token))
