"""What /health makes of what the replicas say."""

from gateway.domain.health import ReplicaReport, summarize
from shared.degradation import CAPABILITIES, ENGINES

WELL = ReplicaReport({"postgresql": "ok", "cql": "ok", "redis_cache": "ok", "redis_data": "ok"})
GONE = ReplicaReport(None)
NAMES = ("auth-service", "chat-service", "knowledge-service", "notification-service", "task-worker")


def everywhere(report: ReplicaReport) -> dict[str, list[ReplicaReport]]:
    return {name: [report] for name in NAMES}


def test_all_well_is_ok_and_names_everything() -> None:
    health = summarize("1", everywhere(WELL), {})

    assert health["status"] == "ok"
    assert health["capabilities"] == dict.fromkeys(CAPABILITIES, "ok")
    assert set(health["databases"]) == set(ENGINES)
    assert health["services"]["chat-service"] == {"status": "ok", "replicas": 1, "known": 1, "clock_skew_ms": None}


def test_an_engine_that_one_service_misses_costs_its_capabilities() -> None:
    without = ReplicaReport({"cql": "unavailable"})
    health = summarize("1", {**everywhere(WELL), "chat-service": [WELL, without]}, {})

    assert health["status"] == "degraded"
    assert health["databases"]["cql"] == {"status": "unavailable"}
    assert health["capabilities"]["conversations"] == "degraded"
    assert health["capabilities"]["knowledge"] == "degraded"
    assert health["capabilities"]["accounts"] == "ok"


def test_what_is_refused_altogether_is_unavailable() -> None:
    health = summarize("1", everywhere(ReplicaReport({"postgresql": "unavailable"})), {})

    assert health["capabilities"]["tasks"] == "unavailable"
    assert health["capabilities"]["accounts"] == "degraded"


def test_a_service_without_replicas_takes_its_capability_along() -> None:
    health = summarize("1", {**everywhere(WELL), "knowledge-service": [GONE, GONE]}, {})

    assert health["status"] == "degraded"
    assert health["capabilities"]["knowledge"] == "unavailable"
    assert health["services"]["knowledge-service"]["status"] == "unavailable"
    assert health["services"]["knowledge-service"]["known"] == 2


def test_one_replica_of_two_is_degraded() -> None:
    health = summarize("1", {**everywhere(WELL), "chat-service": [WELL, GONE]}, {})

    assert health["status"] == "degraded"
    assert health["capabilities"]["conversations"] == "degraded"


def test_the_gateways_own_view_counts_too() -> None:
    health = summarize("1", everywhere(WELL), {"redis_data": "unavailable"})

    assert health["capabilities"]["notifications"] == "unavailable"


def test_the_clock_that_is_most_wrong_speaks_for_its_service() -> None:
    ahead, behind = ReplicaReport({}, clock_skew_ms=40), ReplicaReport({}, clock_skew_ms=-90_000)
    health = summarize("1", {**everywhere(WELL), "chat-service": [ahead, behind, GONE]}, {})

    assert health["services"]["chat-service"]["clock_skew_ms"] == -90_000
