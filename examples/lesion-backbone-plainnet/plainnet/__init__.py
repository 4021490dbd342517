"""A small residual network, offered to Lesion as a plugin."""
