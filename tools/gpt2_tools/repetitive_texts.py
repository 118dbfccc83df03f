"""Texts that say again what stands in them, and one that does not: what drafts are measured on.

Each is a prompt and what is written behind it.
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
    """The old ferryman had never learned to read, but he knew every bend of the river by its sound. In autumn, when \
fog lay upon the water until noon, travellers from the city would stand on the bank and call for him,
""",
    """and after some while a lantern would swing into view, low and yellow, with nothing behind it that one could \
have sworn was a boat. He took three pennies from grown men, one from children, and from widows a story instead. \
My aunt, who crossed twice a week to sell her cheese, claimed that he forgot none of them.
""",
)
TEXTS = {"summary": SUMMARY, "code": CODE, "list": LIST, "prose": PROSE}
LONGEST = 300
"""Tokens of prompt and continuation together."""
