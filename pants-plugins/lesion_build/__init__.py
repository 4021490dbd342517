"""What this repository adds to Pants."""
