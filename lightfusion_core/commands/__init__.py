"""What the command line's commands do. Importing these modules imports no torch; running a command does."""
