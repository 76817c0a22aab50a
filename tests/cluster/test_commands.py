"""`python -m finemem_pipeline.cluster`, and the plans that it reads."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from finemem_pipeline.cluster import ClusterError, KubernetesCluster
from finemem_pipeline.cluster.__main__ import main
from finemem_pipeline.cluster.fake_api import FakeApi
from finemem_pipeline.cluster.plan import ClusterOptions, read

IMAGE = "registry.example/finemem@sha256:" + "a" * 64


def plan(folder: Path, *jobs: dict[str, object], **options: object) -> Path:
    shared = {"pipeline": "train", "image": IMAGE, "identity": "one", "grace_seconds": 5, "cpu": 1, "memory": "1Gi"}
    cluster = {"outcomes": str(folder / "outcomes"), "kubeconfig": str(folder / "kubeconfig")} | options
    path = folder / "plan.yml"
    path.write_text(yaml.safe_dump({"cluster": cluster, "job": shared, "jobs": list(jobs)}))
    return path


@pytest.fixture
def at_home(tmp_path, monkeypatch, api) -> Path:
    """In a folder with what conf says of the cluster."""
    monkeypatch.chdir(tmp_path)
    conf = tmp_path / "conf" / "k8s"
    conf.mkdir(parents=True)
    (conf / "runner.yml").write_text("namespace: finemem\nimage: something\nretries: 3\noutcomes: null\n")
    (conf / "globals.yml").write_text(f"data: {tmp_path}\n")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path


def test_jobs_are_submitted_waited_for_and_shown(api, at_home, capsys):
    jobs = [{"group": name, "command": ["-c", f"print('I am {name}')"]} for name in ("one", "two")]
    assert main(["submit", str(plan(at_home, *jobs))]) == 0
    said = capsys.readouterr().out
    assert said.count("created in namespace 'finemem'") == 2
    assert said.count(": succeeded.") == 2
    name = next(thing["metadata"]["name"] for thing in api.objects("jobs") if "-one-" in thing["metadata"]["name"])
    assert main(["logs", name]) == 0
    assert capsys.readouterr().out == "I am one\n"
    assert main(["logs", name, "-f", "--all-ranks"]) == 0
    assert capsys.readouterr().out == "[0] I am one\n"
    assert main(["status"]) == 0
    assert capsys.readouterr().out.count("succeeded") == 2
    assert main(["attach", name]) == 0
    assert "was there" not in capsys.readouterr().out


def test_a_job_that_fails_is_told_with_its_last_lines_and_a_non_zero_exit(api, at_home, capsys):
    file = plan(at_home, {"group": "bad", "command": ["-c", "print('oh'); raise SystemExit(3)"]})
    assert main(["submit", str(file)]) == 1
    said = capsys.readouterr().out
    assert "ended with exit code 3" in said
    assert "| oh" in said


def test_a_job_is_submitted_and_left_and_cancelled(api, at_home, capsys):
    file = plan(at_home, {"group": "slow", "command": ["-c", "import time; time.sleep(60)"]})
    assert main(["submit", str(file), "--detach"]) == 0
    (thing,) = api.objects("jobs")
    assert main(["cancel", thing["metadata"]["name"]]) == 0
    assert "cancelled. It was cancelled. Submit it again to go on" in capsys.readouterr().out
    assert api.objects("jobs") == api.objects("pods") == []


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(api, at_home, capsys, monkeypatch):
    file = plan(at_home, {"group": "slow", "command": ["-c", "import time; time.sleep(60)"]})
    monkeypatch.setattr(threading.Thread, "join", _interrupted)
    assert main(["submit", str(file)]) == 130
    assert "The jobs go on. To see them again: attach finemem-train-slow-" in capsys.readouterr().out
    assert api.objects("jobs")


def _interrupted(self: threading.Thread, timeout: float | None = None) -> None:
    if self.name != "connect":
        raise KeyboardInterrupt
    while self.is_alive():
        time.sleep(0.05)


def test_an_outcome_is_found_with_the_data_of_the_environment(api, at_home, capsys):
    file = plan(
        at_home, {"group": "one", "command": ["-c", ""], "ttl_seconds": 0}, outcomes=f"{at_home}/08_reporting/jobs"
    )
    assert main(["submit", str(file)]) == 0
    name = next((at_home / "08_reporting" / "jobs" / "finemem").iterdir()).stem
    capsys.readouterr()
    assert main(["attach", name]) == 0
    assert f"{name}: succeeded." in capsys.readouterr().out


def test_the_doctor_finds_everything_in_order(api, at_home, capsys):
    assert main(["doctor", str(plan(at_home, {"group": "one", "command": ["-c", ""]}))]) == 0
    said = capsys.readouterr().out
    assert "answers" in said
    assert "ok       rights in namespace 'finemem'" in said
    assert "Job admitted in a dry run" in said
    assert api.objects("jobs") == []


def test_the_doctor_finds_what_is_missing_before_anything_is_created(api: FakeApi, at_home, capsys):
    api.secret("finemem", "store", id="x")
    status = {
        "hard": {"requests.nvidia.com/gpu": "4", "pods": "10"},
        "used": {"requests.nvidia.com/gpu": "3", "pods": "0"},
    }
    api.create("resourcequotas", {"metadata": {"name": "gpus", "namespace": "finemem"}, "status": status})
    api.deny("delete", "jobs")
    file = plan(
        at_home,
        {
            "group": "one",
            "command": ["-c", ""],
            "image": "finemem:latest",
            "gpus": 8,
            "queue": "research",
            "service_account": "nobody",
            "claims": [{"name": "data", "path": "/data"}],
            "secret_env": {"A_KEY": {"name": "store", "key": "secret"}, "B_KEY": {"name": "absent", "key": "x"}},
        },
        {"group": "two", "command": ["-c", ""], "gpus": 2},
    )
    assert main(["doctor", str(file)]) == 1
    said = capsys.readouterr().out
    for sentence in (
        "You may not, in namespace 'finemem': delete jobs.batch.",
        "named by a tag, which may mean another one tomorrow",
        "there is no ServiceAccount 'nobody'",
        "there is no PersistentVolumeClaim 'data'",
        "the Secret 'store' lacks secret; its keys: id.",
        "there is no Secret 'absent'",
        "no Kueue LocalQueue 'research'",
        "needs 8 of requests.nvidia.com/gpu; the quota 'gpus' allows 4 in all",
        "needs 2 of requests.nvidia.com/gpu; the quota 'gpus' allows 4, and 3 are taken. It will wait.",
    ):
        assert sentence in said
    assert api.objects("jobs") == []


def test_a_quota_is_read_with_its_scope_and_with_what_it_wants_to_be_told(api, at_home, capsys):
    few = {"hard": {"pods": "0", "limits.cpu": "4"}, "used": {}}
    scoped = {"spec": {"scopes": ["BestEffort"]}, "status": few}
    open_to_all = {"status": {"hard": {"limits.cpu": "4", "requests.memory": "1Gi"}, "used": {}}}
    api.create("resourcequotas", {"metadata": {"name": "best-effort", "namespace": "finemem"}, **scoped})
    api.create("resourcequotas", {"metadata": {"name": "whole", "namespace": "finemem"}, **open_to_all})
    assert main(["doctor", str(plan(at_home, {"group": "one", "command": ["-c", ""]}))]) == 0
    said = capsys.readouterr().out
    assert "needs 1 of pods; the quota 'best-effort' allows 0 in all, if these pods are within its scope" in said
    assert said.count("counts limits.cpu, of which its pods say nothing") == 1
    assert main(["doctor", str(plan(at_home, {"group": "one", "command": ["-c", ""], "nodes": 2}))]) == 1
    assert "needs 2 × 1Gi of requests.memory; the quota 'whole' allows 1Gi in all" in capsys.readouterr().out


def test_what_admission_says_of_a_dry_run_is_weighed(api, at_home, capsys):
    file = plan(at_home, {"group": "one", "command": ["-c", "pass"]})
    api.refusal = (400, "BadRequest", 'admission webhook "policy.example" does not support dry run')
    assert main(["doctor", str(file)]) == 0
    assert re.search("^warning .*does not support dry run", capsys.readouterr().out, re.M)
    api.refusal = (
        403,
        "Forbidden",
        'jobs.batch "x" is forbidden: exceeded quota: finemem, requested: count/jobs.batch=1',
    )
    assert main(["doctor", str(file)]) == 1
    assert "exceeded quota" in capsys.readouterr().out
    assert main(["submit", str(file), "--detach"]) == 0
    assert main(["doctor", str(file)]) == 0  # it is one of those that are counted


def test_what_may_not_be_looked_up_is_said_to_be_unknown(api, at_home, capsys):
    api.deny("get", "secrets")
    secret = {"A_KEY": {"name": "store", "key": "k"}}
    file = plan(at_home, {"group": "one", "command": ["-c", ""], "secret_env": secret})
    assert main(["doctor", str(file)]) == 0
    assert "whether the Secret 'store' is there cannot be looked up" in capsys.readouterr().out


def test_a_backend_that_is_not_installed_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with FakeApi(tmp_path) as bare:
        bare.kubeconfig(tmp_path / "kubeconfig")
        file = plan(tmp_path, {"group": "one", "command": ["-c", ""]})
        assert main(["doctor", str(file), "--backend", "jobset"]) == 1
        assert main(["submit", str(file), "--backend", "jobset"]) == 1
    found = capsys.readouterr()
    assert "the cluster knows no JobSet" in found.out
    assert "the cluster knows no JobSet" in found.err


def test_a_setting_that_nobody_knows_is_refused_with_the_nearest_guess(tmp_path):
    file = plan(tmp_path, {"group": "one", "command": [], "memroy": "1Gi"})
    with pytest.raises(ClusterError, match=r"job 0: 'memroy' is not a known setting. Did you mean 'memory'"):
        read(file, None)
    with pytest.raises(ClusterError, match=r"Did you mean 'namespace'"):
        read(plan(tmp_path, namespaces="x"), None)


def test_what_a_job_lacks_is_named(tmp_path):
    with pytest.raises(ClusterError, match=r"job 0: command, group is missing"):
        read(plan(tmp_path, {}), None)


def test_the_plan_goes_before_conf_and_the_command_line_before_both(at_home):
    assert read(None, Path("conf/k8s")).cluster == ClusterOptions(outcomes=f"{at_home}/08_reporting/jobs")
    file = plan(at_home, {"group": "one", "command": []}, namespace="lab")
    assert read(file, Path("conf/k8s")).jobs[0].namespace == "lab"
    assert read(file, Path("conf/k8s"), "mine").jobs[0].namespace == "mine"


def test_environment_variables_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("WHERE", "lab")
    file = plan(tmp_path, namespace="${oc.env:WHERE}")
    assert read(file, None).cluster.namespace == "lab"


def test_a_plan_that_is_not_there_is_told(capsys):
    assert main(["render", "nowhere.yml"]) == 1
    assert capsys.readouterr().err == "There is no file nowhere.yml.\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": "kedro run"}, "job 0: command: expected a list, found 'kedro run'."),
        ({"nodes": "two"}, "job 0: nodes: expected a whole number, found 'two'."),
        ({"nodes": True}, "job 0: nodes: expected a whole number, found True."),
        ({"claims": [{"claim": "data", "path": "/a"}]}, "job 0: claims[0]: 'claim' is not a known setting."),
        ({"secret_env": {"KEY": "reader/key"}}, "job 0: secret_env.KEY: expected settings (name: value), found"),
        ({"env": {"A": None}}, "job 0: env.A: expected a text, found None."),
        ({"tolerations": 5}, "job 0: tolerations: expected a list, found 5."),
        ({"memory": "16GB"}, "job 'one' of pipeline 'train': memory: '16GB' is not a quantity."),
        ({"scratch": {"/tmp": "much"}}, "scratch./tmp: 'much' is not a quantity."),
        ({"grace_seconds": -5}, "grace_seconds is -5; at least 1 is needed."),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_of_the_wrong_kind_is_told_with_its_place(tmp_path, capsys, change, says):
    file = plan(tmp_path, {"group": "one", "command": ["-c", "pass"], **change})
    assert main(["render", str(file)]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs: 3", "jobs: expected a list, found 3."),
        ("jobs: [1]", "job 0: expected settings (name: value), found 1."),
        ("job: [1]", "job: expected settings (name: value), found [1]."),
        ("cluster: 5", "cluster: expected settings (name: value), found 5."),
        ("cluster: {patience: soon}", "cluster: patience: expected a number, found 'soon'."),
        ("", "lists no jobs."),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec can't decode"),
        (None, "cannot be read: Is a directory."),
    ],
    ids=repr,
)
def test_a_file_that_is_no_plan_is_told(tmp_path, capsys, text, says):
    file = tmp_path / "plan.yml"
    file.mkdir() if text is None else file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["render", str(file)]) == 1
    assert says in capsys.readouterr().err


def test_numbers_are_texts_where_texts_are_meant_and_null_leaves_out(tmp_path):
    changes = {"identity": 7, "env": {"A": 1}, "scratch": {"/tmp": 10}, "queue": None, "namespace": None}
    spec = read(plan(tmp_path, {"group": "one", "command": ["-c", 1], **changes}), None).jobs[0]
    assert (spec.identity, spec.env, spec.scratch, spec.command) == ("7", {"A": "1"}, {"/tmp": "10"}, ("-c", "1"))
    assert (spec.queue, spec.namespace) == ("", "finemem")


def test_an_environment_that_conf_does_not_have_is_refused_with_the_nearest_guess(at_home, capsys):
    assert main(["status", "--env", "k9s"]) == 1
    assert "--env: 'k9s' is not a known folder of conf. Did you mean 'k8s'?" in capsys.readouterr().err


def test_what_conf_says_of_the_cluster_is_checked_too(at_home, capsys):
    (at_home / "conf/k8s/runner.yml").write_text("patience: soon\n")
    assert main(["status"]) == 1
    assert capsys.readouterr().err == "conf/k8s/runner.yml: patience: expected a number, found 'soon'.\n"


@pytest.mark.parametrize("command", ["attach", "logs", "cancel"])
def test_a_job_that_somebody_else_made_is_left_alone(api, at_home, capsys, command):
    meta = {"name": "theirs", "namespace": "finemem"}
    api.create("jobs", {"apiVersion": "batch/v1", "metadata": meta, "spec": {"suspend": True, "template": {}}})
    assert main([command, "theirs"]) == 1
    assert "was not made by this launcher. It is left alone." in capsys.readouterr().err
    assert len(api.objects("jobs")) == 1


@pytest.mark.parametrize("command", ["attach", "logs", "cancel"])
@pytest.mark.parametrize("name", ["", "../x", "a?b", "a/status", "A B"])
def test_what_can_be_no_name_is_asked_of_nobody(api, at_home, capsys, command, name):
    assert main([command, name]) == 1
    assert f"'{name}' is not a known job" in capsys.readouterr().err
    assert not [path for _, path in api.requests if "/jobs/" in path]


def test_a_cancelled_job_whose_end_cannot_be_kept_is_said_to_be_gone(api, at_home, capsys):
    file = plan(at_home, {"group": "one", "command": ["-c", "import time; time.sleep(60)"]}, outcomes="nowhere://x")
    assert main(["submit", str(file), "--detach"]) == 1  # where outcomes are kept is looked at before a job is made
    assert api.objects("jobs") == []
    assert main(["submit", str(plan(at_home, {"group": "one", "command": ["-c", "0"]})), "--detach"]) == 0
    name = api.objects("jobs")[0]["metadata"]["name"]
    (at_home / "08_reporting").write_text("a file where the folder should be")
    assert main(["cancel", name]) == 1
    assert f"'{name}' is removed from the cluster. The outcome of" in capsys.readouterr().err
    assert api.objects("jobs") == api.objects("pods") == []


def test_who_reads_only_the_first_lines_is_told_nothing_else(api, at_home):
    assert main(["submit", str(plan(at_home, {"group": "one", "command": ["-c", "print('x\\n' * 100_000)"]}))]) == 0
    name = api.objects("jobs")[0]["metadata"]["name"]
    words = f"set -o pipefail; {sys.executable} -m finemem_pipeline.cluster logs {name} | head -n 1"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_a_fault_of_the_watch_is_never_taken_for_success(api, at_home, capsys, monkeypatch):
    def broken(*_):
        raise KeyError("involvedObject")

    monkeypatch.setattr(KubernetesCluster, "wait", broken)
    assert main(["submit", str(plan(at_home, {"group": "one", "command": ["-c", "0"]}))]) == 1
    assert "KeyError: 'involvedObject'. The job goes on: attach finemem-train-one-" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--tail", "-5"], ["--rank", "-1"], ["--tail", "few"]])
def test_numbers_of_lines_and_ranks_are_whole(words, capsys):
    with pytest.raises(SystemExit):
        main(["logs", "name", *words])
    assert f"argument {words[0]}: expected a whole number from 0, found '{words[1]}'" in capsys.readouterr().err
