"""The options that limit a clear, such as ``max_task_instances``. ``input_limits`` limits the inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The options that bound a clear; a number of 0 or less never takes effect."""

    confirm_above: int = 0
    max_task_instances: int = 0
    require_reason: bool = False
    protected: tuple[str, ...] = ()
    approve_above: int = 0

    def config_source(self, option: str) -> str:
        """Return the option as ``airflow.cfg`` writes it."""
        value = getattr(self, option)
        written = " ".join(value) if isinstance(value, tuple) else str(value)
        return f"[safe_clear] {option} = {written}" if written else f"[safe_clear] {option}"
