#!/usr/bin/env python3
"""Starts kubectl-imagecache from the folder it was unpacked to; its dependencies are in lib/ beside it."""

# Old syntax on purpose: an old Python must get as far as the plain word below.
# ruff: noqa: PTH112, PTH118, PTH120, PTH208, UP031, UP036
import os
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
VERSION = "cp%d%d" % sys.version_info[:2]
LIB = os.path.join(HERE, "lib")


def _fail(message, hint):
    sys.stderr.write("error: %s\nhint: %s\n" % (message, hint))
    sys.exit(1)


if sys.version_info < (3, 10):
    _fail(
        "kubectl-imagecache needs Python 3.10 or newer; python3 is %d.%d" % sys.version_info[:2],
        "install a newer Python, and put it first on PATH",
    )
if sys.implementation.name != "cpython" or not os.path.isdir(os.path.join(LIB, VERSION)):
    there = sorted(name for name in os.listdir(LIB) if name.startswith("cp"))
    _fail(
        "this archive has no dependencies for %s %s (it has %s)" % (sys.implementation.name, VERSION, ", ".join(there)),
        "use one of those Pythons, or install with: pipx install kubectl-imagecache",
    )
sys.path[:0] = [os.path.join(LIB, "any"), os.path.join(LIB, VERSION)]

from kubectl_imagecache.cli.main import main  # noqa: E402

main()
