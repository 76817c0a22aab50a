import json

import pytest

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.evaluation import decode, encode, results_from_rollouts
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, Skip
from finemem_pipeline.rollouts import Answer, Completion, Rollout, RolloutGroup, StepRecord

EPISODE = Episode(
    id="e1",
    source="squad",
    task="AR",
    chunks=(Chunk(0, "Ada lives in Rome."), Chunk(1, "Nothing much.")),
    questions=(Question("q1", "Where?", ("Rome",)), Question("q2", "When?", ("Monday",), metric="f1")),
)


def step(number: int, *operations: Applied, malformed: tuple[str, ...] = (), tokens: int = 5) -> StepRecord:
    return StepRecord(number, Completion(""), operations, malformed, MemoryBank(), bank_tokens=tokens, chunk_tokens=50)


def rollout(*steps: StepRecord, scores: dict[str, float | None], sibling: int = 0) -> Rollout:
    answers = tuple(Answer(question, "", score=score) for question, score in scores.items())
    return Rollout("e1", sibling, steps, answers, tokens_read=100)


WROTE = rollout(
    step(0, Applied(Insert("Ada lives in Rome."), "m1")),
    step(1, Applied(Delete("m9"), refused="no item m9"), Applied(Skip()), malformed=("{",), tokens=7),
    scores={"q1": 1.0, "q2": None},
)


def test_a_rollout_becomes_one_record_with_everything_counted():
    [result] = results_from_rollouts("trained", [EPISODE], [RolloutGroup("e1", (WROTE,))])
    assert (result.manager, result.source, result.task, result.stream) == ("trained", "squad", "AR", "e1")
    assert (result.memory_tokens, result.tokens_read, result.steps) == (7, 100, 2)
    assert (result.refused, result.malformed) == (1, 1)
    assert result.operations == {"insert": 1, "update": 0, "delete": 1, "skip": 1}
    assert [(q.question, q.metric, q.score) for q in result.questions] == [("q1", "sub_em", 1.0), ("q2", "f1", None)]


def test_an_empty_reply_counts_as_a_skip_and_a_malformed_one_does_not():
    played = rollout(step(0), step(1, malformed=("prose",)), scores={"q1": 0.0, "q2": 0.0})
    [result] = results_from_rollouts("trained", [EPISODE], [RolloutGroup("e1", (played,))])
    assert result.operations["skip"] == 1


def test_siblings_are_averaged_and_unscored_answers_left_out():
    other = rollout(step(0), step(1, tokens=9), scores={"q1": 0.0, "q2": 0.5}, sibling=1)
    [result] = results_from_rollouts("trained", [EPISODE], [RolloutGroup("e1", (WROTE, other))])
    assert [q.score for q in result.questions] == [0.5, 0.5]
    assert result.memory_tokens == 8
    assert result.operations == {"insert": 0.5, "update": 0, "delete": 0.5, "skip": 1.5}


def test_a_question_without_an_answer_is_unscored():
    played = rollout(step(0), step(1), scores={"q1": 1.0})
    [result] = results_from_rollouts("trained", [EPISODE], [RolloutGroup("e1", (played,))])
    assert [q.score for q in result.questions] == [1.0, None]


def test_rollouts_of_an_unknown_stream_are_refused():
    with pytest.raises(ValueError, match="no stream is known for the rollouts of e1"):
        results_from_rollouts("trained", [], [RolloutGroup("e1", (WROTE,))])


def test_results_survive_json():
    results = results_from_rollouts("trained", [EPISODE], [RolloutGroup("e1", (WROTE,))])
    assert decode(json.loads(json.dumps(encode(results)))) == results
