import json
import sys

try:
    import tomllib
except ImportError:
    try:
        from pip._vendor import tomli as tomllib
    except ImportError:
        import tomli as tomllib
with open(sys.argv[1], "rb") as f:
    project = tomllib.load(f).get("project")
found = project if isinstance(project, dict) else {}
print(json.dumps({
    "project": isinstance(project, dict),
    "dynamic": "dependencies" in found.get("dynamic", []),
    "dependencies": found.get("dependencies", []),
}))
