"""
The layer that decides.

What comes out depends on the arguments alone: code here does no IO, logs nothing and knows
neither the time nor chance. Values are frozen. A plan that lacks facts returns which
(`txn.Fetch`); a refusal is returned as well.
"""
