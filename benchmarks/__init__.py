"""How fast this project is, beside Magenta and beside what the machine can do; docs/speed.md has the results."""
