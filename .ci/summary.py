#!/usr/bin/env python3
"""summary.py COUNTS: reads `go test -json` (and whatever else is in the stream), shows it as people want it,
and writes the counts. A test that was skipped is listed with its reason."""
import collections
import json
import sys

output = collections.defaultdict(list)
passed = failed = 0
skipped = []
for line in sys.stdin:
    try:
        event = json.loads(line)
        action, package, test = event["Action"], event.get("Package", event.get("ImportPath", "")), event.get("Test")
    except (ValueError, KeyError, TypeError):
        print(line, end="", flush=True)
        continue
    key = (package, test)
    if action in ("output", "build-output"):
        output[key].append(event["Output"])
    elif action == "build-fail":
        print("".join(output.pop(key, [])), flush=True)
    elif action in ("pass", "fail", "skip"):
        text = "".join(output.pop(key, []))
        if test is None:
            if action == "fail":
                print(text, end="")
                failed += "[build failed]" in text or "panic:" in text or "[setup failed]" in text
            print(f"{action:4} {package} {event.get('Elapsed', 0):.1f}s", flush=True)
        elif action == "fail":
            failed += 1
            print(f"---- {package} {test}\n{text}", flush=True)
        elif action == "skip":
            reason = [l.strip() for l in text.splitlines() if l.strip() and not l.startswith(("=== ", "--- "))]
            skipped.append(f"{package}.{test}: {' '.join(reason)}")
        else:
            passed += 1
for s in skipped:
    print("skip", s)
counts = f"{passed} passed, {failed} failed, {len(skipped)} skipped"
print("tests:", counts)
with open(sys.argv[1], "w") as f:
    f.write(counts)
sys.exit(failed > 0)
