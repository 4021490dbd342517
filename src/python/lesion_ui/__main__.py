"""``python -m lesion_ui``."""

from lesion_ui.cli import main

main()
