"""`deploy ci`: checks, builds, tests, boots and pushes an app in one pipeline step."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options as shared
from deployer.text import harmless_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildpack.app.worktree import Commit
    from buildpack.errors import BuildpackError
    from buildpack.steps.built import Built
    from deployer.ci.console import Console
    from deployer.ci.pipeline import Outcome
    from deployer.ci.request import Request

EXAMPLES = """\b
Examples:
  deploy ci blasto -t REGISTRY/blasto:1 --push   the whole pipeline
  deploy ci --test pytest --engine local         without containers or a push
"""

_trial = partial(shared.option, heading=shared.TRIAL)


@click.command("ci", cls=shared.Command, epilog=EXAMPLES)
@shared.app
@shared.tag
@shared.option("--push", is_flag=True, help="Push the image under its names after all other steps succeeded.")
@shared.no_sbom
@_trial(
    "--test",
    metavar="CMD",
    help="Test with this shell command instead of app.json's. auto: app.json's command, or else pytest.",
)
@_trial("--no-test", is_flag=True, help="Run no tests.")
@_trial("--network", metavar="NAME", help="Connect containers to this network of the engine.")
@_trial(
    "--service-env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the tests and the release process only.",
)
@_trial(
    "--service",
    "service_images",
    multiple=True,
    metavar="ADDON=IMAGE",
    help="Start this add-on of app.json's test environment from this image.",
)
@_trial("--collect", multiple=True, metavar="PATH=DIR", help="Copy files that the tests wrote to this folder.")
@_trial("--release", is_flag=True, help="Run the release process after the tests and before the boot.")
@_trial("--no-boot", is_flag=True, help="Build without tests and boot, so that no layer must be downloaded.")
@shared.env
@shared.health_host
@_trial(
    "--health",
    metavar="PATH",
    help="Check web at this path, and require a status of 2xx or 3xx.  [default: /, below 500]",
)
@shared.boot_timeout
@shared.engine
@shared.stack
@shared.platforms
@shared.build_env
@shared.ci_build_env_file
@shared.image_format
@shared.label
@shared.option(
    "--commit",
    is_flag=True,
    heading=shared.BUILD,
    help="Label the image with the commit, and use the commit's time as its own.",
)
@shared.cache_from
@shared.category
@shared.no_cache
@shared.strict
@shared.as_json
@shared.verbose
@click.pass_context
def command(ctx: click.Context, /, app: Path, as_json: bool, **options: Any) -> int:
    """Check, build, test, boot and push an app in one step of a pipeline.

    APP is a folder (default: the current one). The first step that fails ends the run with its exit code, and nothing
    is pushed. On GitHub and GitLab the run also writes annotations, a summary and outputs.
    """
    from io import TextIOWrapper

    from buildpack.session import open_session, open_store
    from deployer.ci.console import choose_console
    from deployer.ci.pipeline import run_pipeline
    from deployer.ci.summary import write_outputs, write_summary
    from deployer.cli.hints import call_of, fit, fit_warning, logs_of
    from deployer.cli.progress import Reporter

    request = _request(app, options)
    # If the CI service's files cannot be written, fail now and not after the image was pushed.
    write_summary("", os.environ)
    write_outputs({}, os.environ)
    console = choose_console(os.environ, sys.stderr, locate=lambda file: _locate(app, file))
    call = call_of(ctx)

    def prepare(error: BuildpackError) -> None:
        fit(error, call)
        for log in logs_of(error, call):
            console.say(log)

    try:
        store = open_store(os.environ, warn=lambda text: console.say(f"warning: {text}"))
        # Plain lines on a terminal too, because a live line would mix with the output of the tests.
        with Reporter(stream=TextIOWrapper(console.output, encoding="utf-8", write_through=True)) as reporter:
            outcome = run_pipeline(
                request,
                open_session(store, os.environ, observer=reporter),
                console,
                fit=prepare,
                fit_warning=fit_warning,
            )
        report = _report(outcome)
        _tell(outcome, report, request, console)
    finally:
        console.close()
    _show(report, as_json=as_json)
    return outcome.error.exit_code if outcome.error else 0


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return valid names of images, and warn of each name that is changed. Variables of CI services often need that."""
    from deployer.ci.names import normalise_reference
    from deployer.cli.messages import print_warning

    names = tuple(map(normalise_reference, texts))
    for text, name in zip(texts, names, strict=True):
        if text != name:
            print_warning(f"{text} is not a valid image name; using {name} instead")
    return names


_OF_TRIALS = ("test", "release", "collect", "network", "service_env", "service_images")
"""Options of the steps that `--no-boot` leaves out."""
_SPELLED = {"service_env": "service-env", "service_images": "service"}


