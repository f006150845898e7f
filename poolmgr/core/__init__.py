"""
The layer that decides.

Everything here is a pure function of its arguments: no IO, no clock, no randomness, no logging.
Values are frozen; a change is a new value. "I need to know more" is a return value
(`txn.Fetch`), and so is a refusal.
"""
