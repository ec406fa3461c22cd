"""trainaudit: will this network train? If not: where does it break, why, and what to change.

    import trainaudit

    result = trainaudit.audit(model, torch.randn(8, 3, 32, 32), loss="cross-entropy")   # or trainaudit.audit("model.onnx")
    for finding in result.findings:
        print(finding.severity, finding.rule, finding.root.message)
    trainaudit.probe_model(model, data=loader, loss=nn.CrossEntropyLoss(), time_budget=30)   # trains a copy of it

Names are loaded when they are first used, so that `import trainaudit` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainaudit.auditing import audit
    from trainaudit.errors import TrainauditError
    from trainaudit.probing import probe_model
    from trainaudit.result import Audit, Finding, Run

__version__ = "0.1.0"

__all__ = ["Audit", "Finding", "Run", "TrainauditError", "__version__", "audit", "probe_model"]

_HOMES = {
    "audit": "trainaudit.auditing",
    "probe_model": "trainaudit.probing",
    "Audit": "trainaudit.result",
    "Finding": "trainaudit.result",
    "Run": "trainaudit.result",
    "TrainauditError": "trainaudit.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trainaudit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
