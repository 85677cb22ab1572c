"""The shell's commands, one file each: ``add`` declares the flags, ``run`` does the work."""
