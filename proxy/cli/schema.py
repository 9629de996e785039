"""`holdfast schema`: the JSON Schema of the policy file, for editors."""

import argparse
import json

from proxy.config.schema import policy_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Prints the JSON Schema of the policy file. In an editor with a YAML language server: "
        "holdfast schema > policy.schema.json, and as the first line of the policy "
        "# yaml-language-server: $schema=policy.schema.json"
    )


def run(args: argparse.Namespace) -> int:
    print(json.dumps(policy_schema(), indent=2, ensure_ascii=False))
    return 0
