"""What a manager's reply says: its operations, and the fragments that are none.

The wire format is a JSON list, `[{"op": "INSERT", "content": "…"}, {"op": "DELETE", "id": "m3"}]`. Models write
prose and fences around it, misquote it and are cut off in the middle, so the reply is read by a small reader of
its own instead of `json`: one pass from left to right that never goes back, hence linear in the length of the
reply, and without recursion.

What counts, where the reply leaves a choice:
- `[]` means SKIP: its operations are `(Skip(),)`.
- The last list counts, and a bare object is a list of one. A list that holds no object at all (`[1]`, a footnote)
  and a bare object without `op` count only if there is nothing better.
- A closed `<think>…</think>` is passed over; all that stands before a `</think>` without its opening was thought;
  after a `<think>` that never closes nothing is read.
- Fields that an operation does not have are ignored, and a comma may be missing between objects.
- A broken object is one malformed fragment; reading goes on at the next object of its list, if there is one.
- Half a surrogate pair becomes U+FFFD, so that every text read here can be written as UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from finemem_pipeline.memory.operations import Delete, Insert, Operation, Parsed, Skip, Update

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(r"-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+|true|false|null")
_SPACE = re.compile(r"\s*+")
_COLON = re.compile(r"\s*+:\s*+")
_AFTER_VALUE = re.compile(r"\s*+(?:(\})|,\s*+)")
_BETWEEN_ENTRIES = re.compile(r"[\s,]*+")
_LOOSE = re.compile(r'.[^,\[\]{}"<]*+', re.DOTALL)
_STRING_OR_BRACKET = re.compile(_STRING.pattern + r'|["\[\]{}]', re.DOTALL)
_END_THOUGHT = "</think>"

_ENTRY = r'[\]{"]|-?[0-9]|true\b|false\b|null\b'
_START = re.compile(rf'\[\s*+(?={_ENTRY}|\[)|\{{\s*+(?=["}}])|</?think>')
_START_FLAT = re.compile(rf'\[\s*+(?={_ENTRY})|\{{\s*+(?=["}}])|</?think>')  # a list does not begin with a list
_NEXT_ENTRY = re.compile(rf"(\}})(?:\s*+,?+\s*+(?=\{{)|\s*+(?=\]))|(?={_END_THOUGHT})")
_CLOSING_BRACE = re.compile(rf"\}}|{_END_THOUGHT}")

_WRONG = object()  # a value that no field of an operation may have
_SHOWN = 200  # characters of a malformed fragment that are kept
_ID = re.compile(r"[mM]?([0-9]++)")


@dataclass(frozen=True, slots=True)
class _Found:
    """One list of the reply."""

    operations: tuple[Operation, ...]
    malformed: tuple[str, ...]
    meant: bool  # false: it may be no list of operations at all


def parse_operations(text: str) -> Parsed:
    """The operations a reply asks for, in order, and its malformed fragments. Never raises; linear in `text`.

    A reply without any list or object is one malformed fragment, so operations and fragments are never both empty.
    """
    text = _whole_characters(text)
    meant: _Found | None = None
    otherwise: _Found | None = None
    start_of = _START
    at = 0
    while start := start_of.search(text, at):
        at = start.end()
        found: _Found | None
        if start[0] == "<think>":
            closed = text.find(_END_THOUGHT, at)
            if closed < 0:
                break
            at = closed + len(_END_THOUGHT)
            continue
        if start[0] == _END_THOUGHT:
            meant = otherwise = None
            continue
        if start[0][0] == "[":
            found, at = _read_list(text, at, nested=start_of is _START)
            if found is None:  # a list in front that never closes: only its insides are worth a look
                start_of = _START_FLAT
                continue
        else:
            found, at = _read_bare_object(text, start.start())
        if found.meant:
            meant = found
        else:
            otherwise = found
    found = meant or otherwise
    if found is None:
        return Parsed((), (_fragment("no list of operations", text),))
    return Parsed(found.operations, found.malformed)


def format_operations(operations: Sequence[Operation]) -> str:
    """The wire format of `operations`: `parse_operations` reads it back."""
    return _whole_characters(json.dumps([_fields(operation) for operation in operations], ensure_ascii=False))


def _fields(operation: Operation) -> dict[str, str]:
    match operation:
        case Insert(text):
            return {"op": "INSERT", "content": text}
        case Update(item_id, text):
            return {"op": "UPDATE", "id": item_id, "content": text}
        case Delete(item_id):
            return {"op": "DELETE", "id": item_id}
        case Skip():
            return {"op": "SKIP"}


def _read_list(text: str, at: int, *, nested: bool) -> tuple[_Found | None, int]:
    """The list whose first entry, or closing bracket, stands at `at`, and where reading goes on.

    None if no object has been seen and an entry is a list that never closes (or, unless `nested`, any list).
    """
    if text[at] == "]":
        return _Found((Skip(),), (), meant=True), at + 1
    operations: list[Operation] = []
    malformed: list[str] = []
    objects = False
    while (at := _BETWEEN_ENTRIES.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        if text[at] == "]":
            at += 1
            break
        if text.startswith(_END_THOUGHT, at):
            break
        if text[at] == "{":
            objects = True
            fields, end, whole = _read_object(text, at)
            if whole:
                operation = _operation(fields)
                if isinstance(operation, str):
                    malformed.append(_fragment(operation, text[at:end]))
                else:
                    operations.append(operation)
                at = end
                continue
            until, after = _next_entry(text, end)
            malformed.append(_fragment("not JSON", text[at:until]))
            at = after
            continue
        if text[at] == '"':
            string = _STRING.match(text, at)
            end = string.end() if string else len(text)
        elif text[at] == "[":
            end = _skip(text, at) if nested or objects else -1
            if end < 0 and not objects:
                return None, at
            end = end if end >= 0 else len(text)
        else:
            end = _LOOSE.match(text, at).end()  # type: ignore[union-attr]
        malformed.append(_fragment("not an object", text[at:end]))
        at = end
    return _Found(tuple(operations), tuple(malformed), meant=objects), at


def _next_entry(text: str, at: int) -> tuple[int, int]:
    """Where the object that broke at `at` ends, as far as one can tell, and where its list goes on."""
    if text.startswith("]", at):
        return at, at
    again = _NEXT_ENTRY.search(text, at)
    return (again.start() + len(again[1] or ""), again.end()) if again else (len(text), len(text))


def _read_bare_object(text: str, at: int) -> tuple[_Found, int]:
    """The object at `at` as a list of one, and where reading goes on."""
    fields, end, whole = _read_object(text, at)
    meant = "op" in fields
    if whole:
        operation = _operation(fields)
        if isinstance(operation, str):
            return _Found((), (_fragment(operation, text[at:end]),), meant), end
        return _Found((operation,), (), meant), end
    closing = _CLOSING_BRACE.search(text, end)
    until = len(text) if closing is None else closing.end() if closing[0] == "}" else closing.start()
    return _Found((), (_fragment("not JSON", text[at:until]),), meant), until


def _read_object(text: str, at: int) -> tuple[dict[str, object], int, bool]:
    """The fields of the object at `at`, where reading stopped, and whether it was whole."""
    fields: dict[str, object] = {}
    at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]
    if text.startswith("}", at):
        return fields, at + 1, True
    while True:
        key = _STRING.match(text, at)
        if key is None:
            return fields, len(text) if text.startswith('"', at) else at, False
        colon = _COLON.match(text, key.end())
        if colon is None:
            return fields, key.end(), False
        value, at, whole = _read_value(text, colon.end())
        name = _decode(key[0])
        if whole and isinstance(name, str):
            fields[name] = value
        after = _AFTER_VALUE.match(text, at) if whole else None
        if after is None:
            return fields, at, False
        at = after.end()
        if after[1]:
            return fields, at, True


def _read_value(text: str, at: int) -> tuple[object, int, bool]:
    """The value at `at`, where reading stopped, and whether it was whole.

    What is neither a text nor a whole number comes as `_WRONG`; the inside of a list or an object is not looked at.
    """
    if text.startswith('"', at):
        string = _STRING.match(text, at)
        return (_decode(string[0]), string.end(), True) if string else (_WRONG, len(text), False)
    if text.startswith(("{", "["), at):
        end = _skip(text, at)
        return (_WRONG, end, True) if end >= 0 else (_WRONG, len(text), False)
    scalar = _SCALAR.match(text, at)
    if scalar is None:
        return _WRONG, at, False
    number = scalar[0].isdigit() and len(scalar[0]) <= 18
    return int(scalar[0]) if number else _WRONG, scalar.end(), True


def _skip(text: str, at: int) -> int:
    """The end of the list or object at `at`, found by its brackets alone; -1 if it never closes."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text, at):
        kind = token[0]
        if kind in "[{":
            depth += 1
        elif kind in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
        elif kind == '"':  # a string that never closes
            return -1
    return -1


