"""Addresses of dashboards, filled in from the row that is clicked, so that every figure leads to what it was made from."""

from __future__ import annotations

# A run's points lie at its start, so its samples lie after it.
SINCE_START = "from=${__data.fields._time.numeric}&to=now"

TO_TRIALS = (
    "Attempts behind this row",
    "/d/tinywatt-trial?var-run=${__data.fields.run}&var-node=${__data.fields.node}"
    f"&var-treatment=${{__data.fields.treatment}}&{SINCE_START}",
)

TO_TRAINING = ("Epochs and phases of this run", f"/d/tinywatt-training?var-run=${{__data.fields.run}}&{SINCE_START}")

TO_TECHNIQUES = ("Techniques of this run", f"/d/tinywatt-techniques?var-run=${{__data.fields.run}}&{SINCE_START}")

TO_RUN = ("Attempts of this run", f"/d/tinywatt-trial?var-run=${{__data.fields.run}}&{SINCE_START}")

# One attempt and nothing else: the curve of its power is as fine as the panel is wide.
TO_ATTEMPT = (
    "Power of this attempt",
    "/d/tinywatt-trial?var-run=${__data.fields.run}&var-node=${__data.fields.node}"
    "&var-treatment=${__data.fields.treatment}&var-trial=${__data.fields.trial.numeric}"
    "&var-attempt=${__data.fields.attempt.numeric}&var-valid=${valid}"
    "&from=${__data.fields._time.numeric}&to=${__data.fields.ended.numeric}",
)

# The node's power in the time that is shown.
TO_NODE_NOW = ("Power of the node", "/d/tinywatt-trial?var-node=${__data.fields.node}&${__url_time_range}")

# What happened on the node at that time, whoever executed what.
TO_NODE_THEN = (
    "Power of the node around this time",
    "/d/tinywatt-trial?var-node=${__data.fields.node}&from=${__data.fields._time.numeric}&to=${__data.fields.until.numeric}",
)


def as_link(link: tuple[str, str]) -> dict[str, object]:
    """A link as Grafana's field configuration holds it."""
    return {"title": link[0], "url": link[1], "targetBlank": False}
