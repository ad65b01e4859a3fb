"""Runs pip with the conditions of requirements as they are on another machine. Arguments: those as JSON, then pip's."""
import sys

sys.path.pop(0)  # the directory of this file: only pip's own modules count

import json
import runpy

target = json.loads(sys.argv[1])
try:
    from pip._vendor.packaging import markers
    here = markers.default_environment

    def there():
        found = here()
        found.update(target)
        return found

    markers.default_environment = there
except (ImportError, AttributeError) as error:  # a distribution may have taken it out of pip
    sys.stderr.write("warning: conditions of requirements are those of this machine: %s\n" % error)
sys.argv[:] = ["pip"] + sys.argv[2:]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
