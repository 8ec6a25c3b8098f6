"""The texts of the command line: verbs, what each is for, examples, and what ends the help."""

from __future__ import annotations

TYPE_CHECKING = False  # see `cli.parser`
if TYPE_CHECKING:
    from collections.abc import Mapping

VERBS = (
    "list",
    "bases",
    "show",
    "status",
    "plan",
    "explain",
    "report",
    "diff",
    "inspect",
    "check",
    "verify",
    "delta",
    "fetch",
    "sbom",
    "boot",
    "shell",
    "rollback",
    "hold",
    "release",
    "promote",
    "retire",
    "pull",
    "check-updates",
    "catalogue-page",
    "prune",
    "doctor",
    "builders",
    "remote",
    "build-request",
    "store",
    "log",
    "download",
    "cancel",
    "serve",
    "account",
    "builder-node",
    "cluster",
    "new",
    "perform",
    "completion",
)

DESCRIPTIONS = {
    "": "Build operating-system images with diskimage-builder and publish them, redoing only what changed.",
    "list": "Show the catalogue: newest builds, their age, and whether they are fresh.",
    "bases": "Show what to build containers from: images with format oci or sif, their parents; tags in registries.",
    "show": "Show what an image is resolved to: elements, variables, packages, checks, and where each comes from.",
    "new": "Write a new image: its entry in images.yaml, its element, and its checks.",
    "plan": "Show what a run would do and why; nothing is built or published.",
    "explain": "Show which inputs of images differ from their newest builds.",
    "status": "Show the state of images, what the store holds, what was pushed where; --server: one's builds there.",
    "report": "Show what a run did, by default the last one, and where its page is.",
    "diff": "Show what differs between two versions of an image, by default the newest two: release notes.",
    "completion": "Print or install shell completion of verbs, options and tags, and the man page.",
    "inspect": "Show what is inside an image without booting it; exit code 3 when something must not be there.",
    "check": "Check a foreign Containerfile's folder, or its image, by a contract; exit code 3 if a rule is broken.",
    "verify": "Build a stored image again from its inputs, and say whether the bytes are the same; exit code 3 if not.",
    "delta": "Show what a new version costs a folder that keeps images as chunks and has the old one.",
    "fetch": "Put an image together from a folder of chunks, here or on the web; goes on where it was stopped.",
    "sbom": "Print the bill of materials of a stored version: its packages, as CycloneDX or SPDX.",
    "boot": "Boot the newest build of an image with access to the network; all that the machine writes is lost.",
    "shell": "Open a shell in a copy of an image's newest layer, or kept tree; what is changed there is lost.",
    "rollback": "Give an archived version of an image its name back on sites, and hold the version that had it.",
    "hold": "Keep a version from being pushed; a newer build is pushed as ever.",
    "release": "Let a version that is held be pushed again.",
    "promote": "Let the next wave of sites have what the wave before has, baked or not.",
    "retire": "Make old versions private, hide and delete them, as the rules of images and sites say.",
    "pull": "Publish on sites what a catalogue has in force; nothing that they have is sent again.",
    "check-updates": "Show which published images lack updates that their own repositories have; exit code 5 if any.",
    "catalogue-page": "Write a page, its data and a feed of news for the people who use the images.",
    "prune": "Prune the store to the newest builds of each image, and to a size.",
    "builders": "Show builder hosts, what is at work on each, and the queue; exit code 3 when one does not answer.",
    "remote": "Build one container from one recipe, on a builder host or here, and put its SIF file in place.",
    "build-request": "Build the image that a request describes: a step of a workflow, for a machine.",
    "store": "Serve the store to builder hosts: each reads the inputs of its attempt and brings what it made.",
    "log": "Show the log of a build that a service carries out; -f until it is over, with the exit code of its run.",
    "download": "Download a file of an image from a service, or all files of a build; goes on where it was stopped.",
    "cancel": "Cancel a build that a service carries out; it goes on for others who have requested it.",
    "serve": "Serve requests for images over HTTP, for people who have no root here; docs/service.md.",
    "account": "Add, change, limit, close, invite and list the accounts of the service.",
    "builder-node": "Create or destroy the machines of nodes in a cloud, or sweep those that nobody owns.",
    "cluster": "Make this host the head of a cluster from nothing, let others join it, and show its nodes.",
    "perform": "Do an attempt of a build for another host, whose ticket comes on standard input.",
    "doctor": "Check this host and the sites, and show leftovers of killed runs; --mend removes them.",
}
"""The purpose of each verb, in a sentence."""

EXAMPLES = """\
cc-images list                        what there is, and what is fresh
cc-images plan -b -p cc-debian12      what a run would do, and why
cc-images -b -p cc-debian12           build what changed, test, publish
cc-images status                      how images stand, and where they are
cc-images doctor                      whether this host can do all that
"""

ALIASES: Mapping[str, str] = {"build": "-b", "push": "-p", "help": "--help", "version": "--version"}
"""The options behind first words that are no verbs."""

EPILOG = """\
verbs, which come first; `cc-images VERB --help` says what each takes:
{verbs}

files: CC_IMAGES_CONFIG, CC_SITES_CONFIG and CC_THIRD_PARTY_ELEMENTS_CONFIG override images.yaml, sites.yaml and
third-party.yaml; CC_IMAGES_STORE the store's folder. ARCH means -a. DIB_* variables are handed to the builds.
CC_IMAGES_SERVER and CC_IMAGES_TOKEN_FILE mean --server and --token-file: a service does it, as far as it can.
~/.config/cc-images/settings.yaml and /etc/cc-images/settings.yaml set mirrors, the store and defaults of options.
exit codes: 0 all well, also when nothing needed doing; 1 a bug; 2 the input is wrong; 3 something failed; 4 left,
because another run is at work on these images (--if-busy leave); 5 updates are pending; 130 interrupted.
"""
