"""Reading dump files, local or remote, through ``ReadAt``."""
