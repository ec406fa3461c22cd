"""Settings of all tests: hypothesis sets no deadline, since a shared machine may pause anywhere."""

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
