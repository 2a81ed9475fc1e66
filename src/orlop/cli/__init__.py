"""The front door for people: argv and environment."""
