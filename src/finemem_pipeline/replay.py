"""A recorded rollout once more, without its policy: the same operations, with some steps turned into SKIP.

Items keep the ids they had on record, so an operation on an item that never came to be is refused. An operation that
was refused on record for want of its item is tried again: a skipped step may be what had deleted it. Every other
refusal stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from finemem_pipeline.memory import NO_ITEM, Applied, Delete, Insert, MemoryBank, MemoryItem, Update
from finemem_pipeline.rollouts import Rollout


def replay(rollout: Rollout, skip: Collection[int] = ()) -> tuple[MemoryBank, ...]:
    """The bank after every step (T,) if the steps in `skip` had written nothing. Without any: the recorded banks.

    Raises ValueError for a step that the rollout does not have.
    """
    _known(rollout, skip)
    bank, banks = MemoryBank(), []
    for step in rollout.steps:
        if step.step not in skip:
            bank = again(bank, step.operations, step.step)
        banks.append(bank)
    return tuple(banks)


def last_bank(rollout: Rollout, steps: Iterable[int]) -> MemoryBank:
    """The last bank of a replay of `steps` alone, all others turned into SKIP."""
    wanted = set(steps)
    _known(rollout, wanted)
    bank = MemoryBank()
    for step in rollout.steps:
        if step.step in wanted:
            bank = again(bank, step.operations, step.step)
    return bank


def again(bank: MemoryBank, operations: Sequence[Applied], step: int) -> MemoryBank:
    """The bank after the recorded operations of one step."""
    items = {item.id: item for item in bank.items}
    born = bank.born
    for applied in operations:
        if _perform(items, applied, step) and isinstance(applied.operation, Insert):
            born = int(str(applied.item_id).removeprefix("m"))
    return MemoryBank(tuple(items.values()), born)


def deletions(rollout: Rollout) -> list[tuple[MemoryItem, int]]:
    """Every item that was deleted, as it last was, and the step that deleted it."""
    found = []
    items: dict[str, MemoryItem] = {}
    for step in rollout.steps:
        for applied in step.operations:
            item = items.get(str(applied.item_id))
            if _perform(items, applied, step.step) and isinstance(applied.operation, Delete) and item is not None:
                found.append((item, step.step))
    return found


def _perform(items: dict[str, MemoryItem], applied: Applied, step: int) -> bool:
    """Does to the items by id what is on record; whether it could be done."""
    if applied.refused is not None and not applied.refused.startswith(NO_ITEM):
        return False
    match applied.operation:
        case Insert(text) if applied.item_id is not None:
            items[applied.item_id] = MemoryItem(applied.item_id, text, (step,))
        case Update(item_id, text) if item_id in items:
            items[item_id] = MemoryItem(item_id, text, (*items[item_id].writes, step))
        case Delete(item_id) if item_id in items:
            del items[item_id]
        case _:
            return False
    return True


def _known(rollout: Rollout, steps: Collection[int]) -> None:
    strangers = sorted(set(steps) - {step.step for step in rollout.steps})
    if strangers:
        raise ValueError(f"rollout {rollout.episode_id}/{rollout.sibling} has no step {strangers[0]}")
