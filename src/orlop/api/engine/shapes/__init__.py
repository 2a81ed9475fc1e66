"""What the Engine API answers, as values: functions from what the service says to JSON, by version of the API.

Nothing here knows HTTP, sockets or the store.
"""
