from shared.degradation import CAPABILITIES, ENGINES, LOST_WITH, TABLE, as_markdown


def test_every_capability_named_exists() -> None:
    assert {row.capability for row in TABLE} <= set(CAPABILITIES)
    assert {capability for lost in LOST_WITH.values() for capability in lost} <= set(CAPABILITIES)


def test_losing_the_cache_refuses_nothing() -> None:
    assert {row.redis_cache.promise for row in TABLE} == {"served"}


def test_the_printed_table_has_a_line_for_each_operation_and_a_column_for_each_engine() -> None:
    lines = list(as_markdown())

    assert len(lines) == len(TABLE) + 2
    assert {line.count("|") for line in lines} == {len(ENGINES) + 2}
