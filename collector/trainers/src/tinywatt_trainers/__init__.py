"""Trainers of tinywatt: commands that train or optimise a model as one metered job.

A trainer reads one JSON file, writes one JSON file by rename with artifacts beside it, logs to standard error, and is
a pure function of its configuration, the hashes of its inputs and its seed. README.md documents the files.
"""
