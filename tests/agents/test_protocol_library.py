from __future__ import annotations

import subprocess
import sys

READS = """
import sys
from pydantic._internal import _fields
asked = []
read = _fields.extract_docstrings_from_cls
_fields.extract_docstrings_from_cls = lambda *a, **k: asked.append(a) or read(*a, **k)
import {module}
assert "acp.schema" in sys.modules
print(len(asked))
"""


def _sources_read(module: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", READS.format(module=module)], check=True, capture_output=True
    )
    return int(done.stdout)


def test_our_agent_reads_no_source_of_the_protocol_library_when_it_starts() -> None:
    """It is most of what the import costs. A new pydantic may keep that under other names."""
    assert _sources_read("acp.schema") > 100
    assert _sources_read("apps.agents.builtin.server") == 0


def test_models_of_others_are_made_as_ever() -> None:
    program = (
        "import apps.agents.builtin.server, pydantic\n"
        "class Model(pydantic.BaseModel, use_attribute_docstrings=True):\n"
        "    field: int\n"
        '    """A description."""\n'
        "assert Model.__pydantic_complete__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
