"""
Do what the recorded programs did, step by step, and compare.

Each step starts from the recorded state before it, written literally; our program runs once; exit
class, addresses and changed keys must be the recorded ones, or those that `deviations` wants instead.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner

from poolctl.main import main as poolctl
from poolmgr.cni import direct
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings
from tests.interop import library
from tests.interop.compare import compare, recorded_times, worded
from tests.interop.deviations import HANDLES, RULES, STEPS, Deviation, our_keys
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
from tests.support.facts import SECOND
from tests.support.poolctl import CLUSTER
from tests.support.rawetcd import RawEtcd


@dataclass(slots=True)
class Report:
    """
    The outcome of a scenario; steps are numbered from 0.

    Attributes:
        deviating: Step -> id of its deviation.
        by_hand: Steps that call no program: a key was put or deleted, or time went by.
        skipped: Steps that nothing here can run.
        rules: Id of a rule -> number of steps whose wanted answer it changed.
        differences: What ours did that was not wanted.
    """

    scenario: str
    compared: list[int] = field(default_factory=list)
    deviating: dict[int, str] = field(default_factory=dict)
    by_hand: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Count in one line."""
        counts = sorted(self.rules.items())
        rules = ", ".join(f"{id_} in {count}" for id_, count in counts if count)
        single = ", ".join(f"step {step}: {id_}" for step, id_ in self.deviating.items())
        return (
            f"{self.scenario}: {len(self.compared)} compared{f' ({rules})' if rules else ''}, "
            f"{len(self.deviating)} deviating{f' ({single})' if single else ''}, "
            f"{len(self.by_hand)} by hand, {len(self.skipped)} skipped"
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

    def run(
        self, step: Step, state: State, now_ns: int, since_report: frozenset[str] = frozenset()
    ) -> tuple[Answer, frozenset[str]]:
        """
        Run a step on `state`, at the time of its recording.

        Args:
            since_report: Keys that were changed since the last report of leaks was written.

        Returns:
            What it did, and which keys it wrote that are not Calico's.
        """
        self.raw.delete_everything()
        for key, entry in state.items():
            if entry is not None:
                self.raw.put(key, stored_text(entry))
        before = self.raw.dump()
        ours = self._answer(self._dated(step, since_report), lambda: now_ns)
        after = self.raw.dump()
        changes = {
            key: entry_of(after[key].decode()) if key in after else None
            for key in before.keys() | after.keys()
            if before.get(key) != after.get(key)
        }
        others = frozenset(key for key in changes if not key.startswith("/calico/"))
        calicos = {key: entry for key, entry in changes.items() if key not in others}
        return replace(ours, changes=calicos), others

    def _dated(self, step: Step, changed: frozenset[str]) -> Step:
        """Give a report the revisions that keys have here, if it had them in the recording."""
        files = step.get("files", {})
        if "report.json" not in files:
            return step

        def revision(key: str) -> str:
            return "1" if key in changed else str(self.raw.revision_of(key))

        report = json.loads(files["report.json"])
        report["clusterInformationRevision"] = revision(CLUSTER)
        for handle in report.get("leakedHandles", ()):
            handle["Revision"] = revision(HANDLES + handle["ID"])
        return {**step, "files": {**files, "report.json": json.dumps(report)}}

    def _answer(self, step: Step, clock: Callable[[], int]) -> Answer:
        match step["program"]:
            case "calico-ipam":
                return self._cni(step, clock)
            case "libcalico":
                store = EtcdStore(Settings(endpoints=(self.endpoint,)))
                try:
                    return library.call(step, store, clock)
                finally:
                    store.close()
            case _:
                return self._poolctl(step)

    def _cni(self, step: Step, clock: Callable[[], int]) -> Answer:
        conf: str = step["stdin"].replace("ETCD_ENDPOINTS", self.endpoint)
        # A configuration that names no etcd must not find one in this machine's files.
        environ = {"ETCD_ENDPOINTS": "named by the configuration only"}
        status, stdout = direct.run(
            {**step["env"], **environ},
            conf.replace("calico-ipam", "poolmgr-ipam").encode,
            started=time.monotonic(),
            alive=lambda: True,
            clock=clock,
        )
        addresses = result_addresses(json.loads(stdout)) if status == 0 and stdout else []
        return Answer(ok=status == 0, addresses=tuple(addresses))

    def _poolctl(self, step: Step) -> Answer:
        environ, argv = {"ETCD_ENDPOINTS": self.endpoint, "KUBECONFIG": None}, step["argv"]
        if argv[:2] == ["ipam", "release"]:
            argv = [*argv, "--yes"]  # the recorded program asks nobody
        with TemporaryDirectory() as folder, chdir(folder):
            for name, text in step.get("files", {}).items():
                Path(name).write_text(text)
            stdin = step.get("stdin")
            result = CliRunner().invoke(poolctl, argv, input=stdin, env=environ)
        return Answer(ok=result.exit_code == 0)


def replay(scenario: str, steps: Sequence[Step], programs: Programs) -> Report:
    """Replay the steps of a scenario, each from the recorded state before it."""
    report, state, now_ns = Report(scenario), dict[str, Entry](), 0
    since_report = frozenset[str]()
    for number, step in enumerate(steps):
        waited_ns = step.get("seconds", 0) * SECOND
        now_ns = max([now_ns + waited_ns + 1, *recorded_times(step["changes"])])
        match step:
            case (
                {"program": "calico-ipam" | "libcalico"}
                | {
                    "program": "calicoctl",
                    "argv": [
                        "apply" | "create" | "replace" | "patch" | "label" | "delete" | "get",
                        *_,
                    ],
                }
                | {"program": "calicoctl", "argv": ["ipam" | "datastore", *_]}
            ):
                _compare_step(
                    report,
                    number,
                    steps,
                    state,
                    partial(programs.run, now_ns=now_ns, since_report=since_report),
                )
            case {"program": "etcd" | "wait"}:
                report.by_hand.append(number)
            case _:
                report.skipped.append(number)
        state |= step["changes"]
        reported = step.get("argv", ())[:3] == ["ipam", "check", "-o"]
        since_report = frozenset() if reported else since_report | step["changes"].keys()
    return report


Run = Callable[[Step, State], tuple[Answer, frozenset[str]]]


def _compare_step(
    report: Report, number: int, steps: Sequence[Step], state: State, run: Run
) -> None:
    """Run one step and note in `report` what became of it."""
    step = steps[number]
    wanted = answer(step)
    found = []
    if deviation := STEPS.get((report.scenario, number)):
        report.deviating[number] = deviation.id
        wanted = _deviating(deviation, number, steps, state)
        if wanted == answer(step):
            found.append(f"declared to deviate ({deviation.id}), but does not")
    else:
        report.compared.append(number)
    wanted = _with_rules(report, step, state, wanted)
    ours, written = run(step, state)
    found += compare(wanted, ours, state, named=_is_named(step))
    if written != our_keys(step, state, ours):
        found.append(f"of our own keys, wrote {sorted(written)}")
    report.rules["D-014"] += bool(written)
    report.differences += (f"step {number}: {difference}" for difference in found)


def _deviating(
    deviation: Deviation, number: int, steps: Sequence[Step], state: State
) -> Answer:
    """Return the answer that we want of a step which deviates."""
    if deviation.instead is not None:
        return replace(deviation.instead(state, answer(steps[number])), ok=deviation.ok)
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
    return step.get("op") == "assign" or "IP=" in step.get("env", {}).get("CNI_ARGS", "")
