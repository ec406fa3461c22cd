"""Changes that are made on a copy of a torch model and to how it is trained: `applying.apply`."""
