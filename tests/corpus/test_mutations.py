"""Each mutation of a healthy network is named by the right rule at the right layer, on one network that is quick to build.

`python -m benchmarks.calibration mutations` tries them on all their networks.
"""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from benchmarks.mutation import Mutation  # noqa: E402
from benchmarks.mutations import MUTATIONS, audit_of, verdict  # noqa: E402
from trainaudit.judge.rulefile import load_rules  # noqa: E402
from trainaudit.resources import rules_folder  # noqa: E402

QUICK = ("autoencoder", "vae", "nerf", "vit", "siamese", "dlrm", "tcn", "bert_mlm", "mixer", "squeezenet", "resnet")
QUICK_TO_TRAIN = ("autoencoder", "nerf")


def quickest(mutation: Mutation) -> str:
    return next((name for name in QUICK if name in mutation.places), next(iter(mutation.places)))


KNOWN_MISSES = {
    "every normalization dropped, signal vanishes": "residual branches that fade one by one are no segment, and no single gain is far off",
}
"""Mutations that really break the network and that no rule names yet. One that is named must leave this list."""


def listed(mutation: Mutation) -> object:
    reason = KNOWN_MISSES.get(mutation.name)
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(mutation, id=mutation.name, marks=marks)


TRIED = [mutation for mutation in MUTATIONS if not mutation.is_trained or quickest(mutation) in QUICK_TO_TRAIN]


@pytest.mark.parametrize("mutation", [listed(mutation) for mutation in TRIED])
def test_mutation_is_named(mutation: Mutation, tmp_path: Path) -> None:
    name = quickest(mutation)

    audit = audit_of(mutation, name, tmp_path)

    fired = [(finding.rule, finding.root.subject) for finding in audit.findings]
    assert verdict(mutation, mutation.places[name], audit) == "right", f"{name}: {fired}"


def test_mutations_name_rules_that_are_there() -> None:
    rules = {rule.id for rule in load_rules([rules_folder()])}
    assert [mutation.name for mutation in MUTATIONS if not set(mutation.rules) & rules] == []
    assert set(KNOWN_MISSES) <= {mutation.name for mutation in MUTATIONS}
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
