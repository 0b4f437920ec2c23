"""A benchmark is a module here whose `measures(bench)` lists what it measures; its name is the module's."""
