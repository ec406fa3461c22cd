"""What holds for all tests: hypothesis sets no deadline, since a shared machine may pause anywhere; modules that stand for a user's own code are
forgotten behind each test."""

import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture(autouse=True)
def users_modules_are_forgotten() -> Iterator[None]:
    """A module in a temporary folder that a test imported, such as `net`, is not the next test's."""
    yield
    folder = f"{tempfile.gettempdir()}/pytest-"
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(folder):
            del sys.modules[name]
