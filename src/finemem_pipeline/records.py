"""Rollouts as JSON, exact: what is read back is equal to what was written, floats to the last bit.

Banks are not written: they are replayed from the operations of the steps before, and items that an answer rests on
are written as ids of the bank they were retrieved from. Where a replay would not give the recorded bank, or an item
is not in it (some probes look at other banks), it is written in full. None stays None, NaN stays NaN: `json` writes
the latter as `NaN`, which Python reads back and strict JSON does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finemem_pipeline.errors import FinememError
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem, Operation, Skip, Update
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord

Record = dict[str, Any]


class RecordError(FinememError):
    """A record on disk is not a rollout."""


def encode_rollout(rollout: Rollout) -> Record:
    """The rollout as dictionaries, lists, numbers, texts and None."""
    steps: list[Record] = []
    bank = MemoryBank()
    for step in rollout.steps:
        encoded = _encode_step(step)
        if _replay(bank, step.operations, step.step) != step.bank:
            encoded["bank"] = {"items": [_encode_item(item) for item in step.bank.items], "born": step.bank.born}
        bank = step.bank
        steps.append(encoded)
    return {
        "episode_id": rollout.episode_id,
        "sibling": int(rollout.sibling),
        "tokens_read": int(rollout.tokens_read),
        "steps": steps,
        "answers": _encode_answers(rollout.answers, bank),
        "probes": {name: _encode_answers(answers, bank) for name, answers in rollout.probes.items()},
    }


def decode_rollout(record: Record) -> Rollout:
    """The rollout that `encode_rollout` wrote. Raises RecordError if the record is another one."""
    try:
        steps: list[StepRecord] = []
        bank = MemoryBank()
        for encoded in record["steps"]:
            step = _decode_step(encoded, bank)
            steps.append(step)
            bank = step.bank
        return Rollout(
            episode_id=record["episode_id"],
            sibling=record["sibling"],
            steps=tuple(steps),
            answers=_decode_answers(record["answers"], bank),
            tokens_read=record["tokens_read"],
            probes={name: _decode_answers(answers, bank) for name, answers in record.get("probes", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"not the record of a rollout: {type(error).__name__}: {error}") from error


def _encode_step(step: StepRecord) -> Record:
    return {
        "step": int(step.step),
        "text": step.completion.text,
        "prompt_ids": [int(token) for token in step.completion.prompt_ids],
        "completion_ids": [int(token) for token in step.completion.completion_ids],
        "logprobs": [float(logprob) for logprob in step.completion.logprobs],
        "finish": step.completion.finish,
        "operations": [_encode_applied(applied) for applied in step.operations],
        "malformed": list(step.malformed),
        "bank_tokens": int(step.bank_tokens),
        "chunk_tokens": int(step.chunk_tokens),
        "answers": _encode_answers(step.answers, step.bank),
        "probes": {name: _encode_answers(answers, step.bank) for name, answers in step.probes.items()},
    }


def _decode_step(record: Record, before: MemoryBank) -> StepRecord:
    operations = tuple(_decode_applied(applied) for applied in record["operations"])
    if "bank" in record:
        bank = MemoryBank(tuple(_decode_item(item) for item in record["bank"]["items"]), record["bank"]["born"])
    else:
        bank = _replay(before, operations, record["step"])
    return StepRecord(
        step=record["step"],
        completion=Completion(
            text=record["text"],
            prompt_ids=tuple(record["prompt_ids"]),
            completion_ids=tuple(record["completion_ids"]),
            logprobs=tuple(record["logprobs"]),
            finish=record["finish"],
        ),
        operations=operations,
        malformed=tuple(record["malformed"]),
        bank=bank,
        bank_tokens=record["bank_tokens"],
        chunk_tokens=record["chunk_tokens"],
        answers=_decode_answers(record["answers"], bank),
        probes={name: _decode_answers(answers, bank) for name, answers in record["probes"].items()},
    )


def _replay(bank: MemoryBank, operations: Sequence[Applied], step: int) -> MemoryBank:
    """The bank after the operations that were not refused."""
    return bank.apply_all((applied.operation for applied in operations if applied.refused is None), step)[0]


def _encode_applied(applied: Applied) -> Record:
    operation = applied.operation
    encoded: Record = {"op": type(operation).__name__}
    if isinstance(operation, Update | Delete):
        encoded["id"] = operation.id
    if isinstance(operation, Insert | Update):
        encoded["content"] = operation.text
    return encoded | {"item": applied.item_id, "refused": applied.refused}


def _decode_applied(record: Record) -> Applied:
    operation: Operation
    match record["op"]:
        case "Insert":
            operation = Insert(record["content"])
        case "Update":
            operation = Update(record["id"], record["content"])
        case "Delete":
            operation = Delete(record["id"])
        case "Skip":
            operation = Skip()
        case other:
            raise ValueError(f"operation {other!r}")
    return Applied(operation, record["item"], record["refused"])


def _encode_answers(answers: Sequence[Answer], bank: MemoryBank) -> list[Record]:
    known = {item.id: item for item in bank.items} if answers else {}
    return [
        {
            "question_id": answer.question_id,
            "prediction": answer.prediction,
            "evidence": [item.id if known.get(item.id) == item else _encode_item(item) for item in answer.evidence],
            "evidence_scores": [float(score) for score in answer.evidence_scores],
            "cited": list(answer.cited),
            "score": None if answer.score is None else float(answer.score),
            "failure": answer.failure,
        }
        for answer in answers
    ]


def _decode_answers(records: Sequence[Record], bank: MemoryBank) -> tuple[Answer, ...]:
    known = {item.id: item for item in bank.items} if records else {}
    return tuple(
        Answer(
            question_id=record["question_id"],
            prediction=record["prediction"],
            evidence=tuple(known[item] if isinstance(item, str) else _decode_item(item) for item in record["evidence"]),
            evidence_scores=tuple(record["evidence_scores"]),
            cited=tuple(record["cited"]),
            score=record["score"],
            failure=record["failure"],
        )
        for record in records
    )


def _encode_item(item: MemoryItem) -> Record:
    return {"id": item.id, "text": item.text, "writes": [int(step) for step in item.writes]}


def _decode_item(record: Record) -> MemoryItem:
    return MemoryItem(record["id"], record["text"], tuple(record["writes"]))
