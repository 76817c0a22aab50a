"""What a manager did on one stream, in a form that a report can show."""

from __future__ import annotations

from typing import Any

from finemem_pipeline.episodes import Episode, Question
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryItem, Skip, Update
from finemem_pipeline.rollouts import Answer, Rollout

SHOWN = 1500  # characters of a chunk, or of a malformed fragment


def sample_stream(manager: str, episode: Episode, rollout: Rollout) -> dict[str, Any]:
    """Chunk by chunk what was written, the memory at the end, and every final question with its answer.

    JSON-able; long chunks are cut and say by how much.
    """
    answers = {answer.question_id: answer for answer in rollout.answers}
    questions = [answered(question, answers.get(question.id)) for question in episode.questions]
    return {
        "manager": manager,
        "stream": episode.id,
        "source": episode.source,
        "task": episode.task,
        "tokens_read": rollout.tokens_read,
        "memory_tokens": rollout.final_tokens,
        "steps": [
            {
                "step": step.step,
                "chunk": _cut(chunk.text),
                "timestamp": chunk.timestamp,
                "operations": [_operation(done) for done in step.operations],
                "malformed": [_cut(fragment) for fragment in step.malformed],
                "memory_tokens": step.bank_tokens,
            }
            for chunk, step in zip(episode.chunks, rollout.steps, strict=True)
        ],
        "memory": [_item(item) for item in rollout.steps[-1].bank.items],
        "questions": questions,
    }


def answered(question: Question, answer: Answer | None) -> dict[str, Any]:
    """A question with its answer, or without one."""
    return {
        "question": question.text,
        "references": list(question.answers),
        "metric": question.metric,
        "prediction": answer.prediction if answer else "",
        "score": answer.score if answer else None,
        "failure": answer.failure if answer else "not asked",
        "evidence": [_item(item) for item in answer.evidence] if answer else [],
    }


def _operation(done: Applied) -> dict[str, Any]:
    match done.operation:
        case Insert(text=text):
            kind, item, written = "insert", done.item_id, text
        case Update(id=item_id, text=text):
            kind, item, written = "update", item_id, text
        case Delete(id=item_id):
            kind, item, written = "delete", item_id, ""
        case Skip():
            kind, item, written = "skip", None, ""
    return {"kind": kind, "item": item, "text": written, "refused": done.refused}


def _item(item: MemoryItem) -> dict[str, Any]:
    return {"id": item.id, "text": item.text, "writes": list(item.writes)}


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text) - SHOWN:,} more characters)"
