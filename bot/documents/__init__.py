"""Reads what people write in YAML: values with their lines, units, and faults in plain words.

Settings and personas share it. It opens no file but those it is told to, and changes none.
"""
