"""Start the agent on this process's standard input and output.

The process may be started by this file's path under `python -P`: then nothing has put the install
directory on `sys.path`. It goes to the end, and the working directory never goes there, so a
repository with an `apps` package or a `json.py` of its own changes nothing.
"""

import sys
from pathlib import Path


def main() -> int:
    install = str(Path(__file__).resolve().parents[3])
    if install not in sys.path:
        sys.path.append(install)
    from apps.agents.builtin.server import serve

    return serve()


if __name__ == "__main__":
    raise SystemExit(main())
