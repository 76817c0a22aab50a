"""The name of a job says what it is, and nothing secret stands in a manifest."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finemem_pipeline.cluster import ClusterError, SecretKey


def test_the_same_work_has_the_same_name_from_any_machine(job):
    assert job("pass").name == job("pass", memory="64Gi", env={"A": "1"}).name == "finemem-train-fine-mem-6654dece"


def test_other_work_has_another_name(job):
    assert job("pass", identity="two").name != job("pass").name
    assert job("pass", group="csr_only").name.startswith("finemem-train-csr-only-")


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_every_name_can_name_a_service_and_leaves_room_for_what_controllers_append(job, project, pipeline, group):
    name = job("pass", project=project, pipeline=pipeline, group=group).name
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(f"{name}-node-0-999-abcde") <= 63  # a pod of a JobSet


def test_names_that_differ_only_in_what_a_label_cannot_hold_stay_apart(job):
    assert job("pass", group="A_b").name != job("pass", group="a-b").name


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DB_PASSWORD"])
def test_a_secret_is_given_by_reference_alone(job, variable):
    with pytest.raises(ClusterError, match=f"{variable} looks like a secret.*secret_env"):
        job("pass", env={variable: "value"})
    assert job("pass", secret_env={variable: SecretKey("store", "key")}).secret_env


def test_what_only_sounds_like_a_secret_is_none(job):
    assert job("pass", env={"TOKENIZERS_PARALLELISM": "true"}).env


def test_a_job_without_pods_is_refused(job):
    with pytest.raises(ClusterError, match="job 'fine_mem' of pipeline 'train': nodes is 0; at least 1 is needed"):
        job("pass", nodes=0)
