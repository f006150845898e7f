"""
Do what the recorded programs did, step by step, and compare.

Each step starts from the recorded state before it, written literally; our program runs once; exit
class, addresses and changed keys must be the recorded ones, or those that `deviations` wants instead.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner

from poolctl.main import main as poolctl
from poolmgr.cni import direct
from tests.interop.compare import compare, worded
from tests.interop.deviations import LATER, RULES, STEPS, our_keys
from tests.interop.recording import (
    Answer,
    Entry,
    State,
    Step,
    answer,
    entry_of,
    result_addresses,
    stored_text,
)
from tests.support.rawetcd import RawEtcd


@dataclass(slots=True)
class Report:
    """
    The outcome of a scenario; steps are numbered from 0.

    Attributes:
        deviating: Step -> id of its deviation.
        skipped: Steps that nothing here can run.
        rules: Id of a rule -> number of steps whose wanted answer it changed.
        differences: What ours did that was not wanted.
    """

    scenario: str
    compared: list[int] = field(default_factory=list)
    deviating: dict[int, str] = field(default_factory=dict)
    later: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Count in one line."""
        rules = ", ".join(f"{id_} in {count}" for id_, count in sorted(self.rules.items()))
        single = ", ".join(f"step {step}: {id_}" for step, id_ in self.deviating.items())
        return (
            f"{self.scenario}: {len(self.compared)} compared{f' ({rules})' if rules else ''}, "
            f"{len(self.deviating)} deviating{f' ({single})' if single else ''}, "
            f"{len(self.later)} later, {len(self.skipped)} skipped"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """
    Runs our programs on one etcd.

    Attributes:
        raw: For preparing the state, and for looking at it afterwards.
        endpoint: Of the same etcd, "host:port".
    """

    raw: RawEtcd
    endpoint: str

    def run(self, step: Step, state: State) -> tuple[Answer, frozenset[str]]:
        """Run a step on `state`; return what it did, and which keys it wrote that are not Calico's."""
        self.raw.delete_everything()
        for key, entry in state.items():
            if entry is not None:
                self.raw.put(key, stored_text(entry))
        before = self.raw.dump()
        run = self._cni if step["program"] == "calico-ipam" else self._poolctl
        ok, addresses = run(step)
        after = self.raw.dump()
        changes = {
            key: entry_of(after[key].decode()) if key in after else None
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        }
        others = frozenset(key for key in changes if not key.startswith("/calico/"))
        calicos = {key: entry for key, entry in changes.items() if key not in others}
        return Answer(ok=ok, addresses=addresses, changes=calicos), others

    def _cni(self, step: Step) -> tuple[bool, tuple[str, ...]]:
        conf: str = step["stdin"].replace("ETCD_ENDPOINTS", self.endpoint)
        # A configuration that names no etcd must not find one in this machine's files.
        environ = {"ETCD_ENDPOINTS": "named by the configuration only"}
        status, stdout = direct.run(
            {**step["env"], **environ},
            conf.replace("calico-ipam", "poolmgr-ipam").encode,
            started=time.monotonic(),
            alive=lambda: True,
        )
        addresses = result_addresses(json.loads(stdout)) if status == 0 and stdout else []
        return status == 0, tuple(addresses)

    def _poolctl(self, step: Step) -> tuple[bool, tuple[str, ...]]:
        environ = {"ETCD_ENDPOINTS": self.endpoint}
        with TemporaryDirectory() as folder, chdir(folder):
            for name, text in step.get("files", {}).items():
                Path(name).write_text(text)
            stdin = step.get("stdin")
            result = CliRunner().invoke(poolctl, step["argv"], input=stdin, env=environ)
        return result.exit_code == 0, ()


def replay(scenario: str, steps: Sequence[Step], programs: Programs) -> Report:
    """Replay the steps of a scenario, each from the recorded state before it."""
    report, state = Report(scenario), dict[str, Entry]()
    for number, step in enumerate(steps):
        match step:
            case {"program": "calicoctl", "argv": argv} if _later(argv):
                report.later.append(number)
            case (
                {"program": "calico-ipam"}
                | {
                    "program": "calicoctl",
                    "argv": ["apply" | "create" | "replace" | "delete" | "get", *_],
                }
                | {"program": "calicoctl", "argv": ["ipam", "show", *_]}
            ):
                _compare_step(report, number, steps, state, programs)
            case _:
                report.skipped.append(number)
        state |= step["changes"]
    return report


def _later(argv: Sequence[str]) -> bool:
    return any(tuple(argv[: len(start)]) == start for start in LATER)


def _compare_step(
    report: Report, number: int, steps: Sequence[Step], state: State, programs: Programs
) -> None:
    """Run one step and note in `report` what became of it."""
    step = steps[number]
    wanted = answer(step)
    found = []
    if deviation := STEPS.get((report.scenario, number)):
        report.deviating[number] = deviation.id
        wanted = _deviating(report.scenario, number, steps)
        if wanted == answer(step):
            found.append(f"declared to deviate ({deviation.id}), but does not")
    else:
        report.compared.append(number)
    wanted = _with_rules(report, step, state, wanted)
    ours, written = programs.run(step, state)
    found += compare(wanted, ours, state, named=_is_named(step))
    if written != our_keys(step, ours):
        found.append(f"of our own keys, wrote {sorted(written)}")
    report.rules["D-014"] += bool(written)
    report.differences += (f"step {number}: {difference}" for difference in found)


def _deviating(scenario: str, number: int, steps: Sequence[Step]) -> Answer:
    """Return the answer that we want of a step which deviates."""
    deviation = STEPS[scenario, number]
    if deviation.like is None:
        return Answer(ok=deviation.ok)
    like = replace(answer(steps[deviation.like]), ok=deviation.ok)
    return worded(like, lambda word: deviation.words.get(word, word))


def _with_rules(report: Report, step: Step, state: State, wanted: Answer) -> Answer:
    """Apply the rules, and count those that change something."""
    for id_, rules in RULES.items():
        before = wanted
        for rule in rules:
            wanted = rule(step, state, wanted)
        report.rules[id_] += wanted != before
    return wanted


def _is_named(step: Step) -> bool:
    """Tell whether the step asks for a certain address, so that no other block may serve it."""
    return "IP=" in step.get("env", {}).get("CNI_ARGS", "")
