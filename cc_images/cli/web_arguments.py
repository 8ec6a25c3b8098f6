"""The arguments of the verbs of the service."""

from __future__ import annotations

from cc_images.cli.option_types import at_least_one

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
    made.add_argument("--check", action="store_true", help="show whether the service would start, and start nothing")
    _database_options(made)


def account_options(made: Parser) -> None:
    """Add the arguments of `account`."""
    made.add_argument(
        "action", choices=("add", "password", "close", "list"), metavar="ACTION",
        help="add: make an account; password: give it another one; close: let nobody log in as it; list: show all",
    )  # fmt: skip
    made.add_argument("name", nargs="?", default="", metavar="NAME", help="the account's name")
    made.add_argument("--administrator", action="store_true", help="add: it sees and ends everything")
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
