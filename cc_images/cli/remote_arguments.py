"""The arguments of the verbs about builds on other hosts."""

from __future__ import annotations

from cc_images.cli.option_types import at_least_one, ip_address
from cc_images.cli.run_arguments import run_file_options, site_options
from cc_images.cli.server_arguments import followed_options

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from argparse import ArgumentParser as Parser


def remote_options(made: Parser) -> None:
    """Add the arguments of `remote`."""
    made.add_argument("action", choices=("build",), metavar="ACTION", help="build: make IMAGE from RECIPE")
    made.add_argument("image", metavar="IMAGE", help="the SIF file to write; it is replaced when the new one is whole")
    made.add_argument(
        "recipe", metavar="RECIPE", help="a Containerfile or a definition file of Apptainer, told apart by content"
    )
    made.add_argument(
        "--context", default="", metavar="FOLDER",
        help="a folder whose files the recipe may copy, as its .containerignore leaves them (default: nothing travels)",
    )  # fmt: skip
    made.add_argument("--on", default="", metavar="BUILDER", help="build on this builder of builders.yaml; here: here")


def request_options(made: Parser) -> None:
    """Add the arguments of `build-request`."""
    made.add_argument("request", metavar="FILE", help="the request, in JSON or YAML")
    made.add_argument("-p", "--push", action="store_true", help="publish it on the sites, as push: true in the request")
    site_options(made, "publish on this site only (default: all)")
    made.add_argument("-o", "--output", default="", metavar="FOLDER", help="copy the image's files there")
    made.add_argument("--dry-run", action="store_true", help="show what would be done, and why")
    made.add_argument("--offline", action="store_true", help="use the workflow as it was fetched last")
    run_file_options(made)
    followed_options(made)


def store_options(made: Parser) -> None:
    """Add the arguments of `store`."""
    made.add_argument("action", choices=("serve",), metavar="ACTION", help="serve: answer builder hosts until SIGTERM")
    made.add_argument(
        "--listen", required=True, metavar="ADDRESS", help="HOST:PORT, or unix:/PATH; without TLS on loopback only"
    )
    made.add_argument("--tls-cert", default="", metavar="FILE", help="the certificate, as PEM")
    made.add_argument("--tls-key", default="", metavar="FILE", help="its key, as PEM")


def cluster_options(made: Parser) -> None:
    """Add the arguments of `cluster`."""
    made.add_argument(
        "action", choices=("up", "token", "join", "leave", "status", "down", "admit"), metavar="ACTION",
        help="up: make this host the head, or bring it up again; token: print what a host joins with; join: make this "
        "host a node; leave: take it out again; status: show services and nodes; down: end them on this host; "
        "admit: what token starts",
    )  # fmt: skip
    made.add_argument(
        "file", nargs="?", default="", metavar="FILE", help="the token to join with; - for standard input"
    )
    made.add_argument(
        "--folder", default="/var/lib/cc-images/cluster", metavar="FOLDER", help="its files (default %(default)s)"
    )
    made.add_argument(
        "--address",
        type=ip_address,
        default="",
        metavar="IP",
        help="up: the head's own (default: that of its default route)",
    )
    made.add_argument("--minutes", type=at_least_one, default=30, metavar="N", help="token: valid so long (default 30)")
    made.add_argument("--dry-run", action="store_true", help="up: show what would be done")
    made.add_argument("--with-jobs", action="store_true", help="down, leave: cancel jobs that are at work")


def perform_options(made: Parser) -> None:
    """Add the arguments of `perform`."""
    made.add_argument(
        "ticket", nargs="*", metavar="TICKET",
        help="a file with a ticket that a head has made, or - for standard input (default); with --look and "
        "--cancel ids of attempts",
    )  # fmt: skip
    made.add_argument("--detach", action="store_true", help="do it in the background, and leave at once")
    made.add_argument("--look", action="store_true", help="show which attempts are at work on this host")
    made.add_argument("--facts", action="store_true", help="show machine, tools and layers of this host")
    made.add_argument("--cancel", action="store_true", help="end attempts on this host, with all their processes")
    made.add_argument("--work", action="store_true", help="do what a guard orders through pipes; not for people")


def builder_node_options(made: Parser) -> None:
    """Add the arguments of `builder-node`."""
    made.add_argument(
        "action", choices=("create", "destroy", "sweep"), metavar="ACTION",
        help="create, destroy: the machines of nodes, as resume and suspend programs of Slurm; sweep: destroy what "
        "nobody owns, and fill reserves",
    )  # fmt: skip
    made.add_argument("nodes", nargs="*", metavar="NODE", help="nodes as Slurm writes them, such as burst[1-4]")
    made.add_argument("--builder", default="", metavar="NAME", help="the entry of builders.yaml with `provider:`")
