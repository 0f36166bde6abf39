"""A run as one page of HTML that needs nothing else: to read, to print, to step through its games. No Prefect here."""

import logging

# Matplotlib would say on stderr where it keeps what it knows of fonts. The page uses those of its reader.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
