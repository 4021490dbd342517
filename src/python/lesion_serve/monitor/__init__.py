"""A model's life after deployment: drift, feedback, reports, alerts. Reads the store; serving goes on beside it."""
