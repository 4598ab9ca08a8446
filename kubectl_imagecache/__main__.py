"""`python -m kubectl_imagecache` is the same program."""

from kubectl_imagecache.cli.main import main

main()
