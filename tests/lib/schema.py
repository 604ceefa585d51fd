"""docs/output.schema.json, and what a line has that it does not allow."""
import json
import re

import rig

TYPES = {"string": str, "integer": int, "number": (int, float), "object": dict, "array": list, "null": type(None),
         "boolean": bool}
KNOWN = {"type", "properties", "required", "additionalProperties", "enum", "pattern", "minimum", "items", "anyOf",
         "$ref", "description"}
SCHEMA = json.loads((rig.ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8"))


def faults(value, schema, where="line"):
    """As much of JSON Schema as that file uses; an unknown word in it is a fault, too. `schema`: or a
    definition's name."""
    if isinstance(schema, str):
        schema = SCHEMA["$defs"][schema]
    if "$ref" in schema:
        return faults(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], where)
    found = [f"{where}: the schema says {word}, which this check does not know" for word in schema.keys() - KNOWN]
    if "anyOf" in schema:
        tried = [faults(value, s, where) for s in schema["anyOf"]]
        return found if not all(tried) else found + min(tried, key=len)
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]])
                             or isinstance(value, bool) != (schema["type"] == "boolean")):
        return [*found, f"{where}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not fit {schema['pattern']}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where}: {value!r} is below {schema['minimum']}")
    if isinstance(value, dict):
        found += [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        if schema.get("additionalProperties") is not True and "properties" in schema:
            found.append(f"{where}: members may be added, so additionalProperties is true")
        for name, part in schema.get("properties", {}).items():
            if name in value:
                found += faults(value[name], part, f"{where}.{name}")
    if isinstance(value, list):
        for one in value:
            found += faults(one, schema.get("items", {}), where + "[]")
    return found
