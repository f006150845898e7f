"""What is stored where a copy is to be written."""

from collections import Counter
from dataclasses import replace

from poolmgr.copies.order import ORDER, name_of
from poolmgr.core.records import BLOCKS
from poolmgr.store.port import Store, pages


def stored_counts(store: Store, *, timeout_s: float) -> Counter[str]:
    """Count what a copy would replace, by what it is; `timeout_s` is for each page."""
    counts: Counter[str] = Counter()
    for range_ in ORDER:
        for page in pages(store, replace(range_, keys_only=True), timeout_s=timeout_s):
            counts[name_of(range_)] += len(page.items)
    return +counts


def block_since(store: Store, revision: int, *, timeout_s: float) -> str | None:
    """Return the key of a block that was written after a revision; `timeout_s` as above."""
    for range_ in BLOCKS.values():
        for page in pages(store, replace(range_, keys_only=True), timeout_s=timeout_s):
            for key, found in page.items:
                if found.mod_revision > revision:
                    return key
    return None
