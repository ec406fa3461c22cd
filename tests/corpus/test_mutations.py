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

QUICK = ("autoencoder", "nerf", "vit", "siamese", "dlrm", "tcn", "bert_mlm", "mixer", "squeezenet", "resnet")
SLOW_TO_TRAIN = ("resnet", "vgg_bn")


def quickest(mutation: Mutation) -> str:
    return next((name for name in QUICK if name in mutation.places), next(iter(mutation.places)))


TRIED = [mutation for mutation in MUTATIONS if not (mutation.is_trained and quickest(mutation) in SLOW_TO_TRAIN)]


@pytest.mark.parametrize("mutation", TRIED, ids=lambda mutation: mutation.name)
def test_mutation_is_named(mutation: Mutation, tmp_path: Path) -> None:
    name = quickest(mutation)

    audit = audit_of(mutation, name, tmp_path)

    fired = [(finding.rule, finding.root.subject) for finding in audit.findings]
    assert verdict(mutation, mutation.places[name], audit) == "right", f"{name}: {fired}"


def test_mutations_name_rules_that_are_there() -> None:
    rules = {rule.id for rule in load_rules([rules_folder()])}
    assert [mutation.name for mutation in MUTATIONS if not set(mutation.rules) & rules] == []
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
