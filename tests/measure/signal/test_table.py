"""The table of rules says of each file what the file itself says, and a graph imports no others."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from trainaudit.ir.ops import Op
from trainaudit.measure.signal import table


def test_every_file_of_rules_is_listed_with_its_ops() -> None:
    folder = Path(table.__file__).parent
    with_rules = {path.stem for path in folder.glob("*.py") if "\nRULES" in path.read_text(encoding="utf-8")}
    assert set(table.FILES) == with_rules
    for name, ops in table.FILES.items():
        assert import_module(f"trainaudit.measure.signal.{name}").RULES.keys() == ops
    covered = [op for ops in table.FILES.values() for op in ops]
    assert len(covered) == len(set(covered))


def test_a_graph_gets_the_rules_of_its_ops() -> None:
    rules = table.rules_for({Op.LINEAR, Op.LSTM, Op.OTHER})
    assert {Op.LINEAR, Op.LSTM} <= rules.keys()
    assert not {Op.OTHER, Op.CONV} & rules.keys()


def test_files_that_no_op_asks_for_are_not_imported() -> None:
    program = (
        "import sys; from trainaudit.ir.ops import Op; from trainaudit.measure.signal.table import rules_for; "
        "rules_for({Op.LINEAR}); print([name for name in sys.modules if name.endswith(('.dense', '.recurrence', '.attention'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['trainaudit.measure.signal.dense']"
