"""`trainaudit rule new`: a rule file and its model pair, ready to be filled in. May import `judge.rulefile`, `measure.catalog` and `errors`."""

from __future__ import annotations

import re
from pathlib import Path

from trainaudit.errors import TrainauditError

_RULE = '''id = "{id}"
name = "TODO: one line that says what is wrong"
severity = "warning"                      # error | warning | note: by what it does to training, not by style
confidence = "medium"                     # high | medium | low: how often it is right when it fires
status = "preview"                        # preview | stable | deprecated
since = "{since}"
recipe = "2.init-well"                    # the step of the recipe that it belongs to
subject = "layer"                         # model | input | output | block | segment | layer | parameter
applies_to = "layer.op == 'linear'"       # TODO: where the question makes sense
when = "layer.gain > limit"               # TODO: what is wrong; `trainaudit fact list` shows the vocabulary
message = "{{layer.name}} has a gain of {{layer.gain}}: TODO so what."
why = """
TODO: the mechanism, then the consequence for training.
"""

[thresholds.limit]
value = 2
unit = "ratio"
because = "TODO: one sentence with its source"

[fix]
summary = "TODO: what to change."
safety = "changes-training"               # advice-only | changes-training | changes-architecture
torch = """
nn.init.xavier_normal_({{layer.code}}.weight)  # TODO
"""

[[references]]
title = "TODO"
url = "https://TODO"

[[examples.bad]]
"layer.op" = "linear"
"layer.gain" = 3.0

[[examples.good]]
"layer.op" = "linear"
"layer.gain" = 1.0

[[examples.not_applicable]]
"layer.op" = "conv"
"layer.gain" = 3.0
'''

_MODEL = '''"""{what}"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
{violates}

def build(path: str) -> None:
    """Write the model."""
    random = np.random.default_rng(0)
    weight = ({scale} * random.standard_normal((16, 16))).astype(np.float32)  # TODO: {todo}
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "fc.weight"], ["y"], name="/fc/Gemm", transB=1)],
        "{id}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])],
        [numpy_helper.from_array(weight, "fc.weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
'''

_VIOLATES = '''
VIOLATES = ("fc",)
"""Subjects on which the rule is violated. TODO"""
'''


def new_rule(name: str, rules: Path, tests: Path, since: str) -> tuple[Path, ...]:
    """Write `rules/<category>/<id>.toml` and `tests/<id>/bad.py` and `good.py` for `name` = "category/the-bad-state".

    Returns the files written. Raises `TrainauditError` where the name is malformed or one of the files is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*/[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise TrainauditError(
            "bad-rule-name",
            f'"{name}" does not name a rule.',
            "Write category/the-bad-state, in lower case with hyphens.",
        )
    category, rule_id = name.split("/")
    files = {
        rules / category / f"{rule_id}.toml": _RULE.format(id=rule_id, since=since),
        tests / rule_id / "bad.py": _MODEL.format(
            id=rule_id,
            what=f"The smallest model on which {rule_id} fires.",
            todo="the fault",
            violates=_VIOLATES,
            scale="1.0",
        ),
        tests / rule_id / "good.py": _MODEL.format(
            id=rule_id,
            what="The same model with the fix, and nothing else.",
            todo="the repair",
            violates="",
            scale="0.25",
        ),
    }
    taken = [path for path in files if path.exists()]
    if taken:
        raise TrainauditError("rule-exists", f"{taken[0]} is there already.", "Choose another name, or edit it.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tuple(files)
