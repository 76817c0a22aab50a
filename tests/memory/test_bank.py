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


@given(st.lists(OPERATIONS, max_size=12), st.lists(OPERATIONS, max_size=12))
def test_operations_applied_together_are_the_same_as_one_by_one(before, operations):
    start = played(before)[-1][0] if before else MemoryBank()
    bank, outcomes = start, []
    for operation in operations:
        bank, outcome = bank.apply(operation, 7)
        outcomes.append(outcome)
    assert start.apply_all(operations, 7) == (bank, tuple(outcomes))


@given(st.lists(OPERATIONS, max_size=12), st.lists(OPERATIONS, max_size=12))
def test_counting_what_changed_gives_the_tokens_of_the_whole(before, operations):
    start = played(before)[-1][0] if before else MemoryBank()
    bank, outcomes = start.apply_all(operations, 7)
    assert start.tokens_after(outcomes, start.tokens(len), len) == bank.tokens(len)


def test_only_what_changed_is_counted():
    bank, _ = MemoryBank().apply_all([Insert("an old text"), Insert("another")], 0)
    counted: list[str] = []
    _, outcomes = bank.apply_all([Update("m2", "new"), Insert("newer"), Delete("m9")], 1)
    bank.tokens_after(outcomes, 18, lambda text: counted.append(text) or len(text))
    assert counted == ["new", "newer", "another"]
