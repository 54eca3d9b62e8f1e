from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from chat_service.domain import message_ids

MADE = st.builds(
    lambda milli, rand: UUID(int=milli << 80 | 0x7 << 76 | rand >> 62 << 64 | 0x2 << 62 | rand & ((1 << 62) - 1)),
    st.integers(0, (1 << 44) - 1),
    st.integers(0, (1 << 74) - 1),
)


@given(MADE)
def test_a_message_id_survives_its_way_through_cql(message_id: UUID) -> None:
    key = message_ids.to_timeuuid(message_id)

    assert key.version == 1
    assert message_ids.from_timeuuid(key) == message_id


@given(MADE, MADE)
def test_the_clustering_key_keeps_the_order_of_time(one: UUID, other: UUID) -> None:
    earlier, later = sorted((one, other))

    assert message_ids.to_timeuuid(earlier).time <= message_ids.to_timeuuid(later).time


def test_a_question_comes_right_before_its_answer() -> None:
    answer = message_ids.new_message_id()
    question = message_ids.question_id(answer)

    assert question < answer
    assert message_ids.answer_id(question) == answer
    assert message_ids.to_timeuuid(answer).time - message_ids.to_timeuuid(question).time == 1


def test_a_day_lies_in_one_bucket() -> None:
    first, last = (UUID(int=int(datetime(2026, 11, 25, hour, tzinfo=UTC).timestamp() * 1000) << 80) for hour in (0, 23))

    assert message_ids.bucket_of(first) == message_ids.bucket_of(last)
