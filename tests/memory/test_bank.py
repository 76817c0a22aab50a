from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem, Operation, Skip, Update

TEXTS = st.sampled_from(["", " \n", "a", "b", "a longer text"])
IDS = st.sampled_from(["m1", "m2", "m3", "m9", "m01", "x", ""])
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Insert, TEXTS), st.builds(Update, IDS, TEXTS), st.builds(Delete, IDS), st.just(Skip())
)


def played(operations: list[Operation]) -> list[tuple[MemoryBank, Applied]]:
    """Bank and outcome after each operation, one a step."""
    banks, bank = [], MemoryBank()
    for step, operation in enumerate(operations):
        bank, applied = bank.apply(operation, step)
        banks.append((bank, applied))
    return banks


def test_insert_update_delete():
    *_, (bank, applied) = played([Insert("a"), Insert("b"), Update("m1", "c"), Delete("m2"), Insert("d")])
    assert bank.items == (MemoryItem("m1", "c", (0, 2)), MemoryItem("m3", "d", (4,)))
    assert applied == Applied(Insert("d"), "m3")
    assert bank.get("m3") == bank.items[1]
    assert bank.get("m2") is None
    assert bank.tokens(len) == 2


def test_refusals_say_why_and_change_nothing():
    bank, _ = MemoryBank().apply(Insert("a"), 0)
    assert bank.apply(Insert(" \n"), 1) == (bank, Applied(Insert(" \n"), None, "empty text"))
    assert bank.apply(Update("m1", ""), 1) == (bank, Applied(Update("m1", ""), None, "empty text"))
    assert bank.apply(Update("m2", "b"), 1) == (bank, Applied(Update("m2", "b"), None, "no item m2"))
    assert bank.apply(Delete("m2"), 1) == (bank, Applied(Delete("m2"), None, "no item m2"))


@given(st.lists(OPERATIONS, max_size=30))
def test_ids_are_unique_ascending_and_never_given_twice(operations: list[Operation]):
    given_out = [
        applied.item_id
        for _, applied in played(operations)
        if isinstance(applied.operation, Insert) and not applied.refused
    ]
    assert given_out == [f"m{n + 1}" for n in range(len(given_out))]
    for bank, _ in played(operations):
        numbers = [int(item.id[1:]) for item in bank.items]
        assert numbers == sorted(set(numbers))


@given(st.lists(OPERATIONS, max_size=30))
def test_an_operation_changes_its_own_item_and_no_other(operations: list[Operation]):
    before = MemoryBank()
    for step, (after, applied) in enumerate(played(operations)):
        if applied.refused or isinstance(applied.operation, Skip):
            assert after == before
            assert applied.item_id is None
        else:
            others = [item for item in before.items if item.id != applied.item_id]
            assert [item for item in after.items if item.id != applied.item_id] == others
            written = after.get(str(applied.item_id))
            if isinstance(applied.operation, Delete):
                assert written is None
            else:
                assert written is not None
                assert written.writes[-1] == step
                assert written.text == applied.operation.text
        before = after


@given(st.lists(OPERATIONS, max_size=30))
def test_writes_ascend_and_begin_where_the_item_was_inserted(operations: list[Operation]):
    for bank, _ in played(operations):
        for item in bank.items:
            assert list(item.writes) == sorted(set(item.writes))
            assert isinstance(operations[item.writes[0]], Insert)
            assert all(isinstance(operations[step], Update) for step in item.writes[1:])
