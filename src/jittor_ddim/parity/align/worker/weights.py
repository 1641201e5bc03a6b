"""The weights that a side is given: whether it reads them tells who sets them."""

from __future__ import annotations

from typing import Any


class Weights(dict):
    """Weights by name, which notes whether anybody reads them."""

    used = False

    def __getitem__(self, key: str) -> Any:
        """Return one, and note it; so do the others."""
        self.used = True
        return super().__getitem__(key)

    def __iter__(self) -> Any:
        self.used = True
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """As of any dictionary; so below."""
        self.used = True
        return super().get(key, default)

    def items(self) -> Any:
        """Return all."""
        self.used = True
        return super().items()

    def values(self) -> Any:
        """Return all."""
        self.used = True
        return super().values()
