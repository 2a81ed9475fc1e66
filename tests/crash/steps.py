"""Counts the steps of commands: ``python -m tests.crash.steps NAME…``."""

from __future__ import annotations

import json
import sys

from tests.crash import scenarios


def main() -> None:
    """Do it for the scenarios that are named."""
    for scenario in scenarios.chosen(sys.argv[1:]):
        with scenarios.staged(scenario) as stage:
            stage.reset()
            ended = stage.watched()
            assert ended.status == scenario.ends, stage.said()
            print(json.dumps([scenario.name, {"steps": len(ended.calls)}]), flush=True)


if __name__ == "__main__":
    main()
