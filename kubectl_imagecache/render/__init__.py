"""How results are shown: tables, JSON, YAML."""
