"""How does one ask from a shell? One command per question; heavy imports wait for the command that needs them."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from fieldflow import __version__
from fieldflow.errors import BadInput

if TYPE_CHECKING:
    from fieldflow.longrun import Place
    from fieldflow.progress import Bars, JsonLines
    from fieldflow.result import Result

BAD_INPUT, INTERRUPTED = 2, 130

# The common base of typer's complaints about arguments; typer does not export it under a name of its own.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Neural networks as field theories: derive their flows, sample them, and hold the one against the other.",
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Symbols = Annotated[
    Path | None,
    typer.Option("--symbols", metavar="FILE.toml", help='Print symbols under other names: [symbols] q11 = "K(x,x)".'),
]

_PATIENCE = 2.0
"""Seconds before work that is usually short shows a progress bar."""


def main() -> None:
    """Run the command line: exit 0 or 1 by the verdicts, 2 for bad input (one line), 130 for Ctrl-C."""
    try:
        code = app(standalone_mode=False)
    except BadInput as error:
        sys.exit(_complain(str(error), BAD_INPUT))
    except _UsageError as error:
        sys.exit(_complain(str(error.format_message() if hasattr(error, "format_message") else error), BAD_INPUT))
    except _Told:
        sys.exit(INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # typer turns Ctrl-C inside a command into this code
        _say_interrupted()
    sys.exit(code or 0)


class _Told(Exception):
    """Ctrl-C was answered already, with what is left behind."""


def _say_interrupted(left: str = "") -> None:
    print(f"interrupted: {left or 'nothing was written'}", file=sys.stderr, flush=True)


def _leave_at_once(left: str = "") -> NoReturn:
    """End the process without waiting for threads that are inside compiled code; they hold nothing that outlives it."""
    _say_interrupted(left)
    os._exit(INTERRUPTED)


def _patient(update: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Return ``update`` as a function that does nothing at first."""
    start = time.monotonic()

    def later(stage: str, done: int, total: int) -> None:
        if time.monotonic() - start > _PATIENCE:
            update(stage, done, total)

    return later


