"""The gateway: the one address that clients talk to, before the engines."""
