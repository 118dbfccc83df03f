"""The texts that prompt lookup is measured on: repetitive ones, and prose, which repeats only common words.

Each is a prompt and its continuation.
"""

SUMMARY = (
    """The committee on the harbour met on Tuesday evening in the town hall. Mr. Whitfield, the engineer, said that \
the northern wall had been damaged by the storms of last winter, and that repairs would cost eleven thousand pounds. \
Mrs. Harcourt asked whether the fishing fleet could use the southern basin while the northern wall was being repaired. \
The committee agreed to ask the county for half of the money.

Summary of the meeting:
""",
    """The committee on the harbour met on Tuesday evening. The engineer, Mr. Whitfield, said that the northern wall \
had been damaged by the storms of last winter, and that repairs would cost eleven thousand pounds. Mrs. Harcourt asked \
whether the fishing fleet could use the southern basin. The committee agreed to ask the county for half of the money.
""",
)
CODE = (
    '''class Point:
    """A point in the plane."""

    def get_x(self):
        """Return the value of x."""
        return self.x

    def set_x(self, value):
        """Set the value of x."""
        self.x = value

''',
    '''    def get_y(self):
        """Return the value of y."""
        return self.y

    def set_y(self, value):
        """Set the value of y."""
        self.y = value

    def get_z(self):
        """Return the value of z."""
        return self.z

    def set_z(self, value):
        """Set the value of z."""
        self.z = value
''',
)
LIST = (
    """Opening hours of the branches:
1. Alton: Monday to Friday, 9 a.m. to 5 p.m., closed on Saturday and Sunday.
2. Barnes: Monday to Friday, 9 a.m. to 5 p.m., closed on Saturday and Sunday.
3. Corby: Monday to Friday, 9 a.m. to 5 p.m., closed on Saturday and Sunday.
""",
    """4. Derby: Monday to Friday, 9 a.m. to 5 p.m., closed on Saturday and Sunday.
5. Epsom: Monday to Friday, 9 a.m. to 5 p.m., closed on Saturday and Sunday.
6. Fleet: Monday to Friday, 10 a.m. to 6 p.m., closed on Sunday.
""",
)
PROSE = (
    """The old ferryman had never learned to read, but he knew every bend of the river by its sound. In the autumn, \
when fog lay upon the water until noon, travellers from the city would stand on the bank of the river and call \
for him. On the other side of the water lay the mill, the inn and the road to the coast, and in the evening \
the lights of the inn could be seen from the bank.
""",
    """After some while a lantern would swing into view in the fog, low and yellow, with nothing behind it that one \
could have sworn was a boat. In the middle of the river he let the oars rest, and he took three pennies from \
the men, one from the children, and from the widows a story. On the evening of the flood the water stood at \
the door of the mill, and the road to the city was under the river, but the old man rowed to the inn and back \
until the last of the travellers had crossed. In the morning the bank was gone, and he never said a word of \
it.
""",
)
TEXTS = {"summary": SUMMARY, "code": CODE, "list": LIST, "prose": PROSE}
LONGEST = 300
"""Tokens of prompt and continuation together."""
