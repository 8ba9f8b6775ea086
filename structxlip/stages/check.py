"""Stage `check`: new pairs are compared with old ones before anything is trained on them."""

from __future__ import annotations

import json
from dataclasses import asdict

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA, MODELS, REPORTS, atomic_files
from structxlip.progress import say
from structxlip.tracking.champion import SEEN
from structxlip.tracking.data_check import Finding, check_pairs, check_share
from structxlip.tracking.new_pairs import numbers, sample
from structxlip.tracking.split import Seen

# What depends on the check depends on this file, which never changes: other numbers train nothing.
PASSED = "checked"


def check(params: Params, dataset: str) -> None:
    """Check the pairs, and write the findings.

    Raises ``UserError`` when a check stops; the findings are then in ``data_check.stopped.json``.
    """
    findings = _findings(params, dataset)
    content = json.dumps([asdict(finding) for finding in findings], indent=2) + "\n"
    for finding in findings:
        if not finding.passed and finding.action == "warn":
            say(f"check {dataset}: warning: {finding.told} (data_check.{finding.name})")
    reports, stopped = REPORTS / dataset, [finding for finding in findings if finding.stops]
    refused = reports / "data_check.stopped.json"
    if stopped:
        reports.mkdir(parents=True, exist_ok=True)
        refused.write_text(content)
        raise UserError(
            f"{stopped[0].told}, more than data_check.{stopped[0].name} allows, so nothing is "
            f"trained; mend the data (`structxlip inspect {dataset}` shows it), or set the action "
            f"of this check to warn"
        )
    refused.unlink(missing_ok=True)
    with atomic_files(reports, "check") as folder:
        (folder / "data_check.json").write_text(content)
    with atomic_files(DATA / dataset, "check") as folder:
        (folder / PASSED).write_text("passed\n")
    say(f"check {dataset}: {sum(f.passed for f in findings)} of {len(findings)} checks passed")


def _findings(params: Params, dataset: str) -> list[Finding]:
    settings, data = params.data_check, DATA / dataset
    report = json.loads((data / "pairs" / "report.json").read_text())
    findings = [check_share(report["bad_fraction"], settings.quarantined)]
    champion = MODELS / dataset / "champion"
    if json.loads((champion / "champion.json").read_text())["version"] is None:
        return findings
    samples = sample(data / "pairs", Seen.read(champion / SEEN), settings.max_pairs)
    few = min(len(samples.new), len(samples.old))
    if few < settings.min_pairs:
        say(
            f"check {dataset}: {len(samples.new)} new and {len(samples.old)} old pairs are too few "
            f"to compare"
        )
        return findings
    new, old = numbers(data, champion / "package", samples)
    return findings + check_pairs(new, old, settings)
