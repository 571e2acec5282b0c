"""Addresses of dashboards, filled in from the row that is clicked: every figure leads to what it was made from."""

from __future__ import annotations

TO_TRIALS = (
    "Attempts behind this row",
    "/d/tinywatt-trial?var-run=${__data.fields.run}&var-node=${__data.fields.node}"
    "&var-treatment=${__data.fields.treatment}",
)

TO_TRAINING = ("Epochs and phases of this run", "/d/tinywatt-training?var-run=${__data.fields.run}")

TO_TECHNIQUES = ("Techniques of this run", "/d/tinywatt-techniques?var-run=${__data.fields.run}")

TO_RUN = ("Attempts of this run", "/d/tinywatt-trial?var-run=${__data.fields.run}")

# One attempt and nothing else: the curve of its power is as fine as the panel is wide.
TO_ATTEMPT = (
    "Power of this attempt",
    "/d/tinywatt-trial?var-run=${__data.fields.run}&var-node=${__data.fields.node}"
    "&var-treatment=${__data.fields.treatment}&var-trial=${__data.fields.trial.numeric}"
    "&var-attempt=${__data.fields.attempt.numeric}&var-valid=${valid}"
    "&from=${__data.fields._time.numeric}&to=${__data.fields.ended.numeric}",
)

TO_NODE_NOW = ("Power of the node now", "/d/tinywatt-trial?var-node=${__data.fields.node}")

# What happened on the node at that time, whoever executed what.
TO_NODE_THEN = (
    "Power of the node around this time",
    "/d/tinywatt-trial?var-node=${__data.fields.node}&from=${__data.fields._time.numeric}&to=${__data.fields.until.numeric}",
)


def as_link(link: tuple[str, str]) -> dict[str, object]:
    """A link as Grafana's field configuration holds it."""
    return {"title": link[0], "url": link[1], "targetBlank": False}
