"""The vocabulary of the data that a probe read: facts whose source is the examples themselves. No measuring happens here. Stdlib and `fact_spec`."""

from __future__ import annotations

from trainaudit.measure.fact_spec import FactSpec

DATA_FACTS: tuple[FactSpec, ...] = ()
