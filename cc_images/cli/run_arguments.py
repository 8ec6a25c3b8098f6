"""The arguments of runs, and those that several verbs have."""

from __future__ import annotations

import os

from cc_images.cli.option_types import SitesAction, VersionAction, arches, at_least_one, at_least_zero, size
from cc_images.cli.server_arguments import followed_options
from cc_images.model.phases import PHASES

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from argparse import ArgumentParser as Parser


def run_options(made: Parser) -> None:
    """Add the arguments of a run."""
    plan_options(made)
    made.add_argument(
        "--debug-shell", action="store_true",
        help="open a shell where a hook of a build fails: retry runs it again, continue goes on, exit ends the build",
    )  # fmt: skip
    made.add_argument(
        "--keep-failed", action="store_true",
        help="keep the tree of a build that fails as the failing hook left it; `cc-images shell TAG --kept` opens it",
    )  # fmt: skip
    unwatched_options(made)
    followed_options(made)


def plan_options(made: Parser) -> None:
    """Add what a plan and a run have in common."""
    tags_options(made, "+")
    site_options(made, "this site only (default: all)")
    world_options(made)
    made.add_argument(
        "--version", action=VersionAction, nargs="?", metavar="VERSION", default="",
        help="push this stored version, not the one that serves the present inputs; alone: print that of cc-images",
    )  # fmt: skip
    made.add_argument("-b", "--build", action="store_true", help="build new versions of the images")
    made.add_argument("-p", "--push", action="store_true", help="push the version in force; with -b the one just built")
    made.add_argument(
        "-f", "--force", action="store_true",
        help="rebuild completely and drop the named images' cache; with -p and without -b: "
        "publish the stored build over changes that somebody made on a site by hand",
    )  # fmt: skip
    made.add_argument(
        "--relock", action="store_true",
        help="with -b: let Spack choose versions again, whatever locks of earlier builds and beside spack.yaml say",
    )  # fmt: skip
    made.add_argument(
        "--until", choices=PHASES, default="", metavar="PHASE",
        help="with -b: build as far as the last hook of this phase, keep the tree, and make no version",
    )  # fmt: skip
    made.add_argument(
        "-t", "--tasks", type=at_least_one, metavar="N",
        help="builds in parallel, on all builders together (default 1; with builders as many as they take), limited by "
        "the memory and disk space that earlier runs took",
    )  # fmt: skip
    made.add_argument(
        "--on", default="", metavar="BUILDER",
        help="build on this builder of builders.yaml alone; here: on this host",
    )  # fmt: skip
    made.add_argument("-k", "--keep-going", action="store_true", help="after a failure run all that can run (default)")
    made.add_argument("--fail-fast", action="store_true", help="after a failure start nothing new")
    shown_options(made)


def shown_options(made: Parser) -> None:
    """Add what is shown of a run, and whether it only shows."""
    made.add_argument(
        "--no-boot-test", action="store_true", help="push without the boot test, and say so in the image's properties"
    )
    made.add_argument("--dry-run", action="store_true", help="show the plan, and what pushes would replace and delete")
    made.add_argument("-q", "--quiet", action="store_true", help="print failures, the final table and the summary only")
    made.add_argument("-v", "--verbose", action="store_true", help="print a line for every hook that dib runs")


def unwatched_options(made: Parser) -> None:
    """Add the options of unattended runs."""
    made.add_argument(
        "--if-busy", choices=("share", "wait", "leave"), default="share",
        help="when another run is at work on these images: begin at once, tasks wait for its tasks (default); begin "
        "when it is over; or do nothing and exit with code 4",
    )  # fmt: skip
    made.add_argument(
        "--max-size", type=size, metavar="SIZE", help="prune the store to this size afterwards, such as 50G"
    )
    made.add_argument(
        "--keep", type=at_least_one, default=3, metavar="N", help="builds of each image to keep then (default 3)"
    )
    made.add_argument(
        "--metrics", metavar="FILE", default=os.environ.get("CC_IMAGES_METRICS", ""),
        help="write a Prometheus text file afterwards (default: CC_IMAGES_METRICS)",
    )  # fmt: skip
    made.add_argument(
        "--notify", metavar="COMMAND", default=os.environ.get("CC_IMAGES_NOTIFY", ""),
        help="run this command afterwards, with the summary as its input (default: CC_IMAGES_NOTIFY)",
    )  # fmt: skip
    run_file_options(made)


def run_file_options(made: Parser) -> None:
    """Add where programs that start a run read how it stands."""
    made.add_argument(
        "--run-file", metavar="FILE", default="",
        help="keep in this file, as JSON, the run's process, its name, and at the end how it ended",
    )  # fmt: skip


def promote_options(made: Parser) -> None:
    """Add the arguments of `promote`."""
    published_options(made, "+")
    shown_options(made)
    unwatched_options(made)
    made.set_defaults(
        push=True,
        promote=True,
        build=False,
        force=False,
        tasks=1,
        fail_fast=False,
        offline=False,
        max_age=7,
        version="",
    )


def published_options(made: Parser, count: str) -> None:
    """Add the choice of what was published: images, sites, architectures; `count` as of `tags_options`."""
    tags_options(made, count)
    site_options(made, "this site only (default: all)")
    architecture_options(made, "amd64, arm64 or both with a comma (default: all that an image supports)")


def tags_options(made: Parser, count: str) -> None:
    """Add the tags; `count` as argparse has it."""
    made.add_argument(
        "tags", nargs=count, metavar="TAG", type=str.lower,
        help="an image of the catalogue, a pattern such as 'ws-*', `all`, or `scheduled` (by settings.yaml)",
    )  # fmt: skip


def site_options(made: Parser, what: str) -> None:
    """Add the choice of sites, with what it means."""
    made.add_argument("-s", "--site", action=SitesAction, default=[], metavar="SITE", help=what)


def architecture_options(made: Parser, what: str) -> None:
    """Add the choice of architectures, with what it means."""
    made.add_argument("-a", "--architecture", type=arches, default=(), metavar="ARCH", help=what)


def world_options(made: Parser) -> None:
    """Add what decides which images are looked at, and how old the news may be."""
    architecture_options(
        made, "amd64, arm64 or both with a comma (default: all that an image supports and this host can build)"
    )
    made.add_argument("--offline", action="store_true", help="use element sources and upstream as last seen")
    made.add_argument(
        "--max-age", type=at_least_zero, default=7, metavar="DAYS",
        help="rebuild older builds when upstream cannot be asked (default 7)",
    )  # fmt: skip
