"""Any server that speaks OpenAI's chat protocol: vLLM, llama.cpp, Ollama, a hosted model."""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from finemem_pipeline.errors import unknown
from finemem_pipeline.generation import Conversation, GeneratorError, Sampling
from finemem_pipeline.rollouts import Completion

if TYPE_CHECKING:
    from openai import OpenAI
    from tenacity import RetryCallState

_WORTH_ANOTHER_TRY = (408, 409, 425, 429)  # and every 5xx


class EndpointGenerator:
    """Sends conversations to a server, at most `concurrency` at a time, and asks again when it stumbles.

    Asked again, after a wait that doubles and is jittered: 5xx, 429 (after what Retry-After says, at most
    `longest_wait` seconds), no whole reply within `timeout` seconds, a dropped connection, a reply without a text. Any
    other refusal (key, model, request) fails at once, and so does the whole batch when `attempts` are used up, with a
    GeneratorError that names server, model and what happened last. A failure is never an empty completion.

    `extra_body` goes into every request, e.g. {"chat_template_kwargs": {"enable_thinking": False}} for Qwen3 on vLLM.
    Token ids stay empty.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        *,
        timeout: float = 120.0,
        concurrency: int = 8,
        attempts: int = 5,
        first_wait: float = 1.0,
        longest_wait: float = 60.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise GeneratorError(f"the server's address must begin with http:// or https://, found '{base_url}'")
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.timeout = float(timeout)
        self.concurrency = concurrency
        self.attempts = attempts
        self.first_wait = first_wait
        self.longest_wait = longest_wait
        self.extra_body = dict(extra_body or {})
        self._api_key = api_key

    @property
    def name(self) -> str:
        """Model, server and what every request carries beside the conversation."""
        extra = f" {json.dumps(self.extra_body, sort_keys=True)}" if self.extra_body else ""
        return f"{self.model} at {self.base_url}{extra}"

    def generate(self, conversations: Sequence[Conversation], sampling: Sampling) -> list[Completion]:
        if not conversations:
            return []
        given_up = threading.Event()  # one request that fails for good stops the others' waits
        requests: list[Future[Completion]] = [Future() for _ in conversations]
        samplings = [sampling.of(place) for place in range(len(conversations))]
        waiting = iter(
            list(zip(requests, conversations, samplings, strict=True))
        )  # shared: each is taken by one thread

        def send() -> None:
            for request, conversation, sampled in waiting:
                if request.set_running_or_notify_cancel():
                    try:
                        request.set_result(self._persist(conversation, sampled, given_up))
                    except BaseException as error:
                        request.set_exception(error)

        # Requests that hang are left to their timeout: nobody waits for them, not even the end of the process.
        for _ in range(min(self.concurrency, len(conversations))):
            threading.Thread(target=send, daemon=True).start()
        try:
            done, _ = wait(requests, return_when=FIRST_EXCEPTION)
            failed = next((request for request in done if request.exception() is not None), None)
            return [request.result() for request in (requests if failed is None else [failed])]
        except BaseException:
            given_up.set()
            raise
        finally:
            for request in requests:
                request.cancel()

    def check(self, timeout: float = 3.0) -> None:
        """Raises GeneratorError within a few seconds if the server is not there, or refuses the key or the model."""
        import openai

        client = self._client.with_options(timeout=timeout)
        try:
            served = {str(entry["id"]) for entry in json.loads(client.models.with_raw_response.list().text)["data"]}
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.APIConnectionError) as error:
            raise self._failure(error) from error
        except (openai.APIStatusError, ValueError, LookupError, TypeError):
            return  # it is there; not every server lists its models
        if not served or self.model in served:
            return
        try:  # a server may know a model by other names than it lists
            self._ask(client, [{"role": "user", "content": "Hello"}], Sampling(max_tokens=1))
        except openai.APIStatusError as error:
            if error.status_code in _WORTH_ANOTHER_TRY or error.status_code >= 500:
                return
            raise GeneratorError(unknown(self.base_url, self.model, served, "model of this server")) from error
        except (openai.APIConnectionError, _NoText):
            return

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI

        return OpenAI(base_url=self.base_url, api_key=self._api_key or "none", timeout=self.timeout, max_retries=0)

    def _persist(self, conversation: Conversation, sampling: Sampling, given_up: threading.Event) -> Completion:
        import openai
        from tenacity import (
            RetryError,
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_any,
            stop_when_event_set,
        )

        def pause(state: RetryCallState) -> float:
            asked_for = _retry_after(state.outcome.exception() if state.outcome else None)
            doubled = self.first_wait * 2 ** (state.attempt_number - 1) * random.uniform(0.75, 1.25)
            return min(doubled if asked_for is None else asked_for, self.longest_wait)

        retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            wait=pause,
            stop=stop_any(stop_after_attempt(self.attempts), stop_when_event_set(given_up)),
            sleep=sleep_using_event(given_up),
        )
        try:
            return retrying(self._ask, self._client, conversation, sampling)
        except RetryError as error:
            last = error.last_attempt.exception()
            raise self._failure(last, error.last_attempt.attempt_number) from last
        except openai.OpenAIError as error:
            raise self._failure(error) from error

    def _ask(self, client: OpenAI, conversation: Conversation, sampling: Sampling) -> Completion:
        import httpx2  # the transport of openai, whose faults in the middle of a reply come as they are
        import openai

        request: dict[str, Any] = {
            "model": self.model,
            "messages": list(conversation),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "extra_body": self.extra_body,
        }
        if sampling.seed is not None:
            request["seed"] = sampling.seed
        body = bytearray()
        deadline = time.monotonic() + cast(float, client.timeout)
        with client.chat.completions.with_streaming_response.create(**request) as response:
            try:
                for piece in response.iter_bytes():  # the client's own timeout counts silence, not a reply that drips
                    body += piece
                    if time.monotonic() > deadline:
                        raise openai.APITimeoutError(response.http_request)
            except httpx2.TimeoutException as error:
                raise openai.APITimeoutError(response.http_request) from error
            except httpx2.RequestError as error:
                raise openai.APIConnectionError(request=response.http_request) from error
        return _completion(body.decode(errors="replace"))

    def _failure(self, error: BaseException | None, attempts: int = 1) -> GeneratorError:
        import openai

        told = f"{type(error).__name__}: {error}"[:500]
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            advice = "Check the API key."
        elif isinstance(error, openai.NotFoundError):
            advice = "Check the model's name, and that the address ends where the server's API begins (often /v1)."
        elif isinstance(error, openai.APITimeoutError):
            advice = "Is the server overloaded? Allow a longer timeout or lower the concurrency."
        elif isinstance(error, openai.APIConnectionError):
            told = f"{told} ({error.__cause__})" if error.__cause__ else told
            advice = "Is the server running, and can this machine reach it?"
        elif isinstance(error, openai.RateLimitError):
            advice = f"Lower the concurrency (now {self.concurrency}) or allow more attempts."
        elif isinstance(error, _NoText):
            advice = "Is this the address of a chat API, and max_tokens large enough for an answer?"
        else:
            advice = "Look at the server's log."
        times = f" after {attempts} attempts" if attempts > 1 else ""
        return GeneratorError(f"{self.base_url}, model '{self.model}', gave no reply{times}. Last: {told}. {advice}")


class _NoText(Exception):
    """A reply that is none: not JSON, or without a choice, or without a text."""


def _completion(body: str) -> Completion:
    try:
        choice = json.loads(body)["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text = message["content"]
        thought = message.get("reasoning_content") or message.get("reasoning")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _NoText(f"the reply is no chat completion ({error!r}): {body[:200]!r}") from error
    if text is None and finish == "length" and isinstance(thought, str):
        text = f"<think>{thought}"  # the server cuts thoughts out, and this one never ended
    if not isinstance(text, str):
        raise _NoText(f"the reply has no text: {body[:200]!r}")
    return Completion(text, finish="length" if finish == "length" else "stop")


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code in _WORTH_ANOTHER_TRY or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | _NoText)


def _retry_after(error: BaseException | None) -> float | None:
    """Seconds that the server asked to wait, told as a number or as a date."""
    header = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
