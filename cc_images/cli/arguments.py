"""The arguments of each verb of the command line."""

from __future__ import annotations

from cc_images.cli.option_types import at_least_one, size
from cc_images.cli.remote_arguments import (
    builder_node_options,
    cluster_options,
    perform_options,
    remote_options,
    request_options,
    store_options,
)
from cc_images.cli.run_arguments import (
    architecture_options,
    plan_options,
    promote_options,
    published_options,
    run_options,
    site_options,
    tags_options,
    world_options,
)
from cc_images.cli.server_arguments import cancel_options, download_options, log_options, server_options
from cc_images.cli.web_arguments import account_options, serve_options

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from argparse import ArgumentParser as Parser
    from collections.abc import Callable, Mapping


def _list(made: Parser) -> None:
    tags_options(made, "*")
    made.add_argument("--sites", action="store_true", help="ask the sites, too")
    server_options(made)


def _show(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument("tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern")


def _new(made: Parser) -> None:
    made.add_argument("name", metavar="NAME", help="the new image's name, such as CC-Debian12-Emacs")
    made.add_argument("--from", dest="parent", required=True, metavar="PARENT", help="the image that it builds on")
    made.add_argument("--package", action="append", default=[], metavar="PACKAGE", help="a package that it adds")


def _status(made: Parser) -> None:
    tags_options(made, "*")
    site_options(made, "ask this site only")
    made.add_argument("--sites", action="store_true", help="ask all sites; without it no network is used")
    made.add_argument(
        "--everyone", action="store_true", help="with --server, for administrators: the builds of all accounts"
    )
    server_options(made)


def _explain(made: Parser) -> None:
    tags_options(made, "+")
    world_options(made)


def _report(made: Parser) -> None:
    made.add_argument(
        "run", nargs="?", metavar="RUN", help="a run's name or the beginning of it (default: the last one)"
    )
    made.add_argument("--open", action="store_true", help="show the page in a browser")
    made.add_argument("--list", action="store_true", help="show the last runs, a line each")


def _diff(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument(
        "tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern that fits one"
    )
    made.add_argument("old", nargs="?", default="", metavar="OLD", help="a version (default: the one before NEW)")
    made.add_argument("new", nargs="?", default="", metavar="NEW", help="a version (default: the newest)")
    made.add_argument("--markdown", action="store_true", help="print release notes in Markdown")


def _inspect(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument("what", metavar="TAG|FILE", help="an image (or a pattern that fits one), or a qcow2 or raw file")
    made.add_argument(
        "--against", default="", metavar="VERSION", help="show what differs from this version, or from another file"
    )


def _check(made: Parser) -> None:
    made.add_argument("folder", metavar="DIR", help="a folder with Containerfile or Dockerfile, and README.md")
    made.add_argument("--image", default="", metavar="FILE", help="its image, FILE.oci.tar or FILE.sif: it is started")
    made.add_argument("--contract", default="workstation", metavar="NAME", help="(default workstation)")
    made.add_argument(
        "--try", dest="words", action="append", metavar="WORD", help="a word for the entry point; repeat it"
    )
    made.add_argument("--try-network", action="store_true", help="let it have a network (default: none)")


def _verify(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument(
        "what", metavar="TAG|FILE", help="an image (or a pattern that fits one), or the file of a stored build"
    )
    made.add_argument(
        "--signature", action="store_true",
        help="build nothing; say who has signed the file, or the images of the site that is named instead",
    )  # fmt: skip
    made.add_argument("--extract", default="", metavar="FOLDER", help="put files that differ there, of then and of now")


def _delta(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    for name in ("old", "new"):
        made.add_argument(
            name, metavar=name.upper(), help="an image (or a pattern that fits one), TAG@VERSION, or a file"
        )


def _fetch(made: Parser) -> None:
    made.add_argument("source", metavar="URL", help="address or path of NAME.caibx in a site with `chunks: yes`")
    made.add_argument(
        "-o", "--output", default="", metavar="FILE", help="file to write (default NAME.qcow2; *.raw: a raw disk)"
    )
    made.add_argument("--seed", default="", metavar="OLD", help="an older image, whose chunks are not fetched")
    made.add_argument(
        "--require-signature", action="store_true", help="refuse what no key of `keys: trusted` has signed"
    )


def _sbom(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument(
        "tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern that fits one"
    )
    made.add_argument("--version", default="", metavar="VERSION", help="a stored version (default: the one in force)")
    made.add_argument("--format", choices=("cyclonedx", "spdx"), default="cyclonedx", help="(default cyclonedx)")
    made.add_argument("-o", "--output", default="", metavar="FILE", help="file to write (default: standard output)")


def _boot(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64")
    made.add_argument(
        "tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern that fits one"
    )
    made.add_argument("--firmware", choices=("bios", "uefi"), help="default: uefi where the image has it")
    made.add_argument("--ssh", action="store_true", help="open a shell; the default at a terminal")
    made.add_argument("--keep", action="store_true", help="leave the machine on until Ctrl-C")


def _shell(made: Parser) -> None:
    _show(made)
    made.add_argument(
        "--kept", action="store_true", help="open the tree that --keep-failed or --until has kept (default: the layer)"
    )
    made.add_argument("--read-only", action="store_true", help="let nothing be written (default: to a scratch copy)")


def _rollback(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64 (default: all that the sites have)")
    site_options(made, "this site only (default: all)")
    made.add_argument("tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern")
    made.add_argument("--to", default="", metavar="VERSION", help="what to bring back (default: the newest older one)")
    made.add_argument("--why", default="", metavar="TEXT", help="why, for those who read `list` and `status`")
    made.add_argument("--dry-run", action="store_true", help="show what would get the name, and change nothing")


def _retire(made: Parser) -> None:
    published_options(made, "*")
    made.add_argument("--dry-run", action="store_true", help="show what becomes of which version and when")


def _pull(made: Parser) -> None:
    site_options(made, "this site only (default: all)")
    made.add_argument(
        "source",
        metavar="SOURCE",
        help="a catalogue of sites.yaml, or a scope: a folder, a web address, swift://CLOUD/CONTAINER/SCOPE",
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="an image there, or a pattern (default: all)")
    made.add_argument("--dry-run", action="store_true", help="show which site would get what")


def _check_updates(made: Parser) -> None:
    published_options(made, "*")
    made.add_argument("--sites", action="store_true", help="ask the sites which versions they have")
    made.add_argument(
        "--feed",
        default="",
        metavar="FILE",
        help="the JSON of Debian's security tracker, or OSV entries: name them, too",
    )
    made.add_argument("--offline", action="store_true", help="look at the repositories as last seen")


def _hold(made: Parser) -> None:
    _release(made)
    made.add_argument("--why", required=True, metavar="TEXT", help="why, for those who read `list` and `status`")


def _release(made: Parser) -> None:
    architecture_options(made, "amd64 or arm64 (default: all that have the version)")
    made.add_argument("tag", metavar="TAG", type=str.lower, help="an image of the catalogue, or a pattern")
    made.add_argument("version", metavar="VERSION", help="a version in the store, or on a site")


def _catalogue_page(made: Parser) -> None:
    made.add_argument("folder", metavar="FOLDER", help="where index.html, catalogue.json and feed.atom are written")
    made.add_argument("--title", default="Images", metavar="TEXT", help="the page's heading (default: Images)")
    made.add_argument(
        "--download", action="append", default=[], metavar="SITE=URL", help="where the folder of a site is on the web"
    )


def _prune(made: Parser) -> None:
    made.add_argument(
        "--keep", type=at_least_one, default=3, metavar="N", help="builds to keep of each image (default 3)"
    )
    made.add_argument("--max-size", type=size, metavar="SIZE", help="size to prune the store to, such as 50G")
    made.add_argument(
        "--build-cache", action="store_true", help="prune the cache of Spack packages: those that no kept lock needs"
    )
    made.add_argument("--dry-run", action="store_true", help="show what would be removed")


def _doctor(made: Parser) -> None:
    made.add_argument("--mend", action="store_true", help="remove leftovers of dead runs, quarantine damaged files")
    made.add_argument("--dry-run", action="store_true", help="only look (default)")


def _builders(made: Parser) -> None:
    pass


TAKES: Mapping[str, Callable[[Parser], None]] = {
    "": run_options,
    "list": _list,
    "bases": lambda made: None,
    "show": _show,
    "new": _new,
    "status": _status,
    "plan": plan_options,
    "explain": _explain,
    "report": _report,
    "diff": _diff,
    "inspect": _inspect,
    "check": _check,
    "verify": _verify,
    "delta": _delta,
    "fetch": _fetch,
    "sbom": _sbom,
    "boot": _boot,
    "shell": _shell,
    "rollback": _rollback,
    "promote": promote_options,
    "retire": _retire,
    "pull": _pull,
    "check-updates": _check_updates,
    "hold": _hold,
    "release": _release,
    "catalogue-page": _catalogue_page,
    "prune": _prune,
    "doctor": _doctor,
    "builders": _builders,
    "remote": remote_options,
    "build-request": request_options,
    "store": store_options,
    "log": log_options,
    "download": download_options,
    "cancel": cancel_options,
    "serve": serve_options,
    "account": account_options,
    "cluster": cluster_options,
    "builder-node": builder_node_options,
    "perform": perform_options,
}
"""The arguments of each verb."""