def _decode(string: str) -> object:
    """The text of a JSON string; `_WRONG` if an escape in it is none. Line breaks may stand as they are."""
    if "\\" not in string:
        return string[1:-1]
    try:
        return _whole_characters(json.loads(string, strict=False))
    except ValueError:
        return _WRONG


def _operation(fields: dict[str, object]) -> Operation | str:
    """The operation these fields spell, or why they spell none."""
    name = fields.get("op")
    if not isinstance(name, str):
        return "no op" if name is None else "op is not a text"
    name = name.strip().upper()
    spelt: Operation | str
    match name, fields.get("content"), _item_id(fields.get("id")):
        case "SKIP", _, _:
            spelt = Skip()
        case "INSERT", str(content), _:
            spelt = Insert(content)
        case "UPDATE", str(content), str(item_id):
            spelt = Update(item_id, content)
        case "DELETE", _, str(item_id):
            spelt = Delete(item_id)
        case "INSERT" | "UPDATE" | "DELETE", _, _:
            spelt = f"{name} lacks " + (
                "content" if name == "INSERT" else "id" if name == "DELETE" else "id or content"
            )
        case _:
            spelt = "unknown op"
    return spelt


def _item_id(value: object) -> str | None:
    """ "m3", "M3", "3" and 3 are all "m3"; any other text stands for itself, and no bank will know it."""
    if isinstance(value, int):
        return f"m{value}"
    if not isinstance(value, str) or not value.strip():
        return None
    number = _ID.fullmatch(value.strip())
    return f"m{number[1].lstrip('0') or '0'}" if number else value.strip()


def _fragment(reason: str, text: str) -> str:
    return f"{reason}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def _whole_characters(text: str) -> str:
    """`text` with pairs of surrogates joined and single ones replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
