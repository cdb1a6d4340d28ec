"""What tests ask of a drawn figure."""


def lines(ax):
    """The lines of an axis by their labels."""
    return {str(line.get_label()): line for line in ax.get_lines()}
