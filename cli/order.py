"""What is ordered of a recipe on the command line, checked before anything is opened or paid for."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, near

from .desk import open_watched
from .job import DEFAULT_LM, budget_of
from .progress import Bars
from .show import Screen

if TYPE_CHECKING:
    from stillroom.engines import Engine
    from stillroom.ledger import Budget
    from stillroom.programs import Emitted, Plan
    from stillroom.programs.forecast import Forecast
    from stillroom.programs.published import Method, Preset
    from stillroom.programs.published import Order as Recipe

__all__ = ["Order", "allowed", "pairs", "read_order"]


@dataclass(frozen=True)
class Order:
    """A recipe as it is ordered, and where and on what terms it is run.

    Attributes:
        what: The recipe with the user's models, by name, sources and settings.
        run: The run folder.
        budget: Of the run.
        reuse: Runs whose finished calls may be taken over.
        licence: Of the sources.
        lm_licence: Of the teacher's weights, where the user declares it.
        on: The Ray cluster whose machines are asked, or None.
    """

    what: Recipe
    run: Path
    budget: Budget
    reuse: tuple[Path, ...] = ()
    licence: str = ""
    lm_licence: str | None = None
    on: str | None = None

    @property
    def preset(self) -> Preset:
        """Which recipe."""
        return self.what.preset

    @contextmanager
    def opened(self, screen: Screen, *, reach: bool = True) -> Iterator[tuple[Recipe, Bars]]:
        """The recipe with its models open; each is seen to be reachable, unless nothing will be asked."""
        lm, roles = self.what.lm, self.what.roles
        with ExitStack() as stack:
            if lm is None:
                yield self.what, stack.enter_context(Bars(screen))
                return
            watched = {"run": self.run, "on": self.on, "reach": reach}
            teacher, bars = stack.enter_context(
                open_watched(lm, screen, licence=self.lm_licence, **watched)  # type: ignore[arg-type]
            )
            by_name: dict[Any, Engine] = {lm: teacher}
            for name in roles.values():
                if name not in by_name:
                    by_name[name], _ = stack.enter_context(open_watched(name, screen, **watched))  # type: ignore[arg-type]
            yield replace(self.what, lm=teacher, roles={role: by_name[name] for role, name in roles.items()}), bars

    def made(self, what: Recipe, bars: Bars, *, again: bool) -> Emitted:
        """Run `what` was opened."""
        from stillroom.programs.published import run_preset

        with self._hinted():
            return run_preset(
                what,
                self.run,
                budget=self.budget,
                licence=self.licence,
                reuse=self.reuse,
                retry=again,
                on_progress=lambda done, of: bars.report(self.preset.name, done, of),
            )

    def foreseen(self, what: Recipe, probe: int) -> Forecast:
        """Forecast `what` was opened; `probe` rows are run for real, if any."""
        from stillroom.programs.published import foresee_preset

        with self._hinted():
            return foresee_preset(what, self.run, budget=self.budget, reuse=self.reuse, probe=probe)

    @contextmanager
    def _hinted(self) -> Iterator[None]:
        """Say how rows are given where a method finds for itself that it has too few."""
        left = [name for name in self.preset.sample if not self.what.samples and name not in self.what.given]
        try:
            yield
        except BadConfig as error:
            if error.mend or not left:
                raise
            files = " or ".join(f"--source {name}=FILE" for name in left)
            raise BadConfig(str(error), mend=f"Give {files}; to try it on rows of our own, --samples.") from None


def read_order(args: Namespace) -> Order:
    """Check what is ordered. Raises `BadInput` for what cannot work: nothing is opened by then."""
    from stillroom.programs.published import Order as Recipe
    from stillroom.programs.published import preset

    found = preset(args.recipe)
    allowed(found.name, found.gated, args)
    method = found.load()
    params = {name: _value(text) for name, text in pairs(args.param, "--param", "NAME=VALUE").items()}
    method.settle({**found.params, **params})
    if args.many is not None and args.many < 1:
        raise BadConfig(f"--rows must be at least 1, got {args.many}")
    roles = pairs(args.role, "--role", "ROLE=MODEL")
    _check_roles(roles, found, method)
    plans = _plans(args, found, method)
    given = _sources(args, found, method)
    what = Recipe(
        found,
        lm=(args.lm or DEFAULT_LM) if method.calls else None,
        roles=roles,
        given=given,
        samples=args.samples,
        rows=args.many,
        params=params,
        plans=plans,
        seed=args.seed or 0,
    )
    return Order(
        what,
        run=args.run or Path("runs") / found.name,
        budget=budget_of(vars(args)),
        reuse=tuple(args.reuse or ()),
        licence=args.licence or "",
        lm_licence=args.lm_licence,
        on=args.on,
    )


def allowed(name: str, gated: str, args: Namespace) -> None:
    """See that a gated recipe is asked for as one. Raises `BadConfig`."""
    if gated and not args.gated:
        raise BadConfig(f"{name} is gated: {gated}", mend="Add --gated if that is what you want.")


def pairs(given: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
    """Read each NAME=VALUE. Raises `BadConfig` for what is none, or a name that is given twice."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not (name and equals and value):
            raise BadConfig(f"{option} must be {form}, got {text!r}")
        if name in found:
            raise BadConfig(f"{option} takes each name once, got {name!r} twice")
        found[name] = value
    return found


