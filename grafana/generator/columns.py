"""Columns that several dashboards share, so that one figure has one name everywhere."""

from __future__ import annotations

from generator.flux import Column

RUN = Column("run", "Run", width=150)
NODE = Column("node", "Node", width=120)
KIND = Column("kind", "Kind")
TREATMENT = Column("treatment", "Treatment", width=190)
FAMILY = Column("family", "Model", width=110)
FRAMEWORK = Column("framework", "Framework", width=110)
TECHNIQUE = Column("technique", "Technique", width=140)
STARTED = Column("_time", "Started", width=160)

PER_INFERENCE = [
    Column("joules_per_inference", "Energy per inference"),
    Column("joules_per_inference_interval95_half_width", "± 95 % t"),
    Column("joules_per_inference_expanded_uncertainty", "± k = 2"),
]

ABOVE_IDLE = [
    Column("joules_per_inference_above_idle", "Above idle"),
    Column("joules_per_inference_above_idle_interval95_half_width", "± 95 % t, above idle"),
    Column("joules_per_inference_above_idle_expanded_uncertainty", "± k = 2, above idle"),
]

PER_CORRECT = [
    Column("joules_per_correct_inference", "Per correct inference"),
    Column("joules_per_correct_inference_interval95_half_width", "± 95 % t, per correct"),
    Column("joules_per_correct_inference_expanded_uncertainty", "± k = 2, per correct"),
]

INTERVALS = (
    "± 95 % t is the t interval of the mean over replicates: how much trials scatter. ± k = 2 is the expanded "
    "uncertainty of the sensor: how far all replicates may be off together. Neither holds the other."
)

KINDS_APART = "Figures of different kinds (measured, measured elsewhere, estimated, simulated) are never averaged."
