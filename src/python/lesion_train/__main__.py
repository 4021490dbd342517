"""``python -m lesion_train``."""

from lesion_train.cli import main

main()
