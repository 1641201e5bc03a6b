"""An alignment from start to end: the checks in order, and what is said of the first departure."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ddim.errors import UserError
from jittor_ddim.parity.align import network_checks, training_checks
from jittor_ddim.parity.align.causes.scene import Scene
from jittor_ddim.parity.align.causes.table import NAMES, name_cause
from jittor_ddim.parity.align.locate import Departure, shrink
from jittor_ddim.parity.align.measures import BOUNDS, precision_of
from jittor_ddim.parity.align.results import ALONE, ENDS, Alignment, Finding, SideResult
from jittor_ddim.parity.align.rounding import Rounding
from jittor_ddim.parity.align.scripts import write_scripts
from jittor_ddim.parity.align.sides import SideFile, start_sides
from jittor_ddim.parity.align.work import Work
from jittor_ddim.parity.align.worker.trees import Store, leaves, opaque

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is asked of an alignment."""

    files: tuple[SideFile, SideFile]
    steps: int = 10
    precision: str | None = None  # a key of BOUNDS; None: that of the roughest array
    limit: float = 600.0  # seconds for a task of a side
    accepted: tuple[str, ...] = ()  # causes that may be

    def check(self) -> None:
        """Refuse what no side need be started for.

        :raises UserError: naming it
        """
        for file in self.files:
            file.check()
        if self.precision is not None and self.precision not in BOUNDS:
            raise UserError(f"`precision` {self.precision}: choose one of {', '.join(BOUNDS)}")
        for name in self.accepted:
            if name not in NAMES:
                raise UserError(f"`accept` {name}: no such cause; there are {', '.join(NAMES)}")


def align(plan: Plan, folder: Path) -> Alignment:
    """Compare two sides and return what was found.

    :param folder: for what the sides leave; ``arrays`` in it may be deleted afterwards
    :raises UserError: if a side raises, hangs, dies, or returns something else
    """
    plan.check()
    with ExitStack() as stack:
        sides = start_sides(stack, plan.files, folder, plan.limit)
        names = [
            SideResult(side.name, str(file.path), side.environment)
            for side, file in zip(sides, plan.files, strict=True)
        ]
        result = Alignment(names, plan.precision or "float32")
        store = Store(folder / "arrays")
        work = Work(*sides, store, BOUNDS[result.precision], result)
        _Course(work, plan, folder).run()
    return result


