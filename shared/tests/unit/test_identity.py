import pytest
from structlog.testing import capture_logs

from shared import identity
from shared.errors import ClockSkew, Unauthenticated
from shared.identity import LIFETIME, SKEWED, TOLERANCE, IdentitySigner, IdentityVerifier
from shared.testing import KEY, somebody


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

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


def test_an_identity_dies_after_its_minute_and_the_tolerance_even_when_it_was_verified_before() -> None:
    clock = Clock()
    token = IdentitySigner(KEY, "gateway", clock).sign("chat-service", somebody())
    verifier = IdentityVerifier(KEY, "chat-service", clock)
    verifier.verify(token)

    clock.now += LIFETIME + TOLERANCE - 1
    verifier.verify(token)
    clock.now += 1

    with pytest.raises(ClockSkew):
        verifier.verify(token)


@pytest.mark.parametrize("ahead", [2, 10, -2, -10, 59, -59])
@pytest.mark.parametrize("age", [0, 29])
def test_clocks_that_differ_by_less_than_a_minute_refuse_nobody(ahead: int, age: int) -> None:
    verifying = Clock()
    signing = Clock(verifying.now + ahead)
    ada = somebody()
    signer, verifier = IdentitySigner(KEY, "gateway", signing), IdentityVerifier(KEY, "chat-service", verifying)
    signer.sign("chat-service", ada)

    signing.now += age
    verifying.now += age

    assert verifier.verify(signer.sign("chat-service", ada)).principal == ada


@pytest.mark.parametrize("ahead", [90, -120, 3_600, -86_400])
def test_clocks_that_differ_by_more_are_our_fault_and_are_told_once_a_minute(ahead: int) -> None:
    verifying = Clock()
    signer = IdentitySigner(KEY, "knowledge-service", Clock(verifying.now + ahead))
    verifier = IdentityVerifier(KEY, "chat-service", verifying)
    counted = SKEWED.labels("knowledge-service")._value.get()

    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(ClockSkew) as refusal:
                verifier.verify(signer.sign("chat-service", somebody()))

    assert (refusal.value.status, refusal.value.code) == (503, "clock_skew")
    assert SKEWED.labels("knowledge-service")._value.get() == counted + 3
    assert [(line["event"], line["issuer"], line["seconds_ahead"]) for line in logs] == [
        ("clock_skew", "knowledge-service", ahead)
    ]


def test_a_signature_is_judged_before_the_clock() -> None:
    verifying = Clock()
    forged = IdentitySigner(b"another key that is long enough", "gateway", Clock(verifying.now + 900))

    with pytest.raises(Unauthenticated):
        IdentityVerifier(KEY, "chat-service", verifying).verify(forged.sign("chat-service"))


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


def test_a_full_cache_forgets_the_oldest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "CACHE_SIZE", 3)
    clock = Clock()
    signer, verifier = IdentitySigner(KEY, "gateway", clock), IdentityVerifier(KEY, "chat-service", clock)
    people = [somebody("viewer") for _ in range(4)]
    first = {person: signer.sign("chat-service", person) for person in people[:3]}
    for token in first.values():
        verifier.verify(token)
    clock.now += 1

    verifier.verify(signer.sign("chat-service", people[3]))

    assert signer.sign("chat-service", people[2]) == first[people[2]]
    assert signer.sign("chat-service", people[0]) != first[people[0]]
    assert len(verifier._verified) == 3
    assert first[people[0]] not in verifier._verified
