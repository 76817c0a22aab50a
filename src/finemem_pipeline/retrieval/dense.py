"""Retrieval by embeddings: any sentence-transformers model, or the mean of any transformers encoder.

torch, transformers and sentence-transformers are imported when a model is loaded. Departures from the textbook: an item
whose cosine is not above 0 is not retrieved, and equal scores go to the newest item.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finemem_pipeline.errors import FinememError
from finemem_pipeline.memory import MemoryItem
from finemem_pipeline.retrieval.bm25 import rank
from finemem_pipeline.retrieval.retriever import Retriever

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts to vectors (n, d), one row per text; their length does not matter."""


class RetrieverError(FinememError):
    """A retriever cannot be had: its library or its model is missing."""


class Dense(Retriever):
    """A Retriever by the cosine of embeddings. A text is embedded once; the last `texts` different ones are kept.

    The score of an item depends on the vectors of its text and the query alone, to the last bit, whatever else the
    memory holds.
    """

    def __init__(self, embed: Embed, texts: int = 100_000) -> None:
        if texts < 1:
            raise ValueError(f"Dense needs room for a text, found {texts=}")
        self.embed = embed
        self.texts = texts
        self.embedded = 0  # texts so far
        self._known: dict[str, Vectors] = {}  # (d,) of length 1, or 0 where the model gave nothing

    def search(
        self, queries: Sequence[str], items: Sequence[MemoryItem], k: int
    ) -> list[list[tuple[MemoryItem, float]]]:
        """For each query at most k (item, score) pairs, best first. Raises ValueError if two items share an id."""
        if not items or not queries or k < 1:
            return [[] for _ in queries]
        if len({item.id for item in items}) < len(items):
            raise ValueError("items of one bank must have different ids")
        distinct = list(dict.fromkeys(item.text for item in items))
        vectors = self._vectors([*distinct, *queries])
        matrix = np.stack([vectors[text] for text in distinct])
        found = []
        for query in queries:
            # Row by row and not as one product: a matrix product may round equal rows differently.
            cosines = dict(zip(distinct, (matrix * vectors[query]).sum(axis=1).tolist(), strict=True))
            fitting = [(item, cosines[item.text]) for item in items if cosines[item.text] > 0]
            found.append(sorted(fitting, key=rank, reverse=True)[:k])
        return found

    def _vectors(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """The vector of each text; the new ones are embedded together."""
        wanted = dict.fromkeys(texts)
        new = [text for text in wanted if text not in self._known]
        if new:
            rows = np.asarray(self.embed(new), dtype=np.float32)
            if rows.ndim != 2 or len(rows) != len(new):
                raise RetrieverError(f"the encoder gave an array of shape {rows.shape} for {len(new)} texts")
            lost = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(lost):
                raise RetrieverError(
                    f"the encoder gave no numbers for {len(lost)} of {len(new)} texts, the first of them "
                    f"{new[lost[0]][:60]!r}: without a vector an item would never be found"
                )
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
            self._known.update(zip(new, rows, strict=True))
            self.embedded += len(new)
        found = {text: self._known[text] for text in wanted}
        for text in list(self._known)[: max(0, len(self._known) - self.texts)]:
            del self._known[text]
        return found


def sentence_encoder(model: str) -> Embed:
    """A sentence-transformers model by its name or local path, pooled and normalised as the model says.

    Raises RetrieverError if the library or the model is not there.
    """
    need_sentence_transformers(model)
    library: Any = importlib.import_module("sentence_transformers")
    try:
        loaded = library.SentenceTransformer(model)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(model, error) from error

    def embed(texts: Sequence[str]) -> Vectors:
        return np.asarray(loaded.encode(list(texts), show_progress_bar=False), dtype=np.float32)

    return embed


def need_sentence_transformers(model: str) -> None:
    """Raises RetrieverError, with the command that installs it, if the library is not there. It is not imported."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise RetrieverError(
            f"the dense retriever '{model}' needs sentence-transformers, which is not installed. "
            "Install it with: pip install sentence-transformers. Without it, reader.retriever.encoder=transformers "
            "takes the mean over the tokens of any encoder."
        )


def mean_encoder(model: str, batch: int = 32) -> Embed:
    """A transformers model by its name or local path, averaged over the tokens of a text (n, d).

    Texts longer than the model's context are cut. Raises RetrieverError if the model is not there.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        encoder = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_loaded(model, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    context = min(getattr(encoder.config, "max_position_embeddings", None) or 512, tokenizer.model_max_length)

    def embed(texts: Sequence[str]) -> Vectors:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows: dict[int, Any] = {}
        for begin in range(0, len(order), batch):
            places = order[begin : begin + batch]
            ids = tokenizer(
                [texts[place] or " " for place in places],
                padding=True,
                truncation=True,
                max_length=context,
                return_tensors="pt",
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                states = encoder(**ids).last_hidden_state  # (b, l, d)
            mask = ids["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            rows |= dict(zip(places, means.numpy(), strict=True))
        return np.stack([rows[place] for place in range(len(texts))])

    return embed


def _not_loaded(model: str, error: Exception) -> RetrieverError:
    told = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RetrieverError(
        f"no encoder could be loaded from '{model}': {told} "
        "Give a folder with config.json, weights and tokenizer, or the id of a model that was downloaded."
    )