def _request(app: Path, options: Mapping[str, Any]) -> Request:
    from buildpack.dataclass import replace
    from deployer.ci.collecting import parse_collect
    from deployer.ci.request import Request
    from deployer.ci.services import parse_service_images
    from deployer.cli.messages import print_warning
    from deployer.errors.ci import bad_health_path
    from deployer.readiness.health import Boot
    from deployer.settings.environment import parse_health_host, pass_on

    path = options["health"]
    if path is not None and not (path.startswith("/") and path.isprintable() and " " not in path):
        raise bad_health_path(path)
    if options["no_test"] and options["test"]:
        raise click.UsageError("--test and --no-test cannot be used together")
    if options["no_boot"] and (given := [name for name in _OF_TRIALS if options[name]]):
        raise click.UsageError(f"--no-boot and --{_SPELLED.get(given[0], given[0])} cannot be used together")
    built = shared.read_options(options, app)
    commit = _commit(app) if options["commit"] else None
    if commit is not None:
        epoch = commit.time if built.epoch is None else built.epoch
        built = replace(built, epoch=epoch, labels={**_commit_labels(commit, epoch), **built.labels})
    boot = Boot(
        path=path or "/",
        host=parse_health_host(options["health_host"]),
        strict=path is not None,
        seconds=options["boot_timeout"],
    )
    return Request(
        app=app,
        options=replace(built, references=_names(built.references), cache_from=_names(built.cache_from)),
        push=options["push"],
        sbom=not options["no_sbom"],
        test="" if options["no_test"] else options["test"],
        release=options["release"],
        engine=options["engine"],
        environment=pass_on(options["assignments"], os.environ, warn=print_warning),
        services=pass_on(options["service_env"], os.environ, warn=print_warning),
        service_images=parse_service_images(options["service_images"]),
        network=options["network"],
        collect=parse_collect(options["collect"]),
        boot=None if options["no_boot"] else boot,
    )


def _commit(app: Path) -> Commit | None:
    """Return the checked-out commit; without one, None and a warning."""
    from buildpack.app.git import git_for
    from buildpack.app.worktree import read_commit
    from deployer.cli.messages import print_warning

    git = git_for(str(app), os.environ)
    commit = read_commit(git, app, os.environ) if git is not None else None
    if commit is None:
        print_warning("--commit: git finds no commit here, or refuses this folder, so the image does not name one.")
    return commit


def _commit_labels(commit: Commit, epoch: int | None) -> dict[str, str]:
    from buildpack.oci.entry import image_time, render_time

    labels = {
        "org.opencontainers.image.revision": commit.revision,
        "org.opencontainers.image.source": commit.source,
        "org.opencontainers.image.created": render_time(image_time(epoch)),
    }
    return {name: value for name, value in labels.items() if value}


def _locate(app: Path, file: str) -> str:
    """Return a file's path from the root of the checkout, for annotations."""
    root = os.environ.get("GITHUB_WORKSPACE") or "."
    return os.path.relpath(app / file, root)


def _report(outcome: Outcome) -> dict[str, Any]:
    """Return the object that `--json` prints: the build's, if there was a build, with the steps."""
    from deployer.ci.ledger import Counts
    from deployer.cli.summary import SCHEMA, report

    built = outcome.built
    made: dict[str, Any] = {"schema": SCHEMA} if built is None else report(built)
    counts = [step.counts for step in outcome.steps]
    made |= {
        "warnings": list(outcome.warnings),
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "seconds": round(step.seconds, 3),
                "exit_code": step.exit_code,
                "reason": step.reason,
                **step.counts._asdict(),
            }
            for step in outcome.steps
        ],
        **Counts(*map(sum, zip(*counts, strict=True)))._asdict(),
    }
    if outcome.error is not None:
        error = outcome.error
        made["error"] = {"what": error.what, "why": error.why, "hint": error.hint, "exit_code": error.exit_code}
    return made


def _tell(outcome: Outcome, report: Mapping[str, Any], request: Request, console: Console) -> None:
    """Write the steps to the log, and the summary and outputs to the files that the CI service names."""
    from deployer.ci.summary import render_summary, write_outputs, write_summary

    console.say(_table(report["steps"]))
    error = str(outcome.error) if outcome.error else ""
    write_summary(render_summary(report, app=str(request.app), error=error), os.environ)
    if outcome.error is None and outcome.built is not None:
        write_outputs(_outputs(outcome.built, pushed=request.push), os.environ)


def _table(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    width = max(6, *(len(step["name"]) for step in steps))
    for step in steps:
        seconds = "" if step["status"] == "skipped" else f"{step['seconds']:.2f} s"
        rows.append(f"{step['name']:<{width}} {step['status']:<8} {seconds:>8}  {step['reason']}".rstrip())
    return "\n".join(rows)


def _outputs(built: Built, *, pushed: bool) -> dict[str, str]:
    from buildpack.oci.reference import parse_reference

    digest = str(built.image.digest)
    return {
        "digest": digest,
        "reference": f"{parse_reference(built.references[0]).name}@{digest}",
        "references": "\n".join(built.references),
        "size": str(built.image.size),
        "pushed": str(pushed).lower(),
    }


def _show(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        import json

        # A report quotes the app's output, and GitHub's runner obeys `##[` anywhere in a line of a log.
        print(harmless_json(json.dumps(report, ensure_ascii=False)).replace("##[", "#\\u0023["))
    elif "error" not in report:
        print(report["digest"])
