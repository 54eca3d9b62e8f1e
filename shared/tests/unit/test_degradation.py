from shared.degradation import CAPABILITIES, LOST_WITH, OUTAGES, TABLE, as_markdown


def test_every_capability_named_exists() -> None:
    assert {row.capability for row in TABLE} <= set(CAPABILITIES)
    assert {capability for lost in LOST_WITH.values() for capability in lost} <= set(CAPABILITIES)


def test_losing_the_cache_refuses_nothing() -> None:
    assert {row.redis_cache.promise for row in TABLE} == {"served"}


def test_the_printed_table_has_a_line_for_each_operation_and_a_column_for_each_outage() -> None:
    lines = list(as_markdown())

    assert len(lines) == len(TABLE) + 2
    assert {line.count("|") for line in lines} == {len(OUTAGES) + 2}


def test_a_full_redis_promises_what_one_that_is_away_promises() -> None:
    assert all(row.cell("redis_data_full") == row.cell("redis_data") for row in TABLE)


def test_health_never_refuses() -> None:
    (health,) = (row for row in TABLE if row.operation == "health")

    assert {health.cell(outage).promise for outage in OUTAGES} == {"served"}
