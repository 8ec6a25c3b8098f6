"""The arguments of the verbs of the service."""

from __future__ import annotations

from cc_images.cli.option_types import at_least_one, at_least_zero, or_default, size, up_to

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from argparse import ArgumentParser as Parser


def serve_options(made: Parser) -> None:
    """Add the arguments of `serve`."""
    made.add_argument(
        "--listen", default="127.0.0.1:8080", metavar="ADDRESS",
        help="HOST:PORT; others than loopback need TLS (default 127.0.0.1:8080)",
    )  # fmt: skip
    made.add_argument("--tls-certificate", default="", metavar="FILE", help="the certificate with its chain, as PEM")
    made.add_argument("--tls-key", default="", metavar="FILE", help="its key, as PEM")
    made.add_argument("-t", "--runs", type=at_least_one, default=2, metavar="N", help="runs at a time (default 2)")
    made.add_argument(
        "--sign-up", choices=("off", "open", "invitation"), default="off", metavar="WHO",
        help="who may make an account over HTTP: off: nobody (default); open: everybody; invitation: those with one "
        "from `account invite`",
    )  # fmt: skip
    made.add_argument(
        "--account-bytes", type=size, metavar="SIZE",
        help="what an account keeps at most, such as 50G; `account limit` has exceptions (default: no limit)",
    )  # fmt: skip
    made.add_argument(
        "--keep-days", type=at_least_one, default=90, metavar="N",
        help="days for which the log of a build is kept after its end (default 90)",
    )  # fmt: skip
    made.add_argument("--check", action="store_true", help="show whether the service would start, and start nothing")
    _database_options(made)


def account_options(made: Parser) -> None:
    """Add the arguments of `account`."""
    made.add_argument(
        "action", metavar="ACTION",
        choices=("add", "password", "role", "limit", "close", "list", "invite", "uninvite", "invitations"),
        help="add: make an account; password: give it another one; role: with --administrator or --user; "
        "limit: change what it may use; close: let nobody log in as it; list: show all; invite: print an invitation, "
        "which makes one account; uninvite: revoke it; invitations: show all",
    )  # fmt: skip
    made.add_argument(
        "name", nargs="?", default="", metavar="NAME",
        help="the account's name; invite: whom it is for; uninvite: the invitation's id",
    )  # fmt: skip
    role = made.add_mutually_exclusive_group()
    role.add_argument("--administrator", action="store_true", help="add, role: it sees and ends everything")
    role.add_argument("--user", action="store_true", help="role: an ordinary account, as `add` makes one by default")
    made.add_argument(
        "--running", type=or_default(at_least_zero), metavar="N",
        help="limit: builds that run at a time; `default`: as many as the service says",
    )  # fmt: skip
    made.add_argument("--waiting", type=or_default(at_least_zero), metavar="N", help="limit: builds that wait")
    made.add_argument(
        "--bytes", type=or_default(size), metavar="SIZE",
        help="limit: what stored versions that its builds have made may take, such as 50G",
    )  # fmt: skip
    made.add_argument(
        "--days", type=up_to(90), default=7, metavar="N",
        help="invite: days for which it is valid (default 7, at most 90)",
    )  # fmt: skip
    made.add_argument(
        "--password-file", default="", metavar="FILE",
        help="file whose first line is the password; - for standard input (default: ask at the terminal)",
    )  # fmt: skip
    _database_options(made)


def _database_options(made: Parser) -> None:
    made.add_argument(
        "--database", default="", metavar="URL",
        help="the database, without a password: an address with one stands in CC_IMAGES_DATABASE, or in the file that "
        "CC_IMAGES_DATABASE_FILE names (default: SQLite in the store)",
    )  # fmt: skip
