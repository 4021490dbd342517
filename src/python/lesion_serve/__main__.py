"""``python -m lesion_serve``."""

from lesion_serve.cli import main

main()
