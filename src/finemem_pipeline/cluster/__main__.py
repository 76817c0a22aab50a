"""`python -m finemem_pipeline.cluster`: jobs on a cluster, without Kedro.

render FILE      print the manifests of the jobs in a plan; asks no cluster
submit FILE      create the jobs, or attach to them, and wait
attach NAME      wait for a job that somebody submitted
status           a table of the jobs
logs NAME -f     what its pods write
cancel NAME      remove a job and its pods
doctor [FILE]    whether the cluster can be used, and the jobs of a plan could run
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finemem_pipeline.cluster import plan as plans
from finemem_pipeline.cluster.kubernetes import KubernetesCluster
from finemem_pipeline.cluster.render import BACKENDS, render
from finemem_pipeline.cluster.seam import Handle, Notice, Outcome
from finemem_pipeline.cluster.spec import ClusterError
from finemem_pipeline.errors import FinememError, unknown

FAILED, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.command(asked))
    except FinememError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m finemem_pipeline.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--env", help="what conf/<env>/runner.yml says of the cluster (default: k8s; none: nothing)")
    where.add_argument("--namespace", help="instead of the one in the plan or runner.yml")
    where.add_argument("--context", help="of the kubeconfig")
    where.add_argument("--kubeconfig", help="instead of KUBECONFIG or ~/.kube/config")
    where.add_argument("--backend", choices=sorted(BACKENDS), help="how jobs are run (default: job)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: object, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[where])
        one.set_defaults(command=does)
        return one

    one = command("render", _render, "print the manifests of the jobs in a plan")
    one.add_argument("plan", type=Path)
    one = command("submit", _submit, "create the jobs of a plan, or attach to them, and wait")
    one.add_argument("plan", type=Path)
    one.add_argument("--detach", action="store_true", help="do not wait")
    one = command("attach", _attach, "wait for a job that somebody submitted")
    one.add_argument("name")
    command("status", _status, "a table of the jobs").add_argument("--project", default="finemem")
    one = command("logs", _logs, "what the pods of a job write")
    one.add_argument("name")
    one.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    one.add_argument("--rank", type=_whole, default=0, help="of the node (default: 0)")
    one.add_argument("--all-ranks", action="store_true")
    one.add_argument("--tail", type=_whole, help="only so many last lines")
    command("cancel", _cancel, "remove a job and its pods").add_argument("name")
    one = command("doctor", _doctor, "whether the cluster can be used, and the jobs of a plan could run")
    one.add_argument("plan", type=Path, nargs="?")
    return parser


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def _plan(asked: argparse.Namespace) -> plans.Plan:
    conf = Path("conf") / (asked.env or "k8s")
    if asked.env not in (None, "none") and not conf.is_dir():
        there = [folder.name for folder in conf.parent.iterdir() if folder.is_dir()] if conf.parent.is_dir() else []
        raise ClusterError(unknown("--env", asked.env, [*there, "none"], "folder of conf"))
    return plans.read(getattr(asked, "plan", None), conf if conf.is_dir() else None, asked.namespace)


def _plan_with_jobs(asked: argparse.Namespace) -> plans.Plan:
    plan = _plan(asked)
    if not plan.jobs:
        raise ClusterError(f"{asked.plan} lists no jobs.")
    return plan


def _backend(asked: argparse.Namespace, plan: plans.Plan) -> str:
    return asked.backend or plan.cluster.backend


@contextmanager
def _connect(asked: argparse.Namespace, plan: plans.Plan) -> Iterator[KubernetesCluster]:
    options = plan.cluster
    kubeconfig = asked.kubeconfig or options.kubeconfig
    cluster = KubernetesCluster.connect(
        context=asked.context or options.context,
        kubeconfig=Path(kubeconfig).expanduser() if kubeconfig else None,
        outcomes=options.outcomes,
        patience=options.patience,
        short_patience=options.short_patience,
    )
    try:
        yield cluster
    finally:
        cluster.close()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _render(asked: argparse.Namespace) -> int:
    import yaml

    plan = _plan_with_jobs(asked)
    manifests = [manifest for spec in plan.jobs for manifest in render(spec, _backend(asked, plan))]
    _say(yaml.safe_dump_all(manifests, sort_keys=False, width=120).rstrip())
    return 0


def _submit(asked: argparse.Namespace) -> int:
    plan = _plan_with_jobs(asked)
    manifests = [render(spec, _backend(asked, plan)) for spec in plan.jobs]
    with _connect(asked, plan) as cluster:
        handles = []
        for job in manifests:
            handle = cluster.submit(job)
            handles.append(handle)
            _say(f"{handle.name}: {'created' if handle.created else 'was there'} in namespace '{handle.namespace}'")
        return 0 if asked.detach else _wait(cluster, handles)


def _attach(asked: argparse.Namespace) -> int:
    plan = _plan(asked)
    with _connect(asked, plan) as cluster:
        return _wait(cluster, [cluster.find(asked.name, plan.cluster.namespace)])


def _wait(cluster: KubernetesCluster, handles: Sequence[Handle]) -> int:
    """Of all at once. Ctrl-C leaves them on the cluster."""
    outcomes: dict[str, Outcome | None] = {}
    faults: list[str] = []
    leave = threading.Event()

    def wait(handle: Handle) -> None:
        def tell(notice: Notice) -> None:
            _say(f"{time.strftime('%H:%M:%S', time.localtime(notice.at))} {handle.name}: {notice.text}")

        try:
            outcomes[handle.name] = cluster.wait(handle, tell, leave)
        except FinememError as fault:
            faults.append(f"{handle.name}: {fault}")
        except Exception as fault:
            faults.append(f"{handle.name}: {type(fault).__name__}: {fault}. The job goes on: attach {handle.name}")

    threads = [threading.Thread(target=wait, args=(handle,), daemon=True) for handle in handles]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    except KeyboardInterrupt:
        leave.set()
        names = " ".join(handle.name for handle in handles)
        _say(f"\nThe jobs go on. To see them again: attach {names}. To end them: cancel {names}.")
        return INTERRUPTED
    found = [outcome for outcome in outcomes.values() if outcome is not None]
    for outcome in found:
        _say(f"{outcome.name}: {outcome.status}. {outcome.message}".rstrip())
        for line in outcome.log_tail:
            _say(f"    {outcome.guilty} | {line}")
    if faults:
        raise ClusterError("\n".join(faults))
    return 0 if all(outcome.succeeded for outcome in found) else FAILED


def _status(asked: argparse.Namespace) -> int:
    plan = _plan(asked)
    with _connect(asked, plan) as cluster:
        lines = cluster.status(plan.cluster.namespace, asked.project)
    if not lines:
        _say(f"No jobs of '{asked.project}' in namespace '{plan.cluster.namespace}'.")
        return 0
    width = max(len(line.name) for line in lines)
    for line in lines:
        age = f"{line.age_seconds / 60:.0f} min" if line.age_seconds < 7200 else f"{line.age_seconds / 3600:.0f} h"
        _say(f"{line.name:{width}}  {line.state:9}  {line.pods:5}  {age:>7}  {line.detail}".rstrip())
    return 0


def _logs(asked: argparse.Namespace) -> int:
    plan = _plan(asked)
    ranks = None if asked.all_ranks else (asked.rank,)
    with _connect(asked, plan) as cluster:
        handle = cluster.find(asked.name, plan.cluster.namespace)
        for rank, line in cluster.logs(handle, asked.follow, ranks, asked.tail):
            _say(f"[{rank}] {line}" if asked.all_ranks else line)
    return 0


def _cancel(asked: argparse.Namespace) -> int:
    plan = _plan(asked)
    with _connect(asked, plan) as cluster:
        outcome = cluster.delete(cluster.find(asked.name, plan.cluster.namespace))
    _say(f"{outcome.name}: {outcome.status}. {outcome.message}".rstrip())
    return 0


def _doctor(asked: argparse.Namespace) -> int:
    plan = _plan(asked)
    with _connect(asked, plan) as cluster:
        _say(f"{'ok':7}  {cluster.api.where} answers")
        findings = cluster.check(plan.cluster.namespace, plan.jobs, _backend(asked, plan))
    for finding in findings:
        _say(f"{finding.level:7}  {finding.text}")
    return FAILED if any(finding.level == "error" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