def _value(text: str) -> Any:
    """A parameter's value: JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_roles(roles: Mapping[str, str], preset: Preset, method: Method[Any]) -> None:
    # a method may know roles that no call has as its own, so that only a misspelling is sure to be a mistake
    known = {preset.call(name).role for name in method.calls}
    for role in roles.keys() - known:
        mend = near(role, known)
        if mend or not method.calls:
            raise BadConfig(f"{preset.name} has no role {role!r}", mend=mend or "It asks no model.")


def _sources(args: Namespace, preset: Preset, method: Method[Any]) -> dict[str, Path]:
    """Files by name, each there; and none missing that the recipe cannot do without."""
    given = {name: Path(text).absolute() for name, text in pairs(args.source, "--source", "NAME=FILE").items()}
    # as they are noted in the run, so that `retry` finds them from anywhere
    args.source = [f"{name}={path}" for name, path in given.items()]
    for name, path in given.items():
        if name not in method.given:
            has = f"It has {', '.join(method.given) or 'none'}."
            raise BadConfig(f"{preset.name} has no source {name!r}", mend=near(name, method.given, has))
        if not path.exists():
            raise BadConfig(f"the rows of {name!r} must be a file or dataset folder, got {str(path)!r}")
    sampled = set(preset.sample) if args.samples else set()
    missing = {
        name: each for name, each in method.given.items() if not (each.optional or name in given or name in sampled)
    }
    if missing:
        needs = "; ".join(f"{name} ({each.about}), with the fields {each.named}" for name, each in missing.items())
        files = " ".join(f"--source {name}=FILE" for name in missing)
        own = " To try it on rows of our own, add --samples." if missing.keys() <= set(preset.sample) else ""
        raise BadConfig(f"{preset.name} needs rows: {needs}", mend=f"Give {files}.{own}")
    return given


def _plans(args: Namespace, preset: Preset, method: Method[Any]) -> dict[str, Plan]:
    from stillroom.programs import Plan

    given = {name: Path(text).absolute() for name, text in pairs(args.plan, "--plan", "CALL=PLAN.json").items()}
    args.plan = [f"{name}={path}" for name, path in given.items()]
    for name, path in given.items():
        if name not in method.calls:
            has = f"It has {', '.join(method.calls) or 'none'}."
            raise BadConfig(f"{preset.name} has no call {name!r}", mend=near(name, method.calls, has))
        if not path.is_file():
            raise BadConfig(f"a plan must be a file such as plan.json, got {str(path)!r}")
    return {name: Plan.load(path) for name, path in given.items()}
