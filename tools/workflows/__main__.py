"""Makes the example workflows and the blueprints.

    python -m tools.workflows build         the graphs, from tools/workflows
    python -m tools.workflows thumbnails    their pictures, by running them on a ComfyUI server
    python -m tools.workflows record        what ComfyUI says of the nodes in use, after a change of theirs

The last two start the ComfyUI that the tests use (see tests/comfy/host.py).
"""

from __future__ import annotations

import argparse

from . import subgraph
from .blueprints import BLUEPRINTS
from .catalogue import WORKFLOWS
from .write import write


def build() -> None:
    """Write both formats of every workflow, and the blueprints."""
    for make in WORKFLOWS.values():
        write(make())
    for blueprint in BLUEPRINTS:
        subgraph.write(blueprint())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.workflows", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="write the graphs")
    commands.add_parser("record", help="record the node classes in use from a ComfyUI server")
    thumbnails = commands.add_parser("thumbnails", help="run the graphs and save their pictures")
    thumbnails.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(WORKFLOWS)}; all without one")
    arguments = parser.parse_args()
    if arguments.command == "build":
        build()
        return
    from . import served

    if arguments.command == "record":
        served.record()
    else:
        served.thumbnails(arguments.names or list(WORKFLOWS))


if __name__ == "__main__":
    main()
