"""How a job ended is known after the cluster has forgotten it."""

from __future__ import annotations

import pytest

from finemem_pipeline.cluster import ClusterError, Outcome, PodEnd
from finemem_pipeline.cluster.outcomes import Outcomes

OUTCOME = Outcome(
    name="work-12345678",
    namespace="finemem",
    status="failed",
    reason="PodFailurePolicy",
    message="Pod p (rank 1) ended with exit code 3.",
    uid="u",
    spec_hash="h",
    image="registry.example/finemem@sha256:0",
    started="2026-01-01T00:00:00Z",
    pods=(PodEnd("p", 1, "node-7", 3, "Error"),),
    guilty="p",
    log_tail=("one", "two"),
)


@pytest.mark.parametrize("url", ["{folder}/outcomes", "file://{folder}/outcomes", "memory://outcomes"])
def test_an_outcome_comes_back_as_it_went(url, tmp_path):
    kept = Outcomes(url.format(folder=tmp_path))
    assert kept.read("finemem", "work-12345678") is None
    kept.write(OUTCOME)
    assert kept.read("finemem", "work-12345678") == OUTCOME
    assert kept.read("elsewhere", "work-12345678") is None


def test_without_a_place_nothing_is_kept():
    Outcomes(None).write(OUTCOME)
    assert Outcomes(None).read("finemem", "work-12345678") is None


def test_a_file_that_is_no_record_is_told(tmp_path):
    (tmp_path / "finemem").mkdir()
    (tmp_path / "finemem" / "work-12345678.json").write_text('{"half')
    with pytest.raises(ClusterError, match=r"work-12345678\.json is no record of an outcome"):
        Outcomes(str(tmp_path)).read("finemem", "work-12345678")


def test_a_place_that_does_not_exist_is_told():
    with pytest.raises(ClusterError, match="cannot be read from nowhere://x"):
        Outcomes("nowhere://x").read("finemem", "work-12345678")


@pytest.mark.parametrize("text", ["", '"half"', "[]", "{}", "null", '{"pods": null, "log_tail": []}'])
def test_whatever_stands_in_the_file_it_is_one_message_with_what_to_do(tmp_path, text):
    (tmp_path / "finemem").mkdir()
    (tmp_path / "finemem" / "work-12345678.json").write_text(text)
    with pytest.raises(ClusterError, match=r"is no record of an outcome: .* Remove the file"):
        Outcomes(str(tmp_path)).read("finemem", "work-12345678")
