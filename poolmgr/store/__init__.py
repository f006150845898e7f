"""
The layer that remembers.

It speaks keys, revisions and transactions, never pools and blocks, and decides nothing: it does
not repeat a write, does not repair a value, does not split a transaction. Every failure is one
of the `StoreError`s, and says whether the write may have happened.
"""
