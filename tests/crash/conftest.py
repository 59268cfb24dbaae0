"""Places to crash in: the fixtures of the checkpoint's own tests."""

from tests.root.checkpoint.conftest import mounted, own_mounts

__all__ = ["mounted", "own_mounts"]
