"""Other tools' acceptance tests, run against this library's loads."""
