"""Report the known vulnerabilities of the oldest versions that setup.cfg allows, and of those that pip installs today.

    python .ci/report_vulnerabilities.py SITE_PACKAGES     # the folder with today's versions

pip-audit asks PyPI (or, with PIP_AUDIT_VULNERABILITY_SERVICE=osv, OSV). It never fails: a new report somewhere else is
no fault of the commit that is checked, and a machine without network has no data.
"""

import json
import subprocess
import sys
from pathlib import Path

OLDEST = Path(__file__).parent / "oldest.txt"
PATIENCE = 120  # seconds
AUDIT = ["-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]


def report(title: str, *which: str) -> None:
    """Print one line a vulnerability of these packages, and which of them nothing is known of."""
    try:
        command = [sys.executable, *AUDIT, *which]  # its exit code is 1 where it finds something
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"{title}: no answer in {PATIENCE} seconds")
        return
    except (ValueError, KeyError):
        print(f"{title}: pip-audit reported nothing: {done.stderr.strip().splitlines()[-1:]}")
        return
    unknown = [package["name"] for package in packages if "vulns" not in package]
    found = [(package, vulnerability) for package in packages for vulnerability in package.get("vulns", [])]
    print(f"{title}: {len(found)} known in {len(packages) - len(unknown)} packages")
    for package, vulnerability in found:
        names = " ".join([vulnerability["id"], *vulnerability.get("aliases", [])])
        fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no release"
        print(f"  {package['name']} {package['version']}: {names}; fixed in {fixed}")
    if unknown:
        print(f"  no data for {len(unknown)}: {', '.join(unknown)}")


report("Oldest versions", "--requirement", str(OLDEST), "--no-deps", "--disable-pip")
report("Today's versions", "--path", sys.argv[1])
