from __future__ import annotations

import json

from finemem_pipeline.memory import MemoryBank
from finemem_pipeline.records import encode_rollout
from finemem_pipeline.rollouts import Completion, Rollout, StepRecord
from finemem_pipeline.training.played import read_update
from finemem_pipeline.training.runs import Run


def rollout(stream: str, sibling: int) -> Rollout:
    step = StepRecord(0, Completion("[]"), (), (), MemoryBank(), bank_tokens=0, chunk_tokens=3)
    return Rollout(stream, sibling, (step,), (), tokens_read=3)


def test_siblings_are_read_back_in_their_groups_even_where_a_stream_was_played_twice(tmp_path):
    played = [rollout(stream, sibling) for stream in ("a", "b", "b") for sibling in (0, 1)]
    rows = [{"update": 3, "advantages": [float(n)], "rollout": encode_rollout(each)} for n, each in enumerate(played)]
    (tmp_path / "rollouts").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rollouts" / "step-00003.jsonl").write_text(text)
    found = read_update(Run(tmp_path), 3)
    assert [each.group.episode_id for each in found] == ["a", "b", "b"]
    assert [each.group.rollouts for each in found] == [tuple(played[:2]), tuple(played[2:4]), tuple(played[4:])]
    assert [each.advantages for each in found] == [((0.0,), (1.0,)), ((2.0,), (3.0,)), ((4.0,), (5.0,))]
