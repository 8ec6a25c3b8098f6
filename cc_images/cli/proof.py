"""The verbs about the bytes of images: `check`, `verify`, `delta`, `fetch`, `sbom`, from options to exit code."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cc_images.cli.signals import bench
from cc_images.config.loader import Config, load
from cc_images.errors import UserError
from cc_images.model.catalog import Arch
from cc_images.report import text
from cc_images.report.units import size

EXIT_FAILED = 3


def _config() -> Config:
    return load(os.environ, Path.cwd())


def _arches(options: argparse.Namespace) -> tuple[Arch, ...]:
    return tuple(Arch(word) for word in options.architecture)


def verify(options: argparse.Namespace) -> int:
    """Build a stored image again and say whether it has the same bytes; or say who has signed what is published."""
    if options.signature:
        return _signatures(options)
    from cc_images.api.run import run
    from cc_images.api.verify import verify
    from cc_images.report import progress, verdict

    shown = progress.display(
        sys.stderr, quiet=False, verbose=False, events=False, told=sys.stderr,
        term=os.environ.get("TERM", "dumb"), colours=not os.environ.get("NO_COLOR"),
    )  # fmt: skip
    extract = Path(options.extract) if options.extract else None
    with bench() as mine:
        try:
            found = verify(
                _config(),
                options.what,
                _arches(options),
                lambda request, config: run(request, config, shown, stop=mine.stop, words=mine.words),
                extract=extract,
                bench=mine,
            )
        finally:
            shown.close()
    differing = found.comparison
    said = {
        "packages": found.packages,
        "partitions": differing.regions if differing else (),
        "files": [f"{path} {what}" for path, what in differing.files.items()] if differing else [],
    }
    if options.json:
        text.say(text.as_json(verdict.as_json(found.title, found.identical, (found.digest, found.rebuilt), said)))
    else:
        text.say(verdict.shown(found.title, found.identical, found.digest, said, found.taken))
        if found.taken and found.taken.exists() and shutil.which("diffoscope"):
            subprocess.run(["diffoscope", "--text", "-", *(str(found.taken / name) for name in ("then", "now"))])
    return 0 if found.identical else EXIT_FAILED


def _signatures(options: argparse.Namespace) -> int:
    from cc_images.api.signatures import signatures
    from cc_images.report import operations

    found = signatures(_config(), options.what)
    plain = [each.as_json() for each in found]
    text.say(text.as_json(plain) if options.json else "\n".join(operations.signatures(found)))
    return EXIT_FAILED if any(each.error for each in found) or not found else 0


def check(options: argparse.Namespace) -> int:
    """Check a folder, and its image, by the rules of a contract."""
    from cc_images.api import check
    from cc_images.config.yaml_text import choice
    from cc_images.model.container import Trial
    from cc_images.model.contracts import CONTRACTS

    if options.contract not in CONTRACTS:
        raise UserError(f"--contract: {choice(options.contract, CONTRACTS)}")
    found, tail = check.files(Path(options.folder), options.contract), tuple[str, ...]()
    if options.image:
        # argparse takes a word `--` away from its option
        words = None if options.words is None else tuple(each or "--" for each in options.words)
        trial = Trial(words=words, network=options.try_network, contracts=(options.contract,))
        with bench() as mine:
            of_image, tail = check.image(Path(options.image), options.contract, trial, mine.stop)
        found = [each for each in found if each.rule in ("Containerfile", "README.md")] + of_image
    if options.json:
        text.say(text.as_json([each.as_json() for each in found]))
    else:
        text.say("\n".join(f"{each.state:8}{each.rule}{': ' * bool(each.text)}{each.text}" for each in found))
        for line in tail:
            print(f"  {line}", file=sys.stderr)
    return EXIT_FAILED if check.broken(found) else 0


def delta(options: argparse.Namespace) -> int:
    """Show what a new version costs where an older one is."""
    from cc_images.api.chunks import delta

    with bench() as mine:
        found = delta(_config(), options.old, options.new, _arches(options), bench=mine)
    if options.json:
        said = {"old": found.old, "new": found.new, "size": found.size, "added": found.added, "chunks": found.chunks}
        text.say(text.as_json(said))
    else:
        share = f"{100 * found.added / max(found.size, 1):.1f} % of {size(found.size)}"
        text.say(f"{found.old} → {found.new}: {size(found.added)} in {found.chunks} chunks, {share}")
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Put an image together from a folder of chunks."""
    from cc_images.api.chunks import fetch
    from cc_images.api.trust import required_keys

    name = options.source.rpartition("/")[2].removesuffix(".caibx")
    at_terminal = sys.stderr.isatty()

    def report(done: int, whole: int) -> None:
        if at_terminal and (done % 100 == 0 or done == whole):
            print(f"\r{done} of {whole} chunks", end="" if done < whole else "\n", file=sys.stderr, flush=True)

    with bench() as mine:
        found = fetch(
            options.source,
            Path(options.output or f"{name}.qcow2"),
            Path(options.seed) if options.seed else None,
            cores=len(os.sched_getaffinity(0)),
            stop=mine.stop,
            report=report,
            trusted=required_keys(_config()) if options.require_signature else None,
        )
    if options.json:
        said = {"file": str(found.file), "sha512": found.sha512, "received": found.received, "reused": found.reused}
        text.say(text.as_json(said))
    else:
        here = f"{size(found.received)} received, {size(found.reused)} were here"
        text.say(f"{found.file}: {here}\n  sha512 {found.sha512}")
    return 0


def sbom(options: argparse.Namespace) -> int:
    """Print what an image consists of."""
    from cc_images.api.sbom import written

    with bench() as mine:
        found = written(_config(), options.tag, _arches(options), options.format, options.version, bench=mine)
    if found.lacks:
        print(f"note: names and versions alone, as the record has them: {found.lacks}", file=sys.stderr)
    if options.output:
        try:
            Path(options.output).write_text(found.text + "\n")
        except OSError as error:
            raise UserError(f"{options.output}: {error.strerror}", hint="name a file that can be written") from error
    else:
        text.say(found.text)
    return 0
