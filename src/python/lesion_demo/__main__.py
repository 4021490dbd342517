"""``python -m lesion_demo``."""

from lesion_demo.main import main

main()
