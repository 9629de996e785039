"""holdfast schema."""

import argparse
import json

import pytest

from proxy.cli import schema
from proxy.config.schema import policy_schema


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """So that it can be piped into a file for the editor."""
    parser = argparse.ArgumentParser()
    schema.add_arguments(parser)

    assert schema.run(parser.parse_args([])) == 0
    assert json.loads(capsys.readouterr().out) == policy_schema()
