"""
The layer that remembers.

It speaks keys, revisions and transactions, never pools and blocks, and decides nothing: it does
not repeat a write, does not repair a value, does not split a transaction. Failures are
`StoreError`s, whose class tells if the write may have been applied.
"""