def _complain(message: str, code: int) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fieldflow {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True, epilog="Example: fieldflow verify shallow-relu --out my-result")
def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog="Example: fieldflow verify paper --members 600 --seed 1 --out fieldflow-out; a long run that may be killed and "
    "started again: fieldflow verify paper --members 100000 --shards paper.shards --resume"
)
def verify(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE.toml", help="A shipped experiment or your own file.  [default: paper]"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results go.")] = Path("fieldflow-out"),
    members: Annotated[int | None, typer.Option(metavar="N", help="Networks in the ensemble.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Seed of the ensemble, 0 <= S < 2^64.")] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads; all processors by default. No number depends on it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every shipped experiment, each in DIR/NAME.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer members and samples: the table quick of the file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json and nothing else.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print progress as lines of JSON; the last names the result.")
    ] = False,
    shards: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the sampled members in DIR, so that a stop loses few.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what --shards keeps.  [its default: OUT.shards]")
    ] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that sample. No number depends on it.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Derive, train, coarse-grain, compare: verdicts, figures, results.json and a LaTeX report in DIR.

    An existing DIR is replaced only if fieldflow wrote it. Exit code 1 if a deciding comparison disagrees.
    """
    if as_json and json_lines:
        raise BadInput("json: not accepted together with --json-lines")
    if everything:
        if experiment is not None or members is not None or as_json or json_lines or shards or resume or workers != 1:
            raise BadInput(
                "all: not accepted together with an experiment or other options than --out, --seed, --threads, --quick"
            )
        raise typer.Exit(_verify_all(out, seed=seed, threads=threads, quick=quick, quiet=quiet))
    options = {"members": members, "seed": seed, "threads": threads, "workers": workers, "quick": quick}
    result = _verify_one(experiment, out, shards, resume, options, json_lines=json_lines, quiet=quiet)
    if as_json:
        typer.echo(result.to_json(), nl=False)
    elif not quiet and not json_lines:
        _show(result)
        typer.echo(f"written to {out}")
    raise typer.Exit(result.exit_code)


def _verify_one(
    experiment: str | None,
    out: Path,
    shards: Path | None,
    resume: bool,
    options: dict[str, Any],
    *,
    json_lines: bool,
    quiet: bool,
) -> "Result":
    """Run one experiment with these options of ``run`` and save it, showing how far it is."""
    from fieldflow.longrun import Place
    from fieldflow.progress import Bars, JsonLines
    from fieldflow.runner import run
    from fieldflow.store import check_replaceable

    place = Place.of(experiment, out, shards, resume=resume, options=options)
    check_replaceable(out)

    meter = JsonLines() if json_lines else Bars(quiet=quiet, unit="members")

    def work() -> "Result":
        watch: dict[str, Any] = {"progress": meter.update, "standing": meter.standing}
        return run(experiment or "paper", shards=place.shards, resume=resume, **watch, **options)

    result = _saved(work, meter, place)
    if isinstance(meter, JsonLines):
        meter.finish(out, result.exit_code)
    return result


def _saved(work: "Callable[[], Result]", meter: "Bars | JsonLines", place: "Place") -> "Result":
    """Return the result of ``work`` after saving it; Ctrl-C ends the process with nothing half-written."""
    from fieldflow.interrupt import Abandoned, interruptible

    try:
        with meter:
            result = interruptible(work)
        _save(result, place)
    except Abandoned:
        _leave_at_once(place.left())
    except KeyboardInterrupt:
        _say_interrupted(place.left())
        raise _Told from None
    return result


def _save(result: "Result", place: "Place") -> None:
    try:
        result.save(place.out)
    except OSError as error:
        kept = f"; {left}" if (left := place.left()) else ""
        raise BadInput(f"out: cannot write {place.out}: {error.strerror or error}{kept}") from error


def _show(result: "Result") -> None:
    from rich.console import Console

    Console().print(result.table())
    for line in result.results["notes"]:
        typer.echo(line)


def _verify_all(out: Path, *, seed: int | None, threads: int | None, quick: bool, quiet: bool) -> int:
    """Run every shipped experiment after saying how long they take; return the exit code of the worst."""
    from fieldflow import child
    from fieldflow.experiment import SHIPPED, load_experiment
    from fieldflow.store import check_replaceable

    for name in SHIPPED:
        check_replaceable(out / name)
    studies = {name: load_experiment(name, quick=quick) for name in SHIPPED}
    if not quiet:
        typer.echo("budget on 2 cores, with a warm cache:")
        for name, study in studies.items():
            typer.echo(f"  {name:<22}{study.members:>8} members  {study.minutes:5.1f} min")
        typer.echo(f"  {'together':<22}{'':>17}{sum(study.minutes for study in studies.values()):5.1f} min")
    codes = {}
    for name in SHIPPED:
        code = child.verify_in_child(name, out / name, seed=seed, threads=threads, quick=quick, quiet=quiet)
        if code == INTERRUPTED:
            raise _Told
        if code not in (0, 1):
            return code
        codes[name] = code
    if not quiet:
        wrong = [name for name, code in codes.items() if code]
        typer.echo(
            f"{len(codes) - len(wrong)} of {len(codes)} experiments agree"
            + (f"; not: {', '.join(wrong)}" if wrong else "")
        )
        typer.echo(f"written to {out}")
    return max(codes.values())


@app.command(epilog="Example: fieldflow init shallow-relu > my.toml")
def init(name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped experiment.")] = "paper") -> None:
    """Print a shipped experiment as a commented file to start your own from."""
    from fieldflow.experiment import template

    typer.echo(template(name), nl=False)


@app.command("list", epilog="Example: fieldflow list")
def list_names() -> None:
    """Print the shipped experiments and the catalogue of formulas."""
    from fieldflow.experiment import SHIPPED, load_experiment
    from fieldflow.formulas import catalog

    typer.echo("experiments (fieldflow verify NAME)")
    column = max(map(len, SHIPPED)) + 2
    for name in SHIPPED:
        typer.echo(f"  {name:<{column}}{load_experiment(name).description}")
    typer.echo("formulas (fieldflow derive NAME)")
    for name in catalog():
        typer.echo(f"  {name}")


@app.command(epilog="Example: fieldflow derive shell.critical --steps")
def derive(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from fieldflow list.")],
    steps: Annotated[bool, typer.Option("--steps", help="Show the derivation and how each step was checked.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    symbols: Symbols = None,
    code: Annotated[
        str | None, typer.Option("--code", metavar="LANGUAGE", help="Print a function: python, c or mathematica.")
    ] = None,
) -> None:
    """Derive a formula and print it with its domain, validity and references."""
    from fieldflow.formula_text import as_latex, as_text
    from fieldflow.formulas import derive as derive_formula
    from fieldflow.symbol_table import read_symbols

    if code is not None and (latex or steps):
        raise BadInput("code: not accepted with --latex or --steps")
    if symbols is not None and not latex:
        raise BadInput("symbols: give --latex as well")
    names = None if symbols is None else read_symbols(symbols)
    formula = derive_formula(name)
    if code is not None:
        typer.echo(formula.code(code), nl=False)
    else:
        typer.echo(as_latex(formula, steps=steps, symbols=names) if latex else as_text(formula, steps=steps))


@app.command(epilog="Example: fieldflow paper my-paper --run fieldflow-out --symbols names.toml")
def paper(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the paper goes.")],
    run: Annotated[
        Path | None, typer.Option(metavar="RESULT_DIR", help="What fieldflow verify wrote: verdict tables and figures.")
    ] = None,
    symbols: Symbols = None,
    quiet: Quiet = False,
) -> None:
    """Write a LaTeX article: conventions, every formula with its derivation and provenance, the verdicts of a run.

    An existing DIR is replaced only if fieldflow wrote it and it holds no results. Compile it with latexmk -pdf paper.tex.
    """
    from fieldflow.interrupt import Abandoned, interruptible
    from fieldflow.paper import check_target, prepare_paper
    from fieldflow.progress import Bars
    from fieldflow.symbol_table import read_symbols

    check_target(directory, run)
    names = None if symbols is None else read_symbols(symbols)
    try:
        with Bars(quiet=quiet, unit="formulas") as bars:
            files = interruptible(lambda: prepare_paper(run=run, symbols=names, progress=_patient(bars.update)))
    except Abandoned:
        _leave_at_once()
    try:
        files.save(directory)
    except OSError as error:
        raise BadInput(f"out: cannot write {directory}: {error.strerror or error}") from error
    if not quiet:
        typer.echo(f"written to {directory}")


@app.command(epilog="Example: fieldflow cite shell.mean shell.covariance > used.bib")
def cite(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from fieldflow list.")]) -> None:
    """Print BibTeX for the works that formulas rest on, directly or through the formulas they are derived from."""
    from fieldflow.formula_text import citations

    typer.echo(citations(names), nl=False)
