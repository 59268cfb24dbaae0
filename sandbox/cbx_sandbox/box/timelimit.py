"""When a command's time is up. The time for which it is frozen is not its own. Pure."""

from __future__ import annotations


class TimeLimit:
    """A limit in seconds, None for none, from ``began`` on by the clock of whoever asks."""

    def __init__(self, seconds: float | None, began: float) -> None:
        self._end = None if seconds is None else began + seconds
        self._frozen_since: float | None = None

    def freeze(self, now: float, *, on: bool) -> None:
        """Stand still, or go on. Twice is as good as once."""
        if on:
            self._frozen_since = now if self._frozen_since is None else self._frozen_since
        elif self._frozen_since is not None:
            self._end = None if self._end is None else self._end + now - self._frozen_since
            self._frozen_since = None

    @property
    def end(self) -> float | None:
        """When it is up; None: never, or not as long as it stands still."""
        return self._end if self._frozen_since is None else None

    def over(self, now: float) -> bool:
        """Whether it is up."""
        return self.end is not None and now >= self.end
