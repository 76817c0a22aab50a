import json

from finemem_pipeline.episodes import Chunk, Episode, Question
from finemem_pipeline.memory import Applied, Delete, Insert, MemoryBank, Skip, Update
from finemem_pipeline.reporting import sample_stream
from finemem_pipeline.rollouts import Answer, Completion, Rollout, StepRecord


def test_a_sample_tells_what_was_written_kept_and_answered():
    episode = Episode(
        "e1",
        "planted",
        "CR",
        (Chunk(0, "x" * 2000, timestamp="Monday"), Chunk(1, "short")),
        (Question("q1", "Where?", ("Rome", "Roma")), Question("q2", "When?", ("now",))),
    )
    bank, inserted = MemoryBank().apply(Insert("Ada: Rome"), 0)
    after, updated = bank.apply(Update("m1", "Ada: Porto"), 1)
    refused = Applied(Delete("m9"), refused="no item m9")
    rollout = Rollout(
        "e1",
        0,
        (
            StepRecord(0, Completion(""), (inserted,), ("[{",), bank, 3, 500),
            StepRecord(1, Completion(""), (updated, refused, Applied(Skip())), (), after, 4, 2),
        ),
        (Answer("q1", "Porto", (after.items[0],), score=0.0),),
        502,
    )
    sample = sample_stream("trained", episode, rollout)
    assert json.loads(json.dumps(sample)) == sample
    first, second = sample["steps"]
    assert first["chunk"] == "x" * 1500 + "… (500 more characters)"
    assert (first["timestamp"], first["malformed"], first["memory_tokens"]) == ("Monday", ["[{"], 3)
    assert [(done["kind"], done["item"], done["text"], done["refused"]) for done in second["operations"]] == [
        ("update", "m1", "Ada: Porto", None),
        ("delete", "m9", "", "no item m9"),
        ("skip", None, "", None),
    ]
    assert sample["memory"] == [{"id": "m1", "text": "Ada: Porto", "writes": [0, 1]}]
    answered, missing = sample["questions"]
    assert (answered["prediction"], answered["score"], answered["references"]) == ("Porto", 0.0, ["Rome", "Roma"])
    assert [item["id"] for item in answered["evidence"]] == ["m1"]
    assert (missing["score"], missing["failure"]) == (None, "not asked")
