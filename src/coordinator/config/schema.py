"""The JSON schema of the TOML file, for editors and for checks before a deployment.

    python -m coordinator.config.schema > docs/configuration.schema.json

It asks for TOML's own types: a boolean is `true`, not `"yes"`, which the daemon would take as well.
Two things a schema cannot say, and the daemon checks them at its start: whether a duration that is
written with units is too short or too long, and what must hold between settings.
"""

import json
import sys
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from coordinator.config.durations import shown
from coordinator.config.settings import Settings

_SHORTEST_S, _LONGEST_S = 0.01, 604_800
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_UNITS = r"([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+"
_BARE = r"[0-9]+(\.[0-9]+)?"
_ISO = r"P(?=.*[0-9])([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?"
_PORT = r"0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def schema() -> dict[str, Any]:
    """Return the schema of a configuration file."""
    made = Settings.model_json_schema(schema_generator=_AsWritten)
    properties = made["properties"]
    properties["health_tcp"]["pattern"] = rf"^(off|[\s\S]+:{_PORT})$"
    properties["dsn_file"] = {
        "type": "string",
        "description": "a file that holds the DSN; its path is relative to the TOML file",
    }
    return {
        "$schema": _DIALECT,
        **made,
        "title": "agent-coordinator",
        "description": "The TOML file that --config or COORDINATOR_CONFIG names.",
        "not": {"required": ["dsn", "dsn_file"]},
    }


def text() -> str:
    """Return the schema as it is printed."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _AsWritten(GenerateJsonSchema):
    """Durations as people write them; nothing is null, since TOML knows no null."""

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:
        """Describe what `durations.duration` reads."""
        return {
            "anyOf": [
                {"type": "string", "pattern": rf"^\s*({_UNITS}|{_BARE}|{_ISO})\s*$"},
                {
                    "type": "number",
                    "minimum": _SHORTEST_S,
                    "maximum": _LONGEST_S,
                },
            ]
        }

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        """Describe the value alone: what is not set is not there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Name a default where there is one."""
        made = super().default_schema(schema)
        return {key: value for key, value in made.items() if (key, value) != ("default", None)}

    def encode_default(self, dft: Any) -> Any:
        """Write a default as `config show` does."""
        return shown(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    def field_title_should_be_set(self, schema: object) -> bool:
        """The key says it."""
        return False


if __name__ == "__main__":
    sys.stdout.write(text())
