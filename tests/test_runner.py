"""Jobs in the order of their groups, what a launcher refuses, and how it ends, with a cluster that is scripted."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline

from finemem_pipeline import runner as runner_module
from finemem_pipeline.cluster import ClusterError, Finding, Handle, Notice, Outcome, PodEnd
from finemem_pipeline.datasets import JsonDataset
from finemem_pipeline.errors import FinememError
from finemem_pipeline.preflight import PreflightError
from finemem_pipeline.runner import Cancelled, Detached, JobFailed, KubernetesRunner, as_option
from finemem_pipeline.runner_config import Rendered
from finemem_pipeline.stopping import RESUME_EXIT_CODE, Stopped

IMAGE = f"registry/finemem@sha256:{'a' * 64}"


def ended(name: str, status: str = "succeeded", uid: str = "", **more: Any) -> Outcome:
    return Outcome(
        name=name, namespace="finemem", status=status, reason="", message="all is said", uid=uid, spec_hash="",
        image=IMAGE, **more,
    )  # fmt: skip


class ScriptedCluster:
    """Jobs end as the script of their group says, at once; a group without a script succeeds."""

    def __init__(self, **scripts: Callable[[], Outcome | None]) -> None:
        self.scripts = scripts
        self.jobs: dict[str, list[dict[str, Any]]] = {}  # manifests by group, in the order of their submission
        self.deleted: list[str] = []
        self.findings: list[Finding] = []
        self.submitted: list[str] = []
        self.recorded: dict[str, list[Outcome]] = {}  # of jobs that were there before, each found once
        self.running = self.most = 0
        self._lock = threading.Lock()

    def check(self, namespace, specs=(), backend="job"):
        self.checked = [spec.group for spec in specs]
        return self.findings

    def submit(self, manifests):
        job = manifests[0]
        name = job["metadata"]["name"]
        group = group_of(job)
        with self._lock:
            self.jobs[group] = list(manifests)
            self.submitted.append(name)
            known = self.recorded.get(group, [])
            if known:
                return Handle(name, "finemem", "Job", "uid", "hash", outcome=known.pop(0))
            self.running += 1
            self.most = max(self.most, self.running)
        return Handle(name, "finemem", "Job", "uid", "hash", created=True)

    def wait(self, handle, on_notice=None, leave=None):
        [group] = [name for name, manifests in self.jobs.items() if manifests[0]["metadata"]["name"] == handle.name]
        if on_notice is not None:
            on_notice(Notice("pending", "no node has a free GPU", 0.0))
        try:
            script = self.scripts.get(group)
            return script() if script is not None else ended(handle.name)
        finally:
            with self._lock:
                self.running -= 1

    def logs(self, handle, follow=False, ranks=(0,), tail=None, leave=None):
        yield 0, "step 1 of 2"

    def delete(self, handle):
        self.deleted.append(handle.name)
        return ended(handle.name, "cancelled")


def group_of(job: Mapping[str, Any]) -> str:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}["FINEMEM_GROUP"]


def command_of(job: Mapping[str, Any]) -> list[str]:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return [*container.get("command", ()), *container.get("args", ())]


def a_node(
    name: str, inputs: str, outputs: str, namespace: str | None = None, does=lambda *values: "made here"
) -> Node:
    return Node(does, inputs.split() or None, outputs, name=name, namespace=namespace)


class Launch:
    """A pipeline with its catalog on a folder that pods see too, and the cluster it is launched on."""

    def __init__(self, folder: Path, *nodes: Node, **scripts: Callable[[], Outcome | None]) -> None:
        self.folder = folder
        self.pipeline = Pipeline(list(nodes))
        names = {name for name in self.pipeline.datasets() if not name.startswith("params:")}
        self.catalog = DataCatalog({name: JsonDataset(filepath=str(folder / f"{name}.json")) for name in sorted(names)})
        self.catalog["params:training"] = MemoryDataset({"steps": 2})
        self.cluster = ScriptedCluster(**scripts)
        self.options: dict[str, Any] = {"image": IMAGE, "volume": {"claim": "finemem-data", "path": str(folder)}}
        self.run_params: dict[str, Any] = {"env": "k8s", "pipeline_names": ["train"]}

    def run(self) -> None:
        for name in self.pipeline.inputs() - {"params:training"}:
            (self.folder / f"{name}.json").write_text('"given"')
        runner = KubernetesRunner(**self.options)
        runner.cluster = self.cluster
        hooks = _create_hook_manager()
        with runner.begun(hooks):
            hooks.hook.before_pipeline_run(run_params=self.run_params, pipeline=self.pipeline, catalog=self.catalog)
            runner.run(self.pipeline, self.catalog, hooks)

    def writes(self, *names: str) -> Callable[[], Outcome]:
        """A script: the pod leaves these data sets, and succeeds."""

        def end() -> Outcome:
            for name in names:
                (self.folder / f"{name}.json").write_text('"made in a pod"')
            return ended("job")

        return end


@pytest.fixture
def launch(tmp_path) -> Launch:
    """read -> [train: warm, learn] -> judge"""
    made = Launch(
        tmp_path,
        a_node("read", "raw", "streams"),
        a_node("warm", "streams params:training", "weights", "train"),
        a_node("learn", "streams weights", "policy", "train"),
        a_node("judge", "policy", "table"),
    )
    made.cluster.scripts["train"] = made.writes("weights", "policy")
    return made


def test_a_group_becomes_one_job_between_the_nodes_that_run_here(launch):
    launch.run()
    assert list(launch.cluster.jobs) == ["train"]
    assert launch.catalog.load("table") == "made here"


def test_a_pod_runs_the_same_project_with_the_names_of_its_nodes_and_the_parameters_of_the_run(launch):
    launch.run_params |= {"runtime_params": {"training": {"seed": 3, "reward": "eara_only"}, "reader": {"k": 4}}}
    launch.run()
    [job, *_] = launch.cluster.jobs["train"]
    said = " ".join(command_of(job))
    assert "-m kedro run --env=k8s --runner=SequentialRunner --nodes=train.warm,train.learn --pipelines=train" in said
    assert said.endswith("--params=training.seed=3,training.reward=eara_only,reader.k=4")


def name_of(launch: Launch) -> str:
    launch.run()
    return launch.cluster.jobs["train"][0]["metadata"]["name"]


def test_the_same_work_has_the_same_name_and_other_work_another_one(launch):
    first = name_of(launch)
    launch.options["side_by_side"] = 9
    assert name_of(launch) == first
    launch.catalog["params:training"] = MemoryDataset({"steps": 3})
    longer = name_of(launch)
    assert longer != first
    launch.options["image"] = IMAGE.replace("a" * 64, "b" * 64)
    assert name_of(launch) not in (first, longer)


def test_other_streams_are_other_work(launch, monkeypatch):
    first = name_of(launch)
    monkeypatch.setattr(launch.pipeline.nodes[0], "_func", lambda raw: ["other streams"])
    assert name_of(launch) != first


def variants(folder: Path, *names: str, **scripts: Any) -> Launch:
    made = Launch(
        folder,
        *(a_node("learn", "streams", f"policy_{name}", name) for name in names),
        a_node("compare", " ".join(f"policy_{name}" for name in names), "page"),
        **scripts,
    )
    for name in names:
        made.cluster.scripts.setdefault(name, made.writes(f"policy_{name}"))
    return made


def test_groups_that_do_not_wait_for_each_other_run_side_by_side_up_to_the_limit(tmp_path):
    meeting = threading.Barrier(2, timeout=30)
    launch = variants(tmp_path, "a", "b", "c", "d")
    for name in "abcd":
        write = launch.writes(f"policy_{name}")
        launch.cluster.scripts[name] = lambda write=write: (meeting.wait(), write())[1]
    launch.options["side_by_side"] = 2
    launch.run()
    assert launch.cluster.most == 2
    assert sorted(launch.cluster.jobs) == ["a", "b", "c", "d"]
    assert (tmp_path / "page.json").is_file()


def test_a_failed_group_ends_the_run_with_the_reason_the_last_lines_and_how_to_go_on(launch):
    guilty = PodEnd("train-0", 1, "node-7", 1, "Error")
    tail = ("Traceback", "ValueError: no streams")
    launch.cluster.scripts["train"] = lambda: ended("job", "failed", pods=(guilty,), guilty="train-0", log_tail=tail)
    with pytest.raises(JobFailed) as told:
        launch.run()
    said = str(told.value)
    assert "Group train (job) failed: all is said" in said
    assert "Rank 1 (train-0) ended with exit code 1, Error." in said
    assert "ValueError: no streams" in said
    assert "3 of 4 nodes have not run: train.warm, train.learn, judge." in said
    assert said.endswith("--from-nodes=train.warm")


def test_what_runs_beside_a_failed_group_may_end_and_nothing_new_begins(tmp_path):
    failing = threading.Event()
    launch = variants(tmp_path, "a", "b", "c")
    write = launch.writes("policy_b")

    def fails() -> Outcome:
        failing.set()
        return ended("job-a", "failed")

    launch.cluster.scripts |= {"a": fails, "b": lambda: (failing.wait(30), write())[1]}
    launch.options["side_by_side"] = 2
    with pytest.raises(JobFailed) as told:
        launch.run()
    assert sorted(launch.cluster.jobs) == ["a", "b"]
    assert (tmp_path / "policy_b.json").is_file()
    assert "2 of 4 nodes have not run: c.learn" not in str(told.value)
    assert "a.learn" in str(told.value)
    assert "--from-nodes=a.learn,c.learn" in str(told.value)


def test_a_job_that_succeeded_where_the_launcher_finds_nothing_is_a_failure(launch):
    launch.cluster.scripts["train"] = launch.writes("weights")
    with pytest.raises(JobFailed, match="succeeded, and policy cannot be found from here"):
        launch.run()


def test_a_failing_node_of_the_launcher_raises_its_own_error_when_the_jobs_beside_it_have_ended(launch):
    failed = threading.Event()

    def fails(raw):
        failed.set()
        raise ZeroDivisionError

    launch.pipeline += Pipeline([a_node("look", "streams", "picture", does=fails)])
    launch.catalog["picture"] = MemoryDataset()
    write = launch.writes("weights", "policy")
    launch.cluster.scripts["train"] = lambda: (failed.wait(30), write())[1]
    with pytest.raises(ZeroDivisionError):
        launch.run()
    assert (launch.folder / "policy.json").is_file()
    assert not (launch.folder / "table.json").exists()


def test_log_lines_of_a_pod_come_with_its_group_and_rank_and_hindrances_are_told(launch, caplog):
    caplog.set_level(logging.INFO)
    launch.run()
    assert "[train/0] step 1 of 2" in caplog.text
    assert "[train] pending: no node has a free GPU" in caplog.text


def test_all_that_is_missing_is_told_before_anything_is_created(launch):
    launch.options["volume"] = None
    launch.cluster.findings = [Finding("error", "Secret finemem-keys is missing"), Finding("ok", "rights")]
    with pytest.raises(PreflightError) as told:
        launch.run()
    said = str(told.value)
    assert "'streams' (read -> train.warm) is at" in said
    assert "'policy' (train.learn -> judge) is at" in said
    assert "Secret finemem-keys is missing" in said
    assert "rights" not in said
    assert launch.cluster.jobs == {}
    assert not (launch.folder / "streams.json").exists()


def test_pods_look_for_data_where_the_launcher_keeps_it(launch):
    launch.options["env"] = {"FINEMEM_DATA": "s3://elsewhere/data"}
    with pytest.raises(PreflightError, match="is s3://elsewhere/data, and the launcher keeps data at data"):
        launch.run()
    launch.options["env"] = {}
    launch.run()
    [container] = launch.cluster.jobs["train"][0]["spec"]["template"]["spec"]["containers"]
    assert {"name": "FINEMEM_DATA", "value": "data"} in container["env"]


def test_an_image_must_be_named(launch):
    launch.options["image"] = None
    with pytest.raises(PreflightError, match=r"runner\.yml: image is not set"):
        launch.run()
    assert launch.cluster.jobs == {}


def test_a_dry_run_prints_every_manifest_and_creates_nothing(launch, capsys):
    launch.options["dry_run"] = True
    with pytest.raises(Rendered):
        launch.run()
    manifests = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [group_of(each) for each in manifests if each["kind"] == "Job"] == ["train"]
    assert launch.cluster.jobs == {}
    assert not (launch.folder / "streams.json").exists()


def test_a_pod_starts_no_pods(launch, monkeypatch):
    monkeypatch.setenv("FINEMEM_GROUP", "train")
    with pytest.raises(ClusterError, match="This is a pod of group train"):
        launch.run()


class Terminal:
    def isatty(self) -> bool:
        return True


def interrupted(launch: Launch, monkeypatch, *answers: str | type[BaseException]) -> None:
    """Runs; Ctrl-C comes while the job runs, and these are the answers to what is asked then."""
    there = iter(answers)

    def wait(handle: Handle, on_notice: Any, leave: threading.Event) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert leave.wait(30)

    monkeypatch.setattr(launch.cluster, "wait", wait)

    def prompt(*_: Any, **__: Any) -> str:
        answer = next(there)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(runner_module.click, "prompt", prompt)
    if answers:
        monkeypatch.setattr(runner_module.sys, "stdin", Terminal())
    launch.run()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT is heard, also where the tests were started in the background of a shell, which turns it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_can_leave_the_job_running(launch, monkeypatch, capsys):
    with pytest.raises(Detached) as told:
        interrupted(launch, monkeypatch, "detach")
    assert told.value.code == RESUME_EXIT_CODE
    assert launch.cluster.deleted == []
    assert "the same command attaches again" in capsys.readouterr().err


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_can_cancel_the_job(launch, monkeypatch):
    with pytest.raises(Cancelled) as told:
        interrupted(launch, monkeypatch, "cancel")
    assert told.value.code == 130
    assert launch.cluster.deleted == [launch.cluster.jobs["train"][0]["metadata"]["name"]]


@pytest.mark.usefixtures("ctrl_c")
def test_jobs_are_cancelled_side_by_side(tmp_path, monkeypatch):
    launch = Launch(tmp_path, *(a_node("learn", "streams", f"policy_{name}", name) for name in ("one", "two", "three")))
    main = threading.main_thread().ident
    all_wait = threading.Barrier(3, action=lambda: signal.pthread_kill(main, signal.SIGINT), timeout=30)
    all_go = threading.Barrier(3, timeout=30)  # nobody gets through alone

    def wait(handle: Handle, on_notice: Any, leave: threading.Event) -> None:
        all_wait.wait()
        assert leave.wait(30)

    monkeypatch.setattr(launch.cluster, "wait", wait)
    monkeypatch.setattr(launch.cluster, "delete", lambda handle: all_go.wait())
    with pytest.raises(Cancelled):
        launch.run()


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_cancels(launch, monkeypatch):
    with pytest.raises(Cancelled):
        interrupted(launch, monkeypatch, KeyboardInterrupt)
    assert len(launch.cluster.deleted) == 1


@pytest.mark.usefixtures("ctrl_c")
def test_without_a_terminal_ctrl_c_cancels_whatever_is_configured(launch, monkeypatch):
    launch.options["on_interrupt"] = "detach"
    with pytest.raises(Cancelled):
        interrupted(launch, monkeypatch)
    assert len(launch.cluster.deleted) == 1


@pytest.mark.parametrize(("configured", "deleted"), [("detach", 0), ("cancel", 1)])
def test_sigterm_does_what_is_configured(launch, monkeypatch, configured, deleted):
    def stop(*_: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGINT, stop)
    launch.options["on_sigterm"] = configured
    try:
        with pytest.raises(Stopped):
            interrupted(launch, monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(launch.cluster.deleted) == deleted


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"training": {"seed": 3, "kl": 0.5}}, "training.seed=3,training.kl=0.5"),
        ({"data": {"path": None}, "evaluation": {"dry_run": True}}, "data.path=null,evaluation.dry_run=true"),
        ({"evaluation": {"managers": "trained+no_memory"}}, "evaluation.managers=trained+no_memory"),
    ],
)
def test_parameters_are_handed_on_so_that_they_are_read_back_the_same(params, option):
    assert as_option(params) == option


@pytest.mark.parametrize("value", ["a,b", ["a", "b"], "3", "true"])
def test_parameters_that_would_be_read_back_as_something_else_are_refused(value):
    with pytest.raises(FinememError, match="cannot be handed on to a pod"):
        as_option({"data": {"source": value}})


def over(launch: Launch, name: str, *, minutes_ago: float, **more: Any) -> Outcome:
    """A job that has succeeded; it ran for a minute."""
    end = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    began = end - timedelta(minutes=1)
    return ended(name, started=began.isoformat(), finished=end.isoformat(), **more)


def test_a_job_that_is_known_to_have_succeeded_is_not_run_again(launch):
    launch.writes("weights", "policy")()
    launch.cluster.recorded["train"] = [over(launch, "earlier", minutes_ago=0)]
    launch.run()
    assert len(launch.cluster.submitted) == 1
    assert launch.catalog.load("table") == "made here"


def test_if_another_job_has_written_since_it_runs_again_under_a_name_that_every_launcher_finds(launch):
    launch.writes("weights", "policy")()
    stale = over(launch, "earlier", minutes_ago=30, uid="first")
    launch.cluster.recorded["train"] = [stale]
    launch.run()
    first, again = launch.cluster.submitted
    assert first != again
    launch.cluster.recorded["train"] = [stale]
    launch.run()
    assert launch.cluster.submitted[2:] == [first, again]


@pytest.mark.usefixtures("ctrl_c")
def test_a_job_that_cannot_be_cancelled_keeps_no_other_from_it_and_is_named(tmp_path, monkeypatch, capsys):
    launch = Launch(tmp_path, *(a_node(name, "raw", f"{name}_out", name) for name in ("one", "two", "three")))
    tried = []

    def delete(handle):
        tried.append(handle.name)
        deadline = time.monotonic() + 30
        while len(tried) < 3:  # all are asked for before the first is gone
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if "-two-" in handle.name:
            raise ClusterError("the API server: Connection refused")

    monkeypatch.setattr(launch.cluster, "delete", delete)
    asked = threading.Barrier(3, action=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))

    def wait(handle, on_notice, leave):
        asked.wait(30)
        assert leave.wait(30)

    monkeypatch.setattr(launch.cluster, "wait", wait)
    with pytest.raises(Cancelled):
        launch.run()
    said = capsys.readouterr().err
    [two] = [name for name in tried if "-two-" in name]
    assert f"{two} may still be there: the API server: Connection refused\n" in said
    assert f"python -m finemem_pipeline.cluster cancel {two}" in said
    assert said.startswith("Cancelled ")


def test_a_place_of_data_that_cannot_be_asked_is_one_message(launch, monkeypatch):
    def gone(self):
        raise DatasetError("Failed during exists check.\ns3://b/d: cannot be reached. Is it up?")

    launch.cluster.scripts["train"] = lambda: (
        monkeypatch.setattr(JsonDataset, "exists", gone) or launch.writes("weights", "policy")()
    )
    with pytest.raises(JobFailed, match="succeeded, and what it made cannot be looked at: s3://b/d: cannot be reached"):
        launch.run()
    launch.cluster.submitted.clear()
    with pytest.raises(FinememError, match=r"^s3://b/d: cannot be reached. Is it up\?$"):
        launch.run()
    assert launch.cluster.submitted == []
