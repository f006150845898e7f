"""
Copies of everything that is stored: made at one revision, checked whole, written back in steps.

A copy read from a file is kept in a temporary database until all of it is known to be sound;
only then is the first key written. Neither making nor restoring one keeps the data in memory.
"""
