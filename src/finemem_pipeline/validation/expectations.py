"""What a set of streams must satisfy: Great Expectations suites over three tables, their verdict and their Data Docs.

The tables are `streams`, `chunks` and `questions`, one row each; the files of conf/base/expectations say what is in
them. A suite is a list of {type, kwargs, severity, notes}; severity is critical unless it says warning.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finemem_pipeline.episodes import Episode
from finemem_pipeline.errors import DataError, unknown
from finemem_pipeline.memory import CountTokens

if TYPE_CHECKING:
    import pandas as pd

Suites = Mapping[str, Sequence[Mapping[str, Any]]]
"""{table: expectations}"""

SEVERITIES = ("critical", "warning")

SAMPLE = 5
"""Offending rows named in a message."""

COLUMNS = {
    "streams": (
        *("id", "source", "task", "chunks", "questions", "chunk_questions", "chars", "tokens"),
        *("trained_id", "trained_text"),
    ),
    "chunks": ("stream", "index", "chars", "tokens", "questions", "trained_in"),
    "questions": (
        *("stream", "id", "chunk", "metric", "chars", "answers", "answer_chars", "evidence", "stale"),
        *("first_evidence", "last_evidence", "chunks"),
    ),
}

NAMES = {"streams": ["id"], "chunks": ["stream", "index"], "questions": ["stream", "id"]}
"""The columns that name a row of each table."""


def estimated_tokens(text: str) -> int:
    """A fourth of the characters, rounded up: what an English text takes when no tokenizer is at hand."""
    return -(-len(text) // 4)


def read_suites(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """{table: expectations} of the folder's `<table>.yml` files. Raises DataError if one is not a list of mappings."""
    import yaml

    files = sorted(Path(folder).glob("*.yml"))
    if not files:
        raise DataError(f"{folder}: no expectations here, expected {', '.join(f'{table}.yml' for table in NAMES)}.")
    suites: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        try:
            suite = yaml.safe_load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise DataError(f"{file}: not YAML: {error}") from error
        if not isinstance(suite, list) or not all(isinstance(each, dict) for each in suite):
            raise DataError(f"{file}: expected a list of expectations, each with type and kwargs.")
        suites[file.stem] = suite
    return suites


def validate_sets(
    sets: Mapping[str, Sequence[Episode]],
    suites: Suites,
    docs_dir: str | Path,
    count_tokens: CountTokens = estimated_tokens,
) -> dict[str, Any]:
    """Run every suite over every set and write the Data Docs.

    Gives {"sets": {set: {table: rows}}, "expectations": how many were run, "warnings": [sentence], "docs": index.html}.
    The set called `train` is the one that no other may share a stream with. Raises DataError, after the docs are
    written, naming set, expectation, counts and a sample of the rows for everything critical that failed; before, for
    a suite that cannot be run.
    """
    _check(suites)
    tables = {name: _tables(name, sets, count_tokens) for name in sets}
    critical: list[str] = []
    warnings: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".docs.", dir=_folder(Path(docs_dir).resolve().parent)) as beside:
        site = Path(beside) / "site"
        for name, table, result in _run(tables, suites, site):
            if not result["success"]:
                sentences = warnings if result["expectation_config"].get("severity") == "warning" else critical
                sentences.append(_sentence(name, table, result))
        docs = _swap(site, Path(docs_dir).resolve())
    if critical:
        more = f"\n{len(warnings)} more gave warnings." if warnings else ""
        raise DataError("\n".join(["The data breaks what it must satisfy:", *critical]) + f"{more}\nAll of it: {docs}")
    return {
        "sets": {name: {table: len(frame) for table, frame in each.items()} for name, each in tables.items()},
        "expectations": len(sets) * sum(len(suite) for suite in suites.values()),
        "warnings": warnings,
        "docs": str(docs),
    }


def _tables(name: str, sets: Mapping[str, Sequence[Episode]], count_tokens: CountTokens) -> dict[str, pd.DataFrame]:
    """The rows of one set."""
    import pandas as pd

    trained: Sequence[Episode] = [] if name == "train" else sets.get("train", [])
    ids = {episode.id for episode in trained}
    contents = {_content(episode): episode.id for episode in trained}
    texts = {chunk.text: episode.id for episode in trained for chunk in episode.chunks}
    streams: list[dict[str, Any]] = []
    chunks: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for episode in sets[name]:
        own = [
            {
                "stream": episode.id,
                "index": chunk.index,
                "chars": len(chunk.text.strip()),
                "tokens": count_tokens(chunk.text),
                "questions": len(chunk.questions),
                "trained_in": texts.get(chunk.text),
            }
            for chunk in episode.chunks
        ]
        asked = [(None, question) for question in episode.questions]
        asked += [(chunk.index, question) for chunk in episode.chunks for question in chunk.questions]  # type: ignore[misc]
        streams.append(
            {
                "id": episode.id,
                "source": episode.source,
                "task": episode.task,
                "chunks": len(episode.chunks),
                "questions": len(episode.questions),
                "chunk_questions": len(asked) - len(episode.questions),
                "chars": sum(row["chars"] for row in own),
                "tokens": sum(row["tokens"] for row in own),
                "trained_id": episode.id if episode.id in ids else None,
                "trained_text": contents.get(_content(episode)),
            }
        )
        chunks += own
        questions += [
            {
                "stream": episode.id,
                "id": question.id,
                "chunk": chunk,
                "metric": question.metric,
                "chars": len(question.text.strip()),
                "answers": len(question.answers),
                "answer_chars": max((len(answer) for answer in question.answers), default=0),
                "evidence": len(question.evidence),
                "stale": len(question.stale),
                "first_evidence": min(question.evidence, default=None),
                "last_evidence": max(question.evidence, default=None),
                "chunks": len(episode.chunks),
            }
            for chunk, question in asked
        ]
    rows = {"streams": streams, "chunks": chunks, "questions": questions}
    return {table: pd.DataFrame(found, columns=list(COLUMNS[table])) for table, found in rows.items()}


