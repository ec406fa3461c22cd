"""trainaudit: will this network train? If not: where does it break, why, and what to change."""

__version__ = "0.1.0"
