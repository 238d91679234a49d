"""Policies that look at more than shapes: one rank plans for all, and the plan holds for many steps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass, replace

import torch
from torch import Tensor

from thinwire.codec import Encoded, Specs, State
from thinwire.compressor import Compressor
from thinwire.compressor.plans import Sending
from thinwire.ddp.course import Course
from thinwire.ddp.encodings import framed_bytes
from thinwire.ddp.method import looks
from thinwire.ddp.spending import Spending, goal_bytes, with_goal
from thinwire.ddp.state import PLAN
from thinwire.errors import NonFiniteError
from thinwire.kernels.distortion import energy
from thinwire.policy import Signals, Turn
from thinwire.policy.estimate import WINDOW
from thinwire.policy.resolution import coarser
from thinwire.registry import text

_FIRST, _TUNE = 10, 10
"""Steps that the first plan holds, made from gradients without residuals; and after which a budget is looked after."""
_AIM = 0.99
"""Of a budget, what steps are to take on average: so that what swings around it seldom ends above."""
_KEPT = f"{PLAN}kept/"


class Planner:
    """Which codecs the parameters take, step by step, on one rank.

    A policy that looks at shapes and the step only (not ``leads``) is asked by every rank at every step, and nothing
    here is used. Any other is asked on rank 0, for all parameters together, from its targets: gradients plus
    residuals. A plan is for the step whose targets it was made from and for those after it: the first for 10, since
    residuals still grow, later ones for ``replan_steps``. In between, a plan with a budget is made coarser or finer.
    """

    def __init__(self, made: Compressor, specs: Specs, replan_steps: int = 100, seed: int = 0, world: int = 1) -> None:
        self.policy, self.specs, self.seed, self.replan_steps, self.world = (
            made.policy,
            specs,
            seed,
            replan_steps,
            world,
        )
        self.leads = looks(made.policy, specs)
        self.course: Course | None = None
        """What all ranks follow."""
        self.spending = Spending()
        self.signals = Signals()
        """What ``note`` was told of the link."""
        self._losses = (0.0, 0)
        self._turns: deque[Turn] = deque(maxlen=WINDOW)

    def due(self, step: int) -> bool:
        """Return whether this step needs other codecs than the last one."""
        return self.leads and (self.course is None or step >= self.course.until)

    def replans(self, step: int) -> bool:
        """Return whether this step needs a new plan."""
        return self.leads and (self.course is None or step >= self.course.replan)

    @property
    def goal_bytes(self) -> float | None:
        """What one rank's encodings of a step are to take on average; None where the policy has no such goal."""
        return goal_bytes(self.policy, self.specs) if self.leads else None

    def note(self, loss: float | None, bandwidth_bps: float | None, latency_s: float | None) -> None:
        """Take what a policy may look at: losses count until the next plan, which is told their mean."""
        if loss is not None and math.isfinite(loss):
            self._losses = self._losses[0] + loss, self._losses[1] + 1
        if bandwidth_bps is not None:
            self.signals = replace(self.signals, bandwidth_bps=bandwidth_bps)
        if latency_s is not None:
            self.signals = replace(self.signals, latency_s=latency_s)

    def planned(self, targets: Mapping[str, Tensor], step: int) -> Course:
        """Return the plan for a step and those that follow, from name -> target in its working dtype, on the CPU.

        Nothing is changed: see ``follow``. Raises ValueError where the policy needs a loss and has none, or its first
        plan cannot meet its goal, and NonFiniteError.
        """
        holds = self.replan_steps if self.course else min(_FIRST, self.replan_steps)
        given = {name: targets[name] for name in self.specs if name in targets}
        specs = {name: self.specs[name] for name in given}
        sending = Sending(given, specs, {}, self._signals(given, step), self.seed, _framed)
        if self.goal_bytes is None:
            codecs, kept = sending.planned(self.policy)
            return Course(codecs, step, holds, step + holds, kept)
        try:
            codecs, _ = sending.planned(with_goal(self.policy, self.spending.wanted(_AIM * self.goal_bytes, _TUNE)))
        except NonFiniteError:
            raise
        except ValueError:  # with what has to be saved, the budget is too small for these targets
            if self.course is not None:
                return replace(self.tuned(step), replan=step + holds)
            # What is saved of the whole may be all that lacks; if not, the error is about the budget that was given.
            codecs, _ = sending.planned(with_goal(self.policy, self.goal_bytes))
        return Course(codecs, step, 1, step + holds)

    def tuned(self, step: int) -> Course:
        """Return the plan made coarser or finer for a step and those that follow, by what it took so far."""
        assert self.course is not None, "there is a plan"
        assert self.goal_bytes is not None, "it has a budget"
        factor = self.spending.coarser(_AIM * self.goal_bytes, _TUNE)
        codecs = {name: coarser(codec, factor) for name, codec in self.course.codecs.items()}
        return replace(self.course, codecs=codecs, step=step, holds=min(2 * self.course.holds, _TUNE))

    def follow(self, course: Course | None) -> None:
        """Take over the plan that was made for a step, if one was, once the step is whole."""
        if course and self.replans(course.step):
            self._losses = 0.0, 0
        self.course = course or self.course

    def spent(self, nbytes: int, step: int, turn: Turn | None = None) -> None:
        """Note what this rank's encodings of a step took, framing included, and its times, once it is whole."""
        if self.course:
            self.spending = self.spending.after(nbytes, step == self.course.step)
        if self.course and turn:
            self._turns.append(turn)

    def lines(self) -> list[str]:
        """Return when the codecs in use were chosen, and how much of a budget was used, as text; nothing without."""
        if not self.course:
            return []
        goal, spending = self.goal_bytes, self.spending
        chosen = f"codecs of step {self.course.step}, chosen by one rank for all"
        if goal is None or not spending.steps:
            return [chosen]
        share = spending.used / spending.steps / goal
        return [chosen, f"an encoding took {share:.1%} of its budget of {goal:,.0f} bytes"]

    def state(self) -> State:
        """Return all that is to be saved, as tensors, with keys below ``plan/``."""
        if not self.course:
            return {}
        mine = {"course": _raw(self.course.text), "policy": _raw(_described(self.policy))}
        losses = torch.tensor(self._losses, dtype=torch.float64)
        mine |= {"spent": self.spending.saved(), "losses": losses}
        kept = {f"{_KEPT}{key}": x for key, x in self.course.kept.items()}
        return {f"{PLAN}{key}": x for key, x in mine.items()} | kept

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` returned; from nothing, or from another policy's, by planning anew.

        Raises ValueError where it is another model's.
        """
        self.course, self.spending, self._losses = None, Spending(), (0.0, 0)
        saved = {key.removeprefix(PLAN): x for key, x in state.items() if key.startswith(PLAN)}
        if not self.leads or not saved or _read(saved["policy"]) != _described(self.policy):
            return
        kept = {key.removeprefix(_KEPT): x for key, x in state.items() if key.startswith(_KEPT)}
        self.course = replace(Course.of(_read(saved["course"])), kept=kept)
        if odd := sorted({*self.course.codecs} - {*self.specs}):
            raise ValueError(f"the state is of another model: it has a plan for {odd[0]!r}, which this one does not")
        total, count = saved["losses"].tolist()
        self.spending, self._losses = Spending.of(saved["spent"]), (total, int(count))

    def _signals(self, targets: Mapping[str, Tensor], step: int) -> Signals:
        total, count = self._losses
        if not count and looks(self.policy, self.specs, {"loss"}):
            raise ValueError(f"{self.policy!r} follows the training loss: call note(loss=...) before every backward")
        bandwidth_bps = self.signals.bandwidth_bps
        return replace(
            self.signals,
            round=step,
            loss=total / count if count else None,
            # In two shots a rank sends its encoding 2 (N - 1) / N times.
            bandwidth_bps=bandwidth_bps and bandwidth_bps / max(1.0, 2 * (self.world - 1) / self.world),
            turns=tuple(self._turns),
            energies={name: energy(x) for name, x in targets.items()},
            # A goal for all tensors is measured anew: many steps went by, and plans are few.
            kept=self.course.kept if self.course and not hasattr(self.policy, "revise") else {},
        )


def _framed(message: Mapping[str, Encoded]) -> int:
    return framed_bytes(sum(encoded.payload_bytes for encoded in message.values()), len(message))


def _described(policy: object) -> str:
    return text(policy) if is_dataclass(policy) else type(policy).__name__


def _raw(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


def _read(raw: Tensor) -> str:
    return raw.numpy().tobytes().decode(errors="replace")
