"""What services say to each other: subjects, events, commands. Frozen Structs, one `SUBJECT` and `VERSION` each.

New fields get defaults; a breaking change is a new VERSION, taught to consumers first.
"""
