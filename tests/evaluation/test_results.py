import json

import pytest

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.evaluation import Spent, decode, encode, rebuilds_merged, results_from_rollouts
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, MemoryItem, Skip
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


ASKED = Episode(
    id="e2",
    source="nlu",
    task="TTL",
    chunks=(Chunk(0, "Turn on the light. Class: 7"),),
    questions=(
        Question("q1", "Which class has it ?", ("7",), metric="digit_label"),
        Question("q2", "Who ?", ("Ada",)),
        Question("q3", "When ?", ("now",)),
    ),
)


def answered(*answers: Answer) -> RolloutGroup:
    return RolloutGroup("e2", (Rollout("e2", 0, (step(0),), answers, tokens_read=6),))


def test_an_answer_has_a_published_score_beside_its_own():
    [result] = results_from_rollouts(
        "trained",
        [ASKED],
        [answered(Answer("q1", "label: 7", score=1.0), Answer("q2", "Ada", score=1.0), Answer("q3", "", score=None))],
    )
    assert [(q.score, q.published) for q in result.questions] == [(1.0, 0.0), (1.0, 1.0), (None, None)]


def test_the_reader_is_charged_for_the_question_the_texts_and_the_reply():
    kept = MemoryItem("m1", "Turn on the light", (0,))
    group = answered(Answer("q1", "seven", (kept, kept), score=0.0), Answer("q2", "I do not know", score=0.0))
    [result] = results_from_rollouts(
        "trained",
        [ASKED],
        [group],
        spent=[Spent(1, 40, 9, 0.5)],
        count_tokens=lambda text: len(text.split()),
    )
    assert result.read == Spent(calls=2, tokens_in=5 + 4 + 4 + 2, tokens_out=1 + 4)
    assert result.write == Spent(1, 40, 9, 0.5)


def test_rebuilds_of_a_stream_become_one_record(stream):
    rebuilds = [
        stream([1.0, None], seed=0, tokens=10, insert=2, write=Spent(2, 20, 4, 1.0)),
        stream([0.0, None], seed=1, tokens=30, insert=4, write=Spent(4, 40, 8, 3.0)),
        stream([1.0], stream="s2"),
        stream([1.0], stream="s2", benchmark="other"),
    ]
    first, *others = rebuilds_merged(rebuilds)
    assert [(q.question, q.score) for q in first.questions] == [("q0", 0.5), ("q1", None)]
    assert (first.memory_tokens, first.operations["insert"], first.write) == (20, 3, Spent(3, 30, 6, 2.0))
    assert others == rebuilds[2:]


def test_what_is_written_is_read_back_equal(stream):
    results = [stream([1.0, None], seed=3, training_seed=1, benchmark="realbench", write=Spent(1, 2, 3, 0.25))]
    assert decode(json.loads(json.dumps(encode(results)))) == results
