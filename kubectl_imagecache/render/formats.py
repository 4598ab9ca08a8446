"""The words that -o takes; apart from what prints them, so that completion imports nothing else."""

FORMATS = {
    "table": "for people, as wide as the terminal",
    "wide": "every column, every reason",
    "json": "the whole document",
    "yaml": "the whole document",
    "name": "TYPE/NAME lines",
    "csv": "raw values",
    "markdown": "a table for a pull request",
    "jsonpath=": "kubectl's template, such as jsonpath='{.pools[*].name}'",
    "custom-columns=": "kubectl's columns, such as custom-columns=POOL:.name,STATE:.state",
}
"""Format -> what it is for; those that end in = take a template."""