class _Course:
    """The checks of one alignment, one after the other."""

    def __init__(self, work: Work, plan: Plan, folder: Path) -> None:
        self._work, self._plan, self._folder = work, plan, folder
        self._scenes: list[tuple[Scene, bool]] = []
        self._batches: list[list[Any]] = []

    def run(self) -> None:
        """Do all checks, then name causes."""
        work = self._work
        _log.info("Parameters and batches")
        network_checks.check_parameters(work)
        if self._plan.precision is None:
            self._settle_precision()
        self._batches = [
            [side.call("batch", step=step) for step in range(self._plan.steps)]
            for side in work.sides
        ]
        sizes = [a["shape"][0] for _, a in leaves(self._batches[0][0]) if a["shape"]]
        work.result.batch_size = max(set(sizes), key=sizes.count) if sizes else 0
        network_checks.check_batches(work, self._batches)
        _log.info("Modules")
        network_checks.check_determinism(work)
        self._keep_scenes()
        answers = self._modules(train=False)
        trained = self._modules(train=True)
        network_checks.check_buffers(work, trained)
        training_checks.check_loss(work, answers)
        self._keep_scenes(answers=answers)
        # The statistics of a layer are of a pass in training.
        for scene, _ in self._scenes:
            if scene.finding.check == "buffers":
                scene.answers = trained
        self._training()
        self._conclude()

    def _modules(self, train: bool) -> list[Any]:
        departure, answers = network_checks.check_modules(self._work, train)
        if departure:
            self._report(departure, "train" if train else "eval")
            self._keep_scenes(departure, answers, train)
        return answers

    def _training(self) -> None:
        work = self._work
        _log.info("Gradients and %d steps", self._plan.steps)
        rounding = Rounding(work, self._plan.steps)
        grads = training_checks.gradients(work)
        training_checks.check_gradients(work, grads, rounding)
        start = {name: entry["array"] for name, entry in work.state[0].items()}
        records = training_checks.train(work, self._plan.steps)
        steps = training_checks.updates(work, start, records)
        training_checks.check_rates(work, records)
        bound = training_checks.check_step(work, grads, steps, rounding)
        training_checks.check_average(work, start, grads, records, bound)
        training_checks.check_losses(work, rounding)
        reload = {"grads": grads, "steps": steps, "records": records}
        _log.info("Samples, saving and loading")
        training_checks.check_samples(work)
        training_checks.check_reload(work)
        self._keep_scenes(**reload)

    def _settle_precision(self) -> None:
        """Take the bounds of the roughest type among the parameters."""
        state = [one["dtype"] for own in self._work.state for one in own.values()]
        kinds = ["float32" if kind == "float64" else kind for kind in state]
        if all(kind == "float64" for kind in state if "float" in kind):
            kinds = state
        self._work.result.precision = precision_of(kinds)
        self._work.bounds = BOUNDS[self._work.result.precision]

    def _report(self, departure: Departure, check: str) -> None:
        call = departure.call
        self._work.find(
            Finding(
                check,
                call["module"],
                departure.other["module"],
                call["type"],
                [call["arguments"], departure.other["arguments"]],
                departure.where,
                departure.distance,
                [_described(array) for _, array in leaves(call["inputs"])],
            )
        )

    def _keep_scenes(
        self,
        departure: Departure | None = None,
        answers: list[Any] | None = None,
        train: bool = False,
        **more: Any,
    ) -> None:
        """Remember what was known at each new finding, for its causes."""
        known = {id(scene.finding) for scene, _ in self._scenes}
        for finding in self._work.result.findings:
            if id(finding) not in known:
                scene = Scene(
                    self._work, finding, departure, answers or [], batches=self._batches, **more
                )
                self._scenes.append((scene, train))

    def _conclude(self) -> None:
        """Name causes, leave out mere consequences, and make inputs small."""
        for scene, _ in self._scenes:
            finding = scene.finding
            finding.cause = name_cause(scene)
            finding.raw = []
        self._leave_out_consequences()
        self._accept()
        for scene, train in self._scenes:
            finding = scene.finding
            told = finding in self._work.result.findings
            if told and scene.departure and not opaque(scene.departure.call["inputs"]):
                smallest = shrink(self._work, scene.departure, train)
                finding.smallest = [_described(array) for array in smallest]
                if not any(one.scripts for one in self._work.result.findings):
                    finding.scripts = write_scripts(
                        self._work, scene.departure, train, self._folder
                    )

    def _leave_out_consequences(self) -> None:
        """Keep the first of the findings that spread, and those with a cause of their own.

        Of buffers that depart for one cause, or for none that is known, the first too.
        """
        kept: list[Finding] = []
        for finding in self._work.result.findings:
            spread = [one for one in kept if one.check not in ENDS]
            named = {one.cause.name for one in kept if one.cause}
            own = finding.cause is not None and finding.cause.name not in named
            # What draws or counts departs from everything, itself loaded again included.
            drawn = [one.module for one in kept if one.check == "determinism"]
            own = own and not {finding.module, finding.other} & set(drawn)
            alone = finding.check in ALONE and not drawn
            causes = {one.cause and one.cause.name for one in kept if one.check == "buffers"}
            if finding.check == "buffers" and (finding.cause and finding.cause.name) in causes:
                continue
            if alone or own or not (spread or drawn):
                kept.append(finding)
        self._work.result.findings[:] = kept

    def _accept(self) -> None:
        """Take what has an accepted cause from the findings; its check departs no more."""
        result = self._work.result
        for finding in list(result.findings):
            if finding.cause and finding.cause.name in self._plan.accepted:
                result.findings.remove(finding)
                check = next(one for one in result.checks if one.name == finding.check)
                check.notes.append(f"{finding.cause.name}: {finding.cause.evidence}")
                if all(other.check != check.name for other in result.findings):
                    check.status = "accepted"


def _described(array: dict[str, Any]) -> str:
    return f"{array['dtype']} {list(array['shape'])}"
