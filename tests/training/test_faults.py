"""What goes wrong around a training run: its reader is away, its loss is no number."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from finemem_pipeline.generation import Sampling
from finemem_pipeline.generation.endpoint import EndpointGenerator
from finemem_pipeline.reasoning import ReasonerError
from finemem_pipeline.reasoning.prompted import PromptedReasoner
from finemem_pipeline.training.not_finite import NotFiniteError

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*rollout_func"),
]


class ReaderServer:
    """A chat server that answers with the last word of the first note, at an address that it keeps when it dies."""

    def __init__(self) -> None:
        self.answers = 0
        self.dies_after: int | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if server.answers == server.dies_after:
                    self.close_connection = True
                    threading.Thread(target=server.stop).start()
                    return
                server.answers += 1
                notes = request["messages"][-1]["content"].partition("\n\nQuestion:")[0].splitlines()[1]
                answer = json.dumps({"answer": notes.split()[-1].strip("."), "used": [1]})
                reply = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
                body = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def reasoner(self, **patience) -> PromptedReasoner:
        address = f"http://127.0.0.1:{self.port}/v1"
        return PromptedReasoner(EndpointGenerator(address, "tiny", concurrency=1, **patience), Sampling(max_tokens=64))


@pytest.fixture
def server() -> Iterator[ReaderServer]:
    running = ReaderServer()
    yield running
    with suppress(OSError):
        running.stop()


def test_a_reader_that_comes_back_is_waited_for_and_one_that_does_not_stops_a_run_that_can_go_on(pupil, server):
    patient = {"attempts": 30, "first_wait": 0.05, "longest_wait": 0.2}
    alone = pupil("alone", reasoner=server.reasoner(**patient), steps=3)
    alone.train()
    expected = alone.left_behind()
    asked, server.answers = server.answers, 0

    server.dies_after = asked // 2
    back = threading.Timer(1.0, lambda: (setattr(server, "dies_after", None), server.start()))
    waiting = pupil("waiting", reasoner=server.reasoner(**patient), steps=3)
    watch = threading.Thread(target=lambda: (_until(lambda: _is_down(server)), back.start()), daemon=True)
    watch.start()
    waiting.train()
    assert waiting.left_behind() == expected
    assert server.answers == asked  # nothing was asked twice, nothing was left out

    server.answers, server.dies_after = 0, asked * 2 // 3
    given_up = pupil("given up", reasoner=server.reasoner(attempts=2, first_wait=0.01), steps=3)
    with pytest.raises(ReasonerError, match=r"gave no reply after 2 attempts.*Is the server running"):
        given_up.train()
    done = [row["step"] for row in given_up.run.metrics()]
    assert given_up.left_behind()["metrics"] == expected["metrics"][: len(done)]  # and no row of zeros
    assert 0 < len(done) < 3
    assert given_up.run.newest_checkpoint().name == f"checkpoint-{len(done)}"

    server.dies_after = None
    server.start()
    gone_on = pupil("given up", reasoner=server.reasoner(**patient), steps=3)
    gone_on.train()
    assert gone_on.left_behind() == expected


def _is_down(server: ReaderServer) -> bool:
    return server.dies_after == server.answers and server._http.socket.fileno() == -1


def _until(there) -> None:
    while not there():
        time.sleep(0.01)


def spoil(advantage: float):
    """Gives one row that is learned from another advantage."""

    def act(rows):
        place = next(n for n, row in enumerate(rows) if row.advantage and not row.filler)
        rows[place] = replace(rows[place], advantage=advantage)
        return rows

    return act


@pytest.mark.parametrize("advantage", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_move_and_leaves_the_batch(
    pupil, tiny_model, monkeypatch, capsys, advantage: float
):
    from finemem_pipeline.training import replay_batch
    from finemem_pipeline.training.warm_start import WARM

    spoilt = pupil(kl=0.1)
    spoilt.before_learning(3, spoil(advantage))
    with pytest.raises(NotFiniteError, match=r"update 3 was not made: its loss is .*What was trained before is kept"):
        spoilt.train()
    assert [row["step"] for row in spoilt.run.metrics()] == [1, 2]
    assert [path.name for path in spoilt.run.checkpoints()] == ["checkpoint-2"]
    assert all(weight.isfinite().all() for weight in spoilt.model.parameters())

    folder = spoilt.run.folder / "not_finite" / "step-00003"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    guilty = [n for n, row in enumerate(rows) if not math.isfinite(row["advantage"])]
    assert len(guilty) == 1
    assert len(rows) == 2 * 3 * 3
    assert "Memory:" in rows[0]["prompt"]

    # As the job would have opened the run, and with the policy that it would have begun from.
    config = {"recipe": {"model": str(tiny_model), "lora": LORA}, "warm_start": "warm_start-1"}
    pupil().model.save_pretrained(spoilt.run.folder.parent / "warm_start-1" / WARM)
    (spoilt.run.folder / "config.json").write_text(json.dumps(config))
    assert replay_batch.main([str(folder)]) == 0
    first, *told, last = capsys.readouterr().out.splitlines()
    assert first.startswith("update 3: loss ")
    blamed = [line for line in told if line.startswith("!!")]
    assert len(told) == sum(not row["filler"] for row in rows)
    assert len(blamed) == 1
    guilty_row = rows[guilty[0]]
    assert f"{guilty_row['episode']} sibling {guilty_row['sibling']} step {guilty_row['step']}:" in blamed[0]
    assert last == f"1 of {len(told)} rows are not finite"


LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "layers": None}


def test_the_rows_of_a_replay_add_up_to_the_loss_of_the_update(pupil):
    from dataclasses import asdict

    from finemem_pipeline.training import not_finite
    from finemem_pipeline.training.replay_batch import replay
    from finemem_pipeline.training.train import save_weights

    whole = pupil(lora=LORA, steps=1)
    batch: list = []
    whole.before_learning(1, spoil(5.0))  # else the losses of siblings add up to nothing
    whole.before_learning(1, lambda rows: batch.extend(rows) or rows)
    before = pupil(lora=LORA)
    whole.train()
    [row] = whole.run.metrics()
    failed = not_finite.Failed(1, math.nan, math.nan)
    save = lambda place: save_weights(before.model, place)  # noqa: E731
    not_finite.keep(whole.run, failed, asdict(whole.settings), batch, whole.tokenizer, save)
    replayed = replay(whole.run.folder / "not_finite" / "step-00001", pupil(lora=LORA).model, whole.tokenizer)
    assert [one.sample.advantage for one in replayed] == [row.advantage for row in batch if not row.filler]
    assert sum(one.loss for one in replayed) == pytest.approx(row["loss"], rel=1e-4)
    assert any(one.loss for one in replayed)


def test_a_damaged_folder_is_named(tmp_path):
    from finemem_pipeline.training import replay_batch

    with pytest.raises(SystemExit, match=r"expected a folder <run>/not_finite/step-<update>, found .*batch\.json"):
        replay_batch.main([str(tmp_path)])
