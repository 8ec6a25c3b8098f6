"""Runs: the states of a run, and its conduct towards other runs."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """How a run stands, or how it ended."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LEFT = "left"
    """It did nothing, because another one was at work on its images."""
    KILLED = "killed"
    """It ended without a word: killed, or the host went down."""


class IfBusy(StrEnum):
    """The conduct of a run when another one is at work on its images."""

    SHARE = "share"
    """Begin at once; a task waits for the other run's same task and takes what that has made."""
    WAIT = "wait"
    """Begin when the others are over."""
    LEAVE = "leave"
    """Do nothing, and say so."""
