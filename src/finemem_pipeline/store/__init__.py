"""Where the data folder is kept, when that is not this disk.

`data` in conf/<env>/globals.yml names the place: the folder data/ itself, or another folder (a mounted volume), or a
URL that fsspec knows (s3://bucket/prefix). Nodes work in data/ all the same. With another place, what they need is
fetched from it first, and what they have made is put there under the same name:

    data/06_models/fine_mem-ab12/metrics.jsonl  <->  s3://bucket/prefix/06_models/fine_mem-ab12/metrics.jsonl

Where data/ is the place itself, none of these functions does anything.
"""

from finemem_pipeline.store.mirror import (
    FOLDER,
    Damaged,
    Superseded,
    can_keep,
    check,
    claim,
    claimed,
    drop,
    elsewhere,
    fetch,
    fetch_matching,
    fetch_whole,
    keeping,
    kept_in,
    leaving,
    put,
    put_again,
    put_whole,
    there,
    told,
    whole,
)
from finemem_pipeline.store.places import StoreError

__all__ = [
    "FOLDER",
    "Damaged",
    "StoreError",
    "Superseded",
    "can_keep",
    "check",
    "claim",
    "claimed",
    "drop",
    "elsewhere",
    "fetch",
    "fetch_matching",
    "fetch_whole",
    "keeping",
    "kept_in",
    "leaving",
    "put",
    "put_again",
    "put_whole",
    "there",
    "told",
    "whole",
]
