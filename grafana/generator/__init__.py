"""The dashboards, described once: series, columns and panels in, Grafana's JSON out."""

from collections.abc import Callable

from generator import compare, fleet, microcontrollers, techniques, training, trial
from generator.board import Board

DASHBOARDS: list[Callable[[], Board]] = [
    compare.board,
    techniques.board,
    training.board,
    trial.board,
    fleet.board,
    microcontrollers.board,
]