def _content(episode: Episode) -> str:
    """Digest of what is read, in order; ids and questions do not enter."""
    read = "\0".join(chunk.text for chunk in episode.chunks)
    return hashlib.sha256(read.encode("utf-8", "surrogatepass")).hexdigest()


def _check(suites: Suites) -> None:
    """Raise DataError naming all that could not be run: unknown tables, expectations, columns, keys."""
    _quiet()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    faults: list[str] = []
    for table, suite in suites.items():
        if table not in COLUMNS:
            faults.append(unknown("expectations", table, COLUMNS, "table"))
            continue
        for place, expectation in enumerate(suite):
            where = f"expectations.{table}[{place}]"
            keys = ("type", "kwargs", "severity", "notes")
            faults += [unknown(where, str(key), keys, "key") for key in expectation if key not in keys]
            if expectation.get("type") not in known:
                faults.append(unknown(f"{where}.type", str(expectation.get("type")), known, "expectation"))
            severity = expectation.get("severity", "critical")
            if severity not in SEVERITIES:
                faults.append(unknown(f"{where}.severity", str(severity), SEVERITIES, "severity"))
            kwargs = expectation.get("kwargs", {})
            named = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
            named += kwargs.get("column_list", [])
            strange = [str(each) for each in named if each not in COLUMNS[table]]
            faults += [unknown(where, each, COLUMNS[table], "column") for each in strange]
    if faults:
        raise DataError("\n".join(faults))


def _quiet() -> None:
    """No word to its makers, no progress bars of its own in our output."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)


def _run(
    tables: Mapping[str, Mapping[str, pd.DataFrame]], suites: Suites, site: Path
) -> list[tuple[str, str, dict[str, Any]]]:
    """(set, table, result) of every expectation; the Data Docs of them all in `site`."""
    import great_expectations as gx
    from great_expectations.exceptions import GreatExpectationsError

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(
        "finemem",
        {
            "class_name": "SiteBuilder",
            "site_index_builder": index,
            "store_backend": backend,
            "show_how_to_buttons": False,
        },
    )
    found: list[tuple[str, str, dict[str, Any]]] = []
    built = {}
    for table, suite in suites.items():
        try:
            built[table] = context.suites.add(
                gx.ExpectationSuite(name=table, expectations=[{"kwargs": {}, **each} for each in suite])
            )
        except (GreatExpectationsError, ValueError, TypeError) as error:
            raise DataError(f"expectations.{table}: cannot be built: {error}") from error
    for name, frames in tables.items():
        source = context.data_sources.add_pandas(name)
        for table, suite in built.items():
            batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
            definition = gx.ValidationDefinition(name=f"{name}.{table}", data=batch, suite=suite)
            try:
                result = context.validation_definitions.add(definition).run(
                    batch_parameters={"dataframe": frames[table]},
                    result_format={
                        "result_format": "SUMMARY",
                        "unexpected_index_column_names": NAMES[table],
                        "partial_unexpected_count": SAMPLE,
                    },
                )
            except (GreatExpectationsError, TypeError) as error:  # TypeError: a result that it cannot write as JSON
                raise DataError(f"expectations.{table}: cannot be run on {name}: {error}") from error
            found += [(name, table, each.to_json_dict()) for each in result.results]
    context.build_data_docs(site_names=["finemem"])
    return found


def _sentence(name: str, table: str, result: Mapping[str, Any]) -> str:
    """`train.streams: expect_column_values_to_be_unique(column=id) failed for 2 of 256 rows: id=a; id=b`."""
    config, found = result["expectation_config"], result["result"]
    kwargs = ", ".join(f"{key}={value}" for key, value in config["kwargs"].items() if key != "batch_id")
    head = f"  {name}.{table}: {config['type']}({kwargs})"
    if "unexpected_count" in found:
        rows = [
            ", ".join(f"{column}={row[column]}" for column in NAMES[table] if column in row)
            for row in found.get("partial_unexpected_index_list", [])
        ]
        sample = "; ".join(dict.fromkeys(rows))
        return f"{head} failed for {found['unexpected_count']} of {found['element_count']} rows: {sample}"
    if "observed_value" in found:
        return f"{head} failed: observed {found['observed_value']}"
    return f"{head} could not be evaluated: {_exception(result.get('exception_info') or {})}"


def _exception(info: Mapping[str, Any]) -> str:
    """The message, whether it stands at the top or under the name of a metric."""
    if info.get("exception_message"):
        return str(info["exception_message"])
    return "; ".join(str(each["exception_message"]) for each in info.values() if isinstance(each, Mapping))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _swap(site: Path, docs: Path) -> Path:
    """Put the finished site where the old one stands, if any; the start page."""
    if docs.exists():
        docs.rename(site.parent / "old")
    shutil.move(site, docs)
    return docs / "index.html"
