"""Judges lines of {"schema":.., "value":..} by python3-jsonschema: prints 1 or 0 for each."""
import json
import sys
import warnings

warnings.simplefilter("ignore")
try:
    import jsonschema
except ImportError:
    sys.exit(77)  # the caller skips

for line in open(sys.argv[1], encoding="utf-8"):
    case = json.loads(line)
    print(int(jsonschema.Draft202012Validator(case["schema"]).is_valid(case["value"])))
