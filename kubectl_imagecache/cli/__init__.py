"""The command line: flags in, one use case called, its result rendered."""
