"""The part of the SARIF 2.1.0 schema that a trainaudit file uses, written from the OASIS specification: names, types, closed objects."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}


def record(required: list[str], **properties: Any) -> dict[str, Any]:
    """A closed object: a misspelt property is an error."""
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def listed(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


MESSAGE = record(["text"], text=TEXT)
MULTIFORMAT = record(["text"], text=TEXT, markdown=TEXT)
BAG = {"type": "object", "properties": {"tags": listed(TEXT, uniqueItems=True)}}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
# A URI reference: no spaces, no backslashes, no control characters, percent signs only before two hexadecimal digits.
URI = {"type": "string", "pattern": r"^(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+$"}
ARTIFACT_LOCATION = record(["uri"], uri=URI, uriBaseId=TEXT)
POSITIVE = {"type": "integer", "minimum": 1}
REGION = record(
    ["startLine", "startColumn", "endLine", "endColumn"],
    startLine=POSITIVE,
    startColumn=POSITIVE,
    endLine=POSITIVE,
    endColumn=POSITIVE,
)
PHYSICAL = record(["artifactLocation", "region"], artifactLocation=ARTIFACT_LOCATION, region=REGION)
LOGICAL = record(["fullyQualifiedName"], name=TEXT, fullyQualifiedName=TEXT, kind=TEXT)
LOCATION = record(
    ["physicalLocation"],
    id={"type": "integer", "minimum": 0},
    physicalLocation=PHYSICAL,
    logicalLocations=listed(LOGICAL, uniqueItems=True),
    message=MESSAGE,
)
RULE = record(
    ["id", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"],
    id=TEXT,
    name=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    help=MULTIFORMAT,
    helpUri={**URI, "pattern": r"^https://"},
    defaultConfiguration=record(["level"], level=LEVEL),
    properties=BAG,
)
RESULT = record(
    ["ruleId", "message", "locations", "partialFingerprints", "level"],
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    level=LEVEL,
    kind={"const": "fail"},
    message=MESSAGE,
    locations=listed(LOCATION, minItems=1),
    relatedLocations=listed(LOCATION, uniqueItems=True),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    properties=BAG,
)
NOTIFICATION = record(["message"], level=LEVEL, message=MESSAGE, associatedRule=record(["id"], id=TEXT))
ARTIFACT = record(
    ["location"],
    location=ARTIFACT_LOCATION,
    length={"type": "integer", "minimum": 0},
    mimeType={"type": "string", "pattern": "^[^/]+/.+$"},
    roles=listed({"enum": ["analysisTarget"]}, uniqueItems=True),
    hashes={"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
)
RUN = record(
    ["tool", "results"],
    tool=record(
        ["driver"],
        driver=record(["name"], name=TEXT, version=TEXT, semanticVersion=TEXT, rules=listed(RULE, uniqueItems=True)),
    ),
    automationDetails=record(["id"], id=TEXT),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    originalUriBaseIds={"type": "object", "additionalProperties": record([], description=MESSAGE)},
    artifacts=listed(ARTIFACT, uniqueItems=True),
    invocations=listed(
        record(
            ["executionSuccessful"],
            executionSuccessful={"type": "boolean"},
            commandLine={"type": "string"},
            toolExecutionNotifications=listed(NOTIFICATION),
        )
    ),
    results=listed(RESULT),
)
SCHEMA = record(
    ["version", "runs", "$schema"], **{"$schema": URI}, version={"const": "2.1.0"}, runs=listed(RUN, minItems=1)
)
